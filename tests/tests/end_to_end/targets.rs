//! The targets that people really use, each over the whole event set: what is in the table afterwards is compared with what
//! was posted, value by value.
//!
//! The events come in two runs. The second goes on from the state that the target printed in the first, has a column that
//! appears in the middle of it, and an event that Mailjet repeats after a day. All sequences have 19 digits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::database::{self, Postgres, in_venv};
use end_to_end::events::{ODD, SEVEN, SYSTEM_COLUMNS, expected, grouped};
use end_to_end::message::{Record, members, same_value};
use end_to_end::program::path_of;
use end_to_end::schema::columns_of;
use end_to_end::tap::{Finished, Launch, Tap};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A target, the settings that it needs, and how its tables are read.
struct RealTarget<'a> {
    program: PathBuf,
    config: Value,
    arguments: &'static [&'static str],
    /// What it needs the tap's system columns to start with.
    prefix: &'static str,
    /// Whether the columns of the first run have to be in the table from the start.
    columns_first: bool,
    /// Whether it keeps one row for each key: the last one.
    folds: bool,
    /// What it calls a column.
    column: fn(&str) -> String,
    /// The column that it adds.
    own_column: Option<&'static str>,
    /// What it has for a value; both are JSON text.
    stored: fn(&str) -> String,
    /// The rows of a stream, each as a JSON object. A column that a row does not have counts as null.
    rows: &'a dyn Fn(&str) -> Vec<String>,
}

/// An event, and the columns whose value is not simply that of the field of their name.
type Posted = (&'static str, &'static [(&'static str, &'static str)]);

/// A webhook with an element that is no event: it has to be in the table of what was rejected.
const NO_EVENT: &str = "[5]";

/// What was posted, and what the tap made of it.
struct Delivered {
    /// By sequence.
    posted: BTreeMap<i64, Posted>,
    /// By sequence.
    written: BTreeMap<i64, Record>,
    /// The tap's columns in the end.
    columns: Vec<String>,
    /// What the tap made of what is no event.
    rejected: Record,
}

impl<'a> RealTarget<'a> {
    /// A target that appends, and changes neither names nor values.
    fn new(program: PathBuf, config: Value, rows: &'a dyn Fn(&str) -> Vec<String>) -> Self {
        RealTarget {
            program,
            config,
            arguments: &[],
            prefix: "_sdc_",
            columns_first: false,
            folds: false,
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

    fn drain<'t>(&self, tap: &'t Tap) -> Launch<'t> {
        tap.drain().set("system_column_prefix", self.prefix)
    }

    /// Feeds it what a drain writes, appends what it prints to the state file, and returns what it was fed.
    fn load(&self, tap: &Tap, run: &str) -> Finished {
        let drained = self.drain(tap).state().finish();
        drained.assert_code(0);
        let mut target = Command::new(&self.program);
        target.args(self.arguments);
        tap.append_to_state(&database::load(target, &self.config, &drained.stdout, &tap.folder().join(run)));
        drained
    }

