//! Real databases and real Singer targets that load them.
//!
//! The targets are Python programs in virtual environments that `scripts/test` creates. PostgreSQL is a
//! server that the test starts itself, on a socket in a folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{ChildProcess, Signal, run};
use crate::wait;

/// Feeds messages to a target in a folder of its own, checks that it accepts them, and returns the printed
/// states.
#[must_use]
pub fn load_target(mut target: Command, config: &Value, messages: &[String], folder: &Path) -> String {
    fs::create_dir_all(folder).expect("a folder can be made");
    let (config_file, input) = (folder.join("target.json"), folder.join("messages.jsonl"));
    fs::write(&config_file, config.to_string()).expect("a config file can be written");
    fs::write(&input, messages.join("\n") + "\n").expect("messages can be written");
    let stdin = fs::File::open(&input).expect("the messages are there");
    run(target.arg("--config").arg(&config_file).current_dir(folder).stdin(stdin))
}

/// The port number in the name of the server's socket.
const PORT: &str = "5432";

/// A running PostgreSQL server, stopped on drop.
#[derive(Debug)]
pub struct Postgres {
    server: ChildProcess,
    folder: tempfile::TempDir,
}

impl Postgres {
    /// Creates a database cluster and starts its server. It is fast, and not safe: it never waits for the disk.
    #[must_use]
    pub fn start() -> Self {
        Postgres::start_with(&["fsync=off"])
    }

    /// Creates a database cluster and starts its server with these settings.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a new folder");
        // PostgreSQL refuses to run as root. As root, run it as the user that Debian's package creates.
        let is_root = rustix::process::getuid().is_root();
        let user = is_root.then(|| {
            let id = |option| run(Command::new("id").args([option, "postgres"])).trim().parse::<u32>();
            (id("-u").expect("a user id"), id("-g").expect("a group id"))
        });
        if let Some((uid, gid)) = user {
            for path in [folder.path(), &data] {
                chown(path, Some(uid), Some(gid)).expect("root may change owners");
            }
        }
        let command = |program: &str| {
            let mut command = Command::new(postgres_bin().join(program));
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command.current_dir(&data);
            command
        };
        run(command("initdb").args(["--auth=trust", "--username=tester", "--no-sync", "-D"]).arg(&data));
        let mut server = command("postgres");
        // A socket and no port, which another process might hold.
        server.arg("-D").arg(&data).arg("-k").arg(&data).args(["-h", "", "-p", PORT]);
        // Far from UTC, so that the test notices if a target lets the server choose the time zone of its
        // times.
        server.args(["-c", "timezone=Asia/Tokyo"]);
        for setting in settings {
            server.args(["-c", setting]);
        }
        let server = ChildProcess::spawn("postgres", server.stdin(Stdio::null()).stdout(Stdio::null()));
        let postgres = Postgres { server, folder };
        let _ = postgres.server.stderr().wait_for("ready to accept connections");
        postgres
    }

    /// The folder of the server's socket, which clients accept as a host.
    #[must_use]
    pub fn host(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A URL of the server's database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql:///postgres?host={}&port={PORT}&user=tester", self.host().display())
    }

    /// Runs SQL and returns the rows, one per line, with commas between the columns.
    #[must_use]
    pub fn query(&self, sql: &str) -> String {
        let options = ["-p", PORT, "-U", "tester", "-d", "postgres", "-qAt", "-F", ",", "-c"];
        run(Command::new(postgres_bin().join("psql")).arg("-h").arg(self.host()).args(options).arg(sql))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown, in which the server ends its processes and releases its shared memory.
        self.server.signal(Signal::INT);
        wait::until("PostgreSQL ends", || (!self.server.is_running()).then_some(()));
    }
}

fn postgres_bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut bins: Vec<_> = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join(OsStr::new("initdb")).is_file())
        .collect();
    bins.sort();
    bins.pop().expect("PostgreSQL is missing: run scripts/test once, it installs what the tests need")
}
