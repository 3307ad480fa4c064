//! Which of the URLs at Mailjet are ours.

use crate::spool::{MailjetAccount, RegistryView, SpoolError, TokenHash, UrlPurpose, WebhookUrl};

use super::callback::CallbackUrl;

/// The webhook URLs of this tap, past and present.
#[derive(Debug, Default)]
pub struct OwnUrls {
    /// The active ones of the spool, oldest first; none if `configured` has some.
    pub active: Vec<WebhookUrl>,
    revoked: Vec<TokenHash>,
    /// The tokens of `webhook_tokens`.
    configured: Vec<TokenHash>,
}

/// Whose a URL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours, and webhooks are accepted there. `id` is `None` for a token of `webhook_tokens`.
    Ours {
        /// The number that `url list` shows.
        id: Option<i64>,
        /// Whether it will be revoked once it is no longer used.
        is_retiring: bool,
    },
    /// Ours, but no longer accepted: webhooks get 404 there.
    Revoked,
    /// Somebody else's, or of another tap.
    Other,
}

impl Owner {
    /// The number that `url list` shows, if it is an active URL of ours.
    pub fn id(self) -> Option<i64> {
        if let Owner::Ours { id, .. } = self { id } else { None }
    }
}

impl OwnUrls {
    /// Those of a spool that does not exist yet.
    pub fn without_spool(configured: Option<&[TokenHash]>) -> Self {
        OwnUrls { configured: configured.unwrap_or_default().to_vec(), ..OwnUrls::default() }
    }

    /// Reads them from the registry, unless the tokens come from the configuration.
    pub fn read(
        registry: &mut dyn RegistryView,
        configured: Option<&[TokenHash]>,
    ) -> Result<Self, SpoolError> {
        let configured = configured.unwrap_or_default().to_vec();
        // With tokens from the configuration, no URL of the spool is accepted.
        let (active, mut revoked) = (registry.webhook_urls()?, registry.revoked_tokens()?);
        if configured.is_empty() {
            return Ok(OwnUrls { active, revoked, configured });
        }
        revoked.extend(active.into_iter().map(|url| url.token));
        revoked.retain(|token| !configured.contains(token));
        Ok(OwnUrls { active: Vec::new(), revoked, configured })
    }

    /// Whether the tokens come from the configuration, so that the tap cannot register URLs itself.
    pub fn are_configured(&self) -> bool {
        !self.configured.is_empty()
    }

    /// Returns the active ones that belong to `account`.
    pub(super) fn of_account(&self, account: &MailjetAccount) -> impl Iterator<Item = &WebhookUrl> {
        self.active.iter().filter(move |url| url.account.as_ref() == Some(account))
    }

    /// Returns the URL of a change of `account` that was not completed and that `purpose` goes on with, if it
    /// is among those `registered` with Mailjet. A rotation goes on only with a rotation, because a URL that
    /// was registered before may be what it is to replace.
    pub(super) fn pending(
        &self,
        account: &MailjetAccount,
        purpose: UrlPurpose,
        registered: &[i64],
    ) -> Option<i64> {
        let goes_on_with = |pending| purpose == UrlPurpose::Register || pending == UrlPurpose::Rotate;
        let pending = self.of_account(account).filter(|url| url.pending.is_some_and(goes_on_with));
        pending.map(|url| url.id).filter(|id| registered.contains(id)).max()
    }

    /// Returns whose `url` is.
    pub fn owner(&self, url: &CallbackUrl) -> Owner {
        let Some(token) = url.token() else { return Owner::Other };
        if let Some(url) = self.active.iter().find(|url| url.token == token) {
            return Owner::Ours { id: Some(url.id), is_retiring: url.retirement.is_some() };
        }
        if self.configured.contains(&token) {
            return Owner::Ours { id: None, is_retiring: false };
        }
        if self.revoked.contains(&token) { Owner::Revoked } else { Owner::Other }
    }
}
