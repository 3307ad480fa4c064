//! `snapshot-sql`, on real databases filled by real targets.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use end_to_end::database::{self, Postgres};
use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::message::{Message, Record, value};
use end_to_end::program;
use end_to_end::tap::Tap;
use rusqlite::Connection;
use serde_json::{Value, json};

/// The output of a run, to be loaded into a database.
struct LoadedMessages {
    tap: Tap,
    messages: Vec<String>,
    records: Vec<Record>,
}

/// Loads repeats of three kinds: webhooks that Mailjet retries (one key, several sequences), rows that are
/// written again (one key, one sequence), and, for business keys, events of the same person and of the same
/// order, some without the key. Some columns have names that mean something else in SQL.
fn loaded_messages() -> LoadedMessages {
    let tap = Tap::new();
    let orders = [1, 2, 3].map(|time| {
        format!(r#"{{"event":"open","time":{time},"order":"{}","rowid":"none of SQLite's"}}"#, time / 2)
    });
    tap.spool_bodies(orders.iter().map(String::as_str));
    let without_email = [r#"{"event":"open","time":1}"#, r#"{"event":"open","time":2}"#];
    tap.spool_bodies(
        DOCUMENTED_EVENTS.iter().copied().chain(DOCUMENTED_EVENTS).chain(without_email).chain(without_email),
    );
    tap.spool_bodies((0..60).map(numbered_event).collect::<Vec<_>>().iter().map(String::as_str));
    // Without a key, targets append. Merged rows would leave nothing to query.
    let catalog = tap.command(&["--discover"]).finish().stdout.join("\n");
    let mut catalog = value(&catalog);
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        stream["metadata"][0]["metadata"]["table-key-properties"] = json!([]);
    }
    let path = tap.folder().join("catalog.json");
    fs::write(&path, catalog.to_string()).expect("a catalog can be written");
    // Two runs without a state write each row twice.
    let run = || {
        let finished = tap.drain().args(&["--catalog", path.to_str().expect("a path")]).finish();
        finished.assert_code(0);
        finished.stdout
    };
    // target-sqlite cannot add a column named `order`. After a first run, the SCHEMA has it from the start.
    let _ = run();
    let messages: Vec<_> =
        run().into_iter().chain(run()).filter(|line| !line.contains("_sdc_rejected")).collect();
    let records = Message::parse_all(&messages).into_iter().filter_map(Message::record).collect();
    LoadedMessages { tap, messages, records }
}

impl LoadedMessages {
    fn load(&self, target: &str, config: &Value) {
        let target = Command::new(program::venv_program(target, target));
        let _ = database::load_target(target, config, &self.messages, self.tap.folder());
    }

    fn sql(&self, dialect: &str, table: &str, arguments: &[&str]) -> String {
        let all = [&["snapshot-sql", "--dialect", dialect, "--table", table], arguments].concat();
        let finished = self.tap.command(&all).without_config().finish();
        finished.assert_code(0);
        finished.stdout.join("\n")
    }

    /// The latest version of each row: key and sequence on a line, sorted. `version_of` says which rows are
    /// versions of one.
    fn latest(&self, version_of: impl Fn(&Record) -> String) -> Vec<String> {
        let mut latest = BTreeMap::new();
        for record in &self.records {
            let newest = latest.entry(version_of(record)).or_insert(record);
            if record.sequence() > newest.sequence() {
                *newest = record;
            }
        }
        sorted(latest.values().map(|record| format!("{},{}", record.key(), record.sequence())).collect())
    }

    /// Checks the results of all queries. `query` runs SQL and returns the rows, one per line.
    fn check(&self, dialect: &str, table: &str, view: &str, query: impl Fn(&str) -> String) {
        let ask = |from: &str| -> Vec<String> {
            let sql = format!("SELECT q.__sdc_primary_key, q._sdc_sequence, q.* FROM {from} AS q");
            query(&sql).lines().map(str::to_owned).collect()
        };
        let latest = |arguments: &[&str]| {
            let sql = self.sql(dialect, table, arguments);
            ask(&format!("({})", sql.trim_end().trim_end_matches(';')))
        };
        let all = ask(table);
        assert_eq!(all.len(), self.records.len(), "the target appended every row");
        let assert_rows = |found: &[String], expected: &[String]| {
            assert_eq!(keys(found), expected);
            // Whole rows, with exactly the table's columns.
            assert!(found.iter().all(|row| all.contains(row)), "{found:#?}");
        };

        let by_key = self.latest(Record::key);
        assert!(by_key.len() * 2 < all.len());
        assert_rows(&latest(&[]), &by_key);

        let by_person = self.latest(|record| match record.raw("email") {
            "null" => record.key(),
            email => format!("{email} {}", record.raw("event")),
        });
        assert!(by_person.len() < by_key.len());
        assert_rows(&latest(&["--key", "email,event"]), &by_person);

        let by_order = self.latest(|record| match record.raw("order") {
            "null" => record.key(),
            order => order.to_owned(),
        });
        assert_eq!(by_order.len(), by_key.len() - 1);
        assert_rows(&latest(&["--key", "order"]), &by_order);

        let create_view = self.sql(dialect, table, &["--view", view]);
        query(&create_view);
        assert_rows(&ask(view), &by_key);
        // The table gets another column, as happens when Mailjet adds a field.
        query(&format!("ALTER TABLE {table} ADD COLUMN appeared INTEGER"));
        if create_view.starts_with("CREATE OR REPLACE") {
            query(&create_view);
        }
        let with_column = ask(&format!("(SELECT appeared, _sdc_sequence, __sdc_primary_key FROM {view})"));
        assert_eq!(keys(&with_column), by_key);
    }
}

/// The key and the sequence of each row, sorted.
fn keys(rows: &[String]) -> Vec<String> {
    let key = |row: &String| row.split(',').take(2).collect::<Vec<_>>().join(",");
    sorted(rows.iter().map(key).collect())
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn snapshots_on_postgresql_hold_the_latest_version_of_each_row() {
    let loaded = loaded_messages();
    let postgres = Postgres::start();
    let config = json!({
        "host": postgres.host(), "port": 5432, "user": "tester", "password": "none", "dbname": "postgres",
        "default_target_schema": "raw", "primary_key_required": false,
    });
    loaded.load("target-postgres", &config);
    loaded.check("postgres", "raw.data", "raw.latest", |sql| postgres.query(sql));
}

#[test]
fn snapshots_on_duckdb_hold_the_latest_version_of_each_row() {
    let loaded = loaded_messages();
    let path = loaded.tap.folder().join("warehouse.duckdb");
    let config = json!({"path": path, "default_target_schema": "raw", "primary_key_required": false});
    loaded.load("target-duckdb", &config);
    let script = "import duckdb, sys
for row in duckdb.connect(sys.argv[1]).execute(sys.argv[2]).fetchall(): print(*row, sep=',')";
    let python = program::venv_program("target-duckdb", "python");
    loaded.check("duckdb", "raw.data", "raw.latest", |sql| {
        program::run(Command::new(&python).args(["-c", script]).arg(&path).arg(sql))
    });
}

#[test]
fn snapshots_on_sqlite_hold_the_latest_version_of_each_row() {
    let loaded = loaded_messages();
    let path = loaded.tap.folder().join("warehouse.db");
    loaded.load("target-sqlite", &json!({"database": path}));
    let connection = Connection::open(&path).expect("the target created the database");
    loaded.check("sqlite", "data", "latest", |sql| {
        let mut statement = connection.prepare(sql).expect(sql);
        let columns = 0..statement.column_count();
        let rows = statement.query_map([], |row| {
            let values = columns.clone().map(|column| row.get(column).map(as_text));
            Ok(values.collect::<Result<Vec<_>, _>>()?.join(","))
        });
        rows.and_then(Iterator::collect::<Result<Vec<_>, _>>).expect(sql).join("\n")
    });

    // A name that is not a column must be an error. SQLite would otherwise take it for a string.
    for arguments in [&["--key", "emial"][..], &["--system-column-prefix", "_mailjet_"]] {
        let error = connection.prepare(&loaded.sql("sqlite", "data", arguments)).expect_err("no such column");
        assert!(error.to_string().contains("no such column"), "{error}");
    }
}

fn as_text(value: rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn wrong_usage_prints_no_sql() {
    let tap = Tap::new();
    for arguments in [
        &[][..],
        &["--dialect", "mysql"],
        &["--dialect", "duckdb", "--key", "a,,b"],
        &["--dialect", "duckdb", "--table", "raw."],
        &["--dialect", "duckdb", "--view", ""],
        &["--dialect", "duckdb", "--system-column-prefix", ""],
        &["--dialect", "duckdb", "--state", "state.json"],
    ] {
        let finished = tap.command(&["snapshot-sql"]).args(arguments).without_config().finish();
        finished.assert_code(2);
        assert!(finished.stdout.is_empty(), "{:?}", finished.stdout);
    }
}

#[test]
fn the_system_column_prefix_comes_from_the_configuration() {
    let tap = Tap::new().set("system_column_prefix", "_mailjet_");
    for (arguments, with_config, expected) in [
        (&["snapshot-sql", "--dialect", "duckdb"][..], true, "\"_mailjet_sequence\" DESC"),
        (&["snapshot-sql", "--dialect", "duckdb"][..], false, "\"_sdc_sequence\" DESC"),
        (
            &["snapshot-sql", "--dialect", "duckdb", "--system-column-prefix", "m_"][..],
            true,
            "\"m_sequence\" DESC",
        ),
    ] {
        let command = tap.command(arguments);
        let finished = if with_config { command } else { command.without_config() }.finish();
        finished.assert_code(0);
        assert!(finished.stdout.join("\n").contains(expected), "{:?}", finished.stdout);
    }
}
