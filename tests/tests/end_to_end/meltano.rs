//! `scripts/meltano`: Meltano itself runs the project unchanged, in a folder of the test's own.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use end_to_end::database::Postgres;
use end_to_end::events::{DOCUMENTED_EVENTS, grouped, number_of, numbered_events};
use end_to_end::http::{Endpoint, free_address};
use end_to_end::message::{Record, bookmark, value};
use end_to_end::oracle::Oracle;
use end_to_end::program::{self, ChildProcess, Signal, repository, script};
use end_to_end::tap::{TOKEN, Tap};
use end_to_end::target::rows_in;
use end_to_end::wait;
use rusqlite::{Connection, OptionalExtension};

/// A copy of the project, which drains a tap's spool.
struct Project {
    tap: Tap,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// A Meltano run that has ended.
struct FinishedRun {
    code: Option<i32>,
    log: String,
}

impl Project {
    fn new() -> Self {
        let tap = Tap::new();
        let folder = tap.folder().join("project");
        fs::create_dir(&folder).expect("a new folder");
        let project = repository().join("scripts/meltano/meltano.yml");
        fs::copy(project, folder.join("meltano.yml")).expect("the project is there");
        let environment = vec![
            ("TAP_MAILJET_WEBHOOKS_SPOOL_PATH", tap.spool().path.display().to_string()),
            // The tests read columns with the default prefix.
            ("TAP_MAILJET_WEBHOOKS_SYSTEM_COLUMN_PREFIX", "_sdc_".to_owned()),
        ];
        Project { tap, folder, environment }
    }

    /// A project whose tap itself listens until it is stopped.
    fn listening_at(address: SocketAddr) -> Self {
        let mut project = Project::new();
        project.environment.extend([
            ("TAP_MAILJET_WEBHOOKS_MODE", "continuous".to_owned()),
            ("TAP_MAILJET_WEBHOOKS_LISTEN_ADDRESS", address.to_string()),
            ("TAP_MAILJET_WEBHOOKS_ADMIN_ADDRESS", "off".to_owned()),
            ("TAP_MAILJET_WEBHOOKS_WEBHOOK_TOKENS", format!("[\"{TOKEN}\"]")),
            ("TAP_MAILJET_WEBHOOKS_STATE_INTERVAL_RECORDS", "50".to_owned()),
        ]);
        project
    }

    /// Starts `meltano run tap-mailjet-webhooks LOADER`.
    fn start(&self, loader: &str, options: &[&str]) -> ChildProcess {
        let mut command = self.meltano(&["run", "--no-install"]);
        command.args(options).args(["tap-mailjet-webhooks", loader]).stdout(Stdio::null());
        ChildProcess::spawn("meltano", &mut command)
    }

    /// A Meltano command in the project.
    fn meltano(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program::venv_program("meltano", "meltano"));
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if ["MELTANO_", "TAP_", "TARGET_"].iter().any(|start| name.starts_with(start)) {
                command.env_remove(&*name);
            }
        }
        let programs = program::program_path("tap-mailjet-webhooks");
        let _ = program::program_path("target-jsonl");
        let programs = programs.parent().expect("it is in a folder").display().to_string();
        let path = env::var("PATH").expect("a path");
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{programs}:{path}", self.folder.join("bin").display()))
            .env("HOME", &self.folder)
            .env("MELTANO_SEND_ANONYMOUS_USAGE_STATS", "false")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the pipeline and waits until it ends.
    fn run(&self, loader: &str, options: &[&str]) -> FinishedRun {
        FinishedRun::wait_for(self.start(loader, options))
    }

    /// Runs the pipeline to its end and checks that it succeeded.
    fn drain(&self, loader: &str) -> FinishedRun {
        let finished = self.run(loader, &[]);
        assert_eq!(finished.code, Some(0), "{}", finished.log);
        finished
    }

    /// The rows that target-jsonl has written.
    fn rows(&self) -> Vec<Record> {
        rows_in(&self.folder.join("table"))
    }

    /// The bookmark in Meltano's own database.
    fn bookmark(&self, loader: &str) -> Option<i64> {
        let database = Connection::open(self.folder.join(".meltano/meltano.db")).expect("Meltano made it");
        let id = format!("prod:tap-mailjet-webhooks-to-{loader}");
        let query = "SELECT completed_state FROM state WHERE state_id = ?1";
        let state: Option<String> =
            database.query_row(query, [id], |row| row.get(0)).optional().expect("its table");
        state.and_then(|state| bookmark(&value(&state)["singer_state"]))
    }

    /// Edits the project file, as a user would.
    fn edit(&self, from: &str, to: &str) {
        let path = self.folder.join("meltano.yml");
        let text = fs::read_to_string(&path).expect("the project is there");
        assert!(text.contains(from));
        fs::write(path, text.replacen(from, to, 1)).expect("the project can be written");
    }
}

