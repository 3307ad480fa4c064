//! The targets that people really use. Each loads the whole event set, and the test compares its table with
//! what was posted, value by value.
//!
//! The events come in two runs. The second run resumes from the state that the target printed in the first,
//! gets a new column half-way, and receives an event again, as Mailjet may send it after a day. All sequences
//! have 19 digits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::database::{self, Postgres};
use end_to_end::events::{DOCUMENTED_EVENTS, ODD_EVENTS, SYSTEM_COLUMNS, expected_value, grouped};
use end_to_end::message::{Record, members, same_value};
use end_to_end::program::{self, program_path, venv_program};
use end_to_end::schema::columns_of;
use end_to_end::tap::{FinishedTap, Tap, TapCommand};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A target, the settings it needs, and how to read its tables.
struct RealTarget<'a> {
    program: PathBuf,
    config: Value,
    arguments: &'static [&'static str],
    /// The prefix it needs for the tap's system columns.
    prefix: &'static str,
    /// Whether the columns of the first run must exist from the start.
    columns_first: bool,
    /// Whether it keeps one row for each key, the last one.
    merges_by_key: bool,
    /// Its name for a column.
    column: fn(&str) -> String,
    /// A column that it adds.
    own_column: Option<&'static str>,
    /// What it stores for a value; both are JSON text.
    stored: fn(&str) -> String,
    /// The rows of a stream, each as a JSON object. A missing column counts as null.
    rows: &'a dyn Fn(&str) -> Vec<String>,
}

/// An event, and the columns whose value differs from the field of their name.
type PostedEvent = (&'static str, &'static [(&'static str, &'static str)]);

/// A webhook with an element that is not an event. It must end up in the table of rejected items.
const NON_EVENT: &str = "[5]";

/// The posted events, and the tap's output for them.
struct Delivered {
    /// By sequence.
    posted: BTreeMap<i64, PostedEvent>,
    /// By sequence.
    written: BTreeMap<i64, Record>,
    /// The tap's columns at the end.
    columns: Vec<String>,
    /// The tap's record for the rejected item.
    rejected: Record,
}

impl<'a> RealTarget<'a> {
    /// A target that appends rows and changes neither names nor values.
    fn new(program: PathBuf, config: Value, rows: &'a dyn Fn(&str) -> Vec<String>) -> Self {
        RealTarget {
            program,
            config,
            arguments: &[],
            prefix: "_sdc_",
            columns_first: false,
            merges_by_key: false,
            column: str::to_owned,
            own_column: None,
            stored: str::to_owned,
            rows,
        }
    }

    /// The tap's name for one of its system columns.
    fn system_column(&self, column: &str) -> String {
        match column {
            "__sdc_primary_key" => column.to_owned(),
            _ => column.replacen("_sdc_", self.prefix, 1),
        }
    }

