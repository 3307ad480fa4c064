//! PostgreSQL as it is run where no machine may be missed: three servers under Patroni, which agree through
//! etcd on who leads. A commit waits for one of the two standbys.
//!
//! Each server is a host of a [`Network`], with a disk in memory. The test is a host too, and runs etcd.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use rcgen::CertificateParams;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::database::postgres_bin;
use crate::http::Endpoint;
use crate::message::value;
use crate::mount::TestDisk;
use crate::network::{Host, Network};
use crate::program::{ChildProcess, repository, run};
use crate::tls::Certificate;
use crate::wait;

/// How many servers there are. They are the first hosts of the network.
pub const SERVERS: usize = 3;
/// How long a cluster may take to be whole again. A standby that was ahead is copied anew.
const RECOVERY: Duration = Duration::from_secs(180);
/// The size of a server's disk.
const DISK_KIBIBYTES: u32 = 400 << 10;
/// Debian's Python, since the user postgres may read it.
const PYTHON: &str = "/usr/bin/python3";
const ETCD: &str = "/usr/bin/etcd";
const PASSWORD: &str = "made up for this test";

/// A cluster, stopped on drop.
#[derive(Debug)]
pub struct Patroni {
    // In this order: the servers end before etcd, and both before their network.
    servers: Vec<Server>,
    etcd: ChildProcess,
    folder: TempDir,
    network: Network,
}

#[derive(Debug)]
struct Server {
    patroni: RefCell<Option<Child>>,
    /// What etcd says about the server counts if it is newer than this revision.
    counts_after: Cell<u64>,
    folder: PathBuf,
    _disk: TestDisk,
}

/// The user that PostgreSQL runs as.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

/// What the cluster says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterState {
    /// The server that leads.
    pub leader: Option<usize>,
    /// The standbys that may confirm a commit.
    pub standbys: BTreeSet<usize>,
    /// The servers that are up and replicate.
    pub running: BTreeSet<usize>,
}

/// What etcd has stored under a key.
struct Entry {
    key: String,
    value: String,
    /// The revision in which it was stored.
    revision: u64,
}

impl Patroni {
    /// Creates a cluster in a network with `clients` more hosts, and waits until it is whole. Prints a line
    /// and returns `None` if something is missing.
    #[must_use]
    pub fn start(clients: usize) -> Option<Self> {
        let packages = site_packages()?;
        if !Path::new(ETCD).is_file() {
            eprintln!("skipped: etcd is missing; scripts/torture --postgres installs it");
            return None;
        }
        let network = Network::start(SERVERS + clients)?;
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder of ours");
        // The user postgres may not read the repository.
        run(Command::new("cp").arg("-r").arg(packages).arg(folder.path().join("python")));
        let etcd = start_etcd(&network, folder.path());
        let addresses = (0..SERVERS).map(|index| network.host(index).address().to_string());
        let addresses: Vec<_> = addresses.collect();
        let certificate = Certificate::with_params(|params| {
            *params = CertificateParams::new(addresses).expect("addresses are names");
        });
        fs::write(folder.path().join("ca.pem"), &certificate.pem).expect("a file can be written");
        let user = User::postgres();
        let servers = (0..SERVERS).map(|index| {
            let disk = TestDisk::mount(folder.path().join(format!("disk-{index}")), DISK_KIBIBYTES)?;
            let server = disk.path().join("server");
            fs::create_dir(&server).expect("a new folder");
            let config = config(index, &network, &server);
            let files = [
                ("patroni.json", config.to_string()),
                ("server.pem", certificate.pem.clone()),
                ("server.key", certificate.private_key.clone()),
                ("postgres", postgres_with_clock(&server)),
            ];
            for (name, text) in files {
                let path = server.join(name);
                fs::write(&path, text).expect("a file can be written");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a file of ours");
                chown(&path, Some(user.uid), Some(user.gid)).expect("root may change owners");
            }
            fs::set_permissions(&server, fs::Permissions::from_mode(0o700)).expect("a folder of ours");
            chown(&server, Some(user.uid), Some(user.gid)).expect("root may change owners");
            Some(Server {
                patroni: RefCell::new(None),
                counts_after: Cell::new(0),
                folder: server,
                _disk: disk,
            })
        });
        let servers = servers.collect::<Option<Vec<_>>>()?;
        let cluster = Patroni { servers, etcd, folder, network };
        for index in 0..SERVERS {
            cluster.start_server(index);
        }
        cluster.wait_whole();
        cluster.create_database();
        Some(cluster)
    }

