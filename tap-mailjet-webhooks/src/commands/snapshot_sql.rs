//! `snapshot-sql`: a query that turns an append-only table into a current one, which has only the latest
//! version of each row.
//!
//! A row is written again when Mailjet repeats a webhook, and when a run starts from an older state. The
//! latest version of a row has the largest sequence. If several versions have it, they are copies of each
//! other, and the query returns one of them.

use clap::{Args, ValueEnum};

use catalog::stream::PRIMARY_KEY_COLUMN;

use super::{CommandError, print};
use crate::config::{Config, SystemColumnPrefix};

/// What `snapshot-sql` prints.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Names: write them as they are in the database (PipelineWise targets write lower case), with a dot between \
database, schema and name. All names are quoted, so reserved words work. A name that you quote yourself \
('\"Raw\".\"my.table\"') is taken exactly. Snowflake and Redshift fold names \
that are not quoted, and their targets rely on that: a name of letters, digits and _ becomes upper case for \
Snowflake and lower case for Redshift.

Except in SQLite, a view has the columns that the table had when the view was created. After the table has \
got a new column, run the same CREATE OR REPLACE VIEW again.")]
pub struct SnapshotSqlArgs {
    /// The database that runs the query
    #[arg(long, value_enum)]
    pub dialect: Dialect,
    /// The columns that identify a row; rows in which any of them is null are never merged
    #[arg(
        long,
        value_name = "COL,…",
        value_delimiter = ',',
        default_value = PRIMARY_KEY_COLUMN,
        value_parser = column_name
    )]
    pub key: Vec<Name>,
    /// The append-only table, with its schema if needed
    #[arg(long, value_name = "NAME", default_value = "data", value_parser = qualified_name)]
    pub table: QualifiedName,
    /// Print a CREATE VIEW with this name, instead of the query alone
    #[arg(long, value_name = "NAME", value_parser = qualified_name)]
    pub view: Option<QualifiedName>,
    /// The start of the system columns' names, if not that of the configuration or `_sdc_`
    #[arg(long, value_name = "PREFIX", value_parser = system_column_prefix)]
    pub system_column_prefix: Option<SystemColumnPrefix>,
}

/// A part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    text: String,
    /// Whether the user has quoted it: then it is exactly this, also for databases that fold names.
    is_exact: bool,
}

/// The name of a table or a view, with those of its schema and database if they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualifiedName(Vec<Name>);

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Name { text: text.to_owned(), is_exact: false }
    }
}

/// Reads the name of a column. No column of the tap starts or ends with a space, so the space in `a, b` is
/// dropped.
fn column_name(text: &str) -> Result<Name, &'static str> {
    match &qualified_name(text.trim())?.0[..] {
        [name] => Ok(name.clone()),
        _ => Err("the name of a column has no dot, unless it is in double quotes"),
    }
}

/// Reads the name of a table or a view: parts between dots, each of which may be in double quotes or
/// backticks, as in `"Raw"."data"`. `BigQuery`'s backticks may also be around all of them.
fn qualified_name(text: &str) -> Result<QualifiedName, &'static str> {
    const EMPTY: &str = "the name, or a part of it before or after a dot, is empty";
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '`'));
        if let Some(quote) = quote {
            let (name, after) = quoted(&rest[1..], quote).ok_or("a quote in the name is not closed")?;
            let parts = if quote == '`' { name.split('.').collect() } else { vec![name.as_str()] };
            names.extend(parts.into_iter().map(|part| Name { text: part.to_owned(), is_exact: true }));
            rest = after;
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            names.push(Name::from(&rest[..end]));
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => break,
            None => return Err("after a quoted part of the name, only a dot may follow"),
        }
    }
    match names.iter().any(|name| name.text.trim().is_empty()) {
        true => Err(EMPTY),
        false => Ok(QualifiedName(names)),
    }
}

/// Reads up to the closing quote; a doubled one stands for itself. Returns what follows it, too.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find(quote)?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(quote) {
            Some(after) => rest = after,
            None => return Some((name, rest)),
        }
        name.push(quote);
    }
}

fn system_column_prefix(text: &str) -> Result<SystemColumnPrefix, &'static str> {
    SystemColumnPrefix::try_from(text.to_owned())
}

/// Prints the statement.
pub fn execute(config: &Config, args: &SnapshotSqlArgs) -> Result<(), CommandError> {
    print(statement(args, &config.system_column_prefix))
}