    fn drain<'t>(&self, tap: &'t Tap) -> TapCommand<'t> {
        tap.drain().set("system_column_prefix", self.prefix)
    }

    /// Feeds the target with a drain's output, appends the printed states to the state file, and returns the
    /// drain.
    fn load(&self, tap: &Tap, run: &str) -> FinishedTap {
        let drained = self.drain(tap).state().finish();
        drained.assert_code(0);
        let mut target = Command::new(&self.program);
        target.args(self.arguments);
        tap.append_to_state(&database::load_target(
            target,
            &self.config,
            &drained.stdout,
            &tap.folder().join(run),
        ));
        drained
    }

    /// Posts the event set and loads it.
    fn deliver(&self, tap: &Tap) -> Delivered {
        let at_first = DOCUMENTED_EVENTS.map(|event| (event, &[][..])).into_iter();
        let at_first = at_first.chain(ODD_EVENTS.iter().map(|odd| (odd.event, odd.changes)));
        let later: [PostedEvent; 4] = [
            (r#"{"event":"open","time":1}"#, &[]),
            (r#"{"event":"open","time":2,"appeared":-9223372036854775808}"#, &[]),
            (
                r#"{"event":"open","time":3,"appeared":"ÿ","later":true}"#,
                &[("appeared", "null"), ("appeared__st", "\"ÿ\"")],
            ),
            (DOCUMENTED_EVENTS[3], &[]),
        ];
        let documented = grouped(&DOCUMENTED_EVENTS);
        let webhooks =
            [documented.as_str(), NON_EVENT].into_iter().chain(ODD_EVENTS.iter().map(|odd| odd.event));
        tap.spool_bodies(webhooks.chain([DOCUMENTED_EVENTS[2]]));
        if self.columns_first {
            self.drain(tap).finish().assert_code(0);
        }
        let first = self.load(tap, "first");
        tap.spool_bodies(later.map(|(event, _)| event));
        let second = self.load(tap, "second");
        assert_eq!(second.records().len(), later.len(), "the state covers all of the first run");
        assert!(self.drain(tap).state().finish().records().is_empty(), "the state covers everything");

        let posted: Vec<PostedEvent> =
            at_first.chain([(DOCUMENTED_EVENTS[2], &[][..])]).chain(later).collect();
        let sequences = tap.spool().sequences();
        assert_eq!(sequences.len(), posted.len());
        let sequence = self.system_column("_sdc_sequence");
        let written = first.records().into_iter().chain(second.records());
        Delivered {
            posted: sequences.into_iter().zip(posted).collect(),
            written: written.map(|record| (record.integer(&sequence), record)).collect(),
            columns: columns_of(&second.messages(), "data").pop().expect("a SCHEMA"),
            rejected: first.records_of("_sdc_rejected").pop().expect("a record"),
        }
    }

    /// Loads the event set and checks every value of it.
    fn check(&self, tap: &Tap) {
        let delivered = self.deliver(tap);
        let rows: Vec<Record> = (self.rows)("data").iter().map(|row| Record::from_row(row)).collect();
        let sequence = (self.column)(&self.system_column("_sdc_sequence"));
        // Where everything is text, so is the sequence.
        let sequence_of = |row: &Record| row.raw(&sequence).trim_matches('"').parse().expect("an integer");
        let mut found: Vec<i64> = rows.iter().map(sequence_of).collect();
        found.sort_unstable();
        assert_eq!(found, delivered.kept_by(self));

        let columns = delivered.columns.iter().map(|column| (self.column)(column));
        let columns: BTreeSet<_> = columns.chain(self.own_column.map(str::to_owned)).collect();
        let found: BTreeSet<_> = rows.iter().flat_map(Record::column_names).map(str::to_owned).collect();
        assert_eq!(found, columns);
        for row in &rows {
            self.check_row(row, sequence_of(row), &delivered);
        }

        let rejected: Vec<_> = (self.rows)("_sdc_rejected").iter().map(|row| Record::from_row(row)).collect();
        assert_eq!(rejected.len(), 1);
        for column in delivered.rejected.column_names() {
            self.check_value(&rejected[0], column, delivered.rejected.raw(column));
        }
        assert_eq!(rejected[0].text("record"), NON_EVENT.trim_matches(['[', ']']));
    }

    fn check_row(&self, row: &Record, sequence: i64, delivered: &Delivered) {
        let (event, changes) = delivered.posted[&sequence];
        let fields = members(event);
        let system_columns = SYSTEM_COLUMNS.map(|column| self.system_column(column));
        for column in &delivered.columns {
            let expected = match system_columns.contains(column) {
                true => delivered.written[&sequence].raw(column),
                false => expected_value(&fields, changes, column),
            };
            self.check_value(row, column, expected);
        }
    }

    fn check_value(&self, row: &Record, column: &str, expected: &str) {
        let (expected, null) = ((self.stored)(expected), (self.stored)("null"));
        let found = row.get(&(self.column)(column)).unwrap_or(&null);
        // These are the tap's own columns. Mailjet's times are integers.
        let is_same = match column.ends_with("_at") {
            true => instant(found) == instant(&expected),
            false => same(found, &expected),
        };
        assert!(is_same, "{column} is {found}, not {expected}\nin {}", row.text);
    }
}

impl Delivered {
    /// The sequences of the rows that must be in the table.
    fn kept_by(&self, target: &RealTarget) -> Vec<i64> {
        let latest: BTreeMap<_, _> =
            self.written.iter().map(|(sequence, row)| (row.key(), *sequence)).collect();
        assert_eq!(latest.len(), self.posted.len() - 2, "two events came twice");
        let merged: BTreeSet<i64> = latest.into_values().collect();
        if target.merges_by_key {
            merged.into_iter().collect()
        } else {
            self.posted.keys().copied().collect()
        }
    }
}

/// Whether two JSON texts are the same value. Only fractions may be reprinted: `1.10` may become 1.1, but
/// integers keep every digit.
fn same(found: &str, expected: &str) -> bool {
    let fraction = |text: &str| text.contains(['.', 'e', 'E']).then(|| text.parse::<f64>().ok()).flatten();
    same_value(found, expected) || fraction(expected).is_some_and(|number| Ok(number) == found.parse())
}

/// A UTC date and time in one form, whatever form the target uses.
fn instant(text: &str) -> String {
    let text = text.trim_matches('"').replace(' ', "T");
    let text = text.trim_end_matches("+00:00").trim_end_matches('Z');
    match text.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{}", fraction.trim_end_matches('0')),
        // Some targets leave out a fraction of zero.
        None => format!("{text}."),
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn postgres_rows(postgres: &Postgres, stream: &str) -> Vec<String> {
    lines(&postgres.query(&format!("SELECT row_to_json(t) FROM raw.{stream} AS t")))
}

/// The rows that a Python script prints, one JSON object per line. `arguments` are its `sys.argv[1:]`.
fn python_rows(venv: &str, script: &str, arguments: &[&Path]) -> Vec<String> {
    lines(&program::run(Command::new(venv_program(venv, "python")).args(["-c", script]).args(arguments)))
}

fn tap() -> Tap {
    Tap::new().set("sequence_unit", "nanosecond")
}

#[test]
fn every_value_arrives_through_meltanolabs_target_postgres() {
    let postgres = Postgres::start();
    // This target writes times in the session's time zone, into columns without a time zone.
    let url = format!(
        "postgresql+psycopg://tester@/postgres?host={}&port=5432&options=-ctimezone%3DUTC",
        postgres.host().display()
    );
    let config = json!({
        "sqlalchemy_url": url, "default_target_schema": "raw", "add_record_metadata": false,
        "activate_version": false,
    });
    let rows = |stream: &str| postgres_rows(&postgres, stream);
    let mut target =
        RealTarget::new(venv_program("meltanolabs-target-postgres", "target-postgres"), config, &rows);
    (target.prefix, target.merges_by_key) = ("_mailjet_", true);
    target.check(&tap());
}

#[test]
fn every_value_arrives_through_pipelinewise_target_postgres() {
    check_pipelinewise_target_postgres(0);
}

/// A target that flattens objects drops a column of objects without declared properties.
#[test]
fn every_value_arrives_through_a_target_that_flattens_objects() {
    check_pipelinewise_target_postgres(10);
}

fn check_pipelinewise_target_postgres(flattening_levels: u32) {
    let postgres = Postgres::start();
    let config = json!({
        "host": postgres.host(), "port": 5432, "user": "tester", "password": "none", "dbname": "postgres",
        "default_target_schema": "raw", "data_flattening_max_level": flattening_levels,
    });
    let rows = |stream: &str| postgres_rows(&postgres, stream);
    let mut target = RealTarget::new(venv_program("target-postgres", "target-postgres"), config, &rows);
    target.merges_by_key = true;
    target.column = |name| name.to_lowercase();
    target.stored = |value| with_escapes_as_text(&null_for_empty_text(value));
    target.check(&tap());
}

/// Targets that copy rows as CSV cannot distinguish empty text from null.
fn null_for_empty_text(value: &str) -> String {
    if value == "\"\"" { "null" } else { value }.to_owned()
}

/// The JSON text of a string in which each control character is replaced by its JSON escape.
fn with_escapes_as_text(value: &str) -> String {
    let Ok(text) = serde_json::from_str::<String>(value) else { return value.to_owned() };
    let escaped = |character: char| match character.is_control() {
        true => json!(character).to_string().trim_matches('"').to_owned(),
        false => character.to_string(),
    };
    json!(text.chars().map(escaped).collect::<String>()).to_string()
}

#[test]
fn every_value_arrives_through_target_duckdb() {
    let tap = tap();
    let path = tap.folder().join("warehouse.duckdb");
    let config = json!({"path": path, "default_target_schema": "raw"});
    let script = "import duckdb, json, sys
database = duckdb.connect(sys.argv[1])
table = database.table('raw.' + sys.argv[2])
for row in table.fetchall():
    row = dict(zip(table.columns, row))
    if row.get('_sdc_extra'): row['_sdc_extra'] = json.loads(row['_sdc_extra'])
    print(json.dumps(row, default=str))";
    let rows = |stream: &str| python_rows("target-duckdb", script, &[&path, Path::new(stream)]);
    let mut target = RealTarget::new(venv_program("target-duckdb", "target-duckdb"), config, &rows);
    target.merges_by_key = true;
    target.column = |name| name.to_lowercase();
    target.stored = null_for_empty_text;
    target.check(&tap);
}

#[test]
fn every_value_arrives_through_target_sqlite() {
    let tap = tap();
    let path = tap.folder().join("warehouse.db");
    let rows = |stream: &str| sqlite_rows(&path, stream);
    let mut target =
        RealTarget::new(venv_program("target-sqlite", "target-sqlite"), json!({"database": path}), &rows);
    // This target cannot add a column named `on`, which one of the events has.
    (target.columns_first, target.merges_by_key) = (true, true);
    target.column = snake_case;
    target.own_column = Some("__loaded_at");
    target.stored = |value| match value {
        "true" => "1".to_owned(),
        "false" => "0".to_owned(),
        _ => value.to_owned(),
    };
    target.check(&tap);
}

/// target-sqlite's names: an underscore before each word that begins with a capital, and for each run of
/// other characters.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut last = 'A';
    for character in name.chars() {
        let is_odd = |character: char| !character.is_ascii_alphanumeric() && character != '_';
        match is_odd(character) {
            true if is_odd(last) => {}
            true => snake.push('_'),
            false => {
                snake.extend((character.is_ascii_uppercase() && !last.is_ascii_uppercase()).then_some('_'));
                snake.push(character.to_ascii_lowercase());
            }
        }
        last = character;
    }
    snake
}

fn sqlite_rows(path: &Path, table: &str) -> Vec<String> {
    let connection = Connection::open(path).expect("the target created the database");
    let mut statement =
        connection.prepare(&format!("SELECT * FROM {table}")).expect("the target created the table");
    let names: Vec<_> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let value = |index: usize| match row.get_ref_unwrap(index) {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => json!(number),
            ValueRef::Real(number) => json!(number),
            ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
            ValueRef::Blob(_) => unreachable!("the target writes no blobs"),
        };
        Ok(Value::Object(names.iter().cloned().zip((0..).map(value)).collect()).to_string())
    });
    rows.and_then(Iterator::collect).expect("rows")
}

