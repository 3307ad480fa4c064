//! A stand-in for Mailjet: its REST resource for webhook URLs, and the servers that post the webhooks.
//!
//! It is written from Mailjet's documentation and from what users and client libraries report, and shares no
//! code with the tap. Where the sources leave something open, it behaves in the way that is hardest for the
//! tap: a suspended URL is revived only by a new URL, and what waits to be repeated goes to the old one.

mod api;
mod sender;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use api::{Api, Fault};
pub use sender::Sender;

/// The API key of the stand-in's account.
pub const API_KEY: &str = "0f5a1c2e8b7d4a6993c1d2e3f4a5b6c7";
/// Its secret key.
pub const SECRET_KEY: &str = "7c6b5a4f3e2d1c3996a4d7b8e2c1a5f0";

/// The types of events, with Mailjet's numbers for them.
pub const EVENT_TYPES: [(&str, u64); 7] =
    [("click", 1), ("bounce", 2), ("spam", 3), ("blocked", 4), ("unsub", 5), ("open", 6), ("sent", 7)];

/// One webhook URL of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Mailjet's.
pub struct Row {
    pub id: u64,
    pub event_type: String,
    pub url: String,
    pub is_backup: bool,
    pub is_alive: bool,
    pub version: u64,
}

/// The rows of an account. The API changes them, and the sender reads them.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<Vec<Row>>>);

impl Account {
    fn lock(&self) -> MutexGuard<'_, Vec<Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows, in the order in which they were made.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.lock().clone()
    }

    /// The URL that events of a type are posted to.
    #[must_use]
    pub fn url_of(&self, event_type: &str) -> Option<String> {
        let is_wanted = |row: &&Row| row.event_type == event_type && !row.is_backup;
        self.lock().iter().find(is_wanted).map(|row| row.url.clone())
    }

    /// Adds a row, as somebody does on Mailjet's web page. Returns its number.
    pub fn add(&self, event_type: &str, url: &str, is_backup: bool) -> u64 {
        let mut rows = self.lock();
        let id = 10_000 + 7 * u64::try_from(rows.len()).expect("few rows");
        rows.push(Row {
            id,
            event_type: event_type.to_owned(),
            url: url.to_owned(),
            is_backup,
            is_alive: true,
            version: 1,
        });
        id
    }

    /// Changes the row with a number.
    pub fn change(&self, id: u64, change: impl FnOnce(&mut Row)) {
        change(self.lock().iter_mut().find(|row| row.id == id).expect("a row"));
    }
}
