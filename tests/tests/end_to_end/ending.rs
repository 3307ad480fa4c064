//! How a run ends.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use end_to_end::events::{DOCUMENTED_EVENTS, grouped, number_of, numbered_event, numbered_events};
use end_to_end::faults::{Fault, FaultInjector, SpoolFile, SystemCall};
use end_to_end::http::post_head;
use end_to_end::message::Message;
use end_to_end::oracle::Oracle;
use end_to_end::pipeline::Pipeline;
use end_to_end::program::{self, ChildProcess, KillOnPanic, Signal};
use end_to_end::tap::{FinishedTap, Tap};
use end_to_end::target::Target;
use end_to_end::wait;

fn ends_with_state(finished: &FinishedTap) -> bool {
    matches!(finished.messages().last(), Some(Message::State(_)))
}

#[test]
fn sigterm_under_load_drains_every_acknowledged_event() {
    let tap = Tap::new();
    let running = tap.run().start();
    let oracle = Oracle::start(running.endpoint(), 4);
    oracle.wait_acknowledged(200);
    let finished = running.stop();
    let sent = oracle.stop();
    finished.assert_code(0);
    assert!(ends_with_state(&finished));
    sent.assert_delivered_in(&finished.records(), 1);
}

#[test]
fn a_request_in_flight_is_finished_before_the_tap_ends() {
    let tap = Tap::new();
    let mut running = tap.run().start();
    let endpoint = running.endpoint();
    let mut client = endpoint.connect();
    let event = numbered_event(1);
    // The 100 shows that the tap has started to process the request.
    client.send(post_head(&endpoint.path, &[("Expect", "100-continue")], event.len()));
    assert_eq!(client.reply().status, 100);
    running.program.signal(Signal::TERM);
    wait::until("new connections are refused", || {
        std::net::TcpStream::connect_timeout(&endpoint.address, Duration::from_secs(1)).is_err().then_some(())
    });
    client.send(event);
    assert_eq!(client.reply().status, 200);
    let finished = running.finish();
    finished.assert_code(0);
    assert_eq!(finished.records().iter().map(number_of).collect::<Vec<_>>(), [1]);
    assert!(ends_with_state(&finished));
}

/// Ctrl-C on a terminal reaches every process of the pipeline, and impatient people press it twice.
#[test]
fn a_second_signal_does_not_cut_the_end_short() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    let (mut running, stdout) = tap.run().start_unread();
    // Nobody has read anything yet, so the tap is in the middle of its output when the signals come.
    let mut lines = BufReader::new(stdout).lines();
    let mut messages = vec![lines.next().expect("a line").expect("readable")];
    let _ = running.stderr().wait_for("listening on");
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    messages.extend(lines.map(|line| line.expect("readable")));
    assert_eq!(running.wait(), Some(0));
    let messages = Message::parse_all(&messages);
    assert!(matches!(messages.last(), Some(Message::State(_))));
    assert_eq!(messages.into_iter().filter_map(Message::record).count(), 3000);
}

/// `script` runs a command line on a terminal of its own and prints what the terminal shows.
#[test]
fn on_a_terminal_a_live_line_shows_progress_on_stderr_only() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    let on_a_terminal = |log: &str| {
        let command = tap.drain().into_command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().expect("text"))).collect();
        let line = format!("stty cols 80; {} >out {log}", words.join(" "));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").current_dir(tap.folder());
        program::run(&mut script)
    };
    let read = |name: &str| std::fs::read_to_string(tap.folder().join(name)).expect("a file");
    let shown = on_a_terminal("");
    assert!(shown.contains("3,000 events") && !shown.contains("METRIC"), "{shown:?}");
    assert!(read("out").lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    // The same with stderr in a file: no terminal shows it.
    assert_eq!(on_a_terminal("2>log"), "");
    assert!(read("log").contains("INFO METRIC") && !read("log").contains("3,000 events"), "{}", read("log"));
}

/// As systemd starts a service with `Type=notify`.
#[test]
fn the_service_manager_is_notified_when_the_listener_is_ready_and_stopping() {
    let tap = Tap::new();
    let path = tap.folder().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(wait::DEADLINE)).expect("a timeout");
    let next_message = || {
        let mut text = [0; 100];
        let length = socket.recv(&mut text).expect("a message");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    let listener = tap.listen().env("NOTIFY_SOCKET", path.to_str().expect("text")).start();
    assert_eq!(next_message(), "READY=1");
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    listener.stop().assert_code(0);
    assert_eq!(next_message(), "STOPPING=1");
}

