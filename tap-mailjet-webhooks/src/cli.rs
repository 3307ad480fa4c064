//! The command line, as types.

use std::path::PathBuf;

use crate::commands::snapshot_sql::SnapshotArgs;
use catalog::event::EventType;
use catalog::plugin::about::AboutFormat;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Receives Mailjet's webhooks, has them on disk before it answers 200, and writes them to stdout as Singer messages.
///
/// Without a command it runs as configured: it listens and emits until it is stopped (`mode` continuous), or emits what
/// the spool holds and exits (`mode` drain). Stdout carries Singer messages and nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "tap-mailjet-webhooks",
    version,
    after_help = "\
Exit codes: 0 done or asked to stop; 1 a failure; 2 wrong usage; 75 another process has this spool's role."
)]
pub struct Cli {
    /// Where configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Print the Singer catalog, and do nothing else
    #[arg(long)]
    pub discover: bool,

    /// Print what this tap is, what it can do and which settings it takes, and do nothing else
    #[arg(long)]
    pub about: bool,

    /// How --about answers
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", requires = "about")]
    pub format: AboutFormat,

    /// Write the streams and columns that this Singer catalog selects
    #[arg(long, value_name = "FILE", conflicts_with = "properties")]
    pub catalog: Option<PathBuf>,

    /// The old name of --catalog
    #[arg(long, value_name = "FILE")]
    pub properties: Option<PathBuf>,

    /// Print the SCHEMA of each selected stream and a sample RECORD of it, without touching the spool
    #[arg(long, value_name = "WHAT", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    pub test: Option<Test>,

    /// Start from this state, and follow the file while it grows: its last complete line counts
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// What to do, if not to run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `--test` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Test {
    /// SCHEMA, and a sample RECORD
    All,
    /// SCHEMA only
    Schema,
}

/// Where configuration comes from.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// A JSON file with configuration keys, or the word ENV for `TAP_MAILJET_WEBHOOKS_<KEY>`; may be repeated
    #[arg(long = "config", value_name = "FILE|ENV", global = true)]
    pub sources: Vec<String>,
}

/// What to do, if not to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive webhooks into the spool, and emit nothing: a service beside which runs in mode drain come and go
    Listen,
    /// Make, list and revoke the secret URLs that Mailjet posts to
    #[command(subcommand)]
    Url(UrlCommand),
    /// Look at the spool and after it, beside a running tap or without one
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Post what Mailjet's "Send a test" button posts, and print the answers
    SendTest(SendTestArgs),
    /// Print the query for the latest version of each row, or the view of it
    SnapshotSql(SnapshotArgs),
}

/// Make, list and revoke webhook URLs.
#[derive(Debug, Subcommand)]
pub enum UrlCommand {
    /// Make a URL and print it; it is shown only this once
    New {
        /// What to call it
        #[arg(long, value_name = "LABEL", value_parser = label)]
        label: Option<String>,
    },
    /// List the active URLs, without their secret part
    List,
    /// Revoke a URL: a running listener stops taking it within a second
    Revoke {
        /// The id that `url list` shows
        id: i64,
    },
}

/// Look at the spool and after it.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Print what it holds, how far everybody has got with it, and who uses it
    Status {
        /// How to print it
        #[arg(long = "format", value_name = "FORMAT", value_enum, default_value = "text")]
        status_format: StatusFormat,
    },
    /// Check the spool, and say what is wrong with it: exit code 0 if nothing is, 1 otherwise
    Verify,
    /// Write what can be read of the spool as JSON Lines, also of one that is damaged: sequence, `received_at` (Unix
    /// milliseconds) and body of each event, and the reason of what was rejected
    Export,
}

/// How a status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

/// What `send-test` posts, and where.
#[derive(Debug, Args)]
pub struct SendTestArgs {
    /// The event to post; by default each of the seven
    #[arg(long, value_name = "EVENT", value_parser = event_type())]
    pub event: Option<EventType>,
    /// How often to post it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// The webhook URL to post to
    #[arg(long, value_name = "URL")]
    pub url: String,
}

/// A label that fits a line of a table.
fn label(text: &str) -> Result<String, &'static str> {
    if text.chars().any(char::is_control) || text.chars().count() > 100 {
        return Err("a label has up to 100 characters, in one line");
    }
    Ok(text.to_owned())
}

/// One of Mailjet's events, by its name.
fn event_type() -> impl TypedValueParser<Value = EventType> {
    PossibleValuesParser::new(EventType::ALL.map(EventType::name)).map(|name| {
        EventType::ALL.into_iter().find(|event| event.name() == name).expect("one of the possible values")
    })
}
