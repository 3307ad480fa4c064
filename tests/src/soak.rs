//! Mixed load for long, with restarts, kills and drains, and with a watch on what the programs take.
//!
//! The time is divided into rounds, all of which have the same phases in the same order, so that rounds can be compared. In
//! the rounds of the middle, the same two processes go on from the first phase to the last: a leak needs time to show. In
//! those before and after, something happens in nearly every phase.
//!
//! Rows are read as they are stored, and those that are settled are forgotten; the table is removed whenever no target runs.
//! Neither the harness nor the disk fills up.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::arrivals::Arrivals;
use crate::chance::Chance;
use crate::http::{Endpoint, free_address};
use crate::load::{Form, Load};
use crate::message::Record;
use crate::oracle::Oracle;
use crate::pipeline::Pipeline;
use crate::program::Signal;
use crate::samples::{Sample, Sampler};
use crate::tap::Tap;
use crate::target::Target;

/// Connections of a burst: the most that post at once.
const MOST_CONNECTIONS: usize = 64;
/// How long a round takes, about.
const ROUND: Duration = Duration::from_secs(150);
/// How many times over what the spool retains could be in it in the course of a run.
const RETENTIONS: u32 = 30;
/// How often the load is adapted.
const BEAT: Duration = Duration::from_millis(250);
/// Seconds of a burst, and from its start to the next.
const BURST: (u64, u64) = (1, 20);

/// What is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// One event a request.
    Single,
    /// Up to 200 events a request.
    Grouped,
    /// As much as goes, on many connections, for a second out of twenty.
    Bursts,
    /// Long payloads.
    Large,
    /// Fields that nobody knows, and values that do not fit.
    Unknown,
    /// Items that are no events.
    Rejected,
    /// Nothing.
    Quiet,
    /// Nobody stores what is posted, for a while.
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

