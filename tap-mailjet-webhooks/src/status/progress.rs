//! What people and schedulers see while the tap runs: one live line on a terminal; elsewhere a line a minute, and
//! measurements in Singer's own form.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use catalog::stream::StreamId;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tracing::info;

use crate::config::Components;
use crate::emitter::progress::Counters;
use crate::listener::Traffic;
use crate::os::clock;
use crate::spool::{Backlog, ItemKind, Reader, SpoolError};

/// How often the live line is drawn anew.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);
/// How long the end of a run may wait for the last line to be drawn.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the log tells how it goes, where there is no terminal and there is news.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The live line: what there is to tell.
const LINE: &str = "{spinner} {wide_msg}";
/// The live line of a drain: how much of the backlog is written, and when it will be all.
const BAR: &str = "{spinner} {bar:20} {human_pos}/{human_len} events, {wide_msg}";

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

/// Tells how the run goes, until it is finished: on the live line, or in the log.
#[derive(Debug)]
pub struct Progress {
    stop: mpsc::Sender<()>,
    stopped: mpsc::Receiver<()>,
    line: LiveLine,
    metrics: Arc<Mutex<Metrics>>,
    is_live: bool,
}

impl Progress {
    /// Starts telling. `waiting` is what the spool holds for this run at its start.
    pub fn start(
        line: &LiveLine,
        rooms: Components,
        (counters, traffic): (Counters, Traffic),
        reader: Reader,
        waiting: Backlog,
    ) -> io::Result<Self> {
        let is_live = LiveLine::is_wanted();
        let mut teller = ProgressReporter {
            rooms,
            counters: counters.clone(),
            traffic,
            reader,
            waiting,
            rate: Rate::default(),
        };
        let bar = line.bar.clone();
        if is_live {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            let template = if teller.has_an_end() { BAR } else { LINE };
            bar.set_style(
                ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> "),
            );
        }
        if is_live && matches!(waiting, Backlog::Exactly(_)) {
            // At once: also of a run that is over in no time there is something to see.
            teller.draw(&bar);
        }
        let metrics = Arc::new(Mutex::new(Metrics::new(rooms, counters)));
        let (stop, asked_to_stop) = mpsc::channel();
        let (end, stopped) = mpsc::channel();
        let shared = Arc::clone(&metrics);
        thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let mut told = Instant::now();
            let mut told_total = 0;
            while asked_to_stop.recv_timeout(DRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if is_live {
                    teller.draw(&bar);
                } else if told.elapsed() >= LOG_INTERVAL {
                    told = Instant::now();
                    let line = teller.line();
                    if teller.total() != told_total {
                        told_total = teller.total();
                        info!("{line}");
                        shared.lock().unwrap_or_else(PoisonError::into_inner).tell_counts();
                    }
                }
            }
            // The spool is closed when the end is told.
            drop(teller);
            let _ = end.send(());
        })?;
        Ok(Progress { stop, stopped, line: line.clone(), metrics, is_live })
    }

    /// Tells the last measurements of a run that has come to its end.
    pub fn finish(self, succeeded: bool) {
        if !self.is_live {
            self.metrics.lock().unwrap_or_else(PoisonError::into_inner).tell_end(succeeded);
        }
        self.line.bar.finish_and_clear();
        self.line.bar.set_draw_target(ProgressDrawTarget::hidden());
        drop(self.stop);
        // Whoever does not read stderr must not keep the run from its end.
        let _ = self.stopped.recv_timeout(END_TIMEOUT);
    }
}

/// Measurements in the form that Singer's tools read: `INFO METRIC: {…}`, counters being what came since the last one.
#[derive(Debug)]
struct Metrics {
    job_type: &'static str,
    counters: Counters,
    started: Instant,
    /// Records of each stream that have been told, in the order of [`crate::emitter::progress::Reached::streams`].
    told: Vec<u64>,
}

impl Metrics {
    fn new(rooms: Components, counters: Counters) -> Self {
        let job_type = match rooms {
            Components { emitter: false, .. } => "listen",
            Components { listener: false, .. } => "drain",
            Components { .. } => "continuous",
        };
        Metrics { job_type, counters, started: Instant::now(), told: Vec::new() }
    }

    fn tell_counts(&mut self) {
        let streams = self.counters.reached().streams;
        self.told.resize(streams.len(), 0);
        for (written, told) in streams.iter().zip(&mut self.told) {
            let more = written.records - std::mem::replace(told, written.records);
            if more > 0 {
                tell(&record_count(written.stream, more));
            }
        }
    }