    /// The network, whose first hosts are the servers.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The host of a server.
    #[must_use]
    pub fn host(&self, server: usize) -> &Host {
        self.network.host(server)
    }

    /// The URL of the database, for the tap.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://tap:{}@{}/spool", PASSWORD.replace(' ', "%20"), self.servers_in_url())
    }

    /// The URL of the database, for psql.
    #[must_use]
    pub fn psql_url(&self) -> String {
        format!("{}?target_session_attrs=read-write&connect_timeout=3", self.url())
    }

    /// The file with the certificate of all servers.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn servers_in_url(&self) -> String {
        let servers = (0..SERVERS).map(|index| format!("{}:5432", self.host(index).address()));
        servers.collect::<Vec<_>>().join(",")
    }

    fn create_database(&self) {
        let leader = self.wait_leader();
        let host = self.host(leader).address().to_string();
        for sql in
            [&format!("CREATE ROLE tap LOGIN PASSWORD '{PASSWORD}'"), "CREATE DATABASE spool OWNER tap"]
        {
            let mut psql = Command::new("psql");
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h", &host]);
            run(psql.args(["-c", sql]).env("PGPASSWORD", PASSWORD));
        }
    }

    /// Sets how many seconds the clock of PostgreSQL is ahead on a server. This takes effect with its next
    /// start. Patroni keeps the right time, since libfaketime breaks how Python waits. Returns false and
    /// prints a line if Debian's package `faketime` is not installed.
    pub fn set_clock_ahead(&self, server: usize, seconds: u32) -> bool {
        let is_possible = faketime().is_some();
        if !is_possible {
            eprintln!("skipped: faketime is not installed");
        }
        let clock = self.servers[server].folder.join("clock");
        fs::write(clock, format!("+{seconds}")).expect("a file can be written");
        is_possible
    }

    /// Starts Patroni on a server, and with it PostgreSQL.
    pub fn start_server(&self, index: usize) {
        let server = &self.servers[index];
        self.demand_news(index);
        let log = OpenOptions::new().create(true).append(true).open(self.log(index)).expect("a log");
        let user = User::postgres();
        let [wrapper, namespace] = self.host(index).wrapper();
        let mut command = Command::new(wrapper);
        command.args([&namespace, "-S", &user.uid.to_string(), "-G", &user.gid.to_string(), "--"]);
        command.args([PYTHON, "-m", "patroni", "patroni.json"]).current_dir(&server.folder);
        command.env("PYTHONPATH", self.folder.path().join("python")).env("HOME", &server.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        *server.patroni.borrow_mut() = Some(command.spawn().expect("nsenter starts"));
    }

    /// Ignores what etcd says about a server until the server itself has said something new.
    fn demand_news(&self, server: usize) {
        self.servers[server].counts_after.set(self.etcd_entries().0);
    }

    /// Continues a server that stands still.
    pub fn thaw_server(&self, server: usize) {
        self.demand_news(server);
        self.host(server).thaw();
    }

    /// Connects everything that was cut off.
    pub fn heal(&self) {
        for server in 0..SERVERS {
            self.demand_news(server);
        }
        self.network.heal();
    }

    fn log(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("server-{server}.log"))
    }

    /// Kills Patroni and PostgreSQL on a server.
    pub fn kill_server(&self, server: usize) {
        self.host(server).kill_all();
        if let Some(mut patroni) = self.servers[server].patroni.take() {
            patroni.wait().expect("a child can be waited for");
        }
    }

    /// Asks a database on one server, and returns something if its answer is `expected`.
    pub fn query_at(
        &self,
        server: usize,
        database: &str,
        sql: &str,
        expected: impl Fn(&str) -> bool,
    ) -> Option<()> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", database, "-c", sql]);
        psql.arg("-h").arg(self.host(server).address().to_string()).env("PGPASSWORD", PASSWORD);
        // It may be down.
        let output = psql.env("PGCONNECT_TIMEOUT", "3").output().expect("psql starts");
        (output.status.success() && expected(&String::from_utf8_lossy(&output.stdout))).then_some(())
    }

    /// Starts Patroni again if it has ended by itself.
    pub fn revive(&self, server: usize) {
        let mut patroni = self.servers[server].patroni.borrow_mut();
        let has_ended = |child: &mut Child| child.try_wait().expect("a child can be waited for").is_some();
        if patroni.as_mut().is_none_or(has_ended) {
            drop(patroni);
            self.start_server(server);
        }
    }

    /// Kills the processes of PostgreSQL on a server, but not Patroni, which starts it again.
    pub fn kill_postgres(&self, server: usize) {
        let postmaster = self.postmaster(server).expect("the server is running");
        kill_process(postmaster, Signal::KILL).expect("the server is running");
    }

    fn postmaster(&self, server: usize) -> Option<Pid> {
        let text = fs::read_to_string(self.servers[server].folder.join("data/postmaster.pid")).ok()?;
        // While the cluster is created, the number is negative.
        let number = text.lines().next()?.trim().parse().ok().filter(|number| *number > 0)?;
        let pid = Pid::from_raw(number)?;
        self.host(server).processes().contains(&pid).then_some(pid)
    }

    /// Fills a server's disk. Returns the file that does so; delete it to make room again.
    #[must_use]
    pub fn fill_disk(&self, server: usize) -> PathBuf {
        let path = self.servers[server].folder.join("ballast");
        let mut ballast = File::create(&path).expect("an empty file still fits");
        let error = std::io::copy(&mut std::io::repeat(b'x'), &mut ballast).expect_err("the disk is small");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
        path
    }

    /// What the cluster says about itself.
    #[must_use]
    pub fn state(&self) -> ClusterState {
        let (_, entries) = self.etcd_entries();
        let find = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
        let leader = find("leader").and_then(server_number);
        let sync: Value = find("sync").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let names = sync["sync_standby"].as_str().unwrap_or_default();
        let is_of_leader = sync["leader"].as_str().and_then(server_number) == leader;
        let standbys = names.split(',').filter(|_| is_of_leader).filter_map(server_number).collect();
        let running = entries.iter().filter_map(|entry| {
            let server = server_number(entry.key.strip_prefix("members/")?)?;
            let member: Value = serde_json::from_str(&entry.value).ok()?;
            let is_running = matches!(member["state"].as_str(), Some("running" | "streaming"));
            let replicates = Some(server) == leader || member["replication_state"] == "streaming";
            let counts = self.servers[server].counts_after.get() < entry.revision;
            (is_running && replicates && counts).then_some(server)
        });
        ClusterState { leader, standbys, running: running.collect() }
    }

    /// The keys of the cluster and their values, as etcd's HTTP gateway returns them, and etcd's revision.
    fn etcd_entries(&self) -> (u64, Vec<Entry>) {
        let prefix = "/service/spool/";
        let range = json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode("/service/spool0")});
        let mut client = Endpoint::parse(&format!("http://{}:2379", self.network.own_address())).connect();
        let (range, path) = (range.to_string(), "/v3/kv/range");
        // To HTTP/1.0, etcd does not answer in chunks.
        client.send(format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{range}", range.len()));
        let answer = client.read_until_closed();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.contains(" 200 "), "{answer}");
        let answer = value(body);
        let text = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
            String::from_utf8(bytes).expect("Patroni writes text")
        };
        let revision = |value: &Value| value.as_str().expect("a number").parse().expect("a number");
        let entries = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice).iter().map(|entry| Entry {
            key: text(&entry["key"]).replacen(prefix, "", 1),
            value: text(&entry["value"]),
            revision: revision(&entry["mod_revision"]),
        });
        (revision(&answer["header"]["revision"]), entries.collect())
    }

    /// Waits until a condition holds, and returns what `look` found.
    pub fn wait<T>(&self, what: &str, look: impl Fn(&ClusterState) -> Option<T>) -> T {
        let end = Instant::now() + RECOVERY;
        loop {
            let state = self.state();
            if let Some(found) = look(&state) {
                return found;
            }
            assert!(Instant::now() < end, "waited {RECOVERY:?} in vain: {what}: {state:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until there is a leader, and returns it.
    pub fn wait_leader(&self) -> usize {
        self.wait("there is a leader", |state| state.leader)
    }

    /// Waits until another server than `old` leads, and accepts writes.
    pub fn wait_other_leader(&self, old: usize) -> usize {
        self.wait("another server leads", |state| {
            state.leader.filter(|new| *new != old && state.running.contains(new))
        })
    }

    /// Waits until every server is up, both standbys may confirm a commit, and each may be promoted.
    ///
    /// After PostgreSQL has crashed on the primary, Patroni trusts no standby until it has connected again.
    /// If the primary is lost before that, nobody takes its place.
    pub fn wait_whole(&self) {
        self.wait("the cluster is whole", |state| {
            let is_whole = state.standbys.len() == SERVERS - 1 && state.running.len() == SERVERS;
            let leader = state.leader.filter(|_| is_whole)?;
            // What etcd says may be older than a crash.
            let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            self.query_at(leader, "postgres", streaming, |count| count.trim() == (SERVERS - 1).to_string())
        });
    }

    /// Makes another server the leader, as for maintenance.
    pub fn switch_over(&self, candidate: usize) {
        let leader = self.wait_leader();
        let api = format!("http://{}:8008/switchover", self.host(leader).address());
        let wish = json!({"leader": server_name(leader), "candidate": server_name(candidate)});
        let reply = Endpoint::parse(&api).post(wish.to_string());
        assert_eq!(reply.status, 200, "{}", reply.body);
        self.wait("the candidate leads", |state| (state.leader == Some(candidate)).then_some(()));
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        if thread::panicking() {
            for server in 0..SERVERS {
                let log = fs::read_to_string(self.log(server)).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(40)..].join("\n");
                eprintln!("--- log of server {server}:\n{tail}\n---");
            }
        }
        for (index, server) in self.servers.iter().enumerate() {
            self.host(index).thaw();
            if let Some(mut patroni) = server.patroni.take() {
                let _ = patroni.kill();
                let _ = patroni.wait();
            }
            // An immediate shutdown, after which no shared memory is left.
            if let Some(postmaster) = self.postmaster(index) {
                let _ = kill_process(postmaster, Signal::QUIT);
                wait::until("PostgreSQL ends", || self.postmaster(index).is_none().then_some(()));
            }
        }
        self.etcd.kill();
    }
}

impl User {
    fn postgres() -> Self {
        let id = |option| run(Command::new("id").args([option, "postgres"])).trim().parse::<u32>();
        User { uid: id("-u").expect("a user id"), gid: id("-g").expect("a group id") }
    }
}

/// Returns the folder with Patroni and what it needs. Prints a line and returns `None` if it is missing.
fn site_packages() -> Option<PathBuf> {
    let versions = fs::read_dir(repository().join("target/venvs/patroni/lib"));
    let found = versions.into_iter().flatten().filter_map(Result::ok).find_map(|version| {
        let packages = version.path().join("site-packages");
        packages.join("patroni").is_dir().then_some(packages)
    });
    if found.is_none() {
        eprintln!("skipped: Patroni is missing; scripts/torture --postgres installs it");
    }
    found
}

fn faketime() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
}

