//! The command line: its parser, and which command each of its forms runs.

use catalog::plugin::about::AboutFormat;
use catalog::plugin::logging::LogConfig;
use catalog::plugin::settings::LoadedConfig;
use catalog::plugin::standard_stream::StandardStream;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use tracing::warn;

use crate::commands::columns::ColumnsCommand;
use crate::commands::mailjet::MailjetCommand;
use crate::commands::run::RunArgs;
use crate::commands::send_test::SendTestArgs;
use crate::commands::snapshot_sql::SnapshotSqlArgs;
use crate::commands::spool_copy::SpoolCopyArgs;
use crate::commands::spool_status::SpoolStatusArgs;
use crate::commands::url::UrlCommand;
use crate::commands::{
    self, CommandError, about, discover, listen, run, sample, send_test, snapshot_sql, spool_copy,
    spool_export, spool_status, spool_verify,
};
use crate::config::Config;
use crate::status::live_line::LiveLine;

/// Receives Mailjet's webhooks, stores them durably before it answers 200, and writes them to stdout as
/// Singer messages.
///
/// Without a command it runs as configured: it listens and emits until it is stopped (`mode` continuous), or
/// emits what the spool holds and exits (`mode` drain). Stdout carries Singer messages and nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "tap-mailjet-webhooks",
    version,
    after_help = "\
Exit codes: 0 done or asked to stop; 1 a failure; 2 wrong usage; 75 another process has this role on the \
spool."
)]
pub struct Cli {
    #[command(flatten)]
    config: ConfigArgs,

    /// Print the Singer catalog, and do nothing else
    #[arg(short, long)]
    discover: bool,

    /// Print what this tap is, what it can do and which settings it has, and do nothing else
    #[arg(long)]
    about: bool,

    /// How to print --about
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", requires = "about")]
    format: AboutFormat,

    #[command(flatten)]
    run: RunArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// A JSON file with configuration keys, or the word ENV for `TAP_MAILJET_WEBHOOKS_<KEY>`; may be repeated
    #[arg(short = 'c', long = "config", value_name = "FILE|ENV", global = true)]
    sources: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive webhooks into the spool and emit nothing: a service, beside which runs in mode drain start and
    /// end
    Listen,
    /// Create, list and revoke the secret URLs that Mailjet posts to
    #[command(subcommand)]
    Url(UrlCommand),
    /// Register webhook URLs with Mailjet, and see what is registered
    #[command(subcommand)]
    Mailjet(MailjetCommand),
    /// List the columns that appeared in events, or take some back
    #[command(subcommand)]
    Columns(ColumnsCommand),
    /// Inspect, check, export or copy the spool
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Post what Mailjet's "Send a test" button posts, and print the answers
    SendTest(SendTestArgs),
    /// Print a query for the latest version of each row, or a view of it
    SnapshotSql(SnapshotSqlArgs),
}

#[derive(Debug, Subcommand)]
enum SpoolCommand {
    /// Print what it holds, how far each component has got with it, and which processes use it
    Status(SpoolStatusArgs),
    /// Check the spool and print what is wrong with it: exit code 0 if nothing is, 1 otherwise
    Verify,
    /// Write what can be read of the spool as JSON Lines, even if it is damaged: sequence, `received_at`
    /// (Unix milliseconds) and body of each event, and the reason for each rejection
    Export,
    /// Copy an SQLite spool into the configured PostgreSQL spool, which must be new: events with their
    /// sequences, webhook URLs, columns and positions. If it is interrupted, start it again
    Copy(SpoolCopyArgs),
}

impl Cli {
    /// Does what the command line says. Wrong usage ends the process here, with exit code 2.
    pub fn execute(self) -> Result<(), CommandError> {
        if self.about {
            return about::execute(self.format);
        }
        if self.discover {
            let (config, _) = self.config.read()?;
            // Without a configuration, the spool is not known.
            let is_configured = !self.config.sources.is_empty();
            let spool = is_configured.then(|| config.spool_location()).transpose()?;
            return discover::execute(&config, spool.as_ref());
        }
        match self.command {
            None => {
                let (config, line) = self.config.read_required()?;
                match self.run.test {
                    Some(samples) => sample::execute(&config, self.run.catalog(), samples),
                    None => run::execute(config, self.run, &line),
                }
            }
            Some(_) if self.run.any() => wrong_usage(
                ErrorKind::ArgumentConflict,
                "--state, --catalog, --properties and --test belong to a run, not to a command",
            ),
            Some(command) => command.execute(&self.config),
        }
    }
}

impl Command {
    fn execute(self, config: &ConfigArgs) -> Result<(), CommandError> {
        match self {
            Command::Listen => {
                let (config, line) = config.read_required()?;
                listen::execute(config, &line)
            }
            Command::Url(command) => commands::url::execute(&config.read_required()?.0, command),
            Command::Mailjet(command) => commands::mailjet::execute(&config.read_required()?.0, command),
            Command::Columns(command) => commands::columns::execute(&config.read_required()?.0, &command),
            Command::Spool(command) => {
                let (config, _) = config.read_required()?;
                match command {
                    SpoolCommand::Status(args) => spool_status::execute(&config, &args),
                    SpoolCommand::Verify => spool_verify::execute(&config),
                    SpoolCommand::Export => spool_export::execute(&config),
                    SpoolCommand::Copy(args) => spool_copy::execute(&config, &args),
                }
            }
            Command::SnapshotSql(args) => snapshot_sql::execute(&config.read()?.0, &args),
            Command::SendTest(args) => send_test::execute(&args),
        }
    }
}

impl ConfigArgs {
    /// Reads the configuration, starts the log and logs the warnings about the configuration.
    fn read(&self) -> Result<(Config, LiveLine), CommandError> {
        let LoadedConfig { config, warnings } = Config::load(&self.sources)?;
        let line = LiveLine::default();
        let log = LogConfig { level: config.log_level, format: config.log_format };
        StandardStream::stderr()
            .and_then(|stderr| log.start(env!("CARGO_PKG_NAME"), line.writer(stderr)))
            .map_err(CommandError::Log)?;
        for warning in warnings {
            warn!("{warning}");
        }
        Ok((config, line))
    }

    /// Like [`read`](Self::read), but at least one source must be given, even if it only says to use the
    /// defaults.
    fn read_required(&self) -> Result<(Config, LiveLine), CommandError> {
        if self.sources.is_empty() {
            wrong_usage(
                ErrorKind::MissingRequiredArgument,
                "--config <FILE|ENV> is missing: name a JSON file (it may hold just {}), or ENV",
            );
        }
        self.read()
    }
}

fn wrong_usage(kind: ErrorKind, message: &str) -> ! {
    Cli::command().error(kind, message).exit()
}
