//! Real databases and real Singer targets that load them.
//!
//! The targets are Python programs in virtual environments that `scripts/test` creates. PostgreSQL is a
//! server that the test starts itself, on a socket in a folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, kill_process};
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

/// A PostgreSQL server, stopped on drop.
#[derive(Debug)]
pub struct Postgres {
    server: ChildProcess,
    folder: tempfile::TempDir,
    settings: Vec<String>,
}

impl Postgres {
    /// Creates a database cluster and starts its server. It is fast, and not safe: it never waits for the
    /// disk.
    #[must_use]
    pub fn start() -> Self {
        Postgres::start_with(&["fsync=off"])
    }

    /// Creates a database cluster and starts its server with these settings.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        Postgres::create(settings, |data| {
            run(command("initdb").args(["--auth=trust", "--username=tester", "--no-sync", "-D"]).arg(data));
        })
    }

    /// Copies this server's cluster and starts the copy as a standby of this name, which follows this server.
    #[must_use]
    pub fn start_standby(&self, name: &str) -> Self {
        let settings: Vec<_> = self.settings.iter().map(String::as_str).collect();
        Postgres::create(&settings, |data| {
            let mut backup = command("pg_basebackup");
            backup.arg("-h").arg(self.host()).args(["-p", PORT, "-U", "tester", "-R", "-c", "fast", "-D"]);
            run(backup.arg(data));
            let file = data.join("postgresql.auto.conf");
            let settings = fs::read_to_string(&file).expect("pg_basebackup has written it");
            // The last one counts.
            fs::write(file, settings + &self.primary_conninfo(name)).expect("it can be written");
        })
    }

    /// The setting that makes a server follow this one.
    fn primary_conninfo(&self, name: &str) -> String {
        let host = self.host();
        let host = host.display();
        format!("primary_conninfo = 'host={host} port={PORT} user=tester application_name={name}'\n")
    }

    fn create(settings: &[&str], fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let mode = fs::Permissions::from_mode(0o700);
        fs::create_dir(&data).and_then(|()| fs::set_permissions(&data, mode)).expect("a new folder");
        if let Some((uid, gid)) = *USER {
            for path in [folder.path(), &data] {
                chown(path, Some(uid), Some(gid)).expect("root may change owners");
            }
        }
        fill(&data);
        let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
        let server = start_server(folder.path(), &settings);
        Postgres { server, folder, settings }
    }

    /// Kills all processes of the server at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.server.wait();
    }

    /// Starts the server again after it was killed.
    pub fn start_again(&mut self) {
        self.server = start_server(&self.host(), &self.settings);
    }

    /// Sends a signal to all processes of the server.
    pub fn signal(&mut self, signal: Signal) {
        let children = fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
            let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let parent = status.rsplit(')').next()?.split_whitespace().nth(1)?;
            (parent == self.server.id().to_string()).then_some(Pid::from_raw(id)?)
        });
        let children: Vec<_> = children.collect();
        self.server.signal(signal);
        for child in children {
            // It may have ended by itself.
            let _ = kill_process(child, signal);
        }
    }

    /// Accepts TLS connections with the two files of a certificate, which are in `folder`.
    pub fn serve_tls(&self, folder: &Path) {
        for (file, setting) in [("certificate.pem", "ssl_cert_file"), ("private-key.pem", "ssl_key_file")] {
            let copy = self.folder.path().join("data").join(file);
            fs::copy(folder.join(file), &copy).expect("a file");
            // The server refuses a key that others can read.
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("its owner may do that");
            if let Some((uid, gid)) = *USER {
                chown(&copy, Some(uid), Some(gid)).expect("root may change owners");
            }
            self.set(setting, &format!("'{file}'"));
        }
        self.set("ssl", "on");
        // The files are read again only when the settings are.
        let _ = self.query("SELECT pg_reload_conf()");
    }

    /// Changes a setting of the running server.
    pub fn set(&self, setting: &str, value: &str) {
        let _ = self.query(&format!("ALTER SYSTEM SET {setting} = {value}"));
        let _ = self.query("SELECT pg_reload_conf()");
        let name = setting.to_owned();
        let expected = value.trim_matches('\'').to_owned();
        wait::until("the setting is changed", || {
            (self.query(&format!("SHOW {name}")).trim() == expected).then_some(())
        });
    }

    /// The folder of the server's socket, which clients accept as a host.
    #[must_use]
    pub fn host(&self) -> PathBuf {
        self.folder.path().to_owned()
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

/// The user that the servers run as; `None` for this process's own. PostgreSQL refuses to run as root, so
/// root uses the one that Debian's package creates.
static USER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
    rustix::process::getuid().is_root().then(|| {
        let id = |option| run(Command::new("id").args([option, "postgres"])).trim().parse::<u32>();
        (id("-u").expect("a user id"), id("-g").expect("a group id"))
    })
});