/// A hanging target must not block a stopped tap forever. The test takes the thirty seconds that the tap
/// waits.
#[test]
fn a_reader_that_does_not_read_cannot_stop_a_tap_from_ending() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    let (mut running, stdout) = tap.run().start_unread();
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut String::new()).expect("a line");
    let _ = running.stderr().wait_for("listening on");
    running.signal(Signal::TERM);
    assert_eq!(running.wait(), Some(1));
    assert!(
        running
            .stderr()
            .wait_for_end()
            .iter()
            .any(|line| line.contains("the reader of stdout does not read"))
    );
    assert_eq!(tap.spool().events().len(), 3000);
}

#[test]
fn each_signal_that_asks_a_program_to_end_ends_it_with_code_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::ALARM] {
        let tap = Tap::new();
        let mut listener = tap.listen().start();
        listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
        listener.program.signal(signal);
        let finished = listener.finish();
        finished.assert_code(0);
        assert_eq!(finished.stdout, [""; 0]);

        let mut run = tap.run().start();
        let _ = run.wait_records(1);
        let _ = run.endpoint();
        run.program.signal(signal);
        let finished = run.finish();
        finished.assert_code(0);
        assert!(ends_with_state(&finished), "{signal:?}");
    }
}

/// `nohup` ignores SIGHUP for the programs that it starts, and some log rotations send SIGUSR1 to everything.
#[test]
fn signals_that_are_not_meant_for_the_tap_do_not_end_it() {
    let tap = Tap::new();
    let mut listener = tap.listen().wrapped_in(&["nohup"]).start();
    let endpoint = listener.endpoint();
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        listener.program.signal(Signal::HUP);
        listener.program.signal(signal);
        let _ = listener.program.stderr().wait_for(&format!("{name}: ignored"));
        endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    }
    listener.stop().assert_code(0);
}

/// Ctrl-C, a closed terminal and `kill -- -PGID` signal the tap and the target at once.
#[test]
fn a_signal_to_the_whole_pipeline_ends_both_with_code_0_and_repeats_nothing() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let tap = Tap::new();
        let target = Target::in_folder(tap.folder());
        let mut pipeline = Pipeline::start(&tap, &target);
        let endpoint = pipeline.tap.endpoint();
        for number in 0..5 {
            endpoint.post_accepted(grouped(&numbered_events(number * 200, 200)));
        }
        pipeline.target.signal(signal);
        pipeline.tap.program.signal(signal);
        pipeline.finish();
        Pipeline::start_drain(&tap, &target).finish();
        let mut numbers: Vec<_> = target.rows().iter().map(number_of).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>(), "{signal:?}");
    }
}

/// Both are signalled, twice, while the sender of a webhook pauses: the tap is silent, and its last STATE
/// comes late.
#[test]
fn a_signal_to_the_whole_pipeline_waits_for_a_slow_webhook() {
    const PAUSE: Duration = Duration::from_secs(8);
    let tap = Tap::new();
    let target = Target::in_folder(tap.folder());
    let mut pipeline = Pipeline::start(&tap, &target);
    let endpoint = pipeline.tap.endpoint();
    endpoint.post_accepted(numbered_event(6));
    let mut client = endpoint.connect();
    let event = numbered_event(7);
    client.send(post_head(&endpoint.path, &[("Expect", "100-continue")], event.len()));
    assert_eq!(client.reply().status, 100);
    for signal in [Signal::TERM, Signal::INT] {
        pipeline.target.signal(signal);
        pipeline.tap.program.signal(signal);
    }
    let _ = pipeline.target.stderr().wait_for("a signal asks to stop");
    std::thread::sleep(PAUSE);
    client.send(event);
    assert_eq!(client.reply().status, 200);
    pipeline.finish();
    assert_eq!(target.rows().iter().map(number_of).collect::<Vec<_>>(), [6, 7]);
    assert_eq!(tap.bookmarks().last(), tap.spool().sequences().last(), "a STATE covers both");
}

