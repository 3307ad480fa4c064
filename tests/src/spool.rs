//! Direct access to the spool, through its documented tables.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

/// The spool of a test.
#[derive(Debug)]
pub struct Spool {
    /// The SQLite file.
    pub path: PathBuf,
}

/// A row of the table `event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledEvent {
    /// The primary key.
    pub sequence: i64,
    /// When the event arrived, in Unix milliseconds.
    pub received_at: i64,
    /// The event's text as received.
    pub body: String,
}

/// A row of the table `rejected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Why the item was rejected.
    pub reason: String,
    /// What was received, or the beginning of it.
    pub body: Vec<u8>,
}

impl Spool {
    /// The stored events, by sequence.
    #[must_use]
    pub fn events(&self) -> Vec<SpooledEvent> {
        let connection = self.connect();
        let mut query = connection
            .prepare("SELECT sequence, received_at, body FROM event ORDER BY sequence")
            .expect("the table event is there");
        let rows = query.query_map([], |row| {
            Ok(SpooledEvent { sequence: row.get(0)?, received_at: row.get(1)?, body: row.get(2)? })
        });
        rows.and_then(Iterator::collect).expect("rows of the documented types")
    }

    /// The sequences of the stored events.
    #[must_use]
    pub fn sequences(&self) -> Vec<i64> {
        self.events().into_iter().map(|event| event.sequence).collect()
    }

    /// A value of the table `fact`.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<i64> {
        self.connect().query_row("SELECT value FROM fact WHERE name = ?1", [name], |row| row.get(0)).ok()
    }

    /// How many events have a sequence up to this one.
    #[must_use]
    pub fn count_up_to(&self, sequence: i64) -> u64 {
        self.connect()
            .query_row("SELECT count(*) FROM event WHERE sequence <= ?1", [sequence], |row| {
                row.get::<_, i64>(0)
            })
            .expect("the table event is there")
            .unsigned_abs()
    }

    /// The rejected items, in order of arrival.
    #[must_use]
    pub fn rejected(&self) -> Vec<RejectedRow> {
        let connection = self.connect();
        let mut query = connection
            .prepare("SELECT reason, body FROM rejected ORDER BY sequence")
            .expect("the table rejected is there");
        let rows = query.query_map([], |row| Ok(RejectedRow { reason: row.get(0)?, body: row.get(1)? }));
        rows.and_then(Iterator::collect).expect("rows of the documented types")
    }

    /// Inserts an event that no listener has received.
    pub fn insert(&self, event: &SpooledEvent) {
        let inserted = self.connect().execute(
            "INSERT INTO event (sequence, received_at, body) VALUES (?1, ?2, ?3)",
            (event.sequence, event.received_at, &event.body),
        );
        assert_eq!(inserted, Ok(1));
    }

    /// Inserts `count` old events that no listener has received, of about `bytes` each.
    pub fn insert_many(&self, count: u32, bytes: u32) {
        let insert = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
            INSERT INTO event (sequence, received_at, body)
            SELECT n, 1600000000000,
                json_object('event', 'open', 'Payload', replace(hex(zeroblob(?2 / 2)), '0', 'x'))
            FROM number";
        let inserted = self.connect().execute(insert, (count, bytes));
        assert_eq!(inserted, Ok(count as usize));
    }

    /// Locks the spool for writing until the returned connection is dropped.
    #[must_use]
    pub fn lock(&self) -> Connection {
        let connection = self.connect();
        connection.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
        connection
    }

    /// Runs a query that returns one text.
    #[must_use]
    pub fn text(&self, query: &str) -> String {
        self.connect()
            .query_row(query, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The pages of a table that are of one type (`leaf`, `overflow`), in the order of its rows: the page's
    /// number, and how many rows begin on it.
    #[must_use]
    pub fn pages(&self, table: &str, kind: &str) -> Vec<(u32, usize)> {
        let connection = self.connect();
        let mut query = connection
            .prepare("SELECT pageno, ncell FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY path")
            .expect("SQLite has dbstat");
        let rows = query.query_map([table, kind], |row| Ok((row.get(0)?, row.get::<_, u16>(1)?.into())));
        rows.and_then(Iterator::collect).expect("pages have numbers")
    }

    /// Overwrites a page, as a disk that loses a block does. No process may have the spool open.
    pub fn damage_page(&self, number: u32) {
        let page_size = self.connect().query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0));
        let page_size = page_size.expect("a spool");
        let file = File::options().write(true).open(&self.path).expect("the spool");
        let place = u64::from(number - 1) * u64::from(page_size);
        file.write_all_at(&vec![0xdb; page_size as usize], place).expect("the spool can be written");
    }

    /// Runs SQL that no tap would run.
    pub fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The whole table of webhook URLs, as text.
    #[must_use]
    pub fn webhook_urls(&self) -> String {
        let row = "concat_ws('|', id, label, hex(token_sha256), created_at)";
        self.text(&format!("SELECT group_concat({row}, char(10)) FROM webhook_url"))
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).expect("the spool can be opened");
        connection.busy_timeout(Duration::from_secs(30)).expect("a timeout can be set");
        connection
    }
}