/// A program of PostgreSQL, as the user that its servers run as.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(postgres_bin().join(program));
    if let Some((uid, gid)) = *USER {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}

/// Starts the server of the cluster in `folder`.
fn start_server(folder: &Path, settings: &[String]) -> ChildProcess {
    let mut server = command("postgres");
    // A socket and no port, which another process might hold.
    server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).args(["-h", "", "-p", PORT]);
    // Far from UTC, so that the test notices if a target lets the server choose the time zone of its times.
    server.args(["-c", "timezone=Asia/Tokyo"]);
    for setting in settings {
        server.args(["-c", setting]);
    }
    let server = ChildProcess::spawn("postgres", server.stdin(Stdio::null()).stdout(Stdio::null()));
    let _ = server.stderr().wait_for("ready to accept");
    server
}

/// A primary server and two standbys, of which one has to confirm each commit.
#[derive(Debug)]
pub struct Replicated {
    /// The servers: first the primary.
    pub servers: [Postgres; 3],
}

impl Replicated {
    /// The names of the standbys.
    pub const STANDBYS: [&'static str; 2] = ["two", "three"];

    /// Starts the servers.
    #[must_use]
    pub fn start() -> Self {
        let primary = Postgres::start_with(&["fsync=on", "max_connections=200"]);
        let standbys = Self::STANDBYS.map(|name| primary.start_standby(name));
        primary.set("synchronous_standby_names", "'ANY 1 (two, three)'");
        let [two, three] = standbys;
        let servers = Replicated { servers: [primary, two, three] };
        servers.wait_connected(0, 2);
        servers
    }

    /// Waits until this number of standbys follows a server.
    pub fn wait_connected(&self, server: usize, standbys: usize) {
        let query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'";
        wait::until("the standbys follow", || {
            (self.servers[server].query(query).trim() == standbys.to_string()).then_some(())
        });
    }

    /// Sends a signal to all processes of both standbys.
    pub fn signal_standbys(&mut self, signal: Signal) {
        for standby in &mut self.servers[1..] {
            standby.signal(signal);
        }
    }

    /// Makes the first standby the primary, and the second one follow it.
    pub fn fail_over(&mut self) {
        let _ = self.servers[1].query("SELECT pg_promote()");
        let follow = self.servers[1].primary_conninfo("three");
        let value = follow.trim().split_once(" = ").expect("a setting").1.to_owned();
        let _ = self.servers[2].query(&format!("ALTER SYSTEM SET primary_conninfo = {value}"));
        let _ = self.servers[2].query("SELECT pg_reload_conf()");
        self.servers[1].set("synchronous_standby_names", "'ANY 1 (three)'");
        self.wait_connected(1, 1);
    }

    /// A URL that names all servers.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts = self.servers.each_ref().map(|server| {
            let host = server.host().display().to_string().replace('/', "%2F");
            format!("{host}:{PORT}")
        });
        format!("postgresql://tester@{}/postgres?target_session_attrs=read-write", hosts.join(","))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !self.server.is_running() {
            return;
        }
        self.signal(Signal::CONT);
        // A fast shutdown, in which the server ends its processes and releases its shared memory.
        self.server.signal(Signal::INT);
        wait::until("PostgreSQL ends", || (!self.server.is_running()).then_some(()));
    }
}

/// The folder of PostgreSQL's programs.
pub(crate) fn postgres_bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut bins: Vec<_> = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join(OsStr::new("initdb")).is_file())
        .collect();
    bins.sort();
    bins.pop().expect("PostgreSQL is missing: run scripts/test once, it installs what the tests need")
}
