//! The scripts as people run them: `scripts/run` exactly as in the quick start, but in a folder and on a port
//! of its own; `scripts/install`; `scripts/cluster`, with each step that it prints; and the longer scripts,
//! briefly or with small sizes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::growth::growth;
use end_to_end::http::{Endpoint, free_address};
use end_to_end::lines::OutputLines;
use end_to_end::program::{self, ChildProcess, Signal, repository, script};
use end_to_end::sampling::{ProcessUsage, Sample, SampleContext};
use end_to_end::soak::SoakReport;
use end_to_end::wait;

fn start(folder: &Path) -> ChildProcess {
    let mut command = script("scripts/run", folder);
    ChildProcess::spawn("scripts/run", command.stdin(Stdio::null()).stdout(Stdio::piped()))
}

#[test]
fn install_puts_programs_man_pages_and_completions_in_their_standard_places() {
    let prefix = tempfile::tempdir().expect("a folder");
    // Twice, since an upgrade replaces existing files.
    for _ in 0..2 {
        program::run(script("scripts/install", prefix.path()).stdin(Stdio::null()));
    }
    for program in ["tap-mailjet-webhooks", "target-jsonl"] {
        let version = program::run(Command::new(prefix.path().join("bin").join(program)).arg("--version"));
        assert_eq!(version.trim(), format!("{program} {}", env!("CARGO_PKG_VERSION")));
        let read = |path: String| fs::read_to_string(prefix.path().join("share").join(path)).expect("a file");
        assert!(read(format!("man/man1/{program}.1")).contains(".SH OPTIONS"));
        let bash = format!("bash-completion/completions/{program}");
        program::run(Command::new("bash").arg("-n").arg(prefix.path().join("share").join(&bash)));
        assert!(read(bash).contains("--config"));
        assert!(read(format!("zsh/site-functions/_{program}")).starts_with(&format!("#compdef {program}")));
        assert!(read(format!("fish/vendor_completions.d/{program}.fish")).contains("config"));
    }
    assert!(prefix.path().join("share/man/man1/tap-mailjet-webhooks-url-new.1").is_file());
}

#[test]
fn the_benchmark_runs_and_writes_its_results() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = script("scripts/bench", "--quick");
    command.args(["--only", "grouped,drain,target,hostile,growth", "--folder"]).arg(folder.path());
    let printed = program::run(command.stdin(Stdio::null()));
    let read = |name| fs::read_to_string(folder.path().join(name)).expect("results");
    let table = read("results.md");
    assert!(printed.contains(&table), "the table is printed");
    // The figures themselves do not matter here, since other tests run at the same time.
    for what in [
        "events in posts of 100",
        "drain of 20 000 events",
        "target-jsonl, 5000 records",
        "the worst body, listener",
        "trim, an event",
    ] {
        assert!(table.lines().any(|line| line.starts_with(&format!("| {what}"))), "{what}:\n{table}");
    }
    assert!(table.contains("- processor: "), "the machine is named:\n{table}");
    let results: serde_json::Value = serde_json::from_str(&read("results.json")).expect("JSON");
    assert!(results["rows"].as_array().is_some_and(|rows| rows.len() >= 10), "{results}");
    assert!(read("rounds.csv").starts_with("part,side,unit,value\ngrouped,"));
    let chart = fs::read(folder.path().join("chart.png")).expect("a chart");
    assert!(chart.starts_with(b"\x89PNG"));
    for spool in ["grouped", "drain", "small", "big", "messages.jsonl"] {
        assert!(!folder.path().join(spool).exists(), "{spool} is removed");
    }
}

fn rows(folder: &Path) -> usize {
    fs::read_to_string(folder.join("table/data.jsonl")).map_or(0, |table| table.lines().count())
}

