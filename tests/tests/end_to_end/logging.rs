//! The log: whatever becomes of stderr, nothing else suffers, and foreign text cannot forge a line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::events::{DOCUMENTED_EVENTS, grouped, numbered_events};
use end_to_end::http::{Endpoint, free_address};
use end_to_end::lines::OutputLines;
use end_to_end::mount::TestDisk;
use end_to_end::pipeline::Pipeline;
use end_to_end::program::{self, Signal};
use end_to_end::tap::{RunningTap, Tap, TapCommand};
use end_to_end::target::Target;
use end_to_end::wait;
use rustix::fs::OFlags;

/// Starts a command with its stderr redirected as a shell would do it.
fn redirected<'t>(command: TapCommand<'t>, redirection: &str) -> TapCommand<'t> {
    command.wrapped_in(&["sh", "-c", &format!("exec \"$0\" \"$@\" {redirection}")])
}

/// A listener whose log goes elsewhere, so that its address cannot be read there.
fn start_listener(tap: &Tap, redirection: &str) -> (RunningTap, Endpoint) {
    let address = free_address();
    let command = tap.listen().set("listen_address", address.to_string()).set("log_level", "trace");
    let running = redirected(command, redirection).start();
    let endpoint = Endpoint::webhook_at(address);
    wait::until("the tap listens", || endpoint.try_connect().ok());
    (running, endpoint)
}

/// A named pipe that is full, and whose only reader is this test.
struct FullPipe {
    path: PathBuf,
    reader: File,
    filled: usize,
}

impl FullPipe {
    fn create(folder: &Path) -> Self {
        let path = folder.join("stderr");
        program::run(Command::new("mkfifo").arg(&path));
        // With both ends open, opening does not wait for another process.
        let open = |flags: OFlags| {
            let flags = i32::try_from(flags.bits()).expect("flags fit");
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path).expect("a pipe")
        };
        let mut writer = open(OFlags::NONBLOCK);
        let mut filled = 0;
        while let Ok(written) = writer.write(&[b'.'; 4096]) {
            filled += written;
        }
        FullPipe { reader: open(OFlags::empty()), path, filled }
    }

    fn redirection(&self) -> String {
        format!("2>'{}'", self.path.display())
    }

    /// Empties the pipe and collects what the program has to say from now on.
    fn read(mut self) -> OutputLines {
        self.reader.read_exact(&mut vec![0; self.filled]).expect("what was filled in");
        OutputLines::collect(self.reader)
    }
}

#[test]
fn a_log_on_a_full_disk_costs_no_row_and_says_later_what_is_missing() {
    let tap = Tap::new();
    let Some(disk) = TestDisk::mount(tap.folder().join("disk"), 64) else { return };
    let filler = disk.path().join("filler");
    let fill = || File::create(&filler).and_then(|mut file| io::copy(&mut io::repeat(0), &mut file));
    fill().expect_err("the disk is full");
    let log = disk.path().join("tap.log");
    let redirection = format!("2>>'{}'", log.display());
    let (running, endpoint) = start_listener(&tap, &redirection);
    endpoint.post_accepted(grouped(&numbered_events(0, 3)));

    // The program can log again as soon as there is room. Here, a refusal makes it log.
    fs::remove_file(&filler).expect("a file");
    wait::until("the log says how many lines are missing", || {
        assert_eq!(endpoint.with_path("/").post("{}").status, 404);
        let text = fs::read_to_string(&log).expect("a log");
        text.contains("log lines could not be written to stderr: No space left on device").then_some(())
    });
    running.stop().assert_code(0);
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.ends_with('\n') && text.contains("stopped"), "{text}");

    fill().expect_err("the disk is full");
    let target = Target::in_folder(tap.folder());
    let command = redirected(tap.drain(), &redirection);
    Pipeline::start_drain_command(command, &tap, &target).finish();
    assert_eq!(target.rows().len(), 3);
}

#[test]
fn a_log_without_a_reader_or_closed_at_the_start_costs_nothing() {
    let reader_gone = "mkfifo gone; true <gone & exec \"$0\" \"$@\" 2>gone";
    for script in ["exec \"$0\" \"$@\" 2>&-", "exec \"$0\" \"$@\" 2>/dev/full", reader_gone] {
        let tap = Tap::new();
        let wrapped = |command: TapCommand<'_>| command.wrapped_in(&["sh", "-c", script]).start();
        let address = free_address();
        let listen = tap.listen().set("listen_address", address.to_string());
        let mut listener = wrapped(listen);
        let endpoint = Endpoint::webhook_at(address);
        wait::until("the tap listens", || endpoint.try_connect().ok());
        for event in DOCUMENTED_EVENTS {
            endpoint.post_accepted(event);
        }
        // Refusals are logged.
        assert_eq!(endpoint.with_path("/").post("{}").status, 404);
        assert!(listener.program.is_running(), "{script}");
        listener.stop().assert_code(0);
        let _ = fs::remove_file(tap.folder().join("gone"));
        let drained = wrapped(tap.drain()).finish();
        drained.assert_code(0);
        assert_eq!(drained.records().len(), DOCUMENTED_EVENTS.len(), "{script}");
    }
}

