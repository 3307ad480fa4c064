//! What the parts share: the folder, the options, the big spool, the results.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cli::Options;
use crate::event_generator::EventGenerator;
use crate::machine;
use crate::measurement::{Requirement, ResultRow, Unit, float, megabytes};
use crate::process;
use crate::results::Results;
use crate::spool::Spool;

/// A run of the benchmark.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// The options of the run.
    pub options: Options,
    /// The results so far.
    pub results: Results,
    /// Where spools are created.
    pub folder: PathBuf,
    /// The source of all events.
    pub generator: EventGenerator,
    /// The highest peak memory of a listener under load, in millions of bytes.
    pub listener_peak: f64,
    big: Option<Spool>,
    messages: Option<PathBuf>,
}

impl Benchmark {
    /// Creates the folder.
    pub(crate) fn new(options: Options) -> Self {
        fs::create_dir_all(&options.folder).expect("a folder can be made");
        let folder = options.folder.canonicalize().expect("the folder exists");
        let (results, generator) = (Results::default(), EventGenerator::new());
        Benchmark { options, results, folder, generator, listener_peak: 0.0, big: None, messages: None }
    }

    /// How often each side of a comparison is measured.
    pub(crate) fn rounds(&self) -> std::ops::Range<usize> {
        0..self.options.rounds
    }

    /// How many records the file of [`Benchmark::messages`] has.
    pub(crate) fn message_records(&self) -> u64 {
        self.options.size(200_000, 5_000)
    }

    /// A file with the output of a drain.
    pub(crate) fn messages(&mut self) -> PathBuf {
        if let Some(path) = &self.messages {
            return path.clone();
        }
        let spool = Spool::new(&self.folder, "messages");
        let events = self.message_records();
        spool.fill(&mut self.generator, events);
        let path = self.folder.join("messages.jsonl");
        let output = File::create(&path).expect("a file can be made");
        process::run(spool.drain().stdout(output), &spool.log());
        spool.remove();
        eprintln!("  {events} records, {:.1} MB", megabytes(size_of(&path)));
        self.messages.insert(path).clone()
    }

    /// Takes the big spool, which is filled by real posts. Must be returned with
    /// [`Benchmark::return_big_spool`].
    pub(crate) fn take_big_spool(&mut self) -> Spool {
        self.big.take().unwrap_or_else(|| self.fill_big_spool())
    }

    /// Returns the big spool, for the next part.
    pub(crate) fn return_big_spool(&mut self, spool: Spool) {
        self.big = Some(spool);
    }

    fn fill_big_spool(&mut self) -> Spool {
        let (events, smaller) = (self.big_events(), self.small_events());
        let spool = Spool::new(&self.folder, "big");
        eprintln!("  posting {events} events");
        let listener = spool.listen();
        let first = listener.post_groups(&mut self.generator, smaller);
        let rest = listener.post_groups(&mut self.generator, events - smaller);
        let listener_peak = listener.peak();
        listener.stop();
        assert!(spool.event_count() >= events, "every event that was answered with 200 is in the spool");
        self.results.round("fill", "first events", Unit::PerSecond, first.rate());
        self.results.round("fill", "all further events", Unit::PerSecond, rest.rate());
        self.results.round("fill", "size of the spool", Unit::Megabytes, spool.size());
        // A state must not be ahead of what was ever written, so a drain has to write everything once.
        let usage = spool.drain_to_null();
        self.results.round("fill", "the whole of it drained", Unit::Seconds, usage.seconds);
        for (what, peak, most) in [("listener taking", listener_peak, 64.0), ("drain of", usage.peak, 48.0)] {
            self.results.row(ResultRow {
                part: "memory",
                what: format!("{what} {}, peak memory", count(events)),
                measured: peak,
                unit: Unit::Megabytes,
                against: None,
                requirement: Some(Requirement::at_most(most)),
            });
        }
        process::sync_disk();
        spool
    }

    /// How many events the spool has that the big one is compared with.
    pub(crate) fn small_events(&self) -> u64 {
        self.options.size(100_000, 20_000)
    }

    /// How many events the big spool has.
    pub(crate) fn big_events(&self) -> u64 {
        self.options.size(10_000_000, 60_000)
    }

    /// Prints and writes the results, and removes the spools.
    pub(crate) fn finish(self) {
        let how = format!(
            "Medians of {} rounds, with both sides in turn; what takes 10 million events is measured once. \
             Each load lasts {} s. POST to synced line: with a STATE every 0.25 s, without the first third \
             of each load, the longest lag of all rounds{}.",
            self.options.rounds,
            self.options.load_time.as_secs(),
            if self.options.quick {
                ". SMALL SIZES (--quick): these values only show that the benchmark works"
            } else {
                ""
            }
        );
        self.results.finish(&self.folder, &machine::describe(&self.folder), &how);
        if self.options.keep {
            return;
        }
        if let Some(path) = self.messages {
            let _ = fs::remove_file(path);
        }
        if let Some(spool) = self.big {
            spool.remove();
        }
    }
}

/// The size of a file in bytes.
pub(crate) fn size_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// A number of events, for people.
pub(crate) fn count(events: u64) -> String {
    match events {
        1_000_000.. if events.is_multiple_of(1_000_000) => format!("{} million events", events / 1_000_000),
        _ => format!("{} events", Unit::NanosPerEvent.show(float(events)).trim_end_matches(" ns")),
    }
}
