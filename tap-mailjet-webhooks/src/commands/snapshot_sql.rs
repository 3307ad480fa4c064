//! The query that makes a current table of an append-only one: the latest version of each row.
//!
//! A row comes again when Mailjet repeats a webhook, and when a run goes on from an older state. The latest version of a
//! row is the one with the largest sequence; of several with that sequence, which are the same row written again, the
//! query takes one.

use clap::{Args, ValueEnum};

use catalog::stream::PRIMARY_KEY_COLUMN;

use super::output::{OutputError, print};
use crate::config::{Config, SystemColumnPrefix};

/// What `snapshot-sql` prints.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Names: give them as the target wrote them (PipelineWise targets write lower case); a dot stands between database, \
schema and name. All are quoted, so reserved words will do. Snowflake and Redshift fold names that are not quoted, and \
their targets rely on it: a name of letters, digits and _ is taken in upper case for Snowflake, in lower case for \
Redshift.

Except in SQLite, a view has the columns that the table had when it was made: when the table has got a new one, run \
the same CREATE OR REPLACE VIEW again.")]
pub struct SnapshotSqlArgs {
    /// The database that runs the query
    #[arg(long, value_enum)]
    pub dialect: Dialect,
    /// The columns that make two rows versions of one; rows in which any of them is null stay apart
    #[arg(long, value_name = "COL,…", value_delimiter = ',', default_value = PRIMARY_KEY_COLUMN, value_parser = column_name)]
    pub key: Vec<String>,
    /// The append-only table, with its schema if need be
    #[arg(long, value_name = "NAME", default_value = "data", value_parser = path)]
    pub table: String,
    /// Print a CREATE VIEW of this name, instead of the query alone
    #[arg(long, value_name = "NAME", value_parser = path)]
    pub view: Option<String>,
    /// What the names of the system columns start with, if not as the configuration says, or `_sdc_`
    #[arg(long, value_name = "PREFIX", value_parser = system_column_prefix)]
    pub system_column_prefix: Option<SystemColumnPrefix>,
}

/// A column. No column of the tap has spaces at its ends: those in `a, b` are a habit of writing.
fn column_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.is_empty() { Err("the name of a column is empty") } else { Ok(name.to_owned()) }
}

/// A table or a view, with its schema if need be.
fn path(text: &str) -> Result<String, &'static str> {
    match text.split('.').any(|name| name.trim().is_empty()) {
        true => Err("a name, or a part of it before or after a dot, is empty"),
        false => Ok(text.to_owned()),
    }
}

fn system_column_prefix(text: &str) -> Result<SystemColumnPrefix, &'static str> {
    SystemColumnPrefix::try_from(text.to_owned())
}

/// Prints the statement.
pub fn execute(config: &Config, args: &SnapshotSqlArgs) -> Result<(), OutputError> {
    print(statement(args, &config.system_column_prefix))
}

/// A database's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names are those of the databases")]
pub enum Dialect {
    Postgres,
    Redshift,
    Snowflake,
    Bigquery,
    Duckdb,
    Sqlite,
}

impl Dialect {
    /// A name of one part, always in quotes: it may be a reserved word.
    fn quote(self, name: &str) -> String {
        let double = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        match self {
            // These fold names that are not quoted, each to its own case, and so do the targets that write them.
            Dialect::Snowflake if is_plain(name) => double(&name.to_ascii_uppercase()),
            Dialect::Redshift if is_plain(name) => double(&name.to_ascii_lowercase()),
            Dialect::Bigquery => format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")),
            _ => double(name),
        }
    }

    /// A name that may have a schema before it.
    fn quote_path(self, path: &str) -> String {
        path.split('.').map(|name| self.quote(name)).collect::<Vec<_>>().join(".")
    }

    /// A column of the table, inside the window.
    fn column(self, name: &str) -> String {
        match self {
            // SQLite takes a name in double quotes that is no column for a text, which is the same in all rows: a slip
            // of the pen would fold the table to one row, and nobody be told. After a dot, it has to be a column.
            Dialect::Sqlite => format!("t.{}", self.quote(name)),
            _ => self.quote(name),
        }
    }

    /// What makes a view, or makes it anew where that can be said in one statement.
    fn create_view(self) -> &'static str {
        match self {
            Dialect::Sqlite => "CREATE VIEW",
            _ => "CREATE OR REPLACE VIEW",
        }
    }
}

