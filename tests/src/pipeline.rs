//! The whole pipeline `tap --state s | target >> s`, as a shell would run it.

use std::io;
use std::process::{Command, Stdio};

use crate::program::{ChildProcess, Signal};
use crate::tap::{RunningTap, Tap, TapCommand};
use crate::target::Target;

/// A running tap and a running target, connected by a pipe of the operating system.
#[derive(Debug)]
pub struct Pipeline {
    /// The tap.
    pub tap: RunningTap,
    /// The target.
    pub target: ChildProcess,
    is_drain: bool,
}

impl Pipeline {
    /// Starts both. The test keeps no end of the pipe, so each of the two notices when the other ends.
    #[must_use]
    pub fn start(tap: &Tap, target: &Target) -> Self {
        Pipeline::connect(tap.run(), tap, target, false)
    }

    /// Starts both; the tap ends when it has written everything in the spool.
    #[must_use]
    pub fn start_drain(tap: &Tap, target: &Target) -> Self {
        Pipeline::connect(tap.drain(), tap, target, true)
    }

    /// Starts both, the tap with the given command.
    #[must_use]
    pub fn start_command(command: TapCommand<'_>, tap: &Tap, target: &Target) -> Self {
        Pipeline::connect(command, tap, target, false)
    }

    /// Starts both, the tap with the given command, which drains the spool.
    #[must_use]
    pub fn start_drain_command(command: TapCommand<'_>, tap: &Tap, target: &Target) -> Self {
        Pipeline::connect(command, tap, target, true)
    }

    fn connect(command: TapCommand<'_>, tap: &Tap, target: &Target, is_drain: bool) -> Self {
        let (reader, writer) = io::pipe().expect("a pipe");
        let running_target = target.start(reader, &tap.state_file());
        Pipeline { tap: command.state().start_with_stdout(writer), target: running_target, is_drain }
    }

    /// Starts `tap --state s | cat | target >> s`, in which another process than the target reads the tap's
    /// output.
    #[must_use]
    pub fn start_through_cat(tap: &Tap, target: &Target) -> (Self, ChildProcess) {
        let (from_cat, cat_out) = io::pipe().expect("a pipe");
        let (cat_in, from_tap) = io::pipe().expect("a pipe");
        let running_target = target.start(from_cat, &tap.state_file());
        let cat = ChildProcess::spawn("cat", Command::new("cat").stdin(cat_in).stdout(Stdio::from(cat_out)));
        let running_tap = tap.run().state().start_with_stdout(from_tap);
        (Pipeline { tap: running_tap, target: running_target, is_drain: false }, cat)
    }

    /// Asks the tap to stop, and waits until both have succeeded.
    pub fn stop(mut self) {
        self.tap.program.signal(Signal::TERM);
        self.finish();
    }

    /// Waits until both have succeeded. A drain ends by itself.
    pub fn finish(mut self) {
        self.tap.finish().assert_code(0);
        assert_eq!(self.target.wait(), Some(0), "{}", self.target.stderr().so_far().join("\n"));
    }

    /// Kills the tap. The target reaches the end of its input and succeeds, unless the tap died in the middle
    /// of a line: the target refuses such a line. Either way it has stored everything before, which the test
    /// must check.
    pub fn kill_tap(mut self) {
        self.tap.program.kill();
        wait_for_end_of_input(&mut self.target);
    }

    /// Kills the target. The tap notices that it has no reader, and exits with 1, unless it is a drain that
    /// was already done.
    pub fn kill_target(mut self) {
        self.target.kill();
        self.wait_without_reader();
    }

    /// Asks the target to stop, and waits for its end. To the tap, that looks like a kill.
    pub fn stop_target(mut self) {
        // The second signal stops it at once. Two of one kind may arrive as one.
        self.target.signal(Signal::TERM);
        self.target.signal(Signal::INT);
        assert_eq!(self.target.wait(), Some(0), "{}", self.target.stderr().so_far().join("\n"));
        self.wait_without_reader();
    }

    /// Kills the process between the two.
    pub fn kill_reader(mut self, mut reader: ChildProcess) {
        reader.kill();
        wait_for_end_of_input(&mut self.target);
        self.wait_without_reader();
    }

    fn wait_without_reader(self) {
        let finished = self.tap.finish();
        if !(self.is_drain && finished.code == Some(0)) {
            finished.assert_code(1);
        }
    }
}

/// Waits for the end of a target whose tap was killed, possibly in the middle of a line.
fn wait_for_end_of_input(target: &mut ChildProcess) {
    let code = target.wait();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {}", target.stderr().so_far().join("\n"));
}
