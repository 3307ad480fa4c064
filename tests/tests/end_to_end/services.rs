//! `listen` as a service and drains on a schedule: `scripts/systemd` and `scripts/crontab`, used unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_events};
use end_to_end::message::Record;
use end_to_end::program::{program_path, repository};
use end_to_end::tap::Tap;
use end_to_end::target::rows_in;
use end_to_end::wait;

const LISTENER: &str = "tap-mailjet-webhooks.service";
const DRAIN: &str = "tap-mailjet-webhooks-drain.service";
const TIMER: &str = "tap-mailjet-webhooks-drain.timer";
const SOCKET: &str = "tap-mailjet-webhooks.socket";

/// A file of `scripts/`.
fn script(name: &str) -> String {
    fs::read_to_string(repository().join("scripts").join(name)).expect("the file is there")
}

/// The folder of the programs, ending with a `/`.
fn programs() -> String {
    let _ = program_path("target-jsonl");
    let tap = program_path("tap-mailjet-webhooks");
    format!("{}/", tap.parent().expect("the tap lies in a folder").display())
}

/// Copies the units into `folder`, with the paths of the programs under test.
fn units(folder: &Path) -> [PathBuf; 4] {
    [LISTENER, DRAIN, TIMER, SOCKET].map(|name| {
        let path = folder.join(name);
        let unit = script(&format!("systemd/{name}")).replace("/usr/local/bin/", &programs());
        fs::write(&path, unit).expect("a unit can be written");
        path
    })
}

/// Runs `systemd-analyze`; `None` if it is not installed.
fn systemd_analyze(arguments: &[&str], files: &[PathBuf]) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(arguments).args(files).stdin(Stdio::null()).output();
    if output.is_err() {
        eprintln!("skipped: systemd-analyze is not installed");
    }
    output.ok()
}

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().expect("a folder");
    let units = units(folder.path());
    let Some(verified) = systemd_analyze(&["verify", "--man=no"], &units) else { return };
    // An unknown setting is a warning.
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");

    // The listener's remaining exposure is the network, without which it would receive nothing: 1.1. Without
    // one of the stronger protections (0.2 or more each) it exceeds this threshold, which is in tenths. A
    // newer systemd that rates it a tenth higher does not.
    for (unit, threshold) in units.iter().zip(["--threshold=12", "--threshold=5"]) {
        let arguments = ["security", "--no-pager", "--offline=true", threshold];
        let Some(rated) = systemd_analyze(&arguments, std::slice::from_ref(unit)) else { return };
        let complaint = String::from_utf8_lossy(&rated.stderr);
        if complaint.contains("unrecognized option") {
            eprintln!("skipped: this systemd-analyze can only rate installed units");
            return;
        }
        assert!(rated.status.success(), "{complaint}\n{}", String::from_utf8_lossy(&rated.stdout));
    }
}

/// The sets of system calls that systemd defines, by name. A set may contain others.
fn call_sets() -> Option<BTreeMap<String, Vec<String>>> {
    let answer = systemd_analyze(&["syscall-filter"], &[])?;
    let mut sets = BTreeMap::new();
    let mut current = String::new();
    for line in String::from_utf8(answer.stdout).expect("text").lines() {
        match line.split_once("    ") {
            None if line.starts_with('@') => line.clone_into(&mut current),
            Some(("", name)) if !name.starts_with('#') => {
                sets.entry(current.clone()).or_insert_with(Vec::new).push(name.to_owned());
            }
            _ => {}
        }
    }
    Some(sets)
}

/// The calls of a set, including those of its subsets.
fn calls_of(name: &str, sets: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    match sets.get(name) {
        Some(members) => members.iter().flat_map(|member| calls_of(member, sets)).collect(),
        None => BTreeSet::from([name.to_owned()]),
    }
}

/// The system calls that a unit allows.
fn allowed_by(unit: &str, sets: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for filter in
        script(&format!("systemd/{unit}")).lines().filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        let (forbids, names) = filter.strip_prefix('~').map_or((false, filter), |names| (true, names));
        for call in names.split(' ').flat_map(|name| calls_of(name, sets)) {
            if forbids {
                allowed.remove(&call)
            } else {
                allowed.insert(call)
            };
        }
    }
    allowed
}

