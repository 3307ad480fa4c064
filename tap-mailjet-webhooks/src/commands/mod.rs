//! What each command does.

pub mod snapshot_sql;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use catalog::plugin::about::Program;
use catalog::plugin::logging::LogConfig;
use catalog::selection::{Catalog, CatalogError, Selection};
use catalog::stream::{Stream, StreamId};
use clap::CommandFactory;
use clap::error::ErrorKind;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::cli::{Cli, Command, ConfigArgs, SpoolCommand, StatusFormat, Test, UrlCommand};
use crate::config::{AdminAddress, Components, Config, ConfigError, Mode};
use crate::emitter::{OutputSpec, columns_of, write_samples};
use crate::listener::token::{MOST_ACTIVE, RandomSourceError, Token};
use crate::mailjet::send_test::{self, SendTestError};
use crate::os::signals::StopSignals;
use crate::os::stdout::Stdout;
use crate::run::{self, Ends, Plan, Roles, RunError, Sockets};
use crate::spool::{
    self, Damage, DiscoveredColumn, EventReader, Role, Sequence, SpoolError, SpoolErrorKind, SpoolView,
};
use crate::status::live_line::LiveLine;
use crate::status::{SpoolUse, StatusSource, WebhookUrls, json, text};

use crate::os::clock::UnixMillis;

/// The exit code of "temporary failure, try again later" in `sysexits.h`.
const EX_TEMPFAIL: u8 = 75;

/// Connections that the kernel keeps until they are accepted. With the 128 that are usual, a burst of more waits for a second,
/// until its clients ask again.
const BACKLOG: u32 = 4096;

/// What `--about` tells.
const PROGRAM: Program = Program {
    name: env!("CARGO_PKG_NAME"),
    description: env!("CARGO_PKG_DESCRIPTION"),
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &["about", "catalog", "discover", "properties", "state", "structured-logging", "test"],
};

