//! Kills everything, at random moments, and demands that nothing is lost.
//!
//! An [`Ordeal`] is one spool, one destination and one state file that live through any number of kills, while the
//! [oracle](crate::oracle) posts. After each kill, every acknowledged event has to be safe; in the end, all of it has to
//! be in the destination.

use std::fmt;
use std::fs;
use std::time::Duration;

use crate::chance::Chance;
use crate::events::{grouped, numbered, numbered_from};
use crate::http::Endpoint;
use crate::oracle::Oracle;
use crate::pipeline::Pipeline;
use crate::program::Signal;
use crate::tap::{RunningTap, Tap};
use crate::target::Target;
use crate::wait;

/// The longest time from something that happened to a kill: a few commits, or the whole of a start.
const LONGEST: Duration = Duration::from_millis(40);
/// Events that a trim is killed in the middle of.
const OLD_EVENTS: u32 = 20_000;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// Listener and emitter in one process, under load.
    Tap,
    /// The same, while it starts.
    StartingTap,
    /// The same, while it deletes what the target has.
    TrimmingTap,
    /// target-jsonl, under load.
    Target,
    /// target-jsonl while it writes the state file, which then ends in half a line.
    StateWriter,
    /// Whatever else reads the tap's output.
    Reader,
    /// The listener that runs beside drains.
    Listener,
    /// A drain that runs beside a listener.
    Drain,
    /// The target of such a drain.
    DrainTarget,
    /// `url new` and `url revoke`, beside a running tap.
    UrlCommand,
    /// Any command that makes a spool that is not there yet.
    FirstStart,
}

impl Victim {
    /// All of them.
    pub const ALL: [Victim; 11] = [
        Victim::Tap,
        Victim::StartingTap,
        Victim::TrimmingTap,
        Victim::Target,
        Victim::StateWriter,
        Victim::Reader,
        Victim::Listener,
        Victim::Drain,
        Victim::DrainTarget,
        Victim::UrlCommand,
        Victim::FirstStart,
    ];
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A spool that lives through kills.
#[derive(Debug)]
pub struct Ordeal {
    chance: Chance,
    tap: Tap,
    target: Target,
    /// The path of the webhook URL that the oracle posts to.
    path: String,
    oracle: Option<Oracle>,
    /// How many runs of the tap may have written rows.
    runs: usize,
}

impl Ordeal {
    /// A new spool with a webhook URL. All random choices are those of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::of(seed);
        let tap = Tap::new()
            .with_minted_urls()
            .set("retention_days", 0)
            .set("state_interval_records", chance.one_of(&[5, 100, 10_000]));
        let target = Target::with_state_interval(tap.folder(), chance.one_of(&[0, 1]));
        let path = tap.mint().path;
        Ordeal { chance, tap, target, path, oracle: None, runs: 0 }
    }

