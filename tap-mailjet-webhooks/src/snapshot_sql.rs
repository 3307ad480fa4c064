//! The query that makes a current table of an append-only one: the latest version of each row.
//!
//! A row comes again when Mailjet repeats a webhook, and when a run goes on from an older state. The latest version of a
//! row is the one with the largest sequence; of several with that sequence, which are the same row written again, the
//! query takes one.

use clap::{Args, ValueEnum};

use catalog::stream::PRIMARY_KEY;

/// What `snapshot-sql` prints.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    /// The database that runs the query
    #[arg(long, value_enum)]
    pub dialect: Dialect,
    /// The columns that make two rows versions of one; rows in which any of them is null stay apart
    #[arg(long, value_name = "COL,…", value_delimiter = ',', default_value = PRIMARY_KEY)]
    pub key: Vec<String>,
    /// The append-only table, with its schema if need be
    #[arg(long, value_name = "NAME", default_value = "data")]
    pub table: String,
    /// Print a CREATE VIEW of this name, instead of the query alone
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
    /// What the names of the system columns start with, if not as the configuration says, or `_sdc_`
    #[arg(long, value_name = "PREFIX")]
    pub system_column_prefix: Option<String>,
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
    /// A name of one part.
    fn quote(self, name: &str) -> String {
        match self {
            // These fold names that are not quoted, each to its own case, and so do the targets that write them.
            Dialect::Redshift | Dialect::Snowflake if is_plain(name) => name.to_owned(),
            Dialect::Bigquery => format!("`{}`", name.replace('`', "\\`")),
            _ => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A name that may have a schema before it.
    fn quote_path(self, path: &str) -> String {
        path.split('.').map(|name| self.quote(name)).collect::<Vec<_>>().join(".")
    }

    /// What makes a view, or makes it anew where that can be said in one statement.
    fn create_view(self) -> &'static str {
        match self {
            Dialect::Sqlite => "CREATE VIEW",
            _ => "CREATE OR REPLACE VIEW",
        }
    }
}

/// A name that needs no quotes in any case.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The statement, with a semicolon and a newline at its end. `configured_prefix` is what the names of the system columns
/// start with where the arguments do not say.
#[must_use]
pub fn statement(args: &SnapshotArgs, configured_prefix: &str) -> String {
    let query = query(args, args.system_column_prefix.as_deref().unwrap_or(configured_prefix));
    match &args.view {
        None => format!("{query};\n"),
        Some(view) => {
            format!("{} {} AS\n{query};\n", args.dialect.create_view(), args.dialect.quote_path(view))
        }
    }
}

fn query(args: &SnapshotArgs, system_prefix: &str) -> String {
    let dialect = args.dialect;
    let table = dialect.quote_path(&args.table);
    let sequence = dialect.quote(&format!("{system_prefix}sequence"));
    let key = partition(args);
    match dialect {
        // The window functions of these have no place in WHERE, and no QUALIFY: each has a way of its own that adds no
        // column to the result.
        Dialect::Postgres => {
            format!("SELECT DISTINCT ON ({key}) *\nFROM {table}\nORDER BY {key}, {sequence} DESC")
        }
        Dialect::Sqlite => format!(
            "SELECT *\nFROM {table}\nWHERE rowid IN (\n    SELECT rowid FROM (\n        SELECT rowid, row_number() OVER \
             (PARTITION BY {key} ORDER BY {sequence} DESC) AS version FROM {table}\n    )\n    WHERE version = 1\n)"
        ),
        Dialect::Redshift | Dialect::Snowflake | Dialect::Bigquery | Dialect::Duckdb => {
            // Redshift and BigQuery want a clause between FROM and QUALIFY.
            let filter = "WHERE true\n";
            format!(
                "SELECT *\nFROM {table}\n{filter}QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {sequence} DESC) = 1"
            )
        }
    }
}

/// The columns that make two rows versions of one. A null is not equal to another: where a column of a business key is
/// null, the row is told apart by its own key.
fn partition(args: &SnapshotArgs) -> String {
    let columns: Vec<_> = args.key.iter().map(|name| args.dialect.quote(name)).collect();
    let list = columns.join(", ");
    if args.key == [PRIMARY_KEY] {
        return list;
    }
    let any_null = columns.iter().map(|name| format!("{name} IS NULL")).collect::<Vec<_>>().join(" OR ");
    format!("{list}, CASE WHEN {any_null} THEN {} END", args.dialect.quote(PRIMARY_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(dialect: Dialect, key: &str, table: &str, view: Option<&str>) -> String {
        let args = SnapshotArgs {
            dialect,
            key: key.split(',').map(str::to_owned).collect(),
            table: table.to_owned(),
            view: view.map(str::to_owned),
            system_column_prefix: None,
        };
        statement(&args, "_sdc_")
    }

    #[test]
    fn each_dialect_has_its_own_form() {
        let window = "QUALIFY row_number() OVER (PARTITION BY";
        let cases = [
            (
                sql(Dialect::Postgres, PRIMARY_KEY, "data", None),
                "SELECT DISTINCT ON (\"__sdc_primary_key\") *\nFROM \"data\"\nORDER BY \"__sdc_primary_key\", \"_sdc_sequence\" DESC;\n"
                    .to_owned(),
            ),
            (
                sql(Dialect::Snowflake, PRIMARY_KEY, "raw.data", Some("mart.emails")),
                format!(
                    "CREATE OR REPLACE VIEW mart.emails AS\nSELECT *\nFROM raw.data\nWHERE true\n{window} __sdc_primary_key ORDER BY _sdc_sequence DESC) = 1;\n"
                ),
            ),
            (
                sql(Dialect::Bigquery, "MessageID,event", "my-project.raw.data", None),
                format!(
                    "SELECT *\nFROM `my-project`.`raw`.`data`\nWHERE true\n{window} `MessageID`, `event`, CASE WHEN `MessageID` IS NULL OR `event` IS NULL THEN `__sdc_primary_key` END ORDER BY `_sdc_sequence` DESC) = 1;\n"
                ),
            ),
            (
                sql(Dialect::Duckdb, "a\"b", "data", None),
                format!(
                    "SELECT *\nFROM \"data\"\nWHERE true\n{window} \"a\"\"b\", CASE WHEN \"a\"\"b\" IS NULL THEN \"__sdc_primary_key\" END ORDER BY \"_sdc_sequence\" DESC) = 1;\n"
                ),
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
        let redshift = sql(Dialect::Redshift, "MessageID,two words", "data", None);
        assert!(redshift.contains("PARTITION BY MessageID, \"two words\", CASE"), "{redshift}");
    }
}
