//! The tokens that a running listener admits, kept up to date with the spool's registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::HumanDuration;
use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq;
use tracing::{error, info};

use super::token::{self, Token};
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::os::thread::ThreadError;
use crate::os::worker::{Round, Worker};
use crate::spool::{
    Registry, Retirement, Role, SpoolError, SpoolErrorKind, SpoolView, TokenHash, WebhookUrl,
};

/// How often the registry is read. A revoked URL has to stop working within a second.
/// What was read lasts for longer than two of these ([`Spool::registry_lasts`]).
///
/// [`Spool::registry_lasts`]: crate::spool::Spool::registry_lasts
const REFRESH_INTERVAL: Duration = Duration::from_millis(300);

/// How long a request waits for the registry to be read.
const KNOWLEDGE_WAIT: Duration = Duration::from_secs(1);

/// The longest time that one round counts.
const MAX_ROUND: Duration = Duration::from_secs(2);
/// How often the registry learns for how long a retiring URL has not been used.
const DISUSE_INTERVAL: Duration = Duration::from_secs(60);

/// Waits until a running listener accepts a webhook URL that was just created. Returns whether a listener is
/// running.
pub(crate) fn wait_until_accepted(spool: &dyn SpoolView) -> Result<bool, SpoolError> {
    let is_listening = !spool.role_holders(Role::Listener)?.is_empty();
    if is_listening {
        std::thread::sleep(2 * REFRESH_INTERVAL);
    }
    Ok(is_listening)
}

/// The tokens that a listener admits at the moment. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ActiveTokens(Arc<RwLock<Admitted>>);

#[derive(Debug, Default)]
struct Admitted {
    active: Vec<ActiveToken>,
    /// When `active` was read from the registry, and how long that is good for; `None` if that does not
    /// matter.
    known: Option<Knowledge>,
    /// The hashes of temporary tokens.
    temporary: Vec<TokenHash>,
}

impl Admitted {
    /// Whether the tokens are those of the registry.
    fn is_known(&self) -> bool {
        self.known.is_none_or(|known| known.since.elapsed() <= known.lasts)
    }
}

#[derive(Debug, Clone, Copy)]
struct Knowledge {
    since: Instant,
    lasts: Duration,
}

/// The registry could not be read lately, so it is not known which tokens are active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown;

/// A token that is known to nobody else, is stored nowhere, and is admitted until this is dropped.
#[derive(Debug)]
pub struct TemporaryToken {
    tokens: ActiveTokens,
    token: Token,
}

impl TemporaryToken {
    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl Drop for TemporaryToken {
    fn drop(&mut self) {
        let hash = self.token.hash();
        self.tokens.0.write().temporary.retain(|other| *other != hash);
    }
}

#[derive(Debug)]
struct ActiveToken {
    /// The id of its webhook URL in the registry; `None` for a token from the config key `webhook_tokens`.
    id: Option<i64>,
    hash: TokenHash,
    /// When it was last used, until the follower takes that to the registry.
    used_at: Mutex<Option<UnixMillis>>,
    /// Whether somebody has tried to use it since the follower looked, whatever the answer was.
    was_tried: AtomicBool,
}

impl ActiveToken {
    fn new(id: Option<i64>, hash: TokenHash) -> Self {
        ActiveToken { id, hash, used_at: Mutex::default(), was_tried: AtomicBool::new(false) }
    }
}

impl ActiveTokens {
    /// Admits tokens from the configuration. They never change.
    pub fn from_config(tokens: &[TokenHash]) -> Self {
        let active = tokens.iter().map(|hash| ActiveToken::new(None, *hash)).collect();
        ActiveTokens(Arc::new(RwLock::new(Admitted { active, ..Admitted::default() })))
    }

    /// Admits a new token for as long as the returned value lives.
    pub fn admit_temporarily(&self) -> Result<TemporaryToken, getrandom::Error> {
        let token = Token::random()?;
        self.0.write().temporary.push(token.hash());
        Ok(TemporaryToken { tokens: self.clone(), token })
    }