/// The system calls in the output of strace.
fn calls_in(trace: &str) -> BTreeSet<String> {
    let trace = wait::until("the trace is complete", || {
        let text = fs::read_to_string(trace).ok()?;
        // Each line begins with the id of its thread, padded with spaces. The first thread is the process.
        let (process, _) = text.split_once(' ')?;
        let is_end = |line: &str| line.starts_with(&format!("{process} ")) && line.contains("+++ exited");
        text.lines().any(is_end).then_some(text)
    });
    let calls = trace.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('));
    let is_name = |call: &&str| call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    calls.map(|(call, _)| call).filter(is_name).map(str::to_owned).collect()
}

/// A system call that the unit forbids would fail only on the machine where the service runs. The calls can
/// be observed without systemd.
#[test]
fn the_sandbox_allows_every_system_call_of_the_tap() {
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let Some(sets) = call_sets() else { return };
    let tap = Tap::new();
    let traced = |name: &str| tap.folder().join(name).display().to_string();
    let (listening, draining) = (traced("listener"), traced("drain"));
    let listener =
        tap.listen().set("mode", "drain").wrapped_in(&["strace", "-D", "-f", "-o", &listening]).start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    listener.stop().assert_code(0);
    tap.drain().state().wrapped_in(&["strace", "-D", "-f", "-o", &draining]).finish().assert_code(0);
    for (trace, unit) in [(&listening, LISTENER), (&draining, DRAIN)] {
        let (mut made, allowed) = (calls_in(trace), allowed_by(unit, &sets));
        // SQLite calls it only as root, and the service does not run as root.
        made.remove("fchown");
        assert!(made.contains("fdatasync") || made.contains("fsync"), "the trace holds a sync: {made:?}");
        let forbidden: Vec<_> = made.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{unit} forbids {forbidden:?}");
    }
}

/// The command in `scripts/crontab`.
fn crontab_command() -> String {
    let crontab = script("crontab");
    let entry = crontab.lines().last().expect("an entry");
    assert!(!entry.contains('%'), "cron turns % into line breaks");
    entry.splitn(6, ' ').last().expect("five fields, then the command").to_owned()
}

/// The command of the draining unit.
fn unit_command() -> String {
    let unit = script(&format!("systemd/{DRAIN}")).replace("\\\n", " ");
    let command =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command").to_owned();
    assert!(!command.contains(['%', '$']), "systemd would expand % and $");
    command.replace("/usr/local/bin/", &programs()).replace("/etc/tap-mailjet-webhooks/", "")
}

/// Runs a draining command several times beside a listener that stays up.
fn assert_drains_beside_a_listener(command: &str, code_of_an_overlap: i32) {
    let tap = Tap::new();
    let folder = tap.folder().join("mailjet");
    fs::create_dir(&folder).expect("a new folder");
    for name in ["tap.json", "target.json"] {
        let config = script(&format!("systemd/{name}"));
        let config =
            config.replace("/var/lib/tap-mailjet-webhooks/spool.db", &tap.spool().path.display().to_string());
        let config = config.replace("/var/lib/tap-mailjet-webhooks", &folder.display().to_string());
        fs::write(folder.join(name), config).expect("a config file can be written");
    }
    let drain = || {
        let path = format!("{}:/usr/bin:/bin", programs());
        let mut bash = Command::new("bash");
        bash.args(["-c", command]).current_dir(&folder).env("HOME", tap.folder()).env("PATH", path);
        let output = bash.stdin(Stdio::null()).output().expect("bash is there");
        assert!(output.stdout.is_empty(), "{output:?}");
        output.status.code()
    };
    let rows = || rows_in(&folder.join("table"));
    let states = || fs::read_to_string(folder.join("state.jsonl")).unwrap_or_default();

    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    for (count, event) in (1..).zip(&DOCUMENTED_EVENTS[..3]) {
        endpoint.post_accepted(event);
        assert_eq!(drain(), Some(0));
        assert_eq!(rows().len(), count, "the last event is in the table");
    }

    // Another drain that cannot end, because nobody reads its output.
    for event in numbered_events(0, 500) {
        endpoint.post_accepted(event);
    }
    let (mut other, unread) = tap.drain().state().start_unread();
    let _ = other.stderr().wait_for("events wait in the spool");
    let before = states();
    assert_eq!(drain(), Some(code_of_an_overlap));
    assert_eq!((rows().len(), states()), (3, before), "an overlapping run does nothing");
    other.kill();
    drop(unread);
    assert_eq!(drain(), Some(0));
    let sequences: Vec<_> = rows().iter().map(Record::sequence).collect();
    assert_eq!(sequences, tap.spool().sequences(), "each event exactly once");
    listener.stop().assert_code(0);
}

#[test]
fn the_crontab_drains_beside_a_listener() {
    assert_drains_beside_a_listener(&crontab_command(), 0);
}

#[test]
fn the_systemd_timer_drains_beside_a_listener() {
    assert!(script(&format!("systemd/{DRAIN}")).contains("\nSuccessExitStatus=75\n"));
    assert_drains_beside_a_listener(&unit_command(), 75);
}

/// As systemd starts a service with a socket unit. The test stands in for it.
#[test]
fn sockets_that_the_service_manager_passes_on_are_used() {
    let tap = Tap::new();
    // `systemd-socket-activate` and systemd itself pass descriptors from 3 on.
    let script = "import os, socket, sys
sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)]
for number, passed in enumerate(sockets, 3):
    print('port', passed.getsockname()[1], file=sys.stderr, flush=True)
duplicates = [os.dup2(passed.fileno(), 20 + number) for number, passed in enumerate(sockets)]
for number, duplicate in enumerate(duplicates, 3):
    os.dup2(duplicate, number)
os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='admin:webhooks')
os.execv(sys.argv[1], sys.argv[1:])";
    let listener = tap.listen().wrapped_in(&["python3", "-c", script]).start();
    let endpoint = listener.endpoint();
    let ports: Vec<_> = listener.program.stderr().so_far();
    let ports: Vec<_> = ports.iter().filter_map(|line| line.strip_prefix("port ")).collect();
    assert_eq!(endpoint.address.port().to_string(), ports[1]);
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(listener.admin().address.port().to_string(), ports[0]);
    assert_eq!(listener.admin().with_path("/healthz").request("GET").status, 200);
    listener.stop().assert_code(0);
}
