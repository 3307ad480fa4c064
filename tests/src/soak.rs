//! Mixed load for a long time, with restarts, kills and drains, while resource usage is watched.
//!
//! The time is divided into rounds with the same phases in the same order, so that rounds can be compared. In
//! the middle rounds, the same two processes run from the first phase to the last, because a leak needs time
//! to show. In the rounds before and after, something happens in almost every phase.
//!
//! Rows are read as they are stored, and final ones are dropped. The table is removed whenever no target is
//! running. So neither the harness nor the disk fills up.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::delivered::DeliveredRows;
use crate::http::{Endpoint, free_address};
use crate::load::{EventForm, LoadProfile};
use crate::message::Record;
use crate::oracle::Oracle;
use crate::pipeline::Pipeline;
use crate::program::Signal;
use crate::random::SeededRandom;
use crate::sampling::{Sample, Sampler};
use crate::tap::Tap;
use crate::target::Target;

/// The connections of a burst, and the most that ever post at once.
const MOST_CONNECTIONS: usize = 64;
/// The approximate duration of a round.
const ROUND: Duration = Duration::from_secs(150);
/// How many retention periods a run has.
const RETENTIONS: u32 = 30;
/// How often the load is adjusted.
const BEAT: Duration = Duration::from_millis(250);
/// The duration of a burst, and the time from one burst to the next, in seconds.
const BURST: (u64, u64) = (1, 20);

/// A part of a round, with its own load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// One event per request.
    Single,
    /// Up to 200 events per request.
    Grouped,
    /// As much as possible on many connections, for one second out of twenty.
    Bursts,
    /// Long payloads.
    Large,
    /// Unknown fields, and values that do not fit.
    Unknown,
    /// Items that are not events.
    Rejected,
    /// Nothing.
    Quiet,
    /// For a while, nothing that is posted is stored.
    Backlog,
}

/// What happens in the middle of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incident {
    StopTap,
    StopTarget,
    KillTap,
    KillTarget,
    ChangeUrl,
    Nothing,
}

/// The results of a run. Nothing was lost, or there would be no report.
#[derive(Debug)]
pub struct SoakReport {
    /// The number of rounds.
    pub rounds: usize,
    /// The rounds in which nothing was restarted.
    pub undisturbed: Range<usize>,
    /// How many events and items were acknowledged.
    pub acknowledged: u64,
    /// How many rows of events were stored.
    pub rows: u64,
    /// How many rows of rejected items were stored.
    pub rejected: u64,
    /// How many of these rows were repeated after a restart.
    pub repeated: u64,
    /// What happened, and how often.
    pub marks: BTreeMap<&'static str, u64>,
    /// All samples.
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
struct Soak {
    random: SeededRandom,
    tap: Tap,
    target: Target,
    oracle: Oracle,
    sampler: Sampler,
    running: Option<Pipeline>,
    /// How many runs of the tap may have written rows.
    runs: usize,
    events: TableReader,
    items: TableReader,
    marks: BTreeMap<&'static str, u64>,
}

/// A table that is read while it is being written.
#[derive(Debug)]
struct TableReader {
    path: PathBuf,
    read: u64,
    delivered: DeliveredRows,
}

/// Soaks for about `duration` and checks that nothing was lost. `seed` determines all random choices. The
/// samples are written to the CSV file `csv` as they are taken.
#[must_use]
pub fn soak(duration: Duration, seed: u64, csv: &Path) -> SoakReport {
    let mut random = SeededRandom::new(seed);
    let rounds = usize::try_from(duration.as_secs() / ROUND.as_secs()).expect("a bounded run").max(1);
    let phases_in_all = u32::try_from(rounds * Phase::ALL.len()).expect("a bounded run");
    let undisturbed = rounds / 4..rounds - rounds.div_ceil(4);
    let phases = random.shuffled(&Phase::ALL);

    let mut soak = Soak::start(random, duration / RETENTIONS, csv);
    let start = Instant::now();
    let mut phase_number = 0;
    for round in 0..rounds {
        soak.sampler.context().round = round;
        let mut incidents = soak.random.shuffled(&Incident::ALL).into_iter().cycle();
        for phase in &phases {
            phase_number += 1;
            let end = start + duration * phase_number / phases_in_all;
            match (undisturbed.contains(&round), phase) {
                (true, Phase::Backlog) => soak.stall(end),
                (true, phase) => soak.post(*phase, end),
                (false, Phase::Backlog) => soak.drain(end),
                (false, phase) => soak.disturb(*phase, incidents.next().expect("the cycle is endless"), end),
            }
        }
    }
    soak.end(rounds, undisturbed)
}

impl Phase {
    const ALL: [Phase; 8] = [
        Phase::Single,
        Phase::Grouped,
        Phase::Bursts,
        Phase::Large,
        Phase::Unknown,
        Phase::Rejected,
        Phase::Quiet,
        Phase::Backlog,
    ];

