//! What people see while the tap runs: counters, and one live line on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use catalog::stream::StreamId;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

use crate::clock;
use crate::spool::{Append, Batch, Reader, Receipt, Refused, Reservation, SpoolError};

/// How often the live line is drawn anew.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);
/// How often the log tells the same, where there is no terminal and there is news.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How far the rooms of one process have got. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    shared: Arc<Shared>,
}

/// How far stdout has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Every event up to this sequence has been written to each selected stream that has it.
    pub events: i64,
    /// So has every rejected item up to this one.
    pub rejected: i64,
    /// For each selected stream, the sequence of the last record that this run has written to it, or 0.
    pub last_records: Vec<(StreamId, i64)>,
}

impl Reached {
    /// The selected streams of events, or that of rejected items, each with the sequence of its last record.
    pub fn streams(&self, rejected: bool) -> impl Iterator<Item = &(StreamId, i64)> {
        self.last_records.iter().filter(move |(id, _)| (*id == StreamId::Rejected) == rejected)
    }

    /// Sequence up to which events, or rejected items, have been written; 0 where no stream of them is selected.
    #[must_use]
    pub fn taken(&self, rejected: bool) -> i64 {
        if self.streams(rejected).next().is_none() {
            0
        } else if rejected {
            self.rejected
        } else {
            self.events
        }
    }
}

#[derive(Debug)]
struct Shared {
    received: AtomicU64,
    /// When webhooks last arrived: milliseconds after `started`.
    last_received: AtomicU64,
    started: Instant,
    written: AtomicU64,
    /// How far stdout has got.
    reached: Mutex<Reached>,
    /// Sequence up to which the state file confirms all events; -1 while nothing follows one.
    confirmed: AtomicI64,
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            received: AtomicU64::new(0),
            last_received: AtomicU64::new(0),
            started: Instant::now(),
            written: AtomicU64::new(0),
            reached: Mutex::default(),
            confirmed: AtomicI64::new(-1),
        }
    }
}

impl Counters {
    /// Counts events that were acknowledged.
    pub fn received(&self, events: usize) {
        self.shared.received.fetch_add(events as u64, Ordering::Relaxed);
        let now = u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.last_received.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has been acknowledged for `limit`.
    pub async fn nothing_received_for(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.shared.last_received.load(Ordering::Relaxed));
            let idle = self.shared.started.elapsed().saturating_sub(last);
            match limit.checked_sub(idle) {
                Some(rest) if !rest.is_zero() => tokio::time::sleep(rest).await,
                _ => return,
            }
        }
    }

    /// Counts events that stdout took, to whichever streams, and notes how far it has got with them.
    pub fn written(&self, events: u64, reached: &Reached) {
        self.shared.written.fetch_add(events, Ordering::Relaxed);
        self.shared.reached.lock().unwrap_or_else(PoisonError::into_inner).clone_from(reached);
    }

    /// Notes that the target has everything up to `sequence`.
    pub fn confirmed_through(&self, sequence: i64) {
        self.shared.confirmed.store(sequence, Ordering::Relaxed);
    }

    /// How far stdout has got.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.shared.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn total_received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    fn total_written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }
}

/// A spool that counts what it acknowledges.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    spool: S,
    counters: Counters,
}

impl<S> Counted<S> {
    /// Counts what `spool` acknowledges.
    pub fn new(spool: S, counters: Counters) -> Self {
        Counted { spool, counters }
    }
}

impl<S: Append> Append for Counted<S> {
    fn reserve(&self, bytes: usize) -> Result<Reservation, Refused> {
        self.spool.reserve(bytes)
    }

    async fn append(&self, batch: Batch) -> Result<Receipt, Refused> {
        let receipt = self.spool.append(batch).await?;
        self.counters.received(receipt.accepted);
        Ok(receipt)
    }
}

/// The live line. Everything else that goes to stderr while it is shown has to pass through [`LiveLine::writer`].
#[derive(Debug, Clone)]
pub struct LiveLine {
    bar: ProgressBar,
}

impl Default for LiveLine {
    fn default() -> Self {
        LiveLine { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()) }
    }
}