impl FinishedRun {
    fn wait_for(mut meltano: ChildProcess) -> Self {
        let code = meltano.wait();
        FinishedRun { code, log: meltano.stderr().wait_for_end().join("\n") }
    }
}

/// Waits until nothing listens at the address.
fn wait_until_closed(address: SocketAddr) {
    wait::until("the port is closed", || TcpStream::connect(address).is_err().then_some(()));
}

#[test]
fn each_run_drains_new_events_and_omits_deselected_columns() {
    let project = Project::new();
    project.tap.spool_bodies([grouped(&DOCUMENTED_EVENTS).as_str()]);
    project.drain("target-jsonl");
    let sequences = project.tap.spool().sequences();
    let written = |rows: &[Record]| rows.iter().map(Record::sequence).collect::<Vec<_>>();
    assert_eq!(written(&project.rows()), sequences);
    assert_eq!(project.bookmark("target-jsonl"), sequences.last().copied());
    assert!(!project.folder.join("table/open.jsonl").exists(), "each event is written to `data` only");

    let second = project.drain("target-jsonl");
    assert!(second.log.contains("0 events wait in the spool, past the bookmark"), "{}", second.log);
    assert_eq!(project.rows().len(), DOCUMENTED_EVENTS.len());

    project.tap.spool_bodies([DOCUMENTED_EVENTS[0]]);
    project.edit("    - data.*\n", "    - data.*\n    - '!data.email'\n");
    let third = project.drain("target-jsonl");
    assert!(third.log.contains("1 events wait in the spool, past the bookmark"), "{}", third.log);
    let rows = project.rows();
    assert_eq!(written(&rows), project.tap.spool().sequences());
    let has_email: Vec<_> = rows.iter().map(|row| row.get("email").is_some()).collect();
    assert_eq!(has_email, [true, true, true, true, true, true, true, false]);
}

#[test]
fn the_project_loads_into_postgresql_too() {
    let mut project = Project::new();
    project.environment.retain(|(name, _)| *name != "TAP_MAILJET_WEBHOOKS_SYSTEM_COLUMN_PREFIX");
    project.tap.spool_bodies([grouped(&DOCUMENTED_EVENTS).as_str()]);
    let postgres = Postgres::start();
    let url = format!("postgresql+psycopg://tester@/postgres?host={}&port=5432", postgres.host().display());
    project.environment.push(("TARGET_POSTGRES_SQLALCHEMY_URL", url));
    // Where `meltano install` would put the target.
    let bin = project.folder.join(".meltano/loaders/target-postgres/venv/bin");
    fs::create_dir_all(&bin).expect("a folder");
    let installed = program::venv_program("meltanolabs-target-postgres", "target-postgres");
    symlink(installed, bin.join("target-postgres")).expect("a link");
    project.drain("target-postgres");

    let events = project.tap.spool().events();
    let posted = DOCUMENTED_EVENTS.map(Record::from_row);
    let expected: Vec<_> = events
        .iter()
        .zip(&posted)
        .map(|(event, posted)| {
            format!("{},{},{}", event.sequence, posted.raw("MessageID"), event.received_at)
        })
        .collect();
    let sql =
        "SELECT _mailjet_sequence, \"MessageID\", (extract(epoch FROM _mailjet_received_at) * 1000)::bigint
        FROM mailjet.data ORDER BY 1";
    assert_eq!(postgres.query(sql).lines().collect::<Vec<_>>(), expected);
    assert_eq!(project.bookmark("target-postgres"), events.last().map(|event| event.sequence));
}

#[test]
fn a_run_terminated_under_load_loses_nothing() {
    let address = free_address();
    let mut project = Project::listening_at(address);
    let mut meltano = project.start("target-jsonl", &[]);
    let _ = meltano.stderr().wait_for("listening on http://");
    let oracle = Oracle::start(Endpoint::webhook_at(address), 2);
    oracle.wait_acknowledged(300);
    meltano.signal(Signal::TERM);
    assert_eq!(FinishedRun::wait_for(meltano).code, Some(143));
    wait_until_closed(address);
    let sent = oracle.stop();
    project.environment.push(("TAP_MAILJET_WEBHOOKS_MODE", "drain".to_owned()));
    project.drain("target-jsonl");
    sent.assert_delivered_in(&project.rows(), 2);
}

