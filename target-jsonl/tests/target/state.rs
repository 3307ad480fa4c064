use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{SCHEMA, Sandbox, record, state, wait_until};

/// An interval so long that it cannot be what makes the target print a STATE.
const NEVER: u32 = 86_400;

#[test]
fn a_state_is_printed_unchanged_on_one_line() {
    let sandbox = Sandbox::new();
    let input =
        "{\"type\":\"STATE\",\"value\": {\"z\": 576460779645409236, \"a\":1.10,\"t\":\"\\u006d\"} }\n";
    assert_eq!(
        sandbox.run(json!({}), input).success().stdout,
        "{\"z\": 576460779645409236, \"a\":1.10,\"t\":\"\\u006d\"}\n"
    );
}

#[test]
fn the_newest_of_several_states_is_printed_last() {
    let sandbox = Sandbox::new();
    let mut input = format!("{SCHEMA}\n");
    for id in 1..=1000 {
        input += &(record(id) + &state(id));
    }
    let outcome = sandbox.run(json!({ "state_interval_seconds": NEVER }), &input);
    assert_eq!(outcome.success().stdout.lines().last(), Some("{\"data\":1000}"));
    assert!(outcome.stdout.lines().count() < 1000, "several STATEs share one fsync");
}

#[test]
fn a_state_is_printed_while_the_input_is_idle() {
    for interval in [json!(0), json!(0.01), json!(1)] {
        let sandbox = Sandbox::new();
        let mut target = sandbox.start(json!({ "state_interval_seconds": interval }));
        target.write(&format!("{SCHEMA}\n"));
        for id in 1..=3 {
            target.write(&(record(id) + &state(id)));
            assert_eq!(target.line(), format!("{{\"data\":{id}}}\n"));
            assert!(sandbox.read("data.jsonl").ends_with(&format!("{{\"id\":{id}}}\n")));
        }
        drop(target.stdin.take());
        let outcome = target.wait();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    }
}

/// No STATE follows the record, but it is in the file as soon as the input is idle.
#[test]
fn records_reach_the_file_while_the_input_is_idle() {
    let sandbox = Sandbox::new();
    let mut target = sandbox.start(json!({ "state_interval_seconds": NEVER }));
    target.write(&format!("{SCHEMA}\n{}", record(1)));
    wait_until(|| sandbox.read("data.jsonl") == "{\"id\":1}\n");
    drop(target.stdin.take());
    assert_eq!(target.wait().code, 0);
}

/// The tap is silent for longer than the target waits.
#[test]
fn a_while_after_a_signal_whole_messages_are_stored_and_the_last_state_is_printed() {
    let waiting = [Signal::TERM, Signal::INT, Signal::HUP].map(|signal| {
        let sandbox = Sandbox::new();
        let mut target = sandbox.start(json!({ "state_interval_seconds": NEVER }));
        target.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
        assert_eq!(target.line(), "{\"data\":1}\n");
        // The second STATE must wait, and half a message follows.
        target.write(&format!("{}{}{{\"type\":\"RECORD\",\"stream\":\"da", record(2), state(2)));
        wait_until(|| sandbox.read("data.jsonl") == "{\"id\":1}\n{\"id\":2}\n");
        target.signal(signal);
        (sandbox, target)
    });
    for (sandbox, mut target) in waiting {
        let stdin = target.stdin.take();
        let outcome = target.wait();
        drop(stdin);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "{\"data\":2}\n"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("stopped by a signal"), "{}", outcome.stderr);
        assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n{\"id\":2}\n");
    }
}

