//! The tokens that a running listener admits, kept up to date with the spool's registry.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tracing::{error, info};

use super::token::{self, Token};
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::os::thread::ThreadError;
use crate::os::worker::Worker;
use crate::spool::{Registry, SpoolError, SpoolErrorKind, TokenHash};

/// How often the registry is asked for URLs that were made or revoked. The contract allows one second.
const REFRESH_INTERVAL: Duration = Duration::from_millis(300);

/// The tokens that a listener admits now. Clones share them.
#[derive(Debug, Clone)]
pub struct ActiveTokens {
    active: Arc<RwLock<Vec<ActiveToken>>>,
}

/// An active token that a request has brought. Nothing of it can be seen.
pub struct AdmittedToken(TokenHash);

#[derive(Debug)]
struct ActiveToken {
    source: TokenSource,
    hash: TokenHash,
}

/// Where a token comes from.
#[derive(Debug)]
enum TokenSource {
    /// `webhook_tokens`. When it was last used is not noted.
    Config,
    /// The registry.
    Registry {
        /// The id of its webhook URL.
        id: i64,
        /// When it was last used, if the registry does not know that yet: Unix milliseconds, or 0.
        used_at: AtomicI64,
    },
}

impl ActiveTokens {
    /// Admits the tokens that the configuration gives, instead of those in the registry.
    #[must_use]
    pub fn from_config(tokens: &[TokenHash]) -> Self {
        let active = tokens.iter().map(|hash| ActiveToken { source: TokenSource::Config, hash: *hash });
        ActiveTokens::new(active.collect())
    }

    /// Admits the tokens in the registry for as long as the worker runs that is returned, and notes there
    /// when each was last used. The worker fails if the storage does.
    pub fn follow(registry: Box<dyn Registry>) -> Result<(Self, Worker<SpoolError>), FollowError> {
        let mut follower = Follower {
            tokens: ActiveTokens::new(Vec::new()),
            registry,
            uses: BTreeMap::new(),
            throttle: LogThrottle::default(),
        };
        let tokens = follower.tokens.clone();
        *tokens.active.write().unwrap_or_else(PoisonError::into_inner) = follower.read()?;
        let worker = Worker::start("webhook-urls", REFRESH_INTERVAL, move |_| follower.round())?;
        Ok((tokens, worker))
    }

    fn new(active: Vec<ActiveToken>) -> Self {
        ActiveTokens { active: Arc::new(RwLock::new(active)) }
    }

    /// How many tokens are active.
    #[must_use]
    pub fn count(&self) -> usize {
        self.active.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Checks whether `text` is an active token. It is compared with all of them, each time in constant time.
    #[must_use]
    pub fn admit(&self, text: &str) -> Option<AdmittedToken> {
        if !Token::is_well_formed(text) {
            return None;
        }
        let hash = token::hash(text);
        let mut is_active = false;
        for active in self.active.read().unwrap_or_else(PoisonError::into_inner).iter() {
            is_active |= bool::from(active.hash.0.ct_eq(&hash.0));
        }
        is_active.then_some(AdmittedToken(hash))
    }

    /// Notes that a webhook has passed all guards with a token.
    pub fn note_use(&self, admitted: &AdmittedToken, now: UnixMillis) {
        for active in self.active.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if let TokenSource::Registry { used_at, .. } = &active.source
                && active.hash == admitted.0
            {
                used_at.store(now.get(), Ordering::Relaxed);
            }
        }
    }

    /// Takes the uses that were noted since the last call.
    fn take_uses(&self) -> Vec<(i64, UnixMillis)> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let used = active.iter().filter_map(|token| match &token.source {
            TokenSource::Registry { id, used_at } => Some((*id, used_at.swap(0, Ordering::Relaxed))),
            TokenSource::Config => None,
        });
        used.filter(|(_, used_at)| *used_at != 0).map(|(id, at)| (id, UnixMillis::new(at))).collect()
    }

    /// The ids of the webhook URLs that are active.
    fn ids(&self) -> Vec<i64> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        ids_of(&active)
    }
}

fn ids_of(active: &[ActiveToken]) -> Vec<i64> {
    let ids = active.iter().filter_map(|token| match &token.source {
        TokenSource::Registry { id, .. } => Some(*id),
        TokenSource::Config => None,
    });
    ids.collect()
}

impl fmt::Debug for AdmittedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdmittedToken(secret)")
    }
}

/// Why the tokens in the registry cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The registry cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The thread cannot be started.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// Brings [`ActiveTokens`] and the registry up to date with each other.
struct Follower {
    tokens: ActiveTokens,
    registry: Box<dyn Registry>,
    /// Uses that are not in the registry yet, by id.
    uses: BTreeMap<i64, UnixMillis>,
    throttle: LogThrottle,
}

impl Follower {
    fn round(&mut self) -> Result<(), SpoolError> {
        // What may have been revoked comes first, and what can wait second.
        match self.refresh().and_then(|()| self.write_uses()) {
            Err(error) if error.kind() == SpoolErrorKind::StorageFailed => Err(error),
            Err(error) => {
                // The tokens known so far stay active; the writer meets the same trouble and decides what it
                // means.
                if let Some(suppressed) = self.throttle.allow() {
                    error!("{error}{suppressed}");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn read(&mut self) -> Result<Vec<ActiveToken>, SpoolError> {
        let urls = self.registry.webhook_urls()?.into_iter();
        let active = urls.map(|url| ActiveToken {
            source: TokenSource::Registry { id: url.id, used_at: AtomicI64::new(0) },
            hash: url.token,
        });
        Ok(active.collect())
    }

    /// Takes over what the registry says now.
    fn refresh(&mut self) -> Result<(), SpoolError> {
        let fresh = self.read()?;
        let (before, after) = (self.tokens.ids(), ids_of(&fresh));
        self.uses.extend(self.tokens.take_uses());
        if before != after {
            *self.tokens.active.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        for id in before.iter().filter(|id| !after.contains(id)) {
            info!("webhook URL {id} was revoked and is no longer accepted");
        }
        for id in after.iter().filter(|id| !before.contains(id)) {
            info!("webhook URL {id} was made and is accepted from now on");
        }
        Ok(())
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
}