/// A name that needs no quotes but for being a reserved word.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The statement, with a semicolon and a newline at its end. `configured_prefix` is what the names of the system columns
/// start with where the arguments do not say.
fn statement(args: &SnapshotSqlArgs, configured_prefix: &SystemColumnPrefix) -> String {
    let query = query(args, args.system_column_prefix.as_ref().unwrap_or(configured_prefix).as_str());
    match &args.view {
        None => format!("{query};\n"),
        Some(view) => {
            format!("{} {} AS\n{query};\n", args.dialect.create_view(), args.dialect.quote_path(view))
        }
    }
}

fn query(args: &SnapshotSqlArgs, system_prefix: &str) -> String {
    let dialect = args.dialect;
    let table = dialect.quote_path(&args.table);
    // Rows from before the prefix was changed have none. Not every database takes that for the least by itself.
    let sequence = dialect.column(&format!("{system_prefix}sequence"));
    let key = partition(args);
    match dialect {
        // The window functions of these have no place in WHERE, and no QUALIFY: each has a way of its own that adds no
        // column to the result.
        Dialect::Postgres => {
            format!("SELECT DISTINCT ON ({key}) *\nFROM {table}\nORDER BY {key}, {sequence} DESC NULLS LAST")
        }
        // Of the three names of SQLite's row number, the one that is least likely to be a column of the table.
        Dialect::Sqlite => format!(
            "SELECT *\nFROM {table}\nWHERE _rowid_ IN (\n    SELECT row_id FROM (\n        SELECT t._rowid_ AS row_id, row_number() \
             OVER (PARTITION BY {key} ORDER BY {sequence} DESC NULLS LAST) AS version\n        FROM {table} AS t\n    )\n    WHERE version = 1\n)"
        ),
        Dialect::Redshift | Dialect::Snowflake | Dialect::Bigquery | Dialect::Duckdb => {
            // Redshift and BigQuery want a clause between FROM and QUALIFY.
            format!(
                "SELECT *\nFROM {table}\nWHERE true\nQUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {sequence} DESC NULLS LAST) = 1"
            )
        }
    }
}