/// Why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration can't be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The port can't be listened on.
    #[error(
        "config key \"listen_address\": {address} can't be listened on: {source}; stop what uses it, or set another"
    )]
    Bind {
        /// `listen_address`.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The admin address can't be listened on.
    #[error("config key \"admin_address\": {address} can't be listened on: {source}; set another, or off")]
    BindAdmin {
        /// `admin_address`.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Two webhook URLs are active.
    #[error(
        "two webhook URLs are active already; revoke one first (`url list` shows them, `url revoke ID` revokes)"
    )]
    TooManyUrls,
    /// There is no such webhook URL.
    #[error("there is no active webhook URL with id {0}; `url list` shows the active ones")]
    UnknownUrl(i64),
    /// There are no random numbers for a token.
    #[error(transparent)]
    Random(#[from] RandomSourceError),
    /// The configuration gives the tokens.
    #[error(
        "config key \"webhook_tokens\" is set: the tokens come from the configuration; take it out to use `url`"
    )]
    TokensInConfig,
    /// The test events were not all taken.
    #[error(transparent)]
    SendTest(#[from] SendTestError),
    /// `spool verify` has found something.
    #[error(
        "spool {spool}: {findings} things are wrong; `spool export` writes what can be read. A tap goes past what it can't \
         read; to have a sound spool, drain this one, then set spool_path to another file"
    )]
    SpoolIsWrong {
        /// The spool.
        spool: String,
        /// How many.
        findings: usize,
    },
    /// `spool export` could not read everything.
    #[error("spool {spool}: damaged in {places} places, which are listed above; everything else is written")]
    Unreadable {
        /// The spool.
        spool: String,
        /// How many.
        places: usize,
    },
    /// The catalog can't be read.
    #[error("catalog {path}: {source}")]
    UnreadableCatalog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no catalog.
    #[error("catalog {path}: {source}")]
    NotACatalog {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: CatalogError,
    },
    /// The operating system refuses something that every run needs.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl CommandError {
    /// The exit code that belongs to the error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CommandError::Run(RunError::Spool(error))
                if matches!(error.kind(), SpoolErrorKind::RoleTaken | SpoolErrorKind::RoleLost) =>
            {
                ExitCode::from(EX_TEMPFAIL)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// Does what the command line says. Wrong usage ends the process here, with exit code 2.
pub fn execute(cli: Cli) -> Result<(), CommandError> {
    if cli.about {
        return print(&PROGRAM.about::<Config>(cli.format));
    }
    if cli.discover {
        return discover(&cli.config);
    }
    let is_run =
        cli.state.is_some() || cli.catalog.is_some() || cli.properties.is_some() || cli.test.is_some();
    match cli.command {
        None => {
            let (config, line) = configure(&cli.config)?;
            let shape = config.shape(selection(cli.catalog.as_deref().or(cli.properties.as_deref()))?);
            if let Some(test) = cli.test {
                return sample(&shape, test);
            }
            let rooms = match config.mode {
                Mode::Continuous => Components { listener: true, emitter: true },
                Mode::Drain => Components { listener: false, emitter: true },
            };
            run(config, rooms, shape, cli.state, &line)
        }
        Some(_) if is_run => wrong_usage(
            ErrorKind::ArgumentConflict,
            "--state, --catalog, --properties and --test belong to a run, not to a command",
        ),
        Some(Command::Listen) => {
            let (config, line) = configure(&cli.config)?;
            let shape = config.shape(Selection::default());
            run(config, Components { listener: true, emitter: false }, shape, None, &line)
        }
        Some(Command::Url(command)) => {
            let (config, _) = configure(&cli.config)?;
            url(&config, &command)
        }
        Some(Command::Spool(command)) => {
            let (config, _) = configure(&cli.config)?;
            match command {
                SpoolCommand::Status { status_format } => spool_status(&config, status_format),
                SpoolCommand::Verify => verify_spool(&config),
                SpoolCommand::Export => export_spool(&config),
            }
        }
        Some(Command::SnapshotSql(args)) => {
            let (config, _) = read_config(&cli.config)?;
            print(&snapshot_sql::statement(&args, config.system_column_prefix.as_str()))
        }
        Some(Command::SendTest(args)) => {
            Ok(send_test::send(&args, UnixMillis::now().get() / 1000, &mut io::stdout().lock())?)
        }
    }
}

fn configure(args: &ConfigArgs) -> Result<(Config, LiveLine), CommandError> {
    if args.sources.is_empty() {
        wrong_usage::<()>(
            ErrorKind::MissingRequiredArgument,
            "--config <FILE|ENV> is missing: name a JSON file (it may hold just {}), or ENV",
        )?;
    }
    read_config(args)
}

/// Reads the configuration, starts the log, and tells what is odd about the configuration.
fn read_config(args: &ConfigArgs) -> Result<(Config, LiveLine), CommandError> {
    let loaded = Config::load(&args.sources)?;
    let line = LiveLine::default();
    let Config { log_level: level, log_format: format, .. } = loaded.config;
    let stderr = line.clone();
    LogConfig { level, format }.start(PROGRAM.name, move || stderr.writer());
    for warning in loaded.warnings {
        warn!("{warning}");
    }
    Ok((loaded.config, line))
}

fn wrong_usage<T>(kind: ErrorKind, message: &str) -> Result<T, CommandError> {
    Cli::command().error(kind, message).exit()
}

/// Prints the catalog: what is documented, and, of the spool that the configuration names, what has appeared.
fn discover(args: &ConfigArgs) -> Result<(), CommandError> {
    let (config, _) = read_config(args)?;
    // Without a configuration there is no telling which spool is meant.
    let spool = if args.sources.is_empty() { None } else { spool::open_existing(&config.spool_location()?)? };
    let appeared = match spool {
        Some(spool) => spool.registry_view()?.discovered_columns()?,
        None => Vec::new(),
    };
    let catalog = Catalog::new(streams(config.system_column_prefix.as_str(), &appeared));
    print(&(serde_json::to_string_pretty(&catalog).expect("a catalog is JSON") + "\n"))
}

fn streams(system_prefix: &str, appeared: &[DiscoveredColumn]) -> Vec<Stream> {
    let stream = |id: StreamId| {
        let mut stream = Stream::new(id, system_prefix);
        let appeared = columns_of(&stream, appeared);
        stream.columns.extend(appeared);
        stream
    };
    StreamId::all().map(stream).collect()
}

fn selection(catalog: Option<&Path>) -> Result<Selection, CommandError> {
    let Some(path) = catalog else { return Ok(Selection::default()) };
    let text = std::fs::read(path)
        .map_err(|source| CommandError::UnreadableCatalog { path: path.to_owned(), source })?;
    let selection = Selection::parse(&text)
        .map_err(|source| CommandError::NotACatalog { path: path.to_owned(), source })?;
    for warning in selection.warnings() {
        warn!("catalog {}: {warning}", path.display());
    }
    Ok(selection)
}

fn sample(shape: &OutputSpec, test: Test) -> Result<(), CommandError> {
    let mut lines = Vec::new();
    write_samples(shape, test == Test::All, UnixMillis::now(), &mut lines).map_err(RunError::from)?;
    io::stdout().lock().write_all(&lines)?;
    Ok(())
}

fn run(
    config: Config,
    rooms: Components,
    shape: OutputSpec,
    state: Option<PathBuf>,
    line: &LiveLine,
) -> Result<(), CommandError> {
    let roles = Roles::take(&config, rooms)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let signals = StopSignals::watch()?;
        let listener = match rooms.listener {
            true => Some(bind(&config)?),
            false => None,
        };
        // Whoever receives is watched. A drain comes and goes, beside a listener on the same machine that has the port.
        let admin = match rooms.listener {
            true => bind_admin(&config).await?,
            false => None,
        };
        let stdout = Stdout::open()?;
        let reader_gone = stdout.reader_gone()?;
        // Only who writes to stdout cares whether anybody reads it.
        let reader_gone =
            async move { if rooms.emitter { reader_gone.await } else { std::future::pending().await } };
        let ends = Ends { stop: signals.first(), reader_gone };
        let plan = Plan { config, output: shape, state, stdout_is_null: stdout.is_discarded()? };
        Ok(run::run(plan, roles, Sockets { webhooks: listener, admin }, stdout, line, ends).await?)
    });
    // A thread that is stuck in a write to a full pipe must not keep the process.
    runtime.shutdown_background();
    outcome
}

