//! Direct access to the spool, through its documented tables.
//!
//! A spool is an SQLite file unless [`POSTGRES_URL`] is set: then each is a schema of that database, and the
//! same tests show that both behave alike.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use rusqlite::Connection;
use serde::de::DeserializeOwned;

use crate::program::run;

/// The environment variable with the URL of the database that holds the spools.
pub const POSTGRES_URL: &str = "TEST_SPOOL_URL";

/// The spool of a test.
#[derive(Debug, Clone)]
pub struct Spool {
    /// The SQLite file.
    pub path: PathBuf,
    /// The schema that takes its place.
    pub(crate) schema: Option<Schema>,
}

/// A schema in a PostgreSQL database.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    /// A new name in the database that the environment names; `None` if it names none.
    pub(crate) fn from_environment() -> Option<Self> {
        let url = std::env::var(POSTGRES_URL).ok().filter(|url| !url.is_empty())?;
        Some(Schema::new(url))
    }

    /// A new name in a database.
    pub(crate) fn new(url: String) -> Self {
        let mut number = [0; 8];
        getrandom::fill(&mut number).expect("random numbers");
        Schema { url, name: format!("test_{:016x}", u64::from_be_bytes(number)) }
    }

    /// Runs SQL, and returns the lines of its answer.
    fn query(&self, sql: &str) -> Vec<String> {
        let mut psql = Command::new("psql");
        psql.env("PGOPTIONS", format!("-c search_path={}", self.name)).arg(&self.url);
        let answer = run(psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql]));
        answer.lines().map(str::to_owned).collect()
    }

    /// Returns the only value of a query that has one.
    fn value<T: DeserializeOwned>(&self, sql: &str) -> T {
        let rows = self.query(&format!("SELECT to_json(value) FROM ({sql}) AS answer (value)"));
        serde_json::from_str(&rows[0]).expect("a value of this type")
    }

    /// Returns the rows of a query, whose columns are put into an array each.
    fn rows<T: DeserializeOwned>(&self, columns: &str, rest: &str) -> Vec<T> {
        let rows = self.query(&format!("SELECT json_build_array({columns}) FROM {rest}"));
        rows.iter().map(|row| serde_json::from_str(row).expect("a row of these types")).collect()
    }
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
    /// Whether it is a schema of a PostgreSQL database.
    #[must_use]
    pub fn is_in_postgres(&self) -> bool {
        self.schema.is_some()
    }

    /// The stored events, by sequence.
    #[must_use]
    pub fn events(&self) -> Vec<SpooledEvent> {
        if let Some(schema) = &self.schema {
            let rows = schema.rows("sequence, received_at, body", "event ORDER BY sequence");
            return rows
                .into_iter()
                .map(|(sequence, received_at, body)| SpooledEvent { sequence, received_at, body })
                .collect();
        }
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
        if let Some(schema) = &self.schema {
            return schema.value(&format!("SELECT (SELECT value FROM fact WHERE name = '{name}')"));
        }
        self.connect().query_row("SELECT value FROM fact WHERE name = ?1", [name], |row| row.get(0)).ok()
    }

    /// How many events have a sequence up to this one.
    #[must_use]
    pub fn count_up_to(&self, sequence: i64) -> u64 {
        if let Some(schema) = &self.schema {
            return schema.value(&format!("SELECT count(*) FROM event WHERE sequence <= {sequence}"));
        }
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
        if let Some(schema) = &self.schema {
            let rows = schema.rows("reason, encode(body, 'base64')", "rejected ORDER BY sequence");
            let row = |(reason, body): (String, String)| {
                let body = STANDARD.decode(body.replace('\n', "")).expect("base64");
                RejectedRow { reason, body }
            };
            return rows.into_iter().map(row).collect();
        }
        let connection = self.connect();
        let mut query = connection
            .prepare("SELECT reason, body FROM rejected ORDER BY sequence")
            .expect("the table rejected is there");
        let rows = query.query_map([], |row| Ok(RejectedRow { reason: row.get(0)?, body: row.get(1)? }));
        rows.and_then(Iterator::collect).expect("rows of the documented types")
    }

    /// Inserts an event that no listener has received.
    pub fn insert(&self, event: &SpooledEvent) {
        if let Some(schema) = &self.schema {
            let SpooledEvent { sequence, received_at, body } = event;
            let body = body.replace('\'', "''");
            schema.query(&format!(
                "INSERT INTO event VALUES ({sequence}, {received_at}, '{body}');
                 UPDATE seq SET last = greatest(last, {sequence}), events = events + 1,
                     event_bytes = event_bytes + octet_length('{body}');
                 UPDATE trimmed SET through = least(through, {sequence} - 1) WHERE kind = 'event'"
            ));
            return;
        }
        let inserted = self.connect().execute(
            "INSERT INTO event (sequence, received_at, body) VALUES (?1, ?2, ?3)",
            (event.sequence, event.received_at, &event.body),
        );
        assert_eq!(inserted, Ok(1));
    }

    /// Inserts `count` old events that no listener has received, of about `bytes` each.
    pub fn insert_many(&self, count: u32, bytes: u32) {
        if let Some(schema) = &self.schema {
            schema.query(&format!(
                "INSERT INTO event SELECT n, 1600000000000,
                     '{{\"event\":\"open\",\"Payload\":\"' || repeat('x', {bytes}) || '\"}}'
                 FROM generate_series(1, {count}) AS n;
                 UPDATE seq SET last = greatest(last, {count}), events = events + {count},
                     event_bytes = event_bytes + (SELECT sum(octet_length(body)) FROM event
                         WHERE sequence <= {count});
                 UPDATE trimmed SET through = 0 WHERE kind = 'event'"
            ));
            return;
        }
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
        if let Some(schema) = &self.schema {
            return schema.query(query).join("\n");
        }
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
        if let Some(schema) = &self.schema {
            schema.query(sql);
            return;
        }
        self.connect().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The whole table of webhook URLs, as text.
    #[must_use]
    pub fn webhook_urls(&self) -> String {
        if let Some(schema) = &self.schema {
            let row = "concat_ws('|', id, label, upper(encode(token_sha256, 'hex')), created_at)";
            return schema.query(&format!("SELECT {row} FROM webhook_url ORDER BY id")).join("\n");
        }
        let row = "concat_ws('|', id, label, hex(token_sha256), created_at)";
        self.text(&format!("SELECT group_concat({row}, char(10)) FROM webhook_url"))
    }

    fn connect(&self) -> Connection {
        assert!(
            self.schema.is_none(),
            "this test is about the SQLite file, so it has to leave out PostgreSQL"
        );
        let connection = Connection::open(&self.path).expect("the spool can be opened");
        connection.busy_timeout(Duration::from_secs(30)).expect("a timeout can be set");
        connection
    }
}