    /// Admits the tokens in the registry.
    ///
    /// The returned worker keeps them up to date, notes in the registry when each was last used, and revokes
    /// those that are being retired once they are no longer used. It fails if the storage fails.
    ///
    /// `lasts` is how long the tokens are admitted after they were read
    /// ([`Spool::registry_lasts`](crate::spool::Spool::registry_lasts)).
    pub(crate) fn follow<E: From<SpoolError> + From<ThreadError>>(
        registry: Box<dyn Registry>,
        lasts: Option<Duration>,
    ) -> Result<(Self, Worker<SpoolError>), E> {
        let mut follower = Follower {
            tokens: ActiveTokens::default(),
            registry,
            uses: BTreeMap::new(),
            tried: Vec::new(),
            retiring: Vec::new(),
            disuse: BTreeMap::new(),
            last_round: Instant::now(),
            throttle: LogThrottle::default(),
            lasts,
        };
        let tokens = follower.tokens.clone();
        let since = Instant::now();
        let active = follower.read()?;
        *tokens.0.write() = Admitted { active, known: follower.known_since(since), temporary: Vec::new() };
        let worker = Worker::start("webhook-urls", REFRESH_INTERVAL, move |round| follower.round(round))?;
        Ok((tokens, worker))
    }

    /// The number of tokens that Mailjet may use.
    pub(crate) fn count(&self) -> usize {
        self.0.read().active.len()
    }

    /// Waits for a moment if the registry could not be read lately: a process that was stopped, or a database
    /// that was slow, reads it again at once.
    pub(crate) async fn wait_until_known(&self) {
        let give_up = Instant::now() + KNOWLEDGE_WAIT;
        while !self.0.read().is_known() && Instant::now() < give_up {
            tokio::time::sleep(KNOWLEDGE_WAIT / 50).await;
        }
    }

    /// Admits `text` if it is an active token. It is compared with each of them, in constant time.
    pub(crate) fn admit(&self, text: &str) -> Result<Option<TokenHash>, Unknown> {
        if !Token::is_well_formed(text) {
            return Ok(None);
        }
        let hash = token::hash(text);
        let mut is_active = false;
        let admitted = self.0.read();
        if !admitted.is_known() {
            return Err(Unknown);
        }
        for temporary in &admitted.temporary {
            is_active |= bool::from(temporary.0.ct_eq(&hash.0));
        }
        for active in &admitted.active {
            let is_this_one = bool::from(active.hash.0.ct_eq(&hash.0));
            if is_this_one {
                active.was_tried.store(true, Ordering::Relaxed);
            }
            is_active |= is_this_one;
        }
        Ok(is_active.then_some(hash))
    }

    /// Notes that a webhook with this token has arrived.
    pub fn note_use(&self, token: TokenHash, now: UnixMillis) {
        for active in self.0.read().active.iter().filter(|active| active.hash == token) {
            *active.used_at.lock() = Some(now);
        }
    }