fn bind(config: &Config) -> Result<TcpListener, CommandError> {
    let address = config.listen_address;
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| CommandError::Bind { address, source })
}

async fn bind_admin(config: &Config) -> Result<Option<TcpListener>, CommandError> {
    let AdminAddress::At(address) = config.admin_address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|source| CommandError::BindAdmin { address, source })
}

fn url(config: &Config, command: &UrlCommand) -> Result<(), CommandError> {
    if config.webhook_tokens.given().is_some() {
        return Err(CommandError::TokensInConfig);
    }
    let mut registry = spool::open(&config.spool_location()?)?.registry()?;
    match command {
        UrlCommand::New { label } => {
            // Before a token is made that nobody would see.
            let public_url = config.public_url()?;
            let token = Token::random()?;
            let id = registry.add_webhook_url(token.hash(), label.as_deref(), MOST_ACTIVE)?;
            let id = id.ok_or(CommandError::TooManyUrls)?;
            print(&(token.url(&public_url) + "\n"))?;
            info!("this is webhook URL {id}; it is shown only now, and anyone who has it can post events");
            info!(
                "in Mailjet: Account settings > Event notifications (webhooks): enter it for each event that you want"
            );
            Ok(())
        }
        UrlCommand::List => {
            let rows = registry.webhook_urls()?.into_iter().map(|url| {
                let last_used = url.last_used_at.map_or_else(|| "never".to_owned(), UnixMillis::to_rfc3339);
                let label = url.label.unwrap_or_default();
                [url.id.to_string(), label, url.created_at.to_rfc3339(), last_used]
            });
            print(&table(["id", "label", "created", "last used"], rows.collect()))
        }
        UrlCommand::Revoke { id } => {
            if !registry.revoke_webhook_url(*id)? {
                return Err(CommandError::UnknownUrl(*id));
            }
            info!("webhook URL {id} is revoked; a running listener stops accepting it within a second");
            Ok(())
        }
    }
}

/// Opens the spool that has to exist.
fn existing_spool(config: &Config) -> Result<Arc<dyn SpoolView>, CommandError> {
    let location = config.spool_location()?;
    Ok(spool::open_existing(&location)?.ok_or_else(|| spool::missing(&location))?)
}

fn spool_status(config: &Config, format: StatusFormat) -> Result<(), CommandError> {
    let spool = existing_spool(config)?;
    let webhook_urls = if let Some(tokens) = config.webhook_tokens.given() {
        WebhookUrls::Configured { count: tokens.len() }
    } else {
        let urls = spool.registry_view()?.webhook_urls()?;
        let last_used_at = urls.iter().filter_map(|url| url.last_used_at).max();
        WebhookUrls::Registered { count: urls.len(), last_used_at }
    };
    let usage = SpoolUse {
        listeners: spool.role_holders(Role::Listener)?,
        emitters: spool.role_holders(Role::Emitter)?,
        webhook_urls,
    };
    let status = StatusSource::new(spool, None, None).spool_status()?;
    let render = match format {
        StatusFormat::Text => text::render,
        StatusFormat::Json => json::render,
    };
    print(&render(&status, &usage, UnixMillis::now()))
}

