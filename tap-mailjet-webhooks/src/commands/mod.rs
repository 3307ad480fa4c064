//! What each command does.

pub mod snapshot_sql;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use catalog::plugin::about::Program;
use catalog::plugin::logging::LogConfig;
use catalog::selection::{Catalog, CatalogError, Selection};
use catalog::stream::{Stream, StreamId};
use clap::CommandFactory;
use clap::error::ErrorKind;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::cli::{Cli, Command, ConfigArgs, SpoolCommand, StatusFormat, Test, UrlCommand};
use crate::config::{AdminAddress, Components, Config, ConfigError, Mode};
use crate::emitter::{Discovered, DiscoveredColumns, OutputSpec, columns_of, write_samples};
use crate::listener::token::{UrlError, UrlStore};
use crate::mailjet::send_test::{self, SendTestError};
use crate::os::signals::StopSignals;
use crate::os::stdout::Stdout;
use crate::run::{self, Ends, Plan, Roles, RunError, Sockets};
use crate::spool::{self, SpoolError};
use crate::status::progress::LiveLine;
use crate::status::spool_status::{Status, StatusError};

use crate::os::clock;

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
    /// The spool can't be looked at.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// A webhook URL can't be made, listed or revoked.
    #[error(transparent)]
    Url(#[from] UrlError),
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
        "spool {path}: {findings} things are wrong; `spool export` writes what can be read. A tap goes past what it can't \
         read; to have a sound spool, drain this one, then set spool_path to another file"
    )]
    SpoolIsWrong {
        /// The spool.
        path: PathBuf,
        /// How many.
        findings: usize,
    },
    /// `spool export` could not read everything.
    #[error("spool {path}: damaged in {places} places, told above; everything else is written")]
    Unreadable {
        /// The spool.
        path: PathBuf,
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
            CommandError::Run(RunError::Spool(SpoolError::RoleTaken { .. })) => ExitCode::from(EX_TEMPFAIL),
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
            Ok(send_test::send(&args, clock::unix_millis() / 1000, &mut io::stdout().lock())?)
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
    let spool = if args.sources.is_empty() { None } else { Some(config.spool_path()?) };
    let discovered =
        spool.map(|path| DiscoveredColumns::look(&path)).transpose().map_err(RunError::from)?.flatten();
    let appeared =
        discovered.map(|columns| columns.all()).transpose().map_err(RunError::from)?.unwrap_or_default();
    let catalog = Catalog::new(streams(config.system_column_prefix.as_str(), &appeared));
    print(&(serde_json::to_string_pretty(&catalog).expect("a catalog is JSON") + "\n"))
}

fn streams(system_prefix: &str, appeared: &[Discovered]) -> Vec<Stream> {
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
    write_samples(shape, test == Test::All, clock::unix_millis(), &mut lines).map_err(RunError::from)?;
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
    let roles = Roles::take(&config.spool_path()?, rooms)?;
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
        let plan = Plan { config, shape, state, discarded: stdout.is_discarded()? };
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
    let mut store = UrlStore::open(&config.spool_path()?)?;
    match command {
        UrlCommand::New { label } => {
            // Before a token is made that nobody would see.
            let public_url = config.public_url()?;
            let (id, token) = store.mint(label.as_deref(), clock::unix_millis())?;
            print(&(token.url(&public_url) + "\n"))?;
            info!("this is webhook URL {id}; it is shown only now, and whoever has it can post events");
            info!(
                "in Mailjet: Account settings > Event notifications (webhooks): enter it for each event that you want"
            );
            Ok(())
        }
        UrlCommand::List => {
            let rows = store.list()?.into_iter().map(|url| {
                let last_used = url.last_used_at.map_or("never".to_owned(), clock::rfc3339);
                [url.id.to_string(), url.label.unwrap_or_default(), clock::rfc3339(url.created_at), last_used]
            });
            print(&table(["id", "label", "created", "last used"], rows.collect()))
        }
        UrlCommand::Revoke { id } => {
            store.revoke(*id, clock::unix_millis())?;
            info!("webhook URL {id} is revoked; a running listener stops taking it within a second");
            Ok(())
        }
    }
}

fn spool_status(config: &Config, format: StatusFormat) -> Result<(), CommandError> {
    let tokens = config.webhook_tokens.given().map(<[String]>::len);
    let status = Status::of(&config.spool_path()?, tokens, clock::unix_millis())?;
    print(&match format {
        StatusFormat::Text => status.as_text(),
        StatusFormat::Json => status.as_json(),
    })
}

fn verify_spool(config: &Config) -> Result<(), CommandError> {
    let path = config.spool_path()?;
    let found = spool::verify(&path).map_err(RunError::from)?;
    let summary =
        format!("spool {}: {} events, {} rejected items\n", path.display(), found.events, found.rejected);
    if found.findings.is_empty() {
        return print(&(summary + "nothing is wrong\n"));
    }
    let findings = found.findings.iter().map(|finding| format!("wrong: {finding}\n"));
    print(&findings.fold(summary, |report, finding| report + &finding))?;
    Err(CommandError::SpoolIsWrong { path, findings: found.findings.len() })
}

fn export_spool(config: &Config) -> Result<(), CommandError> {
    let path = config.spool_path()?;
    let stdout = io::BufWriter::new(io::stdout().lock());
    let unreadable = spool::export(&path, stdout).map_err(RunError::from)??;
    for what in &unreadable {
        warn!("{what}");
    }
    match unreadable.len() {
        0 => Ok(()),
        places => Err(CommandError::Unreadable { path, places }),
    }
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