#[test]
fn the_quick_start_works_and_a_second_start_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("a folder of its own");
    fs::create_dir(&folder).expect("a new folder");
    let config = serde_json::json!({
        "listen_address": free_address(),
        "admin_address": "off",
        "spool_path": folder.join("spool.db"),
    });
    fs::write(folder.join("tap.json"), config.to_string()).expect("a configuration");

    let mut first = start(&folder);
    let stdout = first.collect_stdout_with_token();
    let command_line = stdout.wait_for("send-test --url http://127.0.0.1:");
    let _ = first.stderr().wait_for("listening on");
    let mut overlapping = start(&folder);
    let _ = overlapping.collect_stdout();
    assert_eq!(overlapping.wait(), Some(1));
    assert!(overlapping.stderr().wait_for_end().iter().any(|line| line.contains("is running with")));
    let sent = Command::new("bash")
        .args(["-c", command_line.trim()])
        .current_dir(repository())
        .output()
        .expect("bash runs the printed command line");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    wait::until("every event is in the table", || (rows(&folder) == DOCUMENTED_EVENTS.len()).then_some(()));
    first.signal(Signal::INT);
    assert_eq!(first.wait(), Some(0));

    let mut second = start(&folder);
    let stdout = second.collect_stdout();
    let _ = stdout.wait_for("scripts/run");
    let _ = second.stderr().wait_for("0 events wait in the spool");
    second.signal(Signal::TERM);
    assert_eq!(second.wait(), Some(0));
    assert_eq!(rows(&folder), DOCUMENTED_EVENTS.len(), "no event is written twice");
}

/// A running `scripts/cluster`. It is asked to stop on drop, since nobody else stops its servers.
struct Cluster {
    script: ChildProcess,
    stdout: OutputLines,
    folder: PathBuf,
}

impl Cluster {
    fn start(folder: PathBuf) -> Self {
        let mut command = script("scripts/cluster", &folder);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut script = ChildProcess::spawn("scripts/cluster", command);
        let stdout = script.collect_stdout_with_token();
        let cluster = Cluster { script, stdout, folder };
        let _ = cluster.script.stderr().wait_for("running; Ctrl-C stops");
        // The last line of what it prints to stdout, which is read by another thread.
        let _ = cluster.stdout.wait_for("nginx is process ");
        cluster
    }

    /// Returns the printed commands of a numbered step, each on one line.
    fn commands(&self, step: u32) -> Vec<String> {
        let is_step = |line: &str, step| line.starts_with(&format!("    {step}. "));
        let lines = self.stdout.so_far();
        let lines = lines.iter().skip_while(|line| !is_step(line, step));
        let lines = lines.take_while(|line| !is_step(line, step + 1) && !line.starts_with("    To see"));
        let indented: Vec<_> = lines.filter_map(|line| line.strip_prefix("        ")).collect();
        indented.join("\n").replace("\\\n", " ").lines().map(str::to_owned).collect()
    }

    /// The processes that it has started and named, and the servers.
    fn processes(&self) -> Vec<u32> {
        let lines = self.stdout.so_far();
        let named = lines.iter().filter_map(|line| {
            let (_, id) = line.split_once("kill -9 ").or_else(|| line.split_once("nginx is process "))?;
            id.trim_end_matches('.').parse().ok()
        });
        let servers = ["one", "two", "three"].map(|server| {
            let file = self.folder.join(server).join("data/postmaster.pid");
            let text = fs::read_to_string(file).expect("the server runs");
            text.lines().next().and_then(|id| id.parse().ok()).expect("a process id")
        });
        named.chain(servers).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.script.signal(Signal::INT);
        self.script.wait();
    }
}

/// Runs a printed command line, and returns what it prints to stdout.
fn run_printed(commands: &[String]) -> String {
    program::run(Command::new("bash").args(["-c", &commands.join("\n")]).current_dir(repository()))
}