/// How a run went. Whoever has one knows that nothing was lost.
#[derive(Debug)]
pub struct Outcome {
    /// How many rounds there were.
    pub rounds: usize,
    /// Those in which nothing was restarted.
    pub undisturbed: Range<usize>,
    /// Events and items that were acknowledged.
    pub acknowledged: u64,
    /// Rows of events that were stored.
    pub rows: u64,
    /// Rows of items that are no events.
    pub rejected: u64,
    /// Rows that came again after a restart.
    pub repeated: u64,
    /// How often what happened.
    pub marks: BTreeMap<&'static str, u64>,
    /// What was seen.
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
struct Soak {
    chance: Chance,
    tap: Tap,
    target: Target,
    oracle: Oracle,
    sampler: Sampler,
    running: Option<Pipeline>,
    /// How many runs of the tap may have written rows.
    runs: usize,
    events: Table,
    items: Table,
    marks: BTreeMap<&'static str, u64>,
}

/// A table that is read while it is written.
#[derive(Debug)]
struct Table {
    path: PathBuf,
    read: u64,
    arrivals: Arrivals,
}

/// Soaks for about so long, and demands that nothing was lost. All random choices are those of `seed`; what was seen comes
/// into the CSV file `csv` as it is seen.
#[must_use]
pub fn soak(duration: Duration, seed: u64, csv: &Path) -> Outcome {
    let mut chance = Chance::of(seed);
    let rounds = usize::try_from(duration.as_secs() / ROUND.as_secs()).expect("not for ever").max(1);
    let phases_in_all = u32::try_from(rounds * Phase::ALL.len()).expect("not for ever");
    let undisturbed = rounds / 4..rounds - rounds.div_ceil(4);
    let phases = chance.shuffled(&Phase::ALL);

    let mut soak = Soak::start(chance, duration / RETENTIONS, csv);
    let start = Instant::now();
    let mut phase_number = 0;
    for round in 0..rounds {
        soak.sampler.scene().round = round;
        let mut incidents = soak.chance.shuffled(&Incident::ALL).into_iter().cycle();
        for phase in &phases {
            phase_number += 1;
            let end = start + duration * phase_number / phases_in_all;
            match (undisturbed.contains(&round), phase) {
                (true, Phase::Backlog) => soak.stall(end),
                (true, phase) => soak.post(*phase, end),
                (false, Phase::Backlog) => soak.drain(end),
                (false, phase) => soak.disturb(*phase, incidents.next().expect("it goes on"), end),
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

    /// The load, so long after the phase has begun. An event costs the disk about 4 KB: the spool, its log, the table, and the
    /// spool again when it goes. With these rates, half an hour writes about 5 GB.
    fn load(self, elapsed: Duration) -> Load {
        let of = |connections, sizes| Load { connections, sizes, ..Load::NONE };
        match self {
            Phase::Single => of(8, &[1]).paced(200),
            Phase::Grouped => of(4, &[2, 5, 17, 60, 200, 3, 110]).paced(1500),
            Phase::Bursts if elapsed.as_secs() % BURST.1 < BURST.0 => of(MOST_CONNECTIONS, &[1]),
            Phase::Bursts | Phase::Quiet => Load::NONE,
            Phase::Large => Load { form: Form::Large, ..of(4, &[1, 1, 3]).paced(25) },
            Phase::Unknown => Load { form: Form::Unknown, ..of(4, &[1, 20]).paced(600) },
            Phase::Rejected => Load { with_item: true, ..of(4, &[5, 30]).paced(600) },
            Phase::Backlog => of(4, &[1, 50]).paced(1200),
        }
    }
}

impl Incident {
    /// One for each phase but [`Phase::Backlog`], which has incidents enough of its own.
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
    fn start(chance: Chance, retention: Duration, csv: &Path) -> Self {
        let (address, admin) = (free_address(), free_address());
        let tap = Tap::new()
            .with_minted_urls()
            .set("listen_address", address.to_string())
            .set("admin_address", admin.to_string())
            .set("retention_days", retention.as_secs_f64() / 86_400.0);
        let target = Target::in_folder(tap.folder());
        let oracle = Oracle::start_with_load(tap.mint(), MOST_CONNECTIONS, Load::NONE);
        let sampler = Sampler::start(csv, &tap.spool(), Endpoint::at(admin), oracle.counter());
        let (events, items) = (Table::of(&target, "data"), Table::of(&target, "_sdc_rejected"));
        let marks = BTreeMap::new();
        let mut soak =
            Soak { chance, tap, target, oracle, sampler, running: None, runs: 0, events, items, marks };
        soak.start_pipeline();
        soak
    }

    /// Posts until `end`.
    fn post(&mut self, phase: Phase, end: Instant) {
        self.sampler.scene().phase = phase.name();
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

    /// The same, with an incident at a random moment.
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

    /// A backlog without a restart: the target stands still for half of the time.
    fn stall(&mut self, end: Instant) {
        let half = end.saturating_duration_since(Instant::now()) / 2;
        self.mark("target stalled");
        self.pipeline().target.signal(Signal::STOP);
        self.post(Phase::Backlog, end.checked_sub(half).expect("it lies ahead"));
        self.pipeline().target.signal(Signal::CONT);
        self.post(Phase::Backlog, end);
    }

    /// A backlog that a listener builds up alone, and that drains take away, one of which may be killed.
    fn drain(&mut self, end: Instant) {
        self.sampler.scene().phase = Phase::Backlog.name();
        self.mark("listener alone");
        self.end_pipeline(Pipeline::stop);
        let listener = self.tap.listen().start();
        let _ = listener.endpoint();
        self.sampler.scene().tap = vec![listener.program.id()];
        let moment = self.moment_before(end);
        self.post(Phase::Backlog, moment);
        if self.chance.once_in(2) {
            let drain = self.start_drain();
            self.mark("drain killed");
            self.chance.moment(Duration::from_millis(200));
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

    /// A moment of the second half of the time until `end`.
    fn moment_before(&mut self, end: Instant) -> Instant {
        let left = end.saturating_duration_since(Instant::now());
        let back = left / 2 * u32::try_from(self.chance.below(1000)).expect("a small number") / 1000;
        end.checked_sub(back).expect("it lies ahead")
    }

    fn restart(&mut self, mark: &'static str, end: fn(Pipeline)) {
        self.mark(mark);
        self.end_pipeline(end);
        self.start_pipeline();
    }

    /// As an operator would: the new URL is made and entered before the old one is revoked.
    fn change_url(&mut self) {
        self.mark("URL changed");
        let old = self.tap.url_ids();
        self.oracle.redirect(self.tap.mint());
        for id in old {
            self.tap.url(&["revoke", &id]).finish().assert_code(0);
        }
    }

    fn start_pipeline(&mut self) {
        let pipeline = Pipeline::start(&self.tap, &self.target);
        let _ = pipeline.tap.endpoint();
        let mut scene = self.sampler.scene();
        (scene.tap, scene.target) = (vec![pipeline.tap.program.id()], Some(pipeline.target.id()));
        drop(scene);
        self.running = Some(pipeline);
        self.runs += 1;
    }

    fn end_pipeline(&mut self, end: fn(Pipeline)) {
        end(self.running.take().expect("there is a pipeline"));
        self.remove_tables();
    }

    /// Beside a listener.
    fn start_drain(&mut self) -> Pipeline {
        let drain = Pipeline::start_drain(&self.tap, &self.target);
        let mut scene = self.sampler.scene();
        scene.tap.truncate(1);
        scene.tap.push(drain.tap.program.id());
        scene.target = Some(drain.target.id());
        drop(scene);
        self.runs += 1;
        drain
    }

    fn pipeline(&mut self) -> &mut Pipeline {
        self.running.as_mut().expect("there is a pipeline")
    }

    fn mark(&mut self, mark: &'static str) {
        self.sampler.scene().marks.push(mark);
        *self.marks.entry(mark).or_default() += 1;
    }

    /// Takes the rows that have come since the last time, and settles what can be settled.
    fn read_tables(&mut self) {
        // In this order: what a state covers is in the table when the state is in its file.
        let bookmark = self.tap.bookmarks().last().copied();
        self.events.read();
        self.items.read();
        if let Some(bookmark) = bookmark {
            self.oracle.settle(&mut self.events.arrivals, bookmark);
        }
    }

    /// The same; afterwards the tables begin anew. No target may be running.
    fn remove_tables(&mut self) {
        self.read_tables();
        self.events.remove();
        self.items.remove();
    }

    /// Ends it all well, and demands what was acknowledged.
    fn end(mut self, rounds: usize, undisturbed: Range<usize>) -> Outcome {
        let count = self.oracle.counter();
        // First of all, so that what the end takes is in no phase.
        let samples = self.sampler.stop();
        let memory = self.oracle.stop();
        let pipeline = self.running.take().expect("there is a pipeline");
        pipeline.stop();
        Pipeline::start_drain(&self.tap, &self.target).finish();
        self.events.read();
        self.items.read();
        memory.demand_among(&[&self.events.arrivals, &self.items.arrivals], self.runs + 1);
        let bookmarks = self.tap.bookmarks();
        assert!(bookmarks.is_sorted(), "the bookmarks go back");
        assert_eq!(
            bookmarks.last().copied(),
            self.events.arrivals.last_sequence(),
            "the last state covers all that is there"
        );
        self.tap.launch(&["spool", "verify"]).finish().assert_code(0);
        Outcome {
            rounds,
            undisturbed,
            acknowledged: count(),
            rows: self.events.arrivals.rows(),
            rejected: self.items.arrivals.rows(),
            repeated: self.events.arrivals.repeated() + self.items.arrivals.repeated(),
            marks: self.marks,
            samples,
        }
    }
}

impl Table {
    fn of(target: &Target, stream: &str) -> Self {
        Table { path: target.file(stream), read: 0, arrivals: Arrivals::default() }
    }

    /// Takes the rows that have come since the last time. A line without an end is not one yet.
    fn read(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        file.seek(SeekFrom::Start(self.read)).expect("a file has places");
        let mut file = BufReader::new(file);
        let mut line = String::new();
        while file.read_line(&mut line).expect("the table is text") > 0 && line.ends_with('\n') {
            self.arrivals.take(&Record::of_row(line.trim_end()));
            self.read += line.len() as u64;
            line.clear();
        }
    }

    fn remove(&mut self) {
        // There may have been no row yet.
        let _ = fs::remove_file(&self.path);
        self.read = 0;
    }
}