/// A database, and so a dialect of SQL.
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
    /// Quotes a name of one part, which may be a reserved word.
    fn quote(self, name: &Name) -> String {
        let Name { text: name, is_exact } = name;
        let double = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        match self {
            // These fold names that are not quoted, each to its own case, and their targets rely on it.
            Dialect::Snowflake if !is_exact && is_plain(name) => double(&name.to_ascii_uppercase()),
            Dialect::Redshift if !is_exact && is_plain(name) => double(&name.to_ascii_lowercase()),
            Dialect::Bigquery => format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")),
            _ => double(name),
        }
    }

    /// Quotes a name that may have a schema.
    fn quote_path(self, path: &QualifiedName) -> String {
        path.0.iter().map(|name| self.quote(name)).collect::<Vec<_>>().join(".")
    }

    /// Quotes a column of the table, for use inside the window.
    fn column(self, name: &Name) -> String {
        match self {
            // If no column has a name in double quotes, SQLite takes the name as a text, which is the same in
            // all rows: after a typing error, the query would silently return a single row. A name after a
            // dot has to be a column.
            Dialect::Sqlite => format!("t.{}", self.quote(name)),
            _ => self.quote(name),
        }
    }
}

/// Whether a name needs no quotes, unless it is a reserved word.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns the statement, with a semicolon and a newline at its end. `configured_prefix` is what the
/// arguments may override.
fn statement(args: &SnapshotSqlArgs, configured_prefix: &SystemColumnPrefix) -> String {
    let query = query(args, args.system_column_prefix.as_ref().unwrap_or(configured_prefix).as_str());
    let Some(view) = &args.view else { return format!("{query};\n") };
    let create = match args.dialect {
        // SQLite has no single statement that replaces a view.
        Dialect::Sqlite => "CREATE VIEW",
        _ => "CREATE OR REPLACE VIEW",
    };
    format!("{create} {} AS\n{query};\n", args.dialect.quote_path(view))
}

fn query(args: &SnapshotSqlArgs, system_prefix: &str) -> String {
    let dialect = args.dialect;
    let table = dialect.quote_path(&args.table);
    // Rows from before a change of the prefix have no value here. Not every database sorts nulls last by
    // itself.
    let sequence = dialect.column(&format!("{system_prefix}sequence").as_str().into());
    let key = partition(args);
    match dialect {
        // These have no QUALIFY, and no window functions in WHERE. Each has a way that adds no column to the
        // result.
        Dialect::Postgres => format!(
            "SELECT DISTINCT ON ({key}) *\n\
             FROM {table}\n\
             ORDER BY {key}, {sequence} DESC NULLS LAST"
        ),
        // SQLite has three names for its row number. This one is the least likely to be a column of the
        // table.
        Dialect::Sqlite => format!(
            "SELECT *\n\
             FROM {table}\n\
             WHERE _rowid_ IN (\n\
             \x20   SELECT row_id FROM (\n\
             \x20       SELECT t._rowid_ AS row_id, row_number() OVER \
             (PARTITION BY {key} ORDER BY {sequence} DESC NULLS LAST) AS version\n\
             \x20       FROM {table} AS t\n\
             \x20   )\n\
             \x20   WHERE version = 1\n\
             )"
        ),
        // Redshift and BigQuery demand a clause between FROM and QUALIFY.
        Dialect::Redshift | Dialect::Snowflake | Dialect::Bigquery | Dialect::Duckdb => format!(
            "SELECT *\n\
             FROM {table}\n\
             WHERE true\n\
             QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {sequence} DESC NULLS LAST) = 1"
        ),
    }
}

