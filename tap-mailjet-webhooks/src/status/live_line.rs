//! What people see while the tap runs: a live line on a terminal, and elsewhere a log line a minute.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use catalog::plugin::standard_stream::StandardStream;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

use super::Components;
use super::singer_metrics::SingerMetrics;
use super::{Snapshot, StatusSource};
use crate::os::thread::{self, ThreadError};
use crate::spool::Backlog;

/// How often the live line is drawn again.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);
/// How long the end of a run waits for the thread that reports progress.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How often progress is logged where there is no terminal. Without news, nothing is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
const LINE: &str = "{spinner} {wide_msg}";
/// The live line of a drain: how much of the backlog is written, and how much time is left.
const BAR: &str = "{spinner} {bar:20} {human_pos}/{human_len} events, {wide_msg}";

/// The live line. While it is shown, everything else that goes to stderr has to pass through
/// [`LiveLine::writer`].
///
/// A terminal may stop reading (Ctrl-S), and whoever draws then holds the lock of the bar. So only the thread
/// that reports progress and the log's own thread use the bar.
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
    /// Returns a writer to `stderr` that hides the live line while it writes.
    pub fn writer(&self, stderr: StandardStream) -> impl Write + Send + use<> {
        struct Suspending(ProgressBar, StandardStream);
        impl Write for Suspending {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                self.0.suspend(|| self.1.write(text))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        Suspending(self.bar.clone(), stderr)
    }
}

/// Reports the progress of a run until it is finished, on the live line or in the log.
#[derive(Debug)]
pub struct ProgressReporter {
    stop: mpsc::Sender<()>,
    stopped: mpsc::Receiver<()>,
    metrics: Arc<Mutex<SingerMetrics>>,
    is_live: bool,
}

impl ProgressReporter {
    /// Starts reporting what `source` sees. `backlog` is what waits when the run starts.
    pub fn start(
        line: &LiveLine,
        components: Components,
        source: StatusSource,
        backlog: Backlog,
        metrics: SingerMetrics,
    ) -> Result<Self, ThreadError> {
        // The live line needs a terminal, and messages on stdout that go elsewhere.
        let is_live = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let is_drain = !components.has_listener() && !backlog.is_empty();
        let mut view = View { components, source, is_drain, rate: Rate::default() };
        let bar = line.bar.clone();
        let metrics = Arc::new(Mutex::new(metrics));
        let (stop, asked_to_stop) = mpsc::channel();
        let (end, stopped) = mpsc::channel();
        let shared = Arc::clone(&metrics);
        thread::spawn("progress", move || {
            let mut logged_at = Instant::now();
            let mut logged_total = 0;
            if is_live {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                let template = if is_drain { BAR } else { LINE };
                let style = ProgressStyle::with_template(template).expect("a valid template");
                bar.set_style(style.progress_chars("=> "));
                // Drawn at once, so that even a short run shows something.
                view.draw(&bar);
            }
            while asked_to_stop.recv_timeout(DRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if is_live {
                    view.draw(&bar);
                } else if logged_at.elapsed() >= LOG_INTERVAL {
                    logged_at = Instant::now();
                    let snapshot = view.source.progress();
                    let (line, total) = (view.line(&snapshot), view.total(&snapshot));
                    if total != logged_total {
                        logged_total = total;
                        info!("{line}");
                        shared.lock().unwrap_or_else(PoisonError::into_inner).log_counts();
                    }
                }
            }
            if is_live {
                bar.finish_and_clear();
                bar.set_draw_target(ProgressDrawTarget::hidden());
            }
            // The spool is closed before the end is reported.
            drop(view);
            let _ = end.send(());
        })?;
        Ok(ProgressReporter { stop, stopped, metrics, is_live })
    }

    /// Logs the last measurements of a run that has ended, and removes the live line.
    pub fn finish<E>(self, outcome: &Result<(), E>) {
        if !self.is_live {
            self.metrics.lock().unwrap_or_else(PoisonError::into_inner).log_end(outcome);
        }
        drop(self.stop);
        // A reader of stderr that does not read must not delay the end of the run.
        let _ = self.stopped.recv_timeout(END_TIMEOUT);
    }
}

/// What the live line shows of a snapshot.
struct View {
    components: Components,
    source: StatusSource,
    /// Whether this is a drain, which ends once its backlog is written.
    is_drain: bool,
    rate: Rate,
}

impl View {
    /// The events that this run has written or, without an emitter, received.
    fn total(&self, snapshot: &Snapshot) -> u64 {
        if self.components.has_emitter() { written(snapshot) } else { received(snapshot) }
    }

    fn draw(&mut self, bar: &ProgressBar) {
        let snapshot = self.source.progress();
        if self.is_drain {
            let written = written(&snapshot);
            let (rate, left) = (self.rate.after(written), waiting(&snapshot));
            if let Some(left) = left {
                bar.set_length(written + left);
            }
            bar.set_position(written);
            bar.set_message(format!("{}/s, {}", HumanCount(rate), time_left(left, rate)));
        } else {
            bar.set_message(self.line(&snapshot));
        }
        bar.tick();
    }

    fn line(&mut self, snapshot: &Snapshot) -> String {
        let rate = self.rate.after(self.total(snapshot));
        let mut parts = Vec::new();
        if self.components.has_listener() {
            parts.push(format!("received {}", HumanCount(received(snapshot))));
        }
        if self.components.has_emitter() {
            parts.push(format!("written {}", HumanCount(written(snapshot))));
            let waiting = waiting(snapshot).map(|events| HumanCount(events).to_string());
            parts.push(format!("waiting {}", waiting.as_deref().unwrap_or("unknown")));
        }
        parts.push(format!("{}/s", HumanCount(rate)));
        if self.components.has_emitter() {
            // The age of the oldest event that the target has not stored.
            let lag = snapshot.behind.map(|behind| behind.unstored.age_seconds(snapshot.taken_at));
            parts.push(lag.map_or("lag unknown".to_owned(), |seconds| format!("lag {seconds:.1} s")));
        }
        parts.join("   ")
    }
}

fn received(snapshot: &Snapshot) -> u64 {
    snapshot.listener.as_ref().map_or(0, |listener| listener.traffic.total_events())
}

fn written(snapshot: &Snapshot) -> u64 {
    snapshot.emitter.as_ref().map_or(0, |emitter| emitter.events_written)
}

/// Events in the spool that this run has not written yet.
fn waiting(snapshot: &Snapshot) -> Option<u64> {
    Some(snapshot.behind?.unwritten.events)
}

/// Says how long it takes to write `events` at this rate.
fn time_left(events: Option<u64>, rate: u64) -> String {
    let seconds = events.and_then(|events| events.checked_div(rate)).map(Duration::from_secs);
    seconds.map_or("time left unknown".to_owned(), |left| format!("{} left", HumanDuration(left)))
}

/// The events a second over the last few snapshots.
#[derive(Default)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    fn after(&mut self, total: u64) -> u64 {
        let now = Instant::now();
        self.0.push_back((now, total));
        if self.0.len() > 10 {
            self.0.pop_front();
        }
        let (since, before) = self.0[0];
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        ((total - before) * 1000).checked_div(millis).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_rate() {
        let cases = [
            ((None, 5), "time left unknown"),
            ((Some(100), 0), "time left unknown"),
            ((Some(0), 5), "0 seconds left"),
            ((Some(100), 5), "20 seconds left"),
            ((Some(600), 5), "2 minutes left"),
            ((Some(36_600), 5), "2 hours left"),
        ];
        for ((events, rate), expected) in cases {
            assert_eq!(time_left(events, rate), expected);
        }
    }
}