    /// Takes the uses that were noted since the last call: ids of webhook URLs, and when each was last used.
    fn take_uses(&self) -> Vec<(i64, UnixMillis)> {
        let take = |token: &ActiveToken| Some((token.id?, token.used_at.lock().take()?));
        self.0.read().active.iter().filter_map(take).collect()
    }
}

/// Returns the ids of the tokens that somebody has tried to use since the last call.
fn take_tried(active: &[ActiveToken]) -> Vec<i64> {
    let tried = active.iter().filter(|token| token.was_tried.swap(false, Ordering::Relaxed));
    tried.filter_map(|token| token.id).collect()
}

fn ids_of(active: &[ActiveToken]) -> Vec<i64> {
    active.iter().filter_map(|token| token.id).collect()
}

/// Brings [`ActiveTokens`] up to date with the registry, and the registry with the uses of tokens.
struct Follower {
    tokens: ActiveTokens,
    registry: Box<dyn Registry>,
    /// Uses that are not in the registry yet, by id.
    uses: BTreeMap<i64, UnixMillis>,
    /// The webhook URLs that somebody tried to use in this round. A webhook that is refused for now will be
    /// repeated, so its URL must not retire.
    tried: Vec<i64>,
    /// The webhook URLs that are being retired, by id.
    retiring: Vec<(i64, Retirement)>,
    /// For how long each of them was not used, as far as the registry does not know it yet. This listener
    /// was accepting webhooks all that time.
    disuse: BTreeMap<i64, Duration>,
    last_round: Instant,
    throttle: LogThrottle,
    lasts: Option<Duration>,
}

impl Follower {
    fn round(&mut self, round: Round) -> Result<(), SpoolError> {
        // Noting uses can wait, but a revoked token must stop working.
        let refreshed = self.refresh();
        match refreshed.and_then(|()| self.write_uses()).and_then(|()| self.write_disuse(round)) {
            Err(error) if error.kind() == SpoolErrorKind::StorageFailed => Err(error),
            Err(error) => {
                // The known tokens stay active for as long as that knowledge lasts. Whether the tap can go
                // on is for the writer to find out.
                if let Some(suppressed) = self.throttle.allow() {
                    error!("{error}{suppressed}");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn read(&mut self) -> Result<Vec<ActiveToken>, SpoolError> {
        let urls = self.registry.webhook_urls()?;
        let retiring = |url: &WebhookUrl| Some((url.id, url.retirement?));
        self.retiring = urls.iter().filter_map(retiring).collect();
        Ok(urls.into_iter().map(|url| ActiveToken::new(Some(url.id), url.token)).collect())
    }

    fn known_since(&self, since: Instant) -> Option<Knowledge> {
        self.lasts.map(|lasts| Knowledge { since, lasts })
    }

    /// Activates the tokens that are in the registry now.
    fn refresh(&mut self) -> Result<(), SpoolError> {
        let since = Instant::now();
        let active = self.read()?;
        let (before, after) = (ids_of(&self.tokens.0.read().active), ids_of(&active));
        self.uses.extend(self.tokens.take_uses());
        self.tried = take_tried(&self.tokens.0.read().active);
        let known = self.known_since(since);
        if before != after {
            self.tokens.0.write().active = active;
        }
        if known.is_some() {
            self.tokens.0.write().known = known;
        }
        for id in before.iter().filter(|id| !after.contains(id)) {
            info!("webhook URL {id} was revoked and is no longer accepted");
        }
        for id in after.iter().filter(|id| !before.contains(id)) {
            info!("webhook URL {id} was created and is accepted from now on");
        }
        self.count_disuse();
        Ok(())
    }

    /// Adds the time since the last round to the disuse of the retiring URLs that were not used in it.
    fn count_disuse(&mut self) {
        // A process that was stopped for a while could accept nothing in that time.
        let passed = self.last_round.elapsed().min(MAX_ROUND);
        self.last_round = Instant::now();
        let (retiring, uses, tried) = (&self.retiring, &self.uses, &self.tried);
        let is_unused = |id: &i64| {
            retiring.iter().any(|(other, _)| other == id) && !uses.contains_key(id) && !tried.contains(id)
        };
        self.disuse.retain(|id, _| is_unused(id));
        for (id, _) in retiring.iter().filter(|(id, _)| is_unused(id)) {
            *self.disuse.entry(*id).or_default() += passed;
        }
    }

    fn write_uses(&mut self) -> Result<(), SpoolError> {
        while let Some((id, used_at)) = self.uses.first_key_value() {
            match self.registry.note_webhook_url_use(*id, *used_at) {
                // Another process is writing. The next round comes soon.
                Err(error) if error.kind() == SpoolErrorKind::Locked => return Ok(()),
                other => other?,
            }
            self.uses.pop_first();
        }
        Ok(())
    }

    /// Notes for how long the retiring URLs were not used, if that is worth a transaction.
    fn write_disuse(&mut self, round: Round) -> Result<(), SpoolError> {
        for (id, Retirement { after, unused_for }) in &self.retiring {
            if self.tried.contains(id) && !unused_for.is_zero() {
                match self.registry.note_webhook_url_attempt(*id) {
                    Err(error) if error.kind() == SpoolErrorKind::Locked => return Ok(()),
                    other => other?,
                }
            }
            let Some(more) = self.disuse.get(id).copied() else { continue };
            let is_due = more >= DISUSE_INTERVAL || unused_for.saturating_add(more) >= *after;
            if !is_due && round == Round::Regular {
                continue;
            }
            match self.registry.note_webhook_url_disuse(*id, more) {
                Err(error) if error.kind() == SpoolErrorKind::Locked => return Ok(()),
                Err(error) => return Err(error),
                Ok(is_revoked) => {
                    self.disuse.remove(id);
                    if is_revoked {
                        let after = HumanDuration(*after);
                        info!("webhook URL {id} has not been used for {after}, so it is now retired");
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_admitted_only_for_as_long_as_its_knowledge_lasts() {
        const HOUR: Duration = Duration::from_secs(3600);
        let text = "5".repeat(token::DIGITS);
        let tokens = ActiveTokens::from_config(&[token::hash(&text)]);
        let admit = |known| {
            tokens.0.write().known = known;
            tokens.admit(&text).map(|hash| hash.is_some())
        };
        let read_just_now = Knowledge { since: Instant::now(), lasts: HOUR };
        assert_eq!(admit(None), Ok(true));
        assert_eq!(admit(Some(read_just_now)), Ok(true));
        assert_eq!(admit(Some(Knowledge { lasts: Duration::ZERO, ..read_just_now })), Err(Unknown));
    }
}