#[test]
fn every_value_arrives_through_meltanolabs_target_csv() {
    let tap = tap();
    // This target starts a new file at each start and at each changed SCHEMA, so each gets a name of its own.
    let config = json!({
        "output_path": tap.folder().join("table"), "file_naming_scheme": "{stream_name}-{timestamp}.csv",
        "timestamp_format": "%Y%m%dT%H%M%S%f",
    });
    let script = "import csv, json, pathlib, sys
for path in pathlib.Path(sys.argv[1]).glob(sys.argv[2] + '-*.csv'):
    for row in csv.DictReader(path.open(encoding='utf-8', newline='')):
        print(json.dumps(row))";
    let table = tap.folder().join("table");
    let rows = |stream: &str| python_rows("meltanolabs-target-csv", script, &[&table, Path::new(stream)]);
    let mut target = RealTarget::new(venv_program("meltanolabs-target-csv", "target-csv"), config, &rows);
    target.prefix = "_mailjet_";
    // Everything is text, and null is empty text.
    target.stored = |value| match value {
        "null" => "\"\"".to_owned(),
        "true" => "\"True\"".to_owned(),
        "false" => "\"False\"".to_owned(),
        number if !number.starts_with(['"', '{']) => format!("\"{number}\""),
        _ => value.to_owned(),
    };
    target.check(&tap);
}