#[test]
fn a_log_that_nobody_reads_stops_neither_answers_nor_sigterm() {
    let tap = Tap::new();
    let pipe = FullPipe::create(tap.folder());
    let (running, endpoint) = start_listener(&tap, &pipe.redirection());
    for _ in 0..3 {
        endpoint.post_accepted(grouped(&numbered_events(0, 100)));
    }
    running.stop().assert_code(0);
    let drained = redirected(tap.drain(), &pipe.redirection()).finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 300);
    // So does an error that ends the program at its start.
    let unusable = redirected(tap.drain().set("spool_path", "/dev/null/spool.db"), &pipe.redirection());
    unusable.finish().assert_code(1);
}

#[test]
fn a_log_that_is_read_late_is_complete_or_says_what_is_missing() {
    let tap = Tap::new();
    let pipe = FullPipe::create(tap.folder());
    let (mut running, endpoint) = start_listener(&tap, &pipe.redirection());
    let agent = "x".repeat(3000);
    for _ in 0..1000 {
        let _ = endpoint.post_with(&[("User-Agent", &agent)], "[]");
    }
    let lines = pipe.read();
    let _ = lines.wait_for("listening on");
    running.program.signal(Signal::TERM);
    assert_eq!(running.program.wait(), Some(0));
    let last = lines.wait_for("stopped");
    assert!(last.contains("INFO stopped"), "{last}");
}

#[test]
fn a_stderr_that_does_not_block_gets_every_line_whole() {
    let tap = Tap::new();
    let path = tap.folder().join("stderr");
    program::run(Command::new("mkfifo").arg(&path));
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags fit");
    let both = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path).expect("a pipe");
    let reader = File::open(&path).expect("a pipe");
    // The shell passes on our own end, whose description is non-blocking.
    let command = tap.drain().set("log_level", "trace").into_command();
    let mut child = Command::new(command.get_program());
    child.args(command.get_args()).current_dir(tap.folder()).stderr(both);
    let output = child.stdout(std::process::Stdio::null()).spawn().expect("the tap starts");
    let lines = OutputLines::collect(reader);
    let status = output.wait_with_output().expect("the tap ends").status;
    assert!(status.success(), "{status}");
    let _ = lines.wait_for("everything in the spool is written; stopped");
}

#[test]
fn one_event_is_one_line_whatever_foreign_text_it_quotes() {
    let tap = Tap::new();
    let foreign = "a\n2026-01-01T00:00:00.000Z  INFO forged\r\u{1b}[2J\u{2028}\u{202e}b";
    for format in ["text", "json"] {
        // A key of the configuration, a stream of the catalog, a line of the state, a path.
        let catalog = serde_json::json!({"streams": [{"tap_stream_id": foreign, "schema": {}}]});
        fs::write(tap.folder().join("catalog"), catalog.to_string()).expect("a file");
        fs::write(tap.state_file(), format!("{foreign}\n")).expect("a file");
        let drain = || tap.drain().set(foreign, 1).set("log_format", format);
        let finished = drain().args(&["--catalog", "catalog"]).state().finish();
        let missing = drain().args(&["--catalog", foreign]).finish();
        let text = finished.stderr.iter().chain(&missing.stderr);
        for line in text {
            assert!(!line.starts_with("2026-01-01") && !line.contains('\u{1b}'), "{line:?}");
            assert!(!line.contains(|c: char| c.is_control() || "\u{2028}\u{202e}".contains(c)), "{line:?}");
        }
        assert!(finished.stderr_contains("forged\\r\\u001b[2J"), "{:?}", finished.stderr);
        missing.assert_code(1);
        assert!(missing.stderr_contains("forged\\r\\u001b[2J"), "{:?}", missing.stderr);
    }
}

#[test]
fn rust_log_takes_the_place_of_the_configured_level() {
    let tap = Tap::new();
    let quiet = tap.drain().set("log_level", "info").env("RUST_LOG", "error").finish();
    quiet.assert_code(0);
    assert_eq!(quiet.stderr, [""; 0]);
    let loud =
        tap.drain().set("log_level", "error").env("RUST_LOG", "tap_mailjet_webhooks=info,off").finish();
    assert!(loud.stderr_contains(" INFO tap-mailjet-webhooks "), "{:?}", loud.stderr);
    let wrong = tap.drain().env("RUST_LOG", "verbose").finish();
    wrong.assert_code(0);
    assert!(wrong.stderr_contains("RUST_LOG is \"verbose\", which is not a filter"), "{:?}", wrong.stderr);
    assert!(wrong.stderr_contains(" INFO "), "logged as configured: {:?}", wrong.stderr);
}
