//! `tap --state s | target >> s`: the whole of it, as a shell would run it.

use std::io;
use std::process::{Command, Stdio};

use crate::program::{Program, Signal};
use crate::tap::{Launch, RunningTap, Tap};
use crate::target::Target;

/// A tap and a target that run, with a pipe of the operating system between them.
#[derive(Debug)]
pub struct Pipeline {
    /// The tap.
    pub tap: RunningTap,
    /// The target.
    pub target: Program,
    is_drain: bool,
}

impl Pipeline {
    /// Starts both. No end of the pipe stays with the test: each of the two sees the other go.
    #[must_use]
    pub fn start(tap: &Tap, target: &Target) -> Self {
        Pipeline::of(tap.run(), tap, target, false)
    }

    /// Starts both, the tap so that it ends when it has written what the spool holds.
    #[must_use]
    pub fn start_drain(tap: &Tap, target: &Target) -> Self {
        Pipeline::of(tap.drain(), tap, target, true)
    }

    /// Starts both, the tap in a way of its own.
    #[must_use]
    pub fn start_as(launch: Launch<'_>, tap: &Tap, target: &Target) -> Self {
        Pipeline::of(launch, tap, target, false)
    }

    fn of(launch: Launch<'_>, tap: &Tap, target: &Target, is_drain: bool) -> Self {
        let (reader, writer) = io::pipe().expect("a pipe");
        let running_target = target.start(reader, &tap.state_file());
        Pipeline { tap: launch.state().start_into(writer), target: running_target, is_drain }
    }

    /// Starts `tap --state s | cat | target >> s`: the one who reads the tap is not the one who stores.
    #[must_use]
    pub fn start_through_cat(tap: &Tap, target: &Target) -> (Self, Program) {
        let (from_cat, cat_out) = io::pipe().expect("a pipe");
        let (cat_in, from_tap) = io::pipe().expect("a pipe");
        let running_target = target.start(from_cat, &tap.state_file());
        let cat = Program::spawn("cat", Command::new("cat").stdin(cat_in).stdout(Stdio::from(cat_out)));
        let running_tap = tap.run().state().start_into(from_tap);
        (Pipeline { tap: running_tap, target: running_target, is_drain: false }, cat)
    }

    /// Asks the tap to stop, and waits for both to end well.
    pub fn stop(mut self) {
        self.tap.program.signal(Signal::TERM);
        self.finish();
    }

    /// Waits for both to end well: a drain ends by itself.
    pub fn finish(mut self) {
        self.tap.finish().assert_code(0);
        assert_eq!(self.target.wait(), Some(0), "{}", self.target.stderr().so_far().join("\n"));
    }

    /// Kills the tap. The target sees the end of its input and ends well, unless the tap died in the middle of a line:
    /// that is no message, and the target refuses it. Either way it has stored what came before, which is for the
    /// test to demand.
    pub fn kill_tap(mut self) {
        self.tap.program.kill();
        end_of_input(&mut self.target);
    }

    /// Kills the target. The tap sees that nobody reads it any more, and says so with exit code 1; a drain may have been
    /// done already.
    pub fn kill_target(mut self) {
        self.target.kill();
        self.nobody_reads();
    }

    /// Asks the target to stop, and waits for its end. To the tap, that is the same as if it were killed.
    pub fn stop_target(mut self) {
        self.target.signal(Signal::TERM);
        assert_eq!(self.target.wait(), Some(0), "{}", self.target.stderr().so_far().join("\n"));
        self.nobody_reads();
    }

    /// Kills what stands between the two.
    pub fn kill_reader(mut self, mut reader: Program) {
        reader.kill();
        end_of_input(&mut self.target);
        self.nobody_reads();
    }

    fn nobody_reads(self) {
        let finished = self.tap.finish();
        if !(self.is_drain && finished.code == Some(0)) {
            finished.assert_code(1);
        }
    }
}

/// A tap that dies may do so in the middle of a line.
fn end_of_input(target: &mut Program) {
    let code = target.wait();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {}", target.stderr().so_far().join("\n"));
}