#[test]
fn every_value_arrives_through_the_bundled_target_jsonl() {
    let tap = tap();
    let table = tap.folder().join("table");
    let rows = |stream: &str| jsonl_rows(&table, stream);
    RealTarget::new(program_path("target-jsonl"), json!({"destination_path": table}), &rows).check(&tap);
}

#[test]
fn every_value_arrives_through_the_python_target_jsonl() {
    let tap = tap();
    let table = tap.folder().join("table");
    fs::create_dir(&table).expect("a new folder");
    let rows = |stream: &str| jsonl_rows(&table, stream);
    let config = json!({"destination_path": table, "do_timestamp_file": false});
    RealTarget::new(venv_program("target-jsonl", "target-jsonl"), config, &rows).check(&tap);
}

fn jsonl_rows(table: &Path, stream: &str) -> Vec<String> {
    lines(&fs::read_to_string(table.join(stream).with_extension("jsonl")).expect("a table"))
}

/// In its dry run, target-stitch checks what Stitch would check, and writes the requests that it would have
/// sent to a file.
#[test]
fn every_value_arrives_through_target_stitch() {
    let tap = tap();
    let rows = |stream: &str| {
        let files = ["first", "second"].map(|run| tap.folder().join(run).join("requests.jsonl"));
        let requests = files.map(|file| fs::read_to_string(file).expect("requests")).concat();
        let messages = requests.lines().map(members).flat_map(|request| {
            let is_of_stream = request["table_name"].get() == format!("\"{stream}\"");
            let messages: Vec<Box<RawValue>> =
                serde_json::from_str(request["messages"].get()).expect("messages");
            messages.into_iter().filter(move |_| is_of_stream)
        });
        messages.map(|message| members(message.get())["data"].get().to_owned()).collect()
    };
    let config = json!({"client_id": 1, "token": "none"});
    let mut target = RealTarget::new(venv_program("target-stitch", "target-stitch"), config, &rows);
    target.arguments = &["--dry-run", "--quiet", "--output-file", "requests.jsonl"];
    target.check(&tap);
}