/// Findings about items that `spool verify` lists one by one.
const MOST_FINDINGS: usize = 100;

fn verify_spool(config: &Config) -> Result<(), CommandError> {
    let spool = existing_spool(config)?;
    let mut findings = spool.check()?;
    let (mut events, mut rejected, mut wrong_items) = (0, 0, Vec::new());
    let mut reader = spool.reader()?;
    reader.read_past(Sequence::START, u32::MAX, &mut |event| {
        match event {
            Ok(event) => {
                events += 1;
                if !is_object(event.body) {
                    wrong_items.push(format!("event {}: its body is not a JSON object", event.sequence));
                }
            }
            Err(damage) => wrong_items.push(describe("events", &damage)),
        }
        ControlFlow::Continue(())
    })?;
    reader.read_rejected_past(Sequence::START, u32::MAX, &mut |item| {
        match item {
            Ok(_) => rejected += 1,
            Err(damage) => wrong_items.push(describe("rejected items", &damage)),
        }
        ControlFlow::Continue(())
    })?;
    let unlisted = wrong_items.len().saturating_sub(MOST_FINDINGS);
    findings.extend(wrong_items.into_iter().take(MOST_FINDINGS));
    if unlisted > 0 {
        findings.push(format!("and {unlisted} more like these"));
    }
    let summary = format!("spool {spool}: {events} events, {rejected} rejected items\n");
    if findings.is_empty() {
        return print(&(summary + "nothing is wrong\n"));
    }
    let report = findings.iter().fold(summary, |report, finding| report + &format!("wrong: {finding}\n"));
    print(&report)?;
    Err(CommandError::SpoolIsWrong { spool: spool.to_string(), findings: findings.len() })
}

/// Writes what can be read, a JSON object in each line: events, then rejected items.
fn export_spool(config: &Config) -> Result<(), CommandError> {
    let spool = existing_spool(config)?;
    let mut export = Export { out: io::BufWriter::new(io::stdout().lock()), unreadable: 0, failure: None };
    export.write_items(&mut *spool.reader()?)?;
    let Export { mut out, unreadable, failure } = export;
    failure.map_or_else(|| out.flush(), Err)?;
    match unreadable {
        0 => Ok(()),
        places => Err(CommandError::Unreadable { spool: spool.to_string(), places }),
    }
}

/// Where an export goes, and what goes wrong on the way.
struct Export<W> {
    out: W,
    unreadable: usize,
    failure: Option<io::Error>,
}

impl<W: Write> Export<W> {
    fn write_items(&mut self, reader: &mut dyn EventReader) -> Result<(), SpoolError> {
        reader.read_past(Sequence::START, u32::MAX, &mut |event| match event {
            Ok(event) => self.write(format_args!(
                r#"{{"sequence":{},"received_at":{},"body":{}}}"#,
                event.sequence,
                event.received_at,
                body_of(event.body)
            )),
            Err(damage) => self.skip("events", &damage),
        })?;
        reader.read_rejected_past(Sequence::START, u32::MAX, &mut |item| match item {
            Ok(item) => self.write(format_args!(
                r#"{{"sequence":{},"received_at":{},"reason":{},"body":{}}}"#,
                item.sequence,
                item.received_at,
                quoted(item.reason.as_bytes()),
                quoted(item.body)
            )),
            Err(damage) => self.skip("rejected items", &damage),
        })?;
        Ok(())
    }

    fn write(&mut self, line: std::fmt::Arguments<'_>) -> ControlFlow<()> {
        match writeln!(self.out, "{line}") {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn skip(&mut self, what: &str, damage: &Damage) -> ControlFlow<()> {
        warn!("{}", describe(what, damage));
        self.unreadable += 1;
        ControlFlow::Continue(())
    }
}

fn describe(what: &str, damage: &Damage) -> String {
    let Damage { after, through, reason } = damage;
    format!("{what} with sequences from {} to {through} cannot be read: {reason}", after.next())
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<&RawValue>(body).is_ok()
}

/// The body of an event in one line: as it is or, if it is no longer a JSON object, as a JSON string.
fn body_of(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        // Line breaks can only be between the parts of an object: its strings have none.
        Ok(text) if is_object(body) => text.replace(['\n', '\r'], " "),
        _ => quoted(body),
    }
}

fn quoted(bytes: &[u8]) -> String {
    serde_json::to_string(&String::from_utf8_lossy(bytes)).expect("text is JSON")
}

fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn print(text: &str) -> Result<(), CommandError> {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
