//! Kills everything at random moments, and checks that nothing is lost.
//!
//! A [`Torture`] is one spool, one destination and one state file that survive any number of kills while the
//! [oracle](crate::oracle) posts. After each kill, every acknowledged event must be safe; at the end, all of
//! them must be in the destination.

use std::fmt;
use std::fs;
use std::time::Duration;

use crate::events::{grouped, numbered_event, numbered_events};
use crate::http::Endpoint;
use crate::oracle::Oracle;
use crate::pipeline::Pipeline;
use crate::program::Signal;
use crate::random::SeededRandom;
use crate::tap::{RunningTap, Tap};
use crate::target::Target;
use crate::wait;

/// The longest time from an event to a kill: a few commits, or a whole start.
const LONGEST: Duration = Duration::from_millis(40);
/// How many events are being trimmed when the tap is killed.
const OLD_EVENTS: u32 = 20_000;

/// The process to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// Listener and emitter in one process, under load.
    Tap,
    /// The tap while it starts.
    StartingTap,
    /// The tap while it deletes events that the target has stored.
    TrimmingTap,
    /// target-jsonl, under load.
    Target,
    /// target-jsonl while it writes the state file, which then ends with half a line.
    StateWriter,
    /// Another process that reads the tap's output.
    Reader,
    /// A listener beside drains.
    Listener,
    /// A drain beside a listener.
    Drain,
    /// The target of such a drain.
    DrainTarget,
    /// `url new` and `url revoke` beside a running tap.
    UrlCommand,
    /// A command that creates a new spool.
    FirstStart,
}

impl Victim {
    /// All victims.
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

/// A spool that survives kills.
#[derive(Debug)]
pub struct Torture {
    random: SeededRandom,
    tap: Tap,
    target: Target,
    /// The path of the oracle's webhook URL.
    path: String,
    oracle: Option<Oracle>,
    /// How many runs of the tap may have written rows.
    runs: usize,
}

impl Torture {
    /// Creates a spool with a webhook URL. `seed` determines all random choices.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let tap = Tap::new()
            .with_created_urls()
            .set("retention_days", 0)
            .set("state_interval_records", random.choose(&[5, 100, 10_000]));
        let target = Target::with_state_interval(tap.folder(), random.choose(&[0, 1]));
        let path = tap.create_url().path;
        Torture { random, tap, target, path, oracle: None, runs: 0 }
    }