/// Returns the expressions that are equal in all versions of a row. A null is not equal to another null: if a
/// column of a business key is null, the row is identified by its own key.
fn partition(args: &SnapshotSqlArgs) -> String {
    let columns: Vec<_> = args.key.iter().map(|name| args.dialect.column(name)).collect();
    let list = columns.join(", ");
    let primary_key = Name::from(PRIMARY_KEY_COLUMN);
    if args.key == [primary_key.clone()] {
        return list;
    }
    let any_null = columns.iter().map(|name| format!("{name} IS NULL")).collect::<Vec<_>>().join(" OR ");
    format!("{list}, CASE WHEN {any_null} THEN {} END", args.dialect.column(&primary_key))
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
        let windowed = |table: &str, key: &str, sequence: &str| {
            format!(
                "SELECT *\n\
                 FROM {table}\n\
                 WHERE true\n\
                 QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {sequence} DESC NULLS LAST) = 1;\n"
            )
        };
        let lower_case = windowed("\"data\"", "\"__sdc_primary_key\"", "\"_sdc_sequence\"");
        let upper_case = windowed("\"DATA\"", "\"__SDC_PRIMARY_KEY\"", "\"_SDC_SEQUENCE\"");
        let postgres = "SELECT DISTINCT ON (\"__sdc_primary_key\") *\n\
                        FROM \"data\"\n\
                        ORDER BY \"__sdc_primary_key\", \"_sdc_sequence\" DESC NULLS LAST;\n";
        let sqlite = "SELECT *\n\
                      FROM \"data\"\n\
                      WHERE _rowid_ IN (\n\
                      \x20   SELECT row_id FROM (\n\
                      \x20       SELECT t._rowid_ AS row_id, row_number() OVER (PARTITION BY \
                      t.\"__sdc_primary_key\" ORDER BY t.\"_sdc_sequence\" DESC NULLS LAST) AS version\n\
                      \x20       FROM \"data\" AS t\n\
                      \x20   )\n\
                      \x20   WHERE version = 1\n\
                      );\n";
        assert_eq!(sql(Dialect::Postgres, &[]), postgres);
        assert_eq!(sql(Dialect::Redshift, &[]), lower_case);
        assert_eq!(sql(Dialect::Snowflake, &[]), upper_case);
        assert_eq!(sql(Dialect::Bigquery, &[]), windowed("`data`", "`__sdc_primary_key`", "`_sdc_sequence`"));
        assert_eq!(sql(Dialect::Duckdb, &[]), lower_case);
        assert_eq!(sql(Dialect::Sqlite, &[]), sqlite);
    }

    #[test]
    fn a_view_replaces_the_old_one_if_the_dialect_can() {
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
    fn names_are_quoted_by_the_rules_of_the_dialect() {
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
            assert_eq!(dialect.quote(&name.into()), quoted);
        }
        assert_eq!(
            Dialect::Bigquery.quote_path(&qualified_name("my-project.raw.data").expect("a name")),
            "`my-project`.`raw`.`data`"
        );
    }

    #[test]
    fn rows_with_a_null_business_key_are_not_merged() {
        for (dialect, a, b, key) in [
            (Dialect::Postgres, "\"a\"", "\"b\"", "\"__sdc_primary_key\""),
            (Dialect::Redshift, "\"a\"", "\"b\"", "\"__sdc_primary_key\""),
            (Dialect::Snowflake, "\"A\"", "\"B\"", "\"__SDC_PRIMARY_KEY\""),
            (Dialect::Bigquery, "`a`", "`b`", "`__sdc_primary_key`"),
            (Dialect::Sqlite, "t.\"a\"", "t.\"b\"", "t.\"__sdc_primary_key\""),
        ] {
            let expected = format!("{a}, {b}, CASE WHEN {a} IS NULL OR {b} IS NULL THEN {key} END");
            for arguments in [&["--key", "a,b"][..], &["--key", "a, b"], &["--key", "a", "--key", "b"]] {
                let sql = sql(dialect, arguments);
                assert!(sql.contains(&expected), "{sql}");
            }
        }
    }

    #[test]
    fn impossible_names_are_wrong_usage() {
        let wrong = [
            ("--key", &["", "a,,b", "a, "][..]),
            ("--table", &["", "raw.", "raw..data"]),
            ("--view", &["", ".latest"]),
            ("--system-column-prefix", &["", "_Mailjet_"]),
        ];
        for (option, values) in wrong {
            for value in values {
                let argument = format!("{option}={value}");
                let line = ["snapshot-sql", "--dialect=duckdb", &argument];
                let error = Line::try_parse_from(line).expect_err(&argument);
                assert_eq!(error.exit_code(), 2);
                assert!(
                    error.to_string().lines().next().is_some_and(|line| line.contains(option)),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_name_in_quotes_is_taken_exactly() {
        let cases = [
            (Dialect::Snowflake, r#""Raw"."data""#, r#""Raw"."data""#),
            (Dialect::Snowflake, "Raw.data", r#""RAW"."DATA""#),
            (Dialect::Redshift, r#"Raw."Data""#, r#""raw"."Data""#),
            (Dialect::Postgres, r#""my.schema"."a""b""#, r#""my.schema"."a""b""#),
            (Dialect::Bigquery, "`project-1.raw.data`", "`project-1`.`raw`.`data`"),
            (Dialect::Bigquery, "`project-1`.raw.data", "`project-1`.`raw`.`data`"),
        ];
        for (dialect, table, expected) in cases {
            let sql = sql(dialect, &["--table", table]);
            assert!(sql.contains(&format!("FROM {expected}\n")), "{table}: {sql}");
        }
        let key = sql(Dialect::Snowflake, &["--key", r#""MessageID", event"#]);
        assert!(key.contains(r#"PARTITION BY "MessageID", "EVENT","#), "{key}");
        for wrong in [r#""a"#, r#""a"b"#, "a.", r#""""#, "`a`.`"] {
            assert!(qualified_name(wrong).is_err(), "{wrong}");
        }
    }
}