    fn name(self) -> &'static str {
        match self {
            Phase::Single => "single",
            Phase::Grouped => "grouped",
            Phase::Bursts => "bursts",
            Phase::Large => "large",
            Phase::Unknown => "unknown",
            Phase::Rejected => "rejected",
            Phase::Quiet => "quiet",
            Phase::Backlog => "backlog",
        }
    }

    /// The load when the phase has lasted for `elapsed`. An event costs the disk about 4 KB: the spool, its
    /// log, the table, and the spool again when the event is trimmed. With these rates, half an hour writes
    /// about 5 GB.
    fn load(self, elapsed: Duration) -> LoadProfile {
        let of = |connections, sizes| LoadProfile { connections, sizes, ..LoadProfile::NONE };
        match self {
            Phase::Single => of(8, &[1]).paced(200),
            Phase::Grouped => of(4, &[2, 5, 17, 60, 200, 3, 110]).paced(1500),
            Phase::Bursts if elapsed.as_secs() % BURST.1 < BURST.0 => of(MOST_CONNECTIONS, &[1]),
            Phase::Bursts | Phase::Quiet => LoadProfile::NONE,
            Phase::Large => LoadProfile { form: EventForm::Large, ..of(4, &[1, 1, 3]).paced(25) },
            Phase::Unknown => LoadProfile { form: EventForm::Unknown, ..of(4, &[1, 20]).paced(600) },
            Phase::Rejected => LoadProfile { with_item: true, ..of(4, &[5, 30]).paced(600) },
            Phase::Backlog => of(4, &[1, 50]).paced(1200),
        }
    }
}

impl Incident {
    /// One for each phase except [`Phase::Backlog`], which has incidents of its own.
    const ALL: [Incident; 7] = [
        Incident::StopTap,
        Incident::StopTarget,
        Incident::KillTap,
        Incident::KillTarget,
        Incident::ChangeUrl,
        Incident::Nothing,
        Incident::Nothing,
    ];
}

impl Soak {
    fn start(random: SeededRandom, retention: Duration, csv: &Path) -> Self {
        let (address, admin) = (free_address(), free_address());
        let tap = Tap::new()
            .with_created_urls()
            .set("listen_address", address.to_string())
            .set("admin_address", admin.to_string())
            .set("retention_days", retention.as_secs_f64() / 86_400.0);
        let target = Target::in_folder(tap.folder());
        let oracle = Oracle::start_with_load(tap.create_url(), MOST_CONNECTIONS, LoadProfile::NONE);
        let sampler = Sampler::start(csv, &tap.spool(), Endpoint::webhook_at(admin), oracle.counter());
        let (events, items) = (TableReader::new(&target, "data"), TableReader::new(&target, "_sdc_rejected"));
        let marks = BTreeMap::new();
        let mut soak =
            Soak { random, tap, target, oracle, sampler, running: None, runs: 0, events, items, marks };
        soak.start_pipeline();
        soak
    }