/// The columns that make two rows versions of one. A null is not equal to another: where a column of a business key is
/// null, the row is told apart by its own key.
fn partition(args: &SnapshotSqlArgs) -> String {
    let columns: Vec<_> = args.key.iter().map(|name| args.dialect.column(name)).collect();
    let list = columns.join(", ");
    if args.key == [PRIMARY_KEY_COLUMN] {
        return list;
    }
    let any_null = columns.iter().map(|name| format!("{name} IS NULL")).collect::<Vec<_>>().join(" OR ");
    format!("{list}, CASE WHEN {any_null} THEN {} END", args.dialect.column(PRIMARY_KEY_COLUMN))
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SnapshotSqlArgs,
    }

    /// What a command line prints.
    fn sql(dialect: Dialect, arguments: &[&str]) -> String {
        let name = dialect.to_possible_value().expect("each dialect has a name");
        let line =
            ["snapshot-sql", "--dialect", name.get_name()].into_iter().chain(arguments.iter().copied());
        statement(&Line::try_parse_from(line).expect("right usage").args, &SystemColumnPrefix::default())
    }

    #[test]
    fn each_dialect_has_its_own_query() {
        let window = |key: &str, sequence: &str| {
            format!(
                "WHERE true\nQUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {sequence} DESC NULLS LAST) = 1;\n"
            )
        };
        for (dialect, expected) in [
            (
                Dialect::Postgres,
                "SELECT DISTINCT ON (\"__sdc_primary_key\") *\nFROM \"data\"\nORDER BY \"__sdc_primary_key\", \"_sdc_sequence\" DESC NULLS LAST;\n"
                    .to_owned(),
            ),
            (
                Dialect::Redshift,
                format!("SELECT *\nFROM \"data\"\n{}", window("\"__sdc_primary_key\"", "\"_sdc_sequence\"")),
            ),
            (
                Dialect::Snowflake,
                format!("SELECT *\nFROM \"DATA\"\n{}", window("\"__SDC_PRIMARY_KEY\"", "\"_SDC_SEQUENCE\"")),
            ),
            (
                Dialect::Bigquery,
                format!("SELECT *\nFROM `data`\n{}", window("`__sdc_primary_key`", "`_sdc_sequence`")),
            ),
            (
                Dialect::Duckdb,
                format!("SELECT *\nFROM \"data\"\n{}", window("\"__sdc_primary_key\"", "\"_sdc_sequence\"")),
            ),
            (
                Dialect::Sqlite,
                "SELECT *\nFROM \"data\"\nWHERE _rowid_ IN (\n    SELECT row_id FROM (\n        SELECT t._rowid_ AS row_id, \
                 row_number() OVER (PARTITION BY t.\"__sdc_primary_key\" ORDER BY t.\"_sdc_sequence\" DESC NULLS LAST) AS version\n        \
                 FROM \"data\" AS t\n    )\n    WHERE version = 1\n);\n"
                    .to_owned(),
            ),
        ] {
            assert_eq!(sql(dialect, &[]), expected);
        }
    }

    #[test]
    fn a_view_is_made_anew_where_the_dialect_can() {
        for dialect in Dialect::value_variants() {
            let (query, view) = (sql(*dialect, &[]), sql(*dialect, &["--view", "mart.events"]));
            let (head, rest) = view.split_once(" AS\n").expect("AS");
            assert_eq!(rest, query);
            let expected = match dialect {
                Dialect::Sqlite => "CREATE VIEW \"mart\".\"events\"",
                Dialect::Bigquery => "CREATE OR REPLACE VIEW `mart`.`events`",
                Dialect::Snowflake => "CREATE OR REPLACE VIEW \"MART\".\"EVENTS\"",
                _ => "CREATE OR REPLACE VIEW \"mart\".\"events\"",
            };
            assert_eq!(head, expected);
        }
    }

    #[test]
    fn names_are_quoted_as_the_dialect_has_it() {
        for (dialect, name, quoted) in [
            (Dialect::Postgres, "MessageID", "\"MessageID\""),
            (Dialect::Postgres, "a\"b", "\"a\"\"b\""),
            (Dialect::Duckdb, "order", "\"order\""),
            (Dialect::Duckdb, "a\"b", "\"a\"\"b\""),
            (Dialect::Sqlite, "a\"b", "\"a\"\"b\""),
            (Dialect::Redshift, "MessageID", "\"messageid\""),
            (Dialect::Redshift, "Two words", "\"Two words\""),
            (Dialect::Snowflake, "order", "\"ORDER\""),
            (Dialect::Snowflake, "_sdc_extra", "\"_SDC_EXTRA\""),
            (Dialect::Snowflake, "Two \"words\"", "\"Two \"\"words\"\"\""),
            (Dialect::Snowflake, "2fa", "\"2fa\""),
            (Dialect::Bigquery, "my-project", "`my-project`"),
            (Dialect::Bigquery, "a`b\\", "`a\\`b\\\\`"),
        ] {
            assert_eq!(dialect.quote(name), quoted);
        }
        assert_eq!(Dialect::Bigquery.quote_path("my-project.raw.data"), "`my-project`.`raw`.`data`");
    }

    #[test]
    fn a_business_key_that_is_null_keeps_rows_apart() {
        for (dialect, key) in [
            (
                Dialect::Postgres,
                "\"a\", \"b\", CASE WHEN \"a\" IS NULL OR \"b\" IS NULL THEN \"__sdc_primary_key\" END",
            ),
            (
                Dialect::Redshift,
                "\"a\", \"b\", CASE WHEN \"a\" IS NULL OR \"b\" IS NULL THEN \"__sdc_primary_key\" END",
            ),
            (
                Dialect::Snowflake,
                "\"A\", \"B\", CASE WHEN \"A\" IS NULL OR \"B\" IS NULL THEN \"__SDC_PRIMARY_KEY\" END",
            ),
            (
                Dialect::Bigquery,
                "`a`, `b`, CASE WHEN `a` IS NULL OR `b` IS NULL THEN `__sdc_primary_key` END",
            ),
            (
                Dialect::Sqlite,
                "t.\"a\", t.\"b\", CASE WHEN t.\"a\" IS NULL OR t.\"b\" IS NULL THEN t.\"__sdc_primary_key\" END",
            ),
        ] {
            for arguments in [&["--key", "a,b"][..], &["--key", "a, b"], &["--key", "a", "--key", "b"]] {
                let sql = sql(dialect, arguments);
                assert!(sql.contains(key), "{sql}");
            }
        }
    }

    #[test]
    fn names_that_can_be_none_are_wrong_usage() {
        for argument in [
            "--key=",
            "--key=a,,b",
            "--key=a, ",
            "--table=",
            "--table=raw.",
            "--table=raw..data",
            "--view=",
            "--view=.latest",
            "--system-column-prefix=",
            "--system-column-prefix=_Mailjet_",
        ] {
            let error =
                Line::try_parse_from(["snapshot-sql", "--dialect=duckdb", argument]).expect_err(argument);
            assert_eq!(error.exit_code(), 2);
            let option = argument.split('=').next().expect("an option");
            assert!(error.to_string().lines().next().is_some_and(|line| line.contains(option)), "{error}");
        }
    }
}