    fn tell_end(&mut self, succeeded: bool) {
        self.tell_counts();
        let status = if succeeded { "succeeded" } else { "failed" };
        tell(&json!({
            "type": "timer",
            "metric": "job_duration",
            "value": self.started.elapsed().as_secs_f64(),
            "tags": { "job_type": self.job_type, "status": status },
        }));
    }
}

fn record_count(stream: StreamId, records: u64) -> Value {
    json!({ "type": "counter", "metric": "record_count", "value": records, "tags": { "endpoint": stream.name() } })
}

fn tell(point: &Value) {
    info!("METRIC: {point}");
}

struct ProgressReporter {
    rooms: Components,
    counters: Counters,
    traffic: Traffic,
    reader: Reader,
    /// What the spool held for this run at its start.
    waiting: Backlog,
    rate: Rate,
}

impl ProgressReporter {
    /// Whether there is a backlog with an end.
    fn has_an_end(&self) -> bool {
        !self.rooms.listener && !self.waiting.is_empty()
    }

    fn total(&self) -> u64 {
        if self.rooms.emitter { self.counters.total_written() } else { self.traffic.total_events() }
    }

    /// What the spool held for this run at its start. It is counted when it is first asked for, which a short run never does.
    fn waiting(&mut self) -> u64 {
        match self.waiting {
            Backlog::Exactly(waiting) => waiting,
            Backlog::MoreThan(least) => {
                let written = self.counters.total_written();
                let left = self.reader.count_past(ItemKind::Events, self.counters.reached().events);
                // What has been received since is in the spool, too.
                let waiting =
                    left.map_or(least, |left| (written + left).saturating_sub(self.traffic.total_events()));
                self.waiting = Backlog::Exactly(waiting);
                waiting
            }
        }
    }

    fn draw(&mut self, bar: &ProgressBar) {
        if self.has_an_end() {
            let waiting = self.waiting();
            let written = self.counters.total_written();
            // More may have arrived meanwhile.
            bar.set_length(waiting.max(written));
            bar.set_position(written);
            let rate = self.rate.after(written);
            bar.set_message(format!(
                "{}/s, {}",
                HumanCount(rate),
                time_left(waiting.saturating_sub(written), rate)
            ));
        } else {
            let line = self.line();
            bar.set_message(line);
        }
        bar.tick();
    }

    fn line(&mut self) -> String {
        let (received, written) = (self.traffic.total_events(), self.counters.total_written());
        let rate = self.rate.after(self.total());
        let mut parts = Vec::new();
        if self.rooms.listener {
            parts.push(format!("received {}", HumanCount(received)));
        }
        if self.rooms.emitter {
            parts.push(format!("written {}", HumanCount(written)));
            let waiting = (self.waiting() + received).saturating_sub(written);
            parts.push(format!("waiting {}", HumanCount(waiting)));
        }
        parts.push(format!("{}/s", HumanCount(rate)));
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
        let position = self.counters.confirmed().unwrap_or_else(|| self.counters.reached().events);
        let oldest = self.reader.oldest_past(position)?;
        Ok(oldest.map_or(0, |oldest| (clock::unix_millis() - oldest).max(0)))
    }
}

/// How long it takes to write so many events at so many a second.
fn time_left(events: u64, rate: u64) -> String {
    match events.checked_div(rate) {
        None => "time left unknown".to_owned(),
        Some(seconds @ 0..60) => format!("{seconds} s left"),
        Some(seconds @ 60..3600) => format!("{} min {} s left", seconds / 60, seconds % 60),
        Some(seconds) => format!("{} h {} min left", seconds / 3600, seconds / 60 % 60),
    }
}

/// Events a second, over the last few looks.
#[derive(Default)]
struct Rate {
    looks: std::collections::VecDeque<(Instant, u64)>,
}

impl Rate {
    fn after(&mut self, total: u64) -> u64 {
        let now = Instant::now();
        self.looks.push_back((now, total));
        if self.looks.len() > 10 {
            self.looks.pop_front();
        }
        let (since, before) = self.looks[0];
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        ((total - before) * 1000).checked_div(millis).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_as_people_do() {
        let cases = [
            ((100, 0), "time left unknown"),
            ((0, 5), "0 s left"),
            ((100, 5), "20 s left"),
            ((600, 5), "2 min 0 s left"),
            ((36_600, 5), "2 h 2 min left"),
        ];
        for ((events, rate), expected) in cases {
            assert_eq!(time_left(events, rate), expected);
        }
    }
}