    /// Posts until `end`.
    fn post(&mut self, phase: Phase, end: Instant) {
        self.sampler.context().phase = phase.name();
        let start = Instant::now();
        let mut read = start;
        loop {
            self.oracle.change_load(phase.load(start.elapsed()));
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(BEAT));
            if read.elapsed() >= Duration::from_secs(1) {
                self.read_tables();
                read = Instant::now();
            }
        }
    }

    /// Posts until `end`, with an incident at a random moment.
    fn disturb(&mut self, phase: Phase, incident: Incident, end: Instant) {
        let moment = self.moment_before(end);
        self.post(phase, moment);
        match incident {
            Incident::StopTap => self.restart("tap stopped", Pipeline::stop),
            Incident::StopTarget => self.restart("target stopped", Pipeline::stop_target),
            Incident::KillTap => self.restart("tap killed", Pipeline::kill_tap),
            Incident::KillTarget => self.restart("target killed", Pipeline::kill_target),
            Incident::ChangeUrl => self.change_url(),
            Incident::Nothing => {}
        }
        self.post(phase, end);
    }

    /// Builds up a backlog without a restart: the target is suspended for half of the time.
    fn stall(&mut self, end: Instant) {
        let half = end.saturating_duration_since(Instant::now()) / 2;
        self.mark("target stalled");
        self.pipeline().target.signal(Signal::STOP);
        self.post(Phase::Backlog, end.checked_sub(half).expect("the end lies ahead"));
        self.pipeline().target.signal(Signal::CONT);
        self.post(Phase::Backlog, end);
    }

    /// Builds up a backlog with a listener alone, and drains it. One of the drains may be killed.
    fn drain(&mut self, end: Instant) {
        self.sampler.context().phase = Phase::Backlog.name();
        self.mark("listener alone");
        self.end_pipeline(Pipeline::stop);
        let listener = self.tap.listen().start();
        let _ = listener.endpoint();
        self.sampler.context().tap = vec![listener.program.id()];
        let moment = self.moment_before(end);
        self.post(Phase::Backlog, moment);
        if self.random.one_in(2) {
            let drain = self.start_drain();
            self.mark("drain killed");
            self.random.sleep_up_to(Duration::from_millis(200));
            drain.kill_tap();
            self.remove_tables();
        }
        let drain = self.start_drain();
        self.mark("drain");
        drain.finish();
        self.remove_tables();
        self.post(Phase::Backlog, end);
        listener.stop().assert_code(0);
        self.start_pipeline();
    }

    /// A random moment in the second half of the time until `end`.
    fn moment_before(&mut self, end: Instant) -> Instant {
        let left = end.saturating_duration_since(Instant::now());
        let back = left / 2 * u32::try_from(self.random.below(1000)).expect("a small number") / 1000;
        end.checked_sub(back).expect("the end lies ahead")
    }

    fn restart(&mut self, mark: &'static str, end: fn(Pipeline)) {
        self.mark(mark);
        self.end_pipeline(end);
        self.start_pipeline();
    }

    /// Replaces the webhook URL as an operator would: creates the new one and enters it before revoking
    /// the old one.
    fn change_url(&mut self) {
        self.mark("URL changed");
        let old = self.tap.url_ids();
        self.oracle.redirect(self.tap.create_url());
        for id in old {
            self.tap.url(&["revoke", &id]).finish().assert_code(0);
        }
    }

    fn start_pipeline(&mut self) {
        let pipeline = Pipeline::start(&self.tap, &self.target);
        let _ = pipeline.tap.endpoint();
        let mut context = self.sampler.context();
        (context.tap, context.target) = (vec![pipeline.tap.program.id()], Some(pipeline.target.id()));
        drop(context);
        self.running = Some(pipeline);
        self.runs += 1;
    }

    fn end_pipeline(&mut self, end: fn(Pipeline)) {
        end(self.running.take().expect("there is a pipeline"));
        self.remove_tables();
    }

    /// Starts a drain beside a listener.
    fn start_drain(&mut self) -> Pipeline {
        let drain = Pipeline::start_drain(&self.tap, &self.target);
        let mut context = self.sampler.context();
        context.tap.truncate(1);
        context.tap.push(drain.tap.program.id());
        context.target = Some(drain.target.id());
        drop(context);
        self.runs += 1;
        drain
    }

    fn pipeline(&mut self) -> &mut Pipeline {
        self.running.as_mut().expect("there is a pipeline")
    }

    fn mark(&mut self, mark: &'static str) {
        self.sampler.context().marks.push(mark);
        *self.marks.entry(mark).or_default() += 1;
    }

    /// Reads the new rows, and settles what can be settled.
    fn read_tables(&mut self) {
        // In this order: when a state is in its file, the rows that it covers are in the table.
        let bookmark = self.tap.bookmarks().last().copied();
        self.events.read();
        self.items.read();
        if let Some(bookmark) = bookmark {
            self.oracle.settle(&mut self.events.delivered, bookmark);
        }
    }

    /// The same, and then removes the tables. No target may be running.
    fn remove_tables(&mut self) {
        self.read_tables();
        self.events.remove();
        self.items.remove();
    }

    /// Stops everything cleanly, and checks that every acknowledged event was stored.
    fn end(mut self, rounds: usize, undisturbed: Range<usize>) -> SoakReport {
        let count = self.oracle.counter();
        // Stops sampling first, so that the shutdown belongs to no phase.
        let samples = self.sampler.stop();
        let sent = self.oracle.stop();
        let pipeline = self.running.take().expect("there is a pipeline");
        pipeline.stop();
        Pipeline::start_drain(&self.tap, &self.target).finish();
        self.events.read();
        self.items.read();
        sent.assert_delivered_among(&[&self.events.delivered, &self.items.delivered], self.runs + 1);
        let bookmarks = self.tap.bookmarks();
        assert!(bookmarks.is_sorted(), "the bookmarks never go back");
        assert_eq!(
            bookmarks.last().copied(),
            self.events.delivered.last_sequence(),
            "the last state covers every row"
        );
        self.tap.command(&["spool", "verify"]).finish().assert_code(0);
        SoakReport {
            rounds,
            undisturbed,
            acknowledged: count(),
            rows: self.events.delivered.rows(),
            rejected: self.items.delivered.rows(),
            repeated: self.events.delivered.repeated() + self.items.delivered.repeated(),
            marks: self.marks,
            samples,
        }
    }
}

impl TableReader {
    fn new(target: &Target, stream: &str) -> Self {
        TableReader { path: target.file(stream), read: 0, delivered: DeliveredRows::default() }
    }

    /// Reads the new rows. A line without a line break is not a row yet.
    fn read(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        file.seek(SeekFrom::Start(self.read)).expect("a file can be positioned");
        let mut file = BufReader::new(file);
        let mut line = String::new();
        while file.read_line(&mut line).expect("the table is text") > 0 && line.ends_with('\n') {
            self.delivered.add(&Record::from_row(line.trim_end()));
            self.read += line.len() as u64;
            line.clear();
        }
    }

    fn remove(&mut self) {
        // The table may not exist yet.
        let _ = fs::remove_file(&self.path);
        self.read = 0;
    }
}