    /// Kills `victim` at a random moment, and checks that nothing is lost.
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
            oracle.sent_so_far().assert_none_lost(&self.tap, &self.target);
        }
    }

    /// Starts everything once more, stops it cleanly, and checks that every acknowledged event was
    /// delivered. Returns how many there were.
    pub fn end(mut self) -> usize {
        let pipeline = self.start_under_load();
        self.run_under_load();
        let sent = self.oracle.take().expect("there is load").stop();
        wait::until("the target has every event", || {
            sent.all_acknowledged_in(&self.target.rows()).then_some(())
        });
        pipeline.stop();
        sent.assert_pipeline_delivered(&self.tap, &self.target, self.runs);
        wait::until("the spool is empty", || {
            self.run_drain();
            self.tap.spool().events().is_empty().then_some(())
        });
        sent.acknowledged()
    }

    fn run_drain(&mut self) {
        Pipeline::start_drain(&self.tap, &self.target).finish();
    }

    /// Points the oracle at a tap that has just been started.
    fn load(&mut self, endpoint: &Endpoint) {
        let endpoint = endpoint.with_path(&self.path);
        match &self.oracle {
            Some(oracle) => oracle.redirect(endpoint),
            None => {
                self.oracle = Some(Oracle::start_with_pauses(endpoint, 4, Duration::from_millis(4)));
            }
        }
    }

    /// Waits until a random number of events has been acknowledged, and then for a random time.
    fn run_under_load(&mut self) {
        let events = 1 + self.random.below(60);
        self.oracle.as_ref().expect("there is load").wait_acknowledged(events);
        self.random.sleep_up_to(LONGEST);
    }

    fn start_under_load(&mut self) -> Pipeline {
        self.runs += 1;
        let pipeline = Pipeline::start(&self.tap, &self.target);
        self.load(&pipeline.tap.endpoint());
        pipeline
    }

    fn kill_in_pipeline(&mut self, kill: fn(Pipeline)) {
        let pipeline = self.start_under_load();
        self.run_under_load();
        kill(pipeline);
    }

    fn kill_starting_tap(&mut self) {
        self.runs += 1;
        let pipeline = Pipeline::start(&self.tap, &self.target);
        self.random.sleep_up_to(2 * LONGEST);
        pipeline.kill_tap();
    }

    fn kill_reader(&mut self) {
        self.runs += 1;
        let (pipeline, reader) = Pipeline::start_through_cat(&self.tap, &self.target);
        self.load(&pipeline.tap.endpoint());
        self.run_under_load();
        pipeline.kill_reader(reader);
    }

    /// Kills the tap while it trims events with old sequences, which the oracle never posts. The state covers
    /// them.
    fn kill_trimming_tap(&mut self) {
        let pipeline = self.start_under_load();
        self.oracle.as_ref().expect("there is load").wait_acknowledged(1);
        wait::until("a state", || self.tap.bookmarks().last().filter(|bookmark| **bookmark > 0).map(drop));
        self.tap.spool().insert_many(OLD_EVENTS, 200);
        let left = || self.tap.spool().count_up_to(i64::from(OLD_EVENTS));
        wait::until("trimming has begun", || (left() < u64::from(OLD_EVENTS)).then_some(()));
        self.random.sleep_up_to(Duration::from_millis(5));
        pipeline.kill_tap();
        let pipeline = self.start_under_load();
        wait::until("the rest is trimmed", || {
            (self.tap.spool().count_up_to(i64::from(OLD_EVENTS)) == 0).then_some(())
        });
        // Checked at once, before a newer state covers more events.
        self.oracle.as_ref().expect("there is load").sent_so_far().assert_none_lost(&self.tap, &self.target);
        self.run_under_load();
        pipeline.kill_tap();
    }

    fn kill_state_writer(&mut self) {
        self.kill_in_pipeline(Pipeline::kill_target);
        // A kill rarely interrupts a write of a hundred bytes. This is what such a kill would leave.
        let states = fs::read_to_string(self.tap.state_file()).unwrap_or_default();
        let line = states.lines().last().unwrap_or(r#"{"bookmarks":{}}"#);
        let half = usize::try_from(self.random.below(line.len() as u64)).expect("an index");
        self.tap.append_to_state(&line[..half]);
    }

    fn kill_beside_drain(&mut self, victim: Victim) {
        let mut listener = self.tap.listen().start();
        self.load(&listener.endpoint());
        self.run_under_load();
        self.runs += 1;
        let drain = Pipeline::start_drain(&self.tap, &self.target);
        self.random.sleep_up_to(LONGEST);
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
            "active: {listed:?}; the new URL was printed: {}",
            printed.is_some()
        );
        if let [_, second] = &listed[..] {
            let revoke = self.tap.url(&["revoke", second]).start();
            let _ = self.kill_at_random(revoke);
            if self.tap.url_ids().len() == 2 {
                self.tap.url(&["revoke", second]).finish().assert_code(0);
            }
        }
        assert_eq!(self.tap.url_ids().len(), 1, "only the first URL is left, the one that the oracle uses");
        self.run_under_load();
        pipeline.kill_tap();
    }

    /// Kills a command at a random moment, if it has not ended before. Returns what it has printed.
    fn kill_at_random(&mut self, mut command: RunningTap) -> Vec<String> {
        self.random.sleep_up_to(LONGEST);
        command.program.signal(Signal::KILL);
        let finished = command.finish();
        assert!(matches!(finished.code, None | Some(0)), "{:?}", finished.stderr);
        finished.stdout
    }

    /// Creates a new spool with a random command, and kills the command in the middle.
    fn kill_first_start(&mut self) {
        let tap = Tap::new();
        let commands: [fn(&Tap) -> RunningTap; 3] =
            [|tap| tap.run().start(), |tap| tap.listen().start(), |tap| tap.drain().start()];
        let start = self.random.choose(&commands);
        let command = start(&tap);
        let _ = self.kill_at_random(command);
        let event = numbered_event(self.random.below(1_000_000));
        tap.spool_bodies([event.as_str(), &grouped(&numbered_events(0, 2))]);
        let drained = tap.drain().finish();
        drained.assert_code(0);
        assert_eq!(drained.records().len(), 3);
    }
}