impl LiveLine {
    /// A writer to stderr that lets the live line step aside.
    #[must_use]
    pub fn writer(&self) -> impl Write + use<> {
        struct Aside(ProgressBar);
        impl Write for Aside {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                self.0.suspend(|| io::stderr().write(text))
            }
            fn flush(&mut self) -> io::Result<()> {
                io::stderr().flush()
            }
        }
        Aside(self.bar.clone())
    }

    /// Whether the line is of use: somebody looks at stderr, and the messages on stdout go elsewhere.
    #[must_use]
    pub fn is_wanted() -> bool {
        io::stderr().is_terminal() && !io::stdout().is_terminal()
    }
}

/// Which rooms a process has, and so what there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rooms {
    /// Webhooks are received.
    pub listener: bool,
    /// Messages are written.
    pub emitter: bool,
}

/// Tells how the run goes until it is dropped: on the live line, or once a minute in the log.
#[derive(Debug)]
pub struct Progress {
    _stop: mpsc::Sender<()>,
    line: LiveLine,
}

impl Progress {
    /// Starts telling. `waiting` is what the spool holds for this run at its start.
    pub fn start(
        line: &LiveLine,
        rooms: Rooms,
        counters: Counters,
        reader: Reader,
        waiting: u64,
    ) -> io::Result<Self> {
        let live = LiveLine::is_wanted();
        if live {
            line.bar.set_draw_target(ProgressDrawTarget::stderr());
            line.bar
                .set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("a valid template"));
        }
        let (stop, stopped) = mpsc::channel();
        let mut teller = Teller { rooms, counters, reader, waiting, rate: Rate::default() };
        let bar = line.bar.clone();
        thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let mut told = Instant::now();
            let mut told_total = 0;
            loop {
                if live {
                    let line = teller.line();
                    bar.set_message(line);
                    bar.tick();
                } else if told.elapsed() >= LOG_INTERVAL {
                    told = Instant::now();
                    let line = teller.line();
                    if teller.total() != told_total {
                        told_total = teller.total();
                        info!("{line}");
                    }
                }
                if stopped.recv_timeout(DRAW_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        })?;
        Ok(Progress { _stop: stop, line: line.clone() })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line.bar.finish_and_clear();
        self.line.bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}

struct Teller {
    rooms: Rooms,
    counters: Counters,
    reader: Reader,
    waiting: u64,
    rate: Rate,
}

impl Teller {
    fn total(&self) -> u64 {
        if self.rooms.emitter { self.counters.total_written() } else { self.counters.total_received() }
    }

    fn line(&mut self) -> String {
        let (received, written) = (self.counters.total_received(), self.counters.total_written());
        let rate = self.rate.after(self.total());
        let mut parts = Vec::new();
        if self.rooms.listener {
            parts.push(format!("received {}", HumanCount(received)));
        }
        if self.rooms.emitter {
            parts.push(format!("written {}", HumanCount(written)));
            parts.push(format!("waiting {}", HumanCount((self.waiting + received).saturating_sub(written))));
        }
        parts.push(format!("{rate:.0}/s"));
        if self.rooms.emitter {
            parts.push(match self.lag() {
                Ok(millis) => format!("lag {}.{} s", millis / 1000, millis % 1000 / 100),
                Err(error) => format!("lag unknown ({error})"),
            });
        }
        parts.join("   ")
    }

    /// Age of the oldest event that is not confirmed, or, where nobody confirms, not written: milliseconds.
    fn lag(&self) -> Result<i64, SpoolError> {
        let confirmed = self.counters.shared.confirmed.load(Ordering::Relaxed);
        let position = if confirmed < 0 { self.counters.reached().events } else { confirmed };
        let oldest = self.reader.oldest_past(position)?;
        Ok(oldest.map_or(0, |oldest| (clock::unix_millis() - oldest).max(0)))
    }
}

/// Events a second, over the last few looks.
#[derive(Default)]
struct Rate {
    looks: std::collections::VecDeque<(Instant, u64)>,
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown without fraction")]
    fn after(&mut self, total: u64) -> f64 {
        let now = Instant::now();
        self.looks.push_back((now, total));
        if self.looks.len() > 10 {
            self.looks.pop_front();
        }
        let (since, before) = self.looks[0];
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 { (total - before) as f64 / seconds } else { 0.0 }
    }
}
