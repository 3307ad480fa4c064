//! Webhook URLs: minted, listed, revoked, and known to a running listener.
//!
//! The secret part of a URL is its token: 64 hexadecimal digits from the system's random source. It is shown once, when
//! it is made; the spool's table `webhook_url` keeps its SHA-256, a label and times. At most two URLs are active, so that
//! one can be made, put into Mailjet, and the other revoked, without a gap.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;
use tracing::{error, info};

use crate::os::log_throttle::LogThrottle;
use crate::spool::{self, SpoolError};

/// Where webhooks are posted to, before the token.
pub const PATH: &str = "/v1/mailjet/";
/// How many URLs may be active at a time.
pub const MOST_ACTIVE: usize = 2;
/// How often a running listener looks for URLs that were made or revoked. The contract is one second.
const WATCH_INTERVAL: Duration = Duration::from_millis(300);
/// How long one look may wait for a lock on the spool.
const WATCH_PATIENCE: Duration = Duration::from_millis(100);

/// The secret part of a webhook URL. It can be shown only as part of the whole URL, by [`Token::url`].
pub struct Token(String);

impl Token {
    fn random() -> Result<Self, UrlError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| UrlError::Random(error.to_string()))?;
        let digits = bytes.iter().flat_map(|byte: &u8| [byte >> 4, byte & 15]);
        Ok(Token(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()))
    }

    /// Whether `text` has the form of a token.
    #[must_use]
    pub fn is_well_formed(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The whole URL, to be given to Mailjet.
    #[must_use]
    pub fn url(&self, public_url: &str) -> String {
        format!("{}{PATH}{}", public_url.trim_end_matches('/'), self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// What can be told about an active URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    /// Number by which it is revoked.
    pub id: i64,
    /// What its owner calls it.
    pub label: Option<String>,
    /// When it was made: Unix milliseconds.
    pub created_at: i64,
    /// When a webhook last arrived through it, to within a few seconds: Unix milliseconds.
    pub last_used_at: Option<i64>,
}

/// Why a URL can't be made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// There are two already.
    #[error(
        "two webhook URLs are active already; revoke one first (`url list` shows them, `url revoke ID` revokes)"
    )]
    TooMany,
    /// There is no such URL.
    #[error("there is no active webhook URL with id {0}; `url list` shows those there are")]
    Unknown(i64),
    /// The system has no random numbers.
    #[error("the system's random source failed: {0}")]
    Random(String),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// The table of webhook URLs in a spool. It can be used beside a running listener.
#[derive(Debug)]
pub struct UrlStore {
    path: PathBuf,
    connection: Connection,
}

impl UrlStore {
    /// Opens the table in the spool at `path`.
    pub fn open(path: &Path) -> Result<Self, UrlError> {
        Ok(UrlStore { path: path.to_owned(), connection: spool::open(path)? })
    }

    /// Opens it for reading; none if there is no spool. Nothing is made.
    pub fn look(path: &Path) -> Result<Option<Self>, UrlError> {
        Ok(spool::look(path)?.map(|connection| UrlStore { path: path.to_owned(), connection }))
    }