/// Nobody writes to a FIFO, or a person types: nothing is worth waiting for.
#[test]
fn a_signal_ends_a_run_at_once_whose_input_is_not_open_or_is_a_terminal() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo can run");
    assert!(made.success());
    let mut on_fifo = sandbox.command(json!({}));
    on_fifo.arg("--input").arg(&fifo);
    let mut on_terminal = Command::new("script");
    let command = format!(
        "exec {} --config {}",
        env!("CARGO_BIN_EXE_target-jsonl"),
        sandbox.path("config.json").display()
    );
    on_terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    for mut command in [on_fifo, on_terminal] {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // `script` shows what a terminal would show.
        let output: Box<dyn Read> = match command.get_program() == "script" {
            true => Box::new(child.stdout.take().expect("a pipe")),
            false => Box::new(child.stderr.take().expect("a pipe")),
        };
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("writing to")), "the signals are handled by then");
        match child.stdin.take() {
            // Ctrl-C.
            Some(mut terminal) if command.get_program() == "script" => {
                terminal.write_all(b"\x03").expect("it is read");
                assert!(lines.any(|line| line.contains("stopped by a signal")));
            }
            _ => kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs"),
        }
        // `script` dies if nobody reads its output.
        lines.for_each(drop);
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    }
}

/// Records that a STATE covers survive a kill, and the next run repairs the end of the file.
#[test]
fn a_kill_loses_nothing_that_a_state_covers() {
    let sandbox = Sandbox::new();
    for _ in 0..5 {
        let mut target = sandbox.start(json!({ "state_interval_seconds": 0 }));
        let mut stdin = target.stdin.take().expect("stdin is a pipe");
        let start = sandbox.read("data.jsonl").lines().count() as u64;
        let writing = std::thread::spawn(move || {
            let mut id = start;
            let mut outcome = writeln!(stdin, "{SCHEMA}");
            while outcome.is_ok() {
                id += 1;
                outcome = stdin.write_all((record(id) + &state(id)).as_bytes());
            }
        });
        let mut last = target.line();
        target.signal(Signal::KILL);
        let outcome = target.wait();
        writing.join().expect("the pipe is closed");
        if let Some((whole, _)) = outcome.stdout.rsplit_once('\n') {
            last = whole.lines().last().unwrap_or(&last).to_owned();
        }
        assert_covered(&sandbox.read("data.jsonl"), &last);
        // A kill rarely hits the middle of a write. This is what it would leave.
        let mut file =
            std::fs::OpenOptions::new().append(true).open(sandbox.path("out/data.jsonl")).expect("the file");
        file.write_all(b"{\"id\":99").expect("written");
        drop(file);
        sandbox.run(json!({}), &format!("{SCHEMA}\n")).success();
        for line in sandbox.read("data.jsonl").lines() {
            serde_json::from_str::<Value>(line).expect("a whole record");
        }
    }
}

/// Asserts that the file has the records from 1, without a gap, up to the one that the state names.
fn assert_covered(file: &str, state: &str) {
    let state: Value = serde_json::from_str(state).expect("a state");
    let covered = state["data"].as_u64().expect("a number");
    let ids: Vec<u64> = file
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["id"].as_u64())
        .take(usize::try_from(covered).expect("a count"))
        .collect();
    assert!(ids.iter().copied().eq(1..=covered), "a STATE covers {covered}, but the file has {}", ids.len());
}

#[test]
fn a_closed_stdout_ends_the_run_once_the_records_are_stored() {
    let sandbox = Sandbox::new();
    let mut target = sandbox.start(json!({ "state_interval_seconds": 0 }));
    drop(target.stdout.take());
    target.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
    // The run ends although the input is still open.
    let stdin = target.stdin.take();
    let outcome = target.wait();
    drop(stdin);
    assert!(outcome.error().starts_with("stdout cannot be written: Broken pipe"), "{}", outcome.stderr);
    assert_eq!(sandbox.read("data.jsonl"), "{\"id\":1}\n");
}

/// The tap is usually asked to stop as well. What it still writes must not be repeated by the next run.
#[test]
fn after_a_signal_and_more_of_them_the_input_is_read_to_its_end() {
    let sandbox = Sandbox::new();
    let mut target = sandbox.start(json!({ "state_interval_seconds": NEVER }));
    target.write(&format!("{SCHEMA}\n{}{}", record(1), state(1)));
    assert_eq!(target.line(), "{\"data\":1}\n");
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        target.signal(signal);
    }
    for id in 2..500 {
        target.write(&(record(id) + &state(id)));
    }
    drop(target.stdin.take());
    let outcome = target.wait();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "{\"data\":499}\n"), "{}", outcome.stderr);
    assert_eq!(sandbox.read("data.jsonl").lines().count(), 499);
}
