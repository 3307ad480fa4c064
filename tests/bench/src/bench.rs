//! What the parts share: the folder, the options, the big spool, the results.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::figures::{Demand, Row, Unit, float, megabytes};
use crate::machine;
use crate::mail::Mail;
use crate::options::Options;
use crate::process;
use crate::results::Results;
use crate::site::Site;

/// A run of the benchmark.
#[derive(Debug)]
pub(crate) struct Bench {
    /// What is asked for.
    pub options: Options,
    /// What was found.
    pub results: Results,
    /// Where spools are made.
    pub folder: PathBuf,
    /// Makes events.
    pub mail: Mail,
    /// The most memory that a listener under load has had: millions of bytes.
    pub listener_peak: f64,
    big: Option<Site>,
    messages: Option<PathBuf>,
}

impl Bench {
    /// Makes the folder.
    pub(crate) fn new(options: Options) -> Self {
        fs::create_dir_all(&options.folder).expect("a folder can be made");
        let folder = options.folder.canonicalize().expect("it is there");
        let (results, mail) = (Results::default(), Mail::new());
        Bench { options, results, folder, mail, listener_peak: 0.0, big: None, messages: None }
    }

    /// How often each side of a comparison is measured.
    pub(crate) fn rounds(&self) -> std::ops::Range<usize> {
        0..self.options.rounds
    }

    /// Records in [`Bench::messages`].
    pub(crate) fn message_records(&self) -> u64 {
        self.options.size(200_000, 5_000)
    }

    /// A file with what a drain writes.
    pub(crate) fn messages(&mut self) -> PathBuf {
        if let Some(path) = &self.messages {
            return path.clone();
        }
        let site = Site::new(&self.folder, "messages");
        let events = self.message_records();
        site.fill(&mut self.mail, events);
        let path = self.folder.join("messages.jsonl");
        let output = File::create(&path).expect("a file can be made");
        process::run(site.drain().stdout(output), &site.log());
        site.remove();
        eprintln!("  {events} records, {:.1} MB", megabytes(size_of(&path)));
        self.messages.insert(path).clone()
    }

    /// The big spool, filled by real posts. It is to be given back with [`Bench::keep_big`].
    pub(crate) fn take_big(&mut self) -> Site {
        self.big.take().unwrap_or_else(|| self.fill_big())
    }

    /// Keeps the big spool for the next part.
    pub(crate) fn keep_big(&mut self, site: Site) {
        self.big = Some(site);
    }

    fn fill_big(&mut self) -> Site {
        let (events, smaller) = (self.big_events(), self.small_events());
        let site = Site::new(&self.folder, "big");
        eprintln!("  posting {events} events");
        let listener = site.listen();
        let first = listener.take(&mut self.mail, smaller);
        let rest = listener.take(&mut self.mail, events - smaller);
        let listener_peak = listener.peak();
        listener.stop();
        assert!(site.events() >= events, "every event that was answered with 200 is in the spool");
        self.results.round("fill", "first events", Unit::PerSecond, first.rate());
        self.results.round("fill", "all further events", Unit::PerSecond, rest.rate());
        self.results.round("fill", "size of the spool", Unit::Megabytes, site.size());
        // A STATE has to have been written before one may say how far the target is.
        let taken = site.drain_to_nowhere(false);
        self.results.round("fill", "the whole of it drained", Unit::Seconds, taken.seconds);
        for (what, peak, most) in [("listener taking", listener_peak, 64.0), ("drain of", taken.peak, 48.0)] {
            self.results.row(Row {
                part: "memory",
                what: format!("{what} {}, peak memory", count(events)),
                measured: peak,
                unit: Unit::Megabytes,
                against: None,
                demand: Some(Demand::at_most(most)),
            });
        }
        process::settle();
        site
    }

    /// Events in the spool that the big one is compared with.
    pub(crate) fn small_events(&self) -> u64 {
        self.options.size(100_000, 20_000)
    }

    /// Events that the big spool is filled with.
    pub(crate) fn big_events(&self) -> u64 {
        self.options.size(10_000_000, 60_000)
    }

    /// Prints and writes what was found, and removes what was needed for it.
    pub(crate) fn finish(self) {
        let how = format!(
            "Medians of {} rounds where a round can be repeated, both sides in turn; what concerns 10 million events is measured once. \
             Loads of {} s. From the POST to the synced line: with a STATE every 0.25 s, from the second third of each load on, the \
             longest lag of all rounds{}.",
            self.options.rounds,
            self.options.load_time.as_secs(),
            if self.options.quick {
                ". SMALL SIZES (--quick): these figures show that it works, and nothing else"
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
        if let Some(site) = self.big {
            site.remove();
        }
    }
}

/// The size of a file in bytes.
pub(crate) fn size_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// A round number of events, for people.
pub(crate) fn count(events: u64) -> String {
    match events {
        1_000_000.. if events.is_multiple_of(1_000_000) => format!("{} million events", events / 1_000_000),
        _ => format!("{} events", Unit::NanosPerEvent.show(float(events)).trim_end_matches(" ns")),
    }
}