/// The test takes the thirty seconds after which a stopped tap gives up.
#[test]
fn a_disk_that_does_not_answer_cannot_stop_a_tap_from_ending() {
    let tap = Tap::new();
    let Some(disk) = FaultInjector::build_for(&tap) else { return };
    let mut listener = disk.inject_into(tap.listen()).start();
    let endpoint = listener.endpoint();
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    disk.plan(SystemCall::Sync, SpoolFile::Wal, Fault::Hang, 1);
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[], DOCUMENTED_EVENTS[1].len()));
    client.send(DOCUMENTED_EVENTS[1]);
    wait::until("the disk hangs", || (disk.failed_calls() > 0).then_some(()));
    listener.program.signal(Signal::TERM);
    let finished = listener.finish();
    assert!(
        finished.only_error().contains("the disk or the database does not answer"),
        "{:?}",
        finished.stderr
    );
}

/// A tap whose output nobody reads must not go on answering 200.
#[test]
fn an_idle_tap_whose_reader_goes_away_exits_with_code_1() {
    let tap = Tap::new();
    let (mut running, stdout) = tap.run().start_unread();
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut String::new()).expect("the SCHEMA");
    let _ = running.stderr().wait_for("listening on");
    drop(stdout);
    assert_eq!(running.wait(), Some(1));
    assert!(running.stderr().wait_for_end().iter().any(|line| line.contains("stdout")), "the log says why");
}

#[test]
fn a_writing_tap_whose_reader_goes_away_exits_with_code_1() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 3000)).as_str()]);
    for command in [tap.run(), tap.drain()] {
        let (mut running, stdout) = command.start_unread();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut String::new()).expect("the SCHEMA");
        drop(stdout);
        assert_eq!(running.wait(), Some(1));
        assert!(
            running.stderr().wait_for_end().iter().any(|line| line.contains("stdout")),
            "the log says why"
        );
    }
    assert_eq!(tap.spool().events().len(), 3000);
}

/// A killed Meltano leaves its tap behind. That tap must not hold the port that the next run needs.
#[test]
fn an_orphan_whose_reader_is_gone_ends_and_frees_its_port() {
    let tap = Tap::new();
    let (pipe, output) = io::pipe().expect("a pipe");
    let mut reader = ChildProcess::spawn("cat", Command::new("cat").stdin(pipe).stdout(Stdio::null()));
    let command = tap.run().into_command();
    // The parent starts the tap in the background and waits for it. When the parent is killed, the tap stays.
    let mut parent = Command::new("sh");
    parent
        .arg("-c")
        .arg("\"$0\" \"$@\" & echo \"pid $!\" >&2; wait")
        .arg(command.get_program())
        .args(command.get_args());
    let mut parent = ChildProcess::spawn("parent", parent.stdin(Stdio::null()).stdout(output));
    let line = parent.stderr().wait_for("pid ");
    let _guard = KillOnPanic(line["pid ".len()..].parse().expect("a number"));
    let line = parent.stderr().wait_for("listening on http://");
    let address: SocketAddr = line
        .split_once("http://")
        .and_then(|(_, rest)| rest.trim_end_matches('/').parse().ok())
        .expect("an address");
    parent.kill();
    reader.kill();
    // The tap writes to the stderr that we read, so it ends with the tap.
    let _ = parent.stderr().wait_for_end();
    TcpListener::bind(address).expect("the port is free");
}

#[test]
fn max_runtime_seconds_ends_a_run_like_a_signal() {
    let tap = Tap::new().set("max_runtime_seconds", 2);
    let running = tap.run().start();
    let oracle = Oracle::start(running.endpoint(), 2);
    let finished = running.finish();
    let sent = oracle.stop();
    finished.assert_code(0);
    assert!(ends_with_state(&finished));
    sent.assert_delivered_in(&finished.records(), 1);
}

#[test]
fn idle_exit_seconds_ends_a_run_with_nothing_to_do() {
    let tap = Tap::new().set("idle_exit_seconds", 1);
    let running = tap.run().start();
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    let finished = running.finish();
    finished.assert_code(0);
    assert_eq!(finished.records().len(), 1);
    assert!(ends_with_state(&finished));
}

#[test]
fn idle_exit_seconds_ends_a_listener_that_nobody_posts_to() {
    let tap = Tap::new().set("idle_exit_seconds", 1);
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    let finished = listener.finish();
    finished.assert_code(0);
    assert!(finished.stderr_contains("idle_exit_seconds"), "{:?}", finished.stderr);
}