fn start_etcd(network: &Network, folder: &Path) -> ChildProcess {
    let url = |port: u16| format!("http://{}:{port}", network.own_address());
    let mut etcd = Command::new(ETCD);
    etcd.arg("--data-dir").arg(folder.join("etcd")).args(["--log-level", "error"]);
    etcd.args(["--listen-client-urls", &url(2379), "--advertise-client-urls", &url(2379)]);
    etcd.args(["--listen-peer-urls", &url(2380), "--initial-advertise-peer-urls", &url(2380)]);
    etcd.args(["--initial-cluster", &format!("default={}", url(2380))]);
    let etcd = ChildProcess::spawn("etcd", etcd.stdin(Stdio::null()).stdout(Stdio::null()));
    let health = Endpoint::parse(&format!("{}/health", url(2379)));
    wait::until("etcd answers", || health.try_request("GET").ok().filter(|reply| reply.status == 200));
    etcd
}

fn server_name(server: usize) -> String {
    format!("server{server}")
}

fn server_number(name: &str) -> Option<usize> {
    name.strip_prefix("server")?.parse().ok()
}

/// A script that runs PostgreSQL with the clock of its server.
fn postgres_with_clock(folder: &Path) -> String {
    let (postgres, clock) = (postgres_bin().join("postgres"), folder.join("clock"));
    let (postgres, clock) = (postgres.display(), clock.display());
    let environment = faketime().map_or_else(String::new, |library| {
        // Waiting takes as long as usual; only the time of day is different.
        format!(
            "if [ -s {clock} ]; then\n  export LD_PRELOAD={} FAKETIME=\"$(cat {clock})\"\n  \
             export FAKETIME_DONT_FAKE_MONOTONIC=1\nfi\n",
            library.display()
        )
    });
    format!("#!/bin/sh\n{environment}exec {postgres} \"$@\"\n")
}

