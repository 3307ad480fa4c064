//! A run: what the tap does without a command. This opens everything that a run needs from the system.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catalog::plugin::logging;
use clap::Args;
use futures_util::FutureExt;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::CommandError;
use super::catalog_file::read_selection;
use super::sample::Samples;
use crate::config::{AdminAddress, Config};
use crate::emitter::OutputSpec;
use crate::os::signals::stop_signal;
use crate::os::stdout::Stdout;
use crate::os::{systemd, thread};
use crate::run::{self, Plan, Roles, RunError, Sockets, StopCauses};
use crate::status::Components;
use crate::status::live_line::LiveLine;

/// Connections that the kernel holds until they are accepted. With the usual 128, the clients of a larger
/// burst try again only after a second.
const BACKLOG: u32 = 4096;
/// How much longer than its own deadline a run may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// The options of a run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Write the streams and columns that this Singer catalog selects
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,

    /// The old name of --catalog, which wins if both are given
    #[arg(short, long, value_name = "FILE")]
    pub properties: Option<PathBuf>,

    /// Print the SCHEMA and a sample RECORD of each selected stream, without using the spool
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all"
    )]
    pub test: Option<Samples>,

    /// Start from this state, and follow the file while it grows: its last complete line counts
    #[arg(short, long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

impl RunArgs {
    /// Whether any of the options is given.
    pub fn any(&self) -> bool {
        let RunArgs { catalog, properties, test, state } = self;
        catalog.is_some() || properties.is_some() || test.is_some() || state.is_some()
    }

    /// Returns the catalog file, under either name.
    pub fn catalog(&self) -> Option<&Path> {
        if let (Some(_), Some(properties)) = (&self.catalog, &self.properties) {
            warn!("--properties {} is ignored, because --catalog is given, too", properties.display());
        }
        self.catalog.as_deref().or(self.properties.as_deref())
    }
}

/// The system refuses something that a run needs.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum SetupError {
    #[error("config key \"{key}\": cannot bind {address}: {source}; {}", bind_advice(source))]
    Bind { key: &'static str, address: SocketAddr, source: io::Error },
    #[error(
        "cannot start the run: {0}; raise the limits of open files and of processes (ulimit -n, ulimit -u)"
    )]
    Runtime(io::Error),
    #[error(
        "a socket that the service manager has passed on (LISTEN_FDS) cannot be used: {0}; it has to be a \
         listening TCP socket"
    )]
    PassedSocket(io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
}

/// Runs in the configured mode.
pub fn execute(config: Config, args: RunArgs, line: &LiveLine) -> Result<(), CommandError> {
    let output = config.output(read_selection(args.catalog(), &config)?);
    let components = config.mode;
    start(config, components, output, args.state, line)
}

/// Takes the roles, binds the addresses and runs until something ends the run.
pub(super) fn start(
    config: Config,
    components: Components,
    output: OutputSpec,
    state: Option<PathBuf>,
    line: &LiveLine,
) -> Result<(), CommandError> {
    let roles = Roles::take(&config, components)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(SetupError::Runtime)?;
    let outcome = runtime.block_on(async {
        let stop = bounded(stop_signal().map_err(SetupError::Signals)?);
        // A drain has neither: it runs beside a listener on the same machine, which has the ports.
        let sockets = if components.has_listener() { bind_all(&config).await? } else { Sockets::none() };
        let stdout = Stdout::open()?;
        let reader_gone = stdout.reader_gone()?;
        // A process that writes nothing to stdout does not need a reader.
        let reader_gone = async move {
            if components.has_emitter() { reader_gone.await } else { std::future::pending().await }
        };
        let stop_causes = StopCauses { stop, reader_gone };
        let plan = Plan { config, output, state, stdout_is_null: stdout.is_null_device()? };
        Ok(run::run(plan, roles, sockets, stdout, line, stop_causes).await?)
    });
    // A thread that is stuck in a write to a full pipe must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

/// Returns a future that completes with `stop`, and sees to it that the process ends soon after: a disk that
/// does not answer may hold a thread that the run waits for.
fn bounded(stop: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> {
    let (report, stopped) = oneshot::channel();
    tokio::spawn(async move {
        stop.await;
        let _ = report.send(());
        let end = || {
            std::thread::sleep(run::END_TIMEOUT + GRACE);
            logging::print_failure(env!("CARGO_PKG_NAME"), &RunError::Stuck);
            std::process::exit(1);
        };
        // If there is no thread for it, the run's own deadline is all there is.
        let _ = thread::spawn("deadline", end);
    });
    stopped.map(drop)
}

/// Binds the addresses, or takes the sockets that the service manager has bound.
async fn bind_all(config: &Config) -> Result<Sockets, SetupError> {
    let passed = systemd::passed_sockets().map_err(SetupError::PassedSocket)?;
    let adopt = |socket| TcpListener::from_std(socket).map_err(SetupError::PassedSocket);
    if passed.webhooks.is_some() {
        info!("the service manager has passed on the socket for webhooks; listen_address is not used");
    }
    let webhooks = match passed.webhooks {
        Some(socket) => adopt(socket)?,
        None => bind(config.listen_address)?,
    };
    let admin = match passed.admin {
        Some(socket) => Some(adopt(socket)?),
        None => bind_admin(config.admin_address).await?,
    };
    Ok(Sockets { webhooks: Some(webhooks), admin })
}

fn bind(address: SocketAddr) -> Result<TcpListener, SetupError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| SetupError::Bind { key: "listen_address", address, source })
}

async fn bind_admin(address: AdminAddress) -> Result<Option<TcpListener>, SetupError> {
    let AdminAddress::At(address) = address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|source| SetupError::Bind { key: "admin_address", address, source })
}

fn bind_advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => "stop the process that uses it, or set another address",
        Some(Errno::ADDRNOTAVAIL) => "set an address that this machine has",
        Some(Errno::ACCESS) => "set a port above 1023, or allow this program to use lower ones",
        Some(Errno::MFILE | Errno::NFILE) => {
            "raise the limit of open files (ulimit -n, systemd's LimitNOFILE=)"
        }
        _ => "set another address",
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_error_for_an_address_names_the_key_and_says_what_to_do_about_this_cause() {
        let other = TcpListener::bind("127.0.0.1:0").expect("an address");
        let used = other.local_addr().expect("an address");
        let in_use = "stop the process that uses it";
        for (error, key) in [
            (bind(used).map(drop), "listen_address"),
            (bind_admin(AdminAddress::At(used)).await.map(drop), "admin_address"),
        ] {
            let error = error.expect_err("it is in use").to_string();
            assert!(
                error.contains(key) && error.contains(&used.to_string()) && error.contains(in_use),
                "{error}"
            );
        }
        // An address for documentation, which no machine has.
        let absent = "192.0.2.1:8480".parse().expect("an address");
        let error = bind(absent).expect_err("this machine does not have it").to_string();
        assert!(error.contains("that this machine has"), "{error}");
        // Another address would not help here.
        let error = SetupError::Bind { key: "listen_address", address: used, source: Errno::MFILE.into() };
        assert!(error.to_string().ends_with("systemd's LimitNOFILE=)"), "{error}");
    }
}