    /// Kills `victim` at a random moment, and demands that nothing is lost by that.
    pub fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Tap => self.kill_in_pipeline(Pipeline::kill_tap),
            Victim::Target => self.kill_in_pipeline(Pipeline::kill_target),
            Victim::StartingTap => self.kill_starting_tap(),
            Victim::TrimmingTap => self.kill_trimming_tap(),
            Victim::StateWriter => self.kill_state_writer(),
            Victim::Reader => self.kill_reader(),
            Victim::Listener | Victim::Drain | Victim::DrainTarget => self.kill_beside_drain(victim),
            Victim::UrlCommand => self.kill_url_command(),
            Victim::FirstStart => self.kill_first_start(),
        }
        if let Some(oracle) = &self.oracle {
            oracle.so_far().demand_safe(&self.tap, &self.target);
        }
    }

    /// Starts everything once more, ends it well, and demands all that was acknowledged. Says how many events that were.
    pub fn end(mut self) -> usize {
        let pipeline = self.start_under_load();
        self.under_load();
        let memory = self.oracle.take().expect("there is load").stop();
        wait::until("the target has all of it", || memory.is_satisfied_by(&self.target.rows()).then_some(()));
        pipeline.stop();
        memory.demand_delivered(&self.tap, &self.target, self.runs);
        wait::until("the spool is empty", || {
            self.run_drain();
            self.tap.spool().events().is_empty().then_some(())
        });
        memory.acknowledged()
    }

    fn run_drain(&mut self) {
        Pipeline::start_drain(&self.tap, &self.target).finish();
    }

    /// Lets the oracle post to a tap that has just been started.
    fn load(&mut self, endpoint: &Endpoint) {
        let endpoint = endpoint.with_path(&self.path);
        match &self.oracle {
            Some(oracle) => oracle.redirect(endpoint),
            None => {
                self.oracle = Some(Oracle::start_with_pauses(endpoint, 4, Duration::from_millis(4)));
            }
        }
    }

    /// Waits until a random number of events has been acknowledged, then for a random moment.
    fn under_load(&mut self) {
        let events = 1 + self.chance.below(60);
        self.oracle.as_ref().expect("there is load").wait_acknowledged(events);
        self.chance.moment(LONGEST);
    }

    fn start_under_load(&mut self) -> Pipeline {
        self.runs += 1;
        let pipeline = Pipeline::start(&self.tap, &self.target);
        self.load(&pipeline.tap.endpoint());
        pipeline
    }

    fn kill_in_pipeline(&mut self, kill: fn(Pipeline)) {
        let pipeline = self.start_under_load();
        self.under_load();
        kill(pipeline);
    }

    fn kill_starting_tap(&mut self) {
        self.runs += 1;
        let pipeline = Pipeline::start(&self.tap, &self.target);
        self.chance.moment(2 * LONGEST);
        pipeline.kill_tap();
    }

    fn kill_reader(&mut self) {
        self.runs += 1;
        let (pipeline, reader) = Pipeline::start_through_cat(&self.tap, &self.target);
        self.load(&pipeline.tap.endpoint());
        self.under_load();
        pipeline.kill_reader(reader);
    }

    /// What no event of the oracle ever has: a sequence of long ago. They are covered, and so they go.
    fn kill_trimming_tap(&mut self) {
        let pipeline = self.start_under_load();
        self.oracle.as_ref().expect("there is load").wait_acknowledged(1);
        wait::until("a state", || self.tap.bookmarks().last().filter(|bookmark| **bookmark > 0).map(drop));
        self.tap.spool().insert_many(OLD_EVENTS, 200);
        let left = || self.tap.spool().count_up_to(i64::from(OLD_EVENTS));
        wait::until("trimming has begun", || (left() < u64::from(OLD_EVENTS)).then_some(()));
        self.chance.moment(Duration::from_millis(5));
        pipeline.kill_tap();
        let pipeline = self.start_under_load();
        wait::until("the rest is trimmed", || {
            (self.tap.spool().count_up_to(i64::from(OLD_EVENTS)) == 0).then_some(())
        });
        // At once: a moment later, a state may cover what should not have gone yet.
        self.oracle.as_ref().expect("there is load").so_far().demand_safe(&self.tap, &self.target);
        self.under_load();
        pipeline.kill_tap();
    }

    fn kill_state_writer(&mut self) {
        self.kill_in_pipeline(Pipeline::kill_target);
        // Few kills find a write of a hundred bytes unfinished; this is what is left behind by one that does.
        let states = fs::read_to_string(self.tap.state_file()).unwrap_or_default();
        let line = states.lines().last().unwrap_or(r#"{"bookmarks":{}}"#);
        let half = usize::try_from(self.chance.below(line.len() as u64)).expect("an index");
        self.tap.append_to_state(&line[..half]);
    }

    fn kill_beside_drain(&mut self, victim: Victim) {
        let mut listener = self.tap.listen().start();
        self.load(&listener.endpoint());
        self.under_load();
        self.runs += 1;
        let drain = Pipeline::start_drain(&self.tap, &self.target);
        self.chance.moment(LONGEST);
        match victim {
            Victim::Drain => drain.kill_tap(),
            Victim::DrainTarget => drain.kill_target(),
            _ => {
                listener.program.kill();
                drain.finish();
            }
        }
        if victim != Victim::Listener {
            listener.stop().assert_code(0);
        }
    }

    fn kill_url_command(&mut self) {
        let pipeline = self.start_under_load();
        let url = self.tap.url(&["new", "--label", "second"]).start();
        let printed = self.kill_at_random(url).pop();
        let listed = self.tap.url_ids();
        assert!(
            listed.len() == 2 || (listed.len() == 1 && printed.is_none()),
            "{listed:?} are active, and the one that was made was printed: {}",
            printed.is_some()
        );
        if let [_, second] = &listed[..] {
            let revoke = self.tap.url(&["revoke", second]).start();
            let _ = self.kill_at_random(revoke);
            if self.tap.url_ids().len() == 2 {
                self.tap.url(&["revoke", second]).finish().assert_code(0);
            }
        }
        assert_eq!(self.tap.url_ids().len(), 1, "the first is left, and is what is posted to");
        self.under_load();
        pipeline.kill_tap();
    }

    /// Kills a command that may have ended by then. What it had printed by then.
    fn kill_at_random(&mut self, mut command: RunningTap) -> Vec<String> {
        self.chance.moment(LONGEST);
        command.program.signal(Signal::KILL);
        let finished = command.finish();
        assert!(matches!(finished.code, None | Some(0)), "{:?}", finished.stderr);
        finished.stdout
    }

    /// The spool of a folder of its own, made by whoever comes first, and killed in the middle of that.
    fn kill_first_start(&mut self) {
        let tap = Tap::new();
        let commands: [fn(&Tap) -> RunningTap; 3] =
            [|tap| tap.run().start(), |tap| tap.listen().start(), |tap| tap.drain().start()];
        let start = self.chance.one_of(&commands);
        let command = start(&tap);
        let _ = self.kill_at_random(command);
        let event = numbered(self.chance.below(1_000_000));
        tap.spool_bodies([event.as_str(), &grouped(&numbered_from(0, 2))]);
        let drained = tap.drain().finish();
        drained.assert_code(0);
        assert_eq!(drained.records().len(), 3);
    }
}