/// Each step that `scripts/cluster` prints for people to try does what the text says.
#[test]
fn a_cluster_survives_what_it_invites_to_try_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    // As root, the servers run as another user, who has to get there.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).expect("its owner may do that");
    let mut cluster = Cluster::start(folder.path().join("cluster"));
    let processes = cluster.processes();
    assert_eq!(processes.len(), 6, "a listener, the emitter, nginx and the servers: {processes:?}");
    let url = cluster.stdout.wait_for("http://127.0.0.1:");
    let nginx = Endpoint::parse(url.trim());
    let is_stored = |number| {
        let table = fs::read_to_string(cluster.folder.join("table/data.jsonl")).unwrap_or_default();
        table.contains(&format!("\"guid-{number}\"")).then_some(())
    };
    let post = |number| nginx.post(numbered_event(number)).status;
    let post_stored = |number| {
        assert_eq!(post(number), 200);
        wait::until("the event is in the table", || is_stored(number));
    };

    post_stored(1);
    let listener = cluster.commands(1);
    run_printed(&listener[..1]);
    // Enough for both turns of the round robin.
    (2..5).for_each(post_stored);
    let emitters = cluster.commands(2);
    assert_eq!(run_printed(&emitters[..1]).trim(), "75");

    run_printed(&cluster.commands(3));
    post_stored(5);
    let both_standbys = cluster.commands(4);
    run_printed(&both_standbys[..1]);
    // A standby confirms commits until it has ended. Then it removes this file.
    let ended = |server| !cluster.folder.join(server).join("data/postmaster.pid").exists();
    wait::until("both standbys end", || (ended("two") && ended("three")).then_some(()));
    assert_eq!(post(6), 503);
    run_printed(&both_standbys[1..]);
    // A server accepts connections before it follows the primary.
    wait::until("a standby follows again", || (post(7) == 200).then_some(()));
    post_stored(7);

    let failover = cluster.commands(5);
    run_printed(&failover[..1]);
    // The processes of the killed server notice that one after the other, and may still store an event.
    wait::until("the primary is gone", || (post(8) == 503).then_some(()));
    run_printed(&failover[1..]);
    wait::until("the new primary accepts events", || (post(9) == 200).then_some(()));
    post_stored(10);

    let processes = [processes, cluster.processes()].concat();
    cluster.script.signal(Signal::INT);
    assert_eq!(cluster.script.wait(), Some(0));
    assert!(!cluster.folder.exists(), "the folder is deleted");
    // A server removes its file a moment before it ends, and then its parent has to notice.
    let is_left = |id: &u32| Path::new(&format!("/proc/{id}")).exists();
    wait::until("every process has ended", || (!processes.iter().any(is_left)).then_some(()));
}

/// `scripts/soak` without the chart: one round, with phases of a second each.
#[test]
fn a_short_soak_loses_nothing_and_leaves_its_samples() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut soak = Command::new(program::program_path("examples/soak"));
    let printed = program::run(soak.arg(folder.path()).arg("0.14"));
    assert!(printed.contains("each arrived unchanged"), "{printed}");
    let table = fs::read_to_string(folder.path().join("soak.csv")).expect("samples");
    let mut lines = table.lines().map(|line| line.split(',').count());
    let columns = lines.next().expect("the names of the columns");
    assert!(lines.clone().count() > 4, "{table}");
    assert!(lines.all(|cells| cells == columns), "{table}");
}

/// The report of a run with twelve rounds, in which a tap that is not restarted takes `growth` more bytes
/// each second.
fn report_with(growth: u64) -> SoakReport {
    let sample = |seconds: u64| {
        let round = usize::try_from(seconds / 150).expect("a small number");
        // A process that is restarted all the time cannot grow.
        let age = if (3..9).contains(&round) { seconds - 3 * 150 } else { 20 };
        let resident = 10_000_000 + age * growth;
        let usage = ProcessUsage { resident, anonymous: resident, descriptors: 30, threads: 10 };
        let phase = if seconds % 150 < 75 { "single" } else { "grouped" };
        Sample {
            seconds,
            context: SampleContext { round, phase, ..SampleContext::default() },
            tap: Some(usage),
            target: None,
            spool: 50_000_000,
            wal: 4_000_000,
            shm: 32_768,
            acknowledged: 1000,
            backlog: None,
            written: 0,
        }
    };
    SoakReport {
        rounds: 12,
        undisturbed: 3..9,
        acknowledged: 1_800_000,
        rows: 1_800_000,
        rejected: 0,
        repeated: 0,
        marks: std::collections::BTreeMap::default(),
        samples: (0..1800).map(sample).collect(),
    }
}

#[test]
fn a_soak_reports_a_leak_of_twenty_bytes_an_event_and_no_leak_without_one() {
    let grown = |bytes_a_second| -> Vec<_> {
        let figures = growth(&report_with(bytes_a_second)).into_iter().filter(|figure| figure.has_grown);
        figures.map(|figure| (figure.name, figure.when)).collect()
    };
    assert_eq!(grown(0), []);
    assert_eq!(grown(20_000), [("memory of the tap, MB", "undisturbed")]);
}