    /// Posts the event set, and has it loaded.
    fn deliver(&self, tap: &Tap) -> Delivered {
        let at_first = SEVEN.map(|event| (event, &[][..])).into_iter();
        let at_first = at_first.chain(ODD.iter().map(|odd| (odd.event, odd.changes)));
        let later: [Posted; 4] = [
            (r#"{"event":"open","time":1}"#, &[]),
            (r#"{"event":"open","time":2,"appeared":-9223372036854775808}"#, &[]),
            (
                r#"{"event":"open","time":3,"appeared":"ÿ","later":true}"#,
                &[("appeared", "null"), ("appeared__st", "\"ÿ\"")],
            ),
            (SEVEN[3], &[]),
        ];
        let seven = grouped(&SEVEN);
        let webhooks = [seven.as_str(), NO_EVENT].into_iter().chain(ODD.iter().map(|odd| odd.event));
        tap.spool_bodies(webhooks.chain([SEVEN[2]]));
        if self.columns_first {
            self.drain(tap).finish().assert_code(0);
        }
        let first = self.load(tap, "first");
        tap.spool_bodies(later.map(|(event, _)| event));
        let second = self.load(tap, "second");
        assert_eq!(second.records().len(), later.len(), "the state covers all of the first run");
        assert!(self.drain(tap).state().finish().records().is_empty(), "the state covers all of it");

        let posted: Vec<Posted> = at_first.chain([(SEVEN[2], &[][..])]).chain(later).collect();
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

    /// Loads the event set, and demands every value of it.
    fn check(&self, tap: &Tap) {
        let delivered = self.deliver(tap);
        let rows: Vec<Record> = (self.rows)("data").iter().map(|row| Record::of_row(row)).collect();
        let sequence = (self.column)(&self.system_column("_sdc_sequence"));
        // Where all is text, the sequence is, too.
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

        let rejected: Vec<_> = (self.rows)("_sdc_rejected").iter().map(|row| Record::of_row(row)).collect();
        assert_eq!(rejected.len(), 1);
        for column in delivered.rejected.column_names() {
            self.check_value(&rejected[0], column, delivered.rejected.raw(column));
        }
        assert_eq!(rejected[0].text("record"), NO_EVENT.trim_matches(['[', ']']));
    }

    fn check_row(&self, row: &Record, sequence: i64, delivered: &Delivered) {
        let (event, changes) = delivered.posted[&sequence];
        let fields = members(event);
        let system_columns = SYSTEM_COLUMNS.map(|column| self.system_column(column));
        for column in &delivered.columns {
            let expected = match system_columns.contains(column) {
                true => delivered.written[&sequence].raw(column),
                false => expected(&fields, changes, column),
            };
            self.check_value(row, column, expected);
        }
    }

    fn check_value(&self, row: &Record, column: &str, expected: &str) {
        let (expected, null) = ((self.stored)(expected), (self.stored)("null"));
        let found = row.get(&(self.column)(column)).unwrap_or(&null);
        // Of the tap's own columns; Mailjet's have no times but integers.
        let is_same = match column.ends_with("_at") {
            true => instant(found) == instant(&expected),
            false => same(found, &expected),
        };
        assert!(is_same, "{column} is {found}, not {expected}\nin {}", row.text);
    }
}

impl Delivered {
    /// The sequences of the rows that have to be in the table.
    fn kept_by(&self, target: &RealTarget) -> Vec<i64> {
        let latest: BTreeMap<_, _> =
            self.written.iter().map(|(sequence, row)| (row.key(), *sequence)).collect();
        assert_eq!(latest.len(), self.posted.len() - 2, "two events came twice");
        let folded: BTreeSet<i64> = latest.into_values().collect();
        if target.folds { folded.into_iter().collect() } else { self.posted.keys().copied().collect() }
    }
}

/// Whether two JSON texts are one value. Only fractions may be printed anew: `1.10` is 1.1, but no digit of an integer changes.
fn same(found: &str, expected: &str) -> bool {
    let fraction = |text: &str| text.contains(['.', 'e', 'E']).then(|| text.parse::<f64>().ok()).flatten();
    same_value(found, expected) || fraction(expected).is_some_and(|number| Ok(number) == found.parse())
}

/// A date and time in UTC, however it is written.
fn instant(text: &str) -> String {
    let text = text.trim_matches('"').replace(' ', "T");
    let text = text.trim_end_matches("+00:00").trim_end_matches('Z');
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn postgres_rows(postgres: &Postgres, stream: &str) -> Vec<String> {
    lines(&postgres.query(&format!("SELECT row_to_json(t) FROM raw.{stream} AS t")))
}

/// The rows that a Python script prints, a JSON object a line; `arguments` are what it has in `sys.argv[1:]`.
fn python_rows(venv: &str, script: &str, arguments: &[&Path]) -> Vec<String> {
    lines(&database::run(Command::new(in_venv(venv, "python")).args(["-c", script]).args(arguments)))
}

fn tap() -> Tap {
    Tap::new().set("sequence_unit", "nanosecond")
}

#[test]
fn target_postgres_of_meltanolabs() {
    let postgres = Postgres::start();
    // It writes times in the session's time zone, into columns without one.
    let url = format!(
        "postgresql+psycopg://tester@/postgres?host={}&port=5432&options=-ctimezone%3DUTC",
        postgres.host().display()
    );
    let config = json!({
        "sqlalchemy_url": url, "default_target_schema": "raw", "add_record_metadata": false, "activate_version": false,
    });
    let rows = |stream: &str| postgres_rows(&postgres, stream);
    let mut target =
        RealTarget::new(in_venv("meltanolabs-target-postgres", "target-postgres"), config, &rows);
    (target.prefix, target.folds) = ("_mailjet_", true);
    target.check(&tap());
}

#[test]
fn target_postgres_of_pipelinewise() {
    let postgres = Postgres::start();
    let config = json!({
        "host": postgres.host(), "port": 5432, "user": "tester", "password": "none", "dbname": "postgres",
        "default_target_schema": "raw",
    });
    let rows = |stream: &str| postgres_rows(&postgres, stream);
    let mut target = RealTarget::new(in_venv("target-postgres", "target-postgres"), config, &rows);
    target.folds = true;
    target.column = |name| name.to_lowercase();
    target.stored = |value| with_escapes_as_text(&null_for_empty_text(value));
    target.check(&tap());
}

/// Targets that copy rows as CSV can't tell an empty text from null.
fn null_for_empty_text(value: &str) -> String {
    if value == "\"\"" { "null" } else { value }.to_owned()
}

/// The JSON text of a text in which each control character is replaced by its JSON escape.
fn with_escapes_as_text(value: &str) -> String {
    let Ok(text) = serde_json::from_str::<String>(value) else { return value.to_owned() };
    let escaped = |character: char| match character.is_control() {
        true => json!(character).to_string().trim_matches('"').to_owned(),
        false => character.to_string(),
    };
    json!(text.chars().map(escaped).collect::<String>()).to_string()
}

#[test]
fn target_duckdb() {
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
    let mut target = RealTarget::new(in_venv("target-duckdb", "target-duckdb"), config, &rows);
    target.folds = true;
    target.column = |name| name.to_lowercase();
    target.stored = null_for_empty_text;
    target.check(&tap);
}

#[test]
fn target_sqlite() {
    let tap = tap();
    let path = tap.folder().join("warehouse.db");
    let rows = |stream: &str| sqlite_rows(&path, stream);
    let mut target =
        RealTarget::new(in_venv("target-sqlite", "target-sqlite"), json!({"database": path}), &rows);
    // It can't add a column that is called `on`, as one of the events' is.
    (target.columns_first, target.folds) = (true, true);
    target.column = snake_case;
    target.own_column = Some("__loaded_at");
    target.stored = |value| match value {
        "true" => "1".to_owned(),
        "false" => "0".to_owned(),
        _ => object_as_python_shows_it(value),
    };
    target.check(&tap);
}

/// target-sqlite's names: an underscore before each word that begins with a capital, and for whatever is not ASCII.
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
    let connection = Connection::open(path).expect("the target made it");
    let mut statement =
        connection.prepare(&format!("SELECT * FROM {table}")).expect("the target made the table");
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
fn target_csv_of_meltanolabs() {
    let tap = tap();
    // It begins its file anew at each start and at each SCHEMA that changes: each has a file of its own.
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
    let mut target = RealTarget::new(in_venv("meltanolabs-target-csv", "target-csv"), config, &rows);
    target.prefix = "_mailjet_";
    // All is text; null is the empty one.
    target.stored = |value| match value {
        "null" => "\"\"".to_owned(),
        "true" => "\"True\"".to_owned(),
        "false" => "\"False\"".to_owned(),
        number if !number.starts_with(['"', '{']) => format!("\"{number}\""),
        _ => object_as_python_shows_it(value),
    };
    target.check(&tap);
}

/// Of an object, as the event set has it, the JSON text of what Python's `str` makes of it: no JSON.
fn object_as_python_shows_it(value: &str) -> String {
    let Ok(Value::Object(members)) = serde_json::from_str(value) else { return value.to_owned() };
    let members = members.into_iter().map(|(name, value)| format!("'{name}': {value}").replace('"', "'"));
    json!(format!("{{{}}}", members.collect::<Vec<_>>().join(", "))).to_string()
}

#[test]
fn target_jsonl_of_this_repository() {
    let tap = tap();
    let table = tap.folder().join("table");
    let rows = |stream: &str| jsonl_rows(&table, stream);
    RealTarget::new(path_of("target-jsonl"), json!({"destination_path": table}), &rows).check(&tap);
}

#[test]
fn target_jsonl_in_python() {
    let tap = tap();
    let table = tap.folder().join("table");
    fs::create_dir(&table).expect("a new folder");
    let rows = |stream: &str| jsonl_rows(&table, stream);
    let config = json!({"destination_path": table, "do_timestamp_file": false});
    RealTarget::new(in_venv("target-jsonl", "target-jsonl"), config, &rows).check(&tap);
}

fn jsonl_rows(table: &Path, stream: &str) -> Vec<String> {
    lines(&fs::read_to_string(table.join(stream).with_extension("jsonl")).expect("a table"))
}

/// In its dry run, it checks what Stitch would check and writes down what it would have sent.
#[test]
fn target_stitch_in_its_dry_run() {
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
    let mut target = RealTarget::new(in_venv("target-stitch", "target-stitch"), config, &rows);
    target.arguments = &["--dry-run", "--quiet", "--output-file", "requests.jsonl"];
    target.check(&tap);
}