/// A killed Meltano cannot stop its children. Both must end by themselves, under load and while idle.
#[test]
fn a_killed_run_leaves_no_orphan_and_loses_nothing() {
    let address = free_address();
    let project = Project::listening_at(address);
    let mut first = project.start("target-jsonl", &[]);
    let _ = first.stderr().wait_for("listening on http://");
    let oracle = Oracle::start(Endpoint::webhook_at(address), 2);
    oracle.wait_acknowledged(300);
    first.kill();
    wait_until_closed(address);

    // For five minutes, Meltano believes that the killed run is still going on.
    let refused = project.run("target-jsonl", &[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.log.contains("pipeline is already running"), "{}", refused.log);
    let mut second = project.start("target-jsonl", &["--force"]);
    let _ = second.stderr().wait_for("listening on http://");
    oracle.wait_acknowledged(100);
    let sent = oracle.stop();
    wait::until("the target has every event", || sent.all_acknowledged_in(&project.rows()).then_some(()));
    second.kill();
    wait_until_closed(address);
    sent.assert_delivered_in(&project.rows(), 2);
}

#[test]
fn after_a_target_failure_the_next_run_resumes_from_its_last_state() {
    const EVENTS: u64 = 600;
    let mut project = Project::new();
    project.environment.extend([
        ("TAP_MAILJET_WEBHOOKS_STATE_INTERVAL_RECORDS", "50".to_owned()),
        ("TARGET_JSONL_STATE_INTERVAL_SECONDS", "0".to_owned()),
    ]);
    project.tap.spool_bodies([grouped(&numbered_events(0, EVENTS)).as_str()]);
    // A target that may write 200 blocks of 512 bytes, less than half of the table. As on a full disk, a
    // write fails.
    let bin = project.folder.join("bin");
    fs::create_dir(&bin).expect("a new folder");
    let (limited, target) = (bin.join("target-jsonl"), program::program_path("target-jsonl"));
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f 200\nexec '{}' \"$@\"\n", target.display());
    fs::write(&limited, script).expect("a script can be written");
    fs::set_permissions(&limited, fs::Permissions::from_mode(0o755))
        .expect("a script can be made executable");
    let failed = project.run("target-jsonl", &[]);
    assert_eq!(failed.code, Some(1), "{}", failed.log);
    let confirmed = project.bookmark("target-jsonl").expect("the last state that the target printed");
    let sequences = project.tap.spool().sequences();
    let left = sequences.iter().filter(|sequence| **sequence > confirmed).count();
    assert!(left > 0 && left < sequences.len(), "{left} events are left");

    fs::remove_file(&limited).expect("the script is there");
    let repeated = project.drain("target-jsonl");
    assert!(
        repeated.log.contains(&format!("{left} events wait in the spool, past the bookmark {confirmed}")),
        "{}",
        repeated.log
    );
    let numbers: BTreeSet<u64> = project.rows().iter().map(number_of).collect();
    assert_eq!(numbers, (0..EVENTS).collect());
}

#[test]
fn the_projects_settings_are_known_to_the_programs() {
    let project = Project::new();
    for plugin in ["tap-mailjet-webhooks", "target-jsonl"] {
        let mut invoke = project.meltano(&["invoke", "--no-install", plugin, "--about", "--format", "json"]);
        let about = value(&program::run(&mut invoke));
        assert_eq!(about["name"], plugin);
        // Every setting in the project is one that the plugin knows.
        let configured =
            value(&program::run(&mut project.meltano(&["--log-level", "error", "config", "print", plugin])));
        let known = about["settings"]["properties"].as_object().expect("settings");
        for setting in configured.as_object().expect("settings").keys() {
            assert!(known.contains_key(setting), "{plugin} does not know {setting}");
        }
    }
}

/// Meltano installs the wheels that `scripts/wheels` builds like those of any plugin.
#[test]
fn meltano_installs_the_wheels_from_their_pip_url() {
    let project = Project::new();
    let wheels = project.folder.join("wheels");
    let build = script("scripts/wheels", &wheels).stdin(Stdio::null()).output().expect("it starts");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    for (plugin, distribution) in
        [("tap-mailjet-webhooks", "tap_mailjet_webhooks"), ("target-jsonl", "target_jsonl_durable")]
    {
        let wheel = fs::read_dir(&wheels)
            .expect("the wheels")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(distribution))
            })
            .expect("its wheel");
        let executable = format!("    executable: {plugin}\n");
        project.edit(&executable, &format!("{executable}    pip_url: {}\n", wheel.display()));
        // Nothing has to be downloaded: our wheels have no dependencies.
        program::run(project.meltano(&["install", plugin]).env("UV_OFFLINE", "1"));
    }
    let installed =
        project.folder.join(".meltano/extractors/tap-mailjet-webhooks/venv/bin/tap-mailjet-webhooks");
    assert!(installed.is_file());
    project.tap.spool_bodies(DOCUMENTED_EVENTS);
    project.drain("target-jsonl");
    assert_eq!(project.rows().len(), DOCUMENTED_EVENTS.len());
}
