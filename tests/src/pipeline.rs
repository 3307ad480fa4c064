//! `tap --state s | target >> s`: the whole of it, as a shell would run it.

use std::io;

use crate::program::{Program, Signal};
use crate::tap::{RunningTap, Tap};
use crate::target::Target;

/// A tap and a target that run, with a pipe of the operating system between them.
#[derive(Debug)]
pub struct Pipeline {
    /// The tap.
    pub tap: RunningTap,
    /// The target.
    pub target: Program,
}

impl Pipeline {
    /// Starts both. No end of the pipe stays with the test: each of the two sees the other go.
    #[must_use]
    pub fn start(tap: &Tap, target: &Target) -> Self {
        let (reader, writer) = io::pipe().expect("a pipe");
        let running_target = target.start(reader, &tap.state_file());
        let running_tap = tap.run().state().start_into(writer);
        Pipeline { tap: running_tap, target: running_target }
    }

    /// Asks the tap to stop, and waits for both to end well.
    pub fn stop(mut self) {
        self.tap.program.signal(Signal::TERM);
        self.tap.finish().assert_code(0);
        assert_eq!(self.target.wait(), Some(0), "{}", self.target.stderr().so_far().join("\n"));
    }

    /// Kills the tap. The target sees the end of its input and ends well, unless the tap died in the middle of a line:
    /// that is no message, and the target refuses it. Either way it has stored what came before, which is for the
    /// test to demand.
    pub fn kill_tap(mut self) {
        self.tap.program.kill();
        let code = self.target.wait();
        assert!(matches!(code, Some(0 | 1)), "{code:?}: {}", self.target.stderr().so_far().join("\n"));
    }

    /// Kills the target. The tap sees that nobody reads it any more, and says so with exit code 1.
    pub fn kill_target(mut self) {
        self.target.kill();
        self.tap.finish().assert_code(1);
    }
}