    /// Makes a URL. Its token exists nowhere but in the value that is returned.
    pub fn mint(&mut self, label: Option<&str>, unix_millis: i64) -> Result<(i64, Token), UrlError> {
        let token = Token::random()?;
        let mint = |connection: &mut Connection| {
            // Two people who mint at once do not end up with three URLs.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let active: i64 = transaction.query_row(
                "SELECT count(*) FROM webhook_url WHERE revoked_at IS NULL",
                [],
                |row| row.get(0),
            )?;
            if active >= i64::try_from(MOST_ACTIVE).unwrap_or(i64::MAX) {
                return Ok(None);
            }
            transaction.execute(
                "INSERT INTO webhook_url (label, token_sha256, created_at) VALUES (?1, ?2, ?3)",
                params![label, hash(&token.0), unix_millis],
            )?;
            let id = transaction.last_insert_rowid();
            transaction.commit()?;
            Ok(Some(id))
        };
        let id = mint(&mut self.connection).map_err(|source| failed(&self.path, source))?;
        Ok((id.ok_or(UrlError::TooMany)?, token))
    }

    /// The active URLs, oldest first.
    pub fn list(&self) -> Result<Vec<WebhookUrl>, UrlError> {
        let list = || {
            self.connection
                .prepare_cached(
                    "SELECT id, label, created_at, last_used_at FROM webhook_url WHERE revoked_at IS NULL ORDER BY id",
                )?
                .query_map([], |row| {
                    Ok(WebhookUrl {
                        id: row.get(0)?,
                        label: row.get(1)?,
                        created_at: row.get(2)?,
                        last_used_at: row.get(3)?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()
        };
        list().map_err(|source| failed(&self.path, source))
    }

    /// Revokes a URL. A running listener stops taking it within a second.
    pub fn revoke(&self, id: i64, unix_millis: i64) -> Result<(), UrlError> {
        let changed = self
            .connection
            .execute(
                "UPDATE webhook_url SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
                params![id, unix_millis],
            )
            .map_err(|source| failed(&self.path, source))?;
        if changed == 0 { Err(UrlError::Unknown(id)) } else { Ok(()) }
    }

    fn active(&self) -> Result<Vec<Active>, UrlError> {
        let active = || {
            self.connection
                .prepare_cached(
                    "SELECT id, token_sha256 FROM webhook_url WHERE revoked_at IS NULL ORDER BY id",
                )?
                .query_map([], |row| {
                    Ok(Active { id: Some(row.get(0)?), hash: row.get(1)?, used_at: AtomicI64::new(0) })
                })?
                .collect::<rusqlite::Result<_>>()
        };
        active().map_err(|source| failed(&self.path, source))
    }

    fn mark_used(&self, id: i64, unix_millis: i64) -> Result<(), UrlError> {
        self.connection
            .prepare_cached(
                "UPDATE webhook_url SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1",
            )
            .and_then(|mut statement| statement.execute(params![id, unix_millis]))
            .map_err(|source| failed(&self.path, source))?;
        Ok(())
    }
}

fn failed(path: &Path, source: rusqlite::Error) -> UrlError {
    UrlError::Spool(SpoolError::sqlite(path, "reading or writing its webhook URLs", source))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The tokens that a listener takes now.
#[derive(Debug, Clone)]
pub struct ActiveTokens {
    active: Arc<RwLock<Vec<Active>>>,
}

/// A token that is active. Nothing of it can be seen.
pub struct Admitted([u8; 32]);

#[derive(Debug)]
struct Active {
    /// Id in the table; none for a token from the configuration.
    id: Option<i64>,
    hash: [u8; 32],
    /// When it was last used, not yet written to the table: Unix milliseconds, or 0.
    used_at: AtomicI64,
}

impl ActiveTokens {
    /// Tokens that the configuration gives, instead of those in the spool.
    #[must_use]
    pub fn from_config(tokens: &[String]) -> Self {
        let active =
            tokens.iter().map(|token| Active { id: None, hash: hash(token), used_at: AtomicI64::new(0) });
        ActiveTokens { active: Arc::new(RwLock::new(active.collect())) }
    }

    /// Tokens in the spool, followed by a thread that ends when the [`Watch`] is dropped.
    pub fn watch(store: UrlStore) -> Result<(Self, Watch), UrlError> {
        let tokens = ActiveTokens { active: Arc::new(RwLock::new(store.active()?)) };
        let (stop, stopped) = mpsc::channel();
        // A look must not wait long for a lock: a revoked URL is to be noticed within a second.
        store.connection.busy_timeout(WATCH_PATIENCE).map_err(|source| failed(&store.path, source))?;
        let uses = BTreeMap::new();
        let path = store.path.clone();
        let follower = Follower { tokens: tokens.clone(), store, uses, told: LogThrottle::default() };
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("webhook-urls".to_owned())
            .spawn(move || {
                let _ = end.send(follower.follow(&stopped));
            })
            .map_err(|source| UrlError::Spool(SpoolError::Io { path, doing: "starting a thread", source }))?;
        Ok((tokens, Watch { stop, ended }))
    }

    /// How many tokens there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.active.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Finds out whether `text` is an active token. All are compared, each in constant time.
    #[must_use]
    pub fn admit(&self, text: &str) -> Option<Admitted> {
        if !Token::is_well_formed(text) {
            return None;
        }
        let hash = hash(text);
        let mut admitted = false;
        for active in self.active.read().unwrap_or_else(PoisonError::into_inner).iter() {
            admitted |= bool::from(active.hash.ct_eq(&hash));
        }
        admitted.then_some(Admitted(hash))
    }

    /// Notes that a webhook has arrived by a token, past all other guards.
    pub fn note_use(&self, admitted: &Admitted, unix_millis: i64) {
        for active in self.active.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if active.hash == admitted.0 {
                active.used_at.store(unix_millis, Ordering::Relaxed);
            }
        }
    }

    /// Takes what the table says now. Says which uses of URLs the table does not know yet.
    fn refresh(&self, store: &UrlStore) -> Result<Vec<(i64, i64)>, UrlError> {
        let fresh = store.active()?;
        let ids = |active: &[Active]| active.iter().map(|url| url.id).collect::<Vec<_>>();
        let after = ids(&fresh);
        let before = ids(&self.active.read().unwrap_or_else(PoisonError::into_inner));
        let uses = self.take_uses();
        if before != after {
            *self.active.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        for id in before.iter().flatten().filter(|id| !after.contains(&Some(**id))) {
            info!("webhook URL {id} was revoked and is not taken any more");
        }
        for id in after.iter().flatten().filter(|id| !before.contains(&Some(**id))) {
            info!("webhook URL {id} was made and is taken from now on");
        }
        Ok(uses)
    }

    /// The URLs that were used since the last call, each with when.
    fn take_uses(&self) -> Vec<(i64, i64)> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let used = active.iter().filter_map(|url| Some((url.id?, url.used_at.swap(0, Ordering::Relaxed))));
        used.filter(|(_, used_at)| *used_at != 0).collect()
    }
}

/// Follows the table of URLs for a listener.
struct Follower {
    tokens: ActiveTokens,
    store: UrlStore,
    /// Uses that are not in the table yet, by id.
    uses: BTreeMap<i64, i64>,
    told: LogThrottle,
}

impl Follower {
    /// Goes on until it is told to stop. The spool is closed when this returns.
    fn follow(mut self, stopped: &mpsc::Receiver<()>) -> Result<(), SpoolError> {
        while stopped.recv_timeout(WATCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.look()?;
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), SpoolError> {
        // First what may be revoked, and then what can wait.
        let outcome = self.tokens.refresh(&self.store).and_then(|uses| {
            self.uses.extend(uses);
            self.write_uses()
        });
        match outcome {
            Err(UrlError::Spool(error)) if error.is_io_failure() => return Err(error),
            Err(error) => {
                // The URLs known so far go on working; the writer meets the same trouble and says what it means.
                if let Some(suppressed) = self.told.allow() {
                    error!("{error}{suppressed}");
                }
            }
            Ok(()) => {}
        }
        Ok(())
    }

    fn write_uses(&mut self) -> Result<(), UrlError> {
        while let Some((id, used_at)) = self.uses.first_key_value() {
            match self.store.mark_used(*id, *used_at) {
                // Somebody is writing: the next look comes soon.
                Err(UrlError::Spool(SpoolError::Locked { .. })) => return Ok(()),
                other => other?,
            }
            self.uses.pop_first();
        }
        Ok(())
    }
}

/// Keeps [`ActiveTokens`] up to date until it is dropped, and then notes when each was last used.
#[derive(Debug)]
pub struct Watch {
    stop: mpsc::Sender<()>,
    ended: oneshot::Receiver<Result<(), SpoolError>>,
}

impl Watch {
    /// Waits until the disk fails under it, if it ever does.
    pub async fn failed(&mut self) -> SpoolError {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            // It ends otherwise only when it is told to.
            Ok(Ok(())) | Err(_) => std::future::pending().await,
        }
    }

    /// Notes when each URL was last used, and waits until that is done.
    pub async fn finish(self) {
        drop(self.stop);
        let _ = self.ended.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_64_lower_case_hexadecimal_digits() {
        let token = Token::random().expect("random numbers");
        assert!(Token::is_well_formed(&token.0));
        assert_eq!(
            token.url("https://hooks.example.com/"),
            format!("https://hooks.example.com/v1/mailjet/{}", token.0)
        );
        assert_eq!(format!("{token:?}"), "Token(secret)");
        let upper = "A".repeat(64);
        for wrong in ["", "abc", upper.as_str(), &token.0[1..], &format!("{}0", token.0)] {
            assert!(!Token::is_well_formed(wrong), "{wrong}");
        }
    }

    #[test]
    fn two_urls_at_most_and_ids_are_not_used_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let mut store = UrlStore::open(&path).expect("a store");
        let (first, token) = store.mint(Some("primary"), 10).expect("the first");
        let (second, _) = store.mint(None, 20).expect("the second");
        assert!(matches!(store.mint(None, 30), Err(UrlError::TooMany)));
        let (tokens, _watch) = ActiveTokens::watch(UrlStore::open(&path).expect("a store")).expect("a watch");
        assert!(tokens.admit(&token.0).is_some());
        assert!(tokens.admit(&"0".repeat(64)).is_none());

        store.revoke(first, 50).expect("it is active");
        assert!(matches!(store.revoke(first, 60), Err(UrlError::Unknown(1))));
        let (third, _) = store.mint(None, 70).expect("there is room again");
        assert_eq!((first, second, third), (1, 2, 3));
        assert_eq!(store.list().expect("a list").iter().map(|url| url.id).collect::<Vec<_>>(), [2, 3]);
    }
}
