//! The figures, in Prometheus's text format.
//!
//! What happens on the way of a webhook is counted there, by atomics. All else is read when somebody asks: the spool is then
//! looked at in the way of `spool status`. No label has a value that a sender chooses.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::{error, warn};

use crate::config::Components;
use crate::emitter::progress::Counters;
use crate::listener::Traffic;
use crate::os::clock;
use crate::os::log_throttle::LogThrottle;
use crate::spool::{Commits, Pending, SpoolError, SpoolStats, StatsReader};

/// What all names start with.
const PREFIX: &str = "tap_mailjet_webhooks";

/// Where the figures are.
#[derive(Debug, Clone)]
pub struct MetricsExporter {
    rooms: Components,
    traffic: Traffic,
    commits: Commits,
    counters: Counters,
    spool: Arc<Mutex<Spool>>,
}

/// The spool, opened when it is first asked for.
#[derive(Debug)]
struct Spool {
    path: PathBuf,
    surveyor: Option<StatsReader>,
    /// Not to be opened any more.
    closed: bool,
    told: LogThrottle,
}

impl MetricsExporter {
    /// Those of the rooms of this process, and of the spool at `path`.
    #[must_use]
    pub fn new(
        rooms: Components,
        traffic: Traffic,
        commits: Commits,
        counters: Counters,
        path: &Path,
    ) -> Self {
        let spool =
            Spool { path: path.to_owned(), surveyor: None, closed: false, told: LogThrottle::default() };
        MetricsExporter { rooms, traffic, commits, counters, spool: Arc::new(Mutex::new(spool)) }
    }

    /// Closes the spool for good.
    pub(crate) fn close(&self) {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        spool.closed = true;
        spool.surveyor = None;
    }

    /// All of them, as text.
    pub(crate) async fn text(&self) -> String {
        let figures = self.clone();
        // It reads a file.
        let text = tokio::task::spawn_blocking(move || figures.read()).await;
        text.unwrap_or_else(|error| {
            error!("the metrics can't be told: {error}");
            String::new()
        })
    }

    fn read(&self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", version);
        self.register_listener(&mut registry);
        if self.rooms.emitter {
            self.register_emitter(&mut registry);
        }
        let surveyed = self.spool.lock().unwrap_or_else(PoisonError::into_inner).survey(self.position());
        gauge(
            &mut registry,
            "spool_readable",
            "Whether the spool could be looked at",
            surveyed.is_some().into(),
        );
        if let Some((survey, unwritten)) = &surveyed {
            self.register_spool(&mut registry, survey, unwritten);
        }
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).expect("a string takes every write");
        text
    }

    /// How far stdout has got.
    fn position(&self) -> i64 {
        self.counters.reached().events
    }

    fn register_listener(&self, registry: &mut Registry) {
        let (traffic, commits) = (&self.traffic, &self.commits);
        registry.register("requests", "Requests, by how they ended", traffic.answers().clone());
        registry.register("events_received", "Events that are on disk", traffic.events().clone());
        registry.register(
            "rejected_received",
            "Items that are on disk although they are no events",
            traffic.rejected().clone(),
        );
        gauge(
            registry,
            "connections",
            "Connections for webhooks that are open",
            count(traffic.connections() as u64),
        );
        registry.register_with_unit(
            "commit",
            "Time that a transaction took, its sync included",
            Unit::Seconds,
            commits.seconds().clone(),
        );
        registry.register("commit_rows", "Rows that a transaction wrote", commits.rows().clone());
    }

    fn register_emitter(&self, registry: &mut Registry) {
        let reached = self.counters.reached();
        let records = Family::<[(&str, &str); 1], Counter>::default();
        for written in &reached.streams {
            records.get_or_create(&[("stream", written.stream.name())]).inc_by(written.records);
        }
        registry.register("records_written", "RECORDs that stdout took, by stream", records);
        let events = ConstCounter::new(self.counters.total_written());
        registry.register("events_written", "Events that stdout took, to whichever streams", events);
        if reached.events < i64::MAX {
            let help = "Sequence up to which stdout took every event";
            registry.register("emitter_position", help, ConstGauge::new(reached.events));
        }
    }

    fn register_spool(&self, registry: &mut Registry, survey: &SpoolStats, unwritten: &Pending) {
        let now = clock::unix_millis();
        let counts = [
            ("spool_events", "Events in the spool", survey.events),
            ("spool_rejected", "Items in the spool that are no events", survey.rejected),
            ("spool_unconfirmed_events", "Events that no state has confirmed", survey.unconfirmed.events),
            ("spool_used_bytes", "Bytes of the spool that hold something", survey.space.used),
            ("spool_free_bytes", "Bytes that are free within the spool's file", survey.space.free_within),
            ("disk_free_bytes", "Bytes that are free on the spool's disk", survey.space.disk_free),
        ];
        for (name, help, value) in counts {
            gauge(registry, name, help, count(value));
        }
        let positions = [
            (
                "committed_position",
                "The largest sequence that was ever given",
                Some(survey.committed_through),
            ),
            (
                "confirmed_position",
                "Sequence up to which states confirm every event",
                survey.confirmed_through,
            ),
            ("trimmed_position", "The largest sequence that was trimmed", survey.trimmed_through),
        ];
        for (name, help, value) in positions {
            if let Some(value) = value {
                registry.register(name, help, ConstGauge::new(value));
            }
        }
        let unconfirmed = survey.unconfirmed.age_seconds(now);
        gauge(registry, "oldest_unconfirmed_age_seconds", "Age of the oldest unconfirmed event", unconfirmed);
        if self.rooms.emitter {
            let help = "Events in the spool that stdout has not taken";
            gauge(registry, "spool_unwritten_events", help, count(unwritten.events));
            let help = "Age of the oldest event that stdout has not taken";
            gauge(registry, "oldest_unwritten_age_seconds", help, unwritten.age_seconds(now));
        }
        let since_last = match (self.traffic.since_last_event(), survey.newest_event) {
            (Some(since), _) => Some(since.as_secs_f64()),
            (None, newest) => newest.map(|newest| clock::seconds_between(newest, now)),
        };
        if let Some(since) = since_last {
            gauge(registry, "last_event_age_seconds", "Time since the last event", since);
        }
    }
}

impl Spool {
    fn survey(&mut self, position: i64) -> Option<(SpoolStats, Pending)> {
        match self.try_survey(position) {
            Ok(surveyed) => surveyed,
            Err(error) => {
                if let Some(suppressed) = self.told.allow() {
                    warn!("the metrics lack what is in the spool: {error}{suppressed}");
                }
                // The next look opens the file anew.
                self.surveyor = None;
                None
            }
        }
    }

    fn try_survey(&mut self, position: i64) -> Result<Option<(SpoolStats, Pending)>, SpoolError> {
        if self.surveyor.is_none() && !self.closed {
            self.surveyor = StatsReader::open(&self.path)?;
        }
        self.surveyor.as_mut().map(|surveyor| surveyor.survey(position)).transpose()
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    registry.register(name, help, ConstGauge::new(value));
}

/// Gauges are doubles in Prometheus, whatever they count.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn count(value: u64) -> f64 {
    value as f64
}