/// The configuration of a server. Patroni reads YAML, so also JSON.
fn config(server: usize, network: &Network, folder: &Path) -> Value {
    let address: Ipv4Addr = network.host(server).address();
    let user = |name: &str| json!({"username": name, "password": PASSWORD});
    json!({
        "scope": "spool",
        "name": server_name(server),
        "restapi": {"listen": format!("{address}:8008"), "connect_address": format!("{address}:8008")},
        "etcd3": {"hosts": [format!("{}:2379", network.own_address())]},
        "bootstrap": {
            "dcs": {
                // The shortest times that Patroni allows.
                "ttl": 20,
                "loop_wait": 2,
                "retry_timeout": 3,
                "primary_start_timeout": 15,
                "synchronous_mode": "quorum",
                "synchronous_mode_strict": true,
                "postgresql": {
                    "use_pg_rewind": true,
                    "parameters": {
                        "max_connections": 60,
                        "shared_buffers": "32MB",
                        // A full disk shows soon.
                        "min_wal_size": "2MB",
                        "max_wal_size": "64MB",
                    },
                },
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, {"wal-segsize": "1"}, "data-checksums"],
        },
        "postgresql": {
            "listen": format!("{address}:5432"),
            "connect_address": format!("{address}:5432"),
            "data_dir": folder.join("data"),
            "bin_dir": postgres_bin(),
            "bin_name": {"postgres": folder.join("postgres")},
            "pgpass": folder.join("pgpass"),
            "remove_data_directory_on_diverged_timelines": true,
            "authentication": {"superuser": user("postgres"), "replication": user("replicator")},
            "parameters": {
                "unix_socket_directories": folder,
                "ssl": "on",
                "ssl_cert_file": folder.join("server.pem"),
                "ssl_key_file": folder.join("server.key"),
            },
            "pg_hba": [
                "local all all trust",
                "host replication replicator 10.99.0.0/24 scram-sha-256",
                "hostssl all tap 10.99.0.0/24 scram-sha-256",
                "host all all 10.99.0.0/24 scram-sha-256",
            ],
        },
    })
}