/// Somebody has opened the spool in a tool and is in the middle of a change.
#[test]
fn a_tap_without_a_reader_does_not_wait_for_a_locked_spool() {
    let tap = Tap::new().set("retention_days", 0);
    let (mut running, stdout) = tap.run().start_unread();
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut String::new()).expect("the SCHEMA");
    let address = running.stderr().wait_for("listening on http://");
    let address = address.split_once("http://").expect("an address").1.parse().expect("an address");
    let endpoint = end_to_end::http::Endpoint::webhook_at(address);
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    let lock = tap.spool().lock();
    drop(stdout);
    assert_eq!(running.wait(), Some(1));
    let stderr = running.stderr().wait_for_end();
    assert!(stderr.iter().any(|line| line.contains("stdout")), "the log says why: {stderr:?}");
    // The tap did not even try to trim, which would have taken ten seconds to fail.
    assert!(!stderr.iter().any(|line| line.contains("locked")), "{stderr:?}");
    drop(lock);
}

/// Starting takes a lock too, and must not block forever.
#[test]
fn a_tap_that_waits_for_a_lock_at_its_start_can_be_stopped() {
    let tap = Tap::new();
    tap.spool_bodies([DOCUMENTED_EVENTS[0]]);
    let lock = tap.spool().lock();
    for command in [tap.run(), tap.drain()] {
        let mut waiting = command.state().start();
        let _ = waiting.program.stderr().wait_for("another process keeps the file locked");
        waiting.program.signal(Signal::TERM);
        let finished = waiting.finish();
        finished.assert_code(0);
        assert!(finished.stderr_contains("before the run had started"), "{:?}", finished.stderr);
    }
    drop(lock);
}

/// A new column must be recorded before it is written. That waits while somebody has the spool open in a
/// tool.
#[test]
fn a_drain_waits_for_a_locked_spool() {
    let tap = Tap::new();
    tap.spool_bodies([r#"{"event":"open","new":1}"#]);
    // The lock is taken before the drain starts, so even the first STATE needs it.
    let lock = tap.spool().lock();
    let drain = tap.drain().start();
    let _ = drain.program.stderr().wait_for("another process keeps the file locked");
    drop(lock);
    let finished = drain.finish();
    finished.assert_code(0);
    assert_eq!(finished.records()[0].raw("new"), "1");
    assert!(ends_with_state(&finished));
}

/// An invalid state is found before the tap accepts connections.
#[test]
fn a_tap_that_cannot_start_never_listens() {
    let tap = Tap::new();
    tap.append_to_state("not a state\n");
    let finished = tap.run().state().finish();
    assert!(finished.only_error().contains("state.json"));
    assert!(!finished.stderr_contains("listening"), "{:?}", finished.stderr);
}

#[test]
fn a_drain_of_an_empty_spool_writes_schemas_and_a_state() {
    let tap = Tap::new();
    for _ in 0..2 {
        let drained = tap.drain().state().finish();
        drained.assert_code(0);
        let messages = drained.messages();
        assert!(
            matches!(messages[..], [Message::Schema(_), Message::Schema(_), Message::State(_)]),
            "{messages:?}"
        );
    }
}

/// A drain must not wait for events that are no longer in the spool.
#[test]
fn a_drain_of_a_trimmed_spool_ends() {
    let tap = Tap::new().set("retention_days", 0).set("confirm_without_state", true);
    let running = tap.run().start();
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    wait::until("the spool is trimmed", || tap.spool().events().is_empty().then_some(()));
    running.stop().assert_code(0);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    assert!(drained.records().is_empty());
    assert!(ends_with_state(&drained));
}

/// A scheduler can bound a drain's run time; the rest is written by the next run.
#[test]
fn a_drain_cut_short_by_max_runtime_seconds_loses_nothing() {
    let tap = Tap::new();
    tap.spool_bodies([grouped(&numbered_events(0, 5_000)).as_str()]);
    let first = tap.drain().set("max_runtime_seconds", 0).state().finish();
    first.assert_code(0);
    assert!(first.stderr_contains("max_runtime_seconds") && ends_with_state(&first));
    if let Some(last) = first.records().last() {
        tap.append_state(last.sequence());
    }
    let second = tap.drain().state().finish();
    let numbers: Vec<_> = first.records().iter().chain(&second.records()).map(number_of).collect();
    assert_eq!(numbers, (0..5_000).collect::<Vec<_>>());
}

/// A drain opens no port, so it can run beside any listener.
#[test]
fn a_drain_does_not_open_the_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let tap = Tap::new().set("listen_address", address);
    tap.drain().finish().assert_code(0);
}
