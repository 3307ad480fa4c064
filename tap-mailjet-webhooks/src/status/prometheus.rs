//! A snapshot in Prometheus's text format.
//!
//! No label has a value that a sender can choose.

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Behind, ListenerStatus, Snapshot, SpoolStatus};
use crate::emitter::progress::ProgressSnapshot;
use crate::mailjet::check::{CheckedEvent, CheckedRegistration};

/// Renders a snapshot.
pub fn render(snapshot: &Snapshot) -> String {
    let mut registry = Registry::with_prefix("tap_mailjet_webhooks");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program", version);
    if let Some(listener) = &snapshot.listener {
        register_listener(&mut registry, listener);
    }
    if let Some(emitter) = &snapshot.emitter {
        register_emitter(&mut registry, emitter);
    }
    let is_readable = snapshot.spool.is_some().into();
    gauge(&mut registry, "spool_readable", "Whether the spool can be read", is_readable);
    if let Some(spool) = &snapshot.spool {
        register_spool(&mut registry, spool, snapshot);
    }
    if let Some(Behind { unwritten, .. }) = snapshot.behind {
        let help = "Events in the spool that stdout has not taken";
        gauge(&mut registry, "spool_unwritten_events", help, count(unwritten.events));
        let help = "Age of the oldest event that stdout has not taken";
        let age = unwritten.age_seconds(snapshot.taken_at);
        gauge(&mut registry, "oldest_unwritten_age_seconds", help, age);
    }
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a string takes every write");
    text
}

fn register_listener(registry: &mut Registry, listener: &ListenerStatus) {
    let ListenerStatus { traffic, commits, registration } = listener;
    registry.register("requests", "Requests, by how they ended", traffic.requests.clone());
    registry.register("events_received", "Events that were stored durably", traffic.events.clone());
    registry.register(
        "rejected_received",
        "Items that were stored although they are not events",
        traffic.rejected.clone(),
    );
    gauge(registry, "connections", "Open connections for webhooks", count(traffic.connections() as u64));
    registry.register_with_unit(
        "commit",
        "Time that a transaction took, including its sync",
        Unit::Seconds,
        commits.seconds.clone(),
    );
    registry.register("commit_rows", "Rows that a transaction wrote", commits.rows.clone());
    if let Some(checked) = registration.get() {
        register_registration(registry, &checked);
    }
}

/// What the last check of the registration with Mailjet has found.
fn register_registration(registry: &mut Registry, checked: &CheckedRegistration) {
    let family = |value: fn(&CheckedEvent) -> bool| {
        let family = Family::<[(&str, &str); 1], Gauge>::default();
        for event in checked.events() {
            family.get_or_create(&[("event", event.event.name())]).set(value(&event).into());
        }
        family
    };
    let help = "Whether Mailjet has an active webhook URL of this tap for the event";
    registry.register("mailjet_webhook_registered", help, family(|event| event.is_registered));
    let help = "Whether Mailjet posts the event to that URL, and has not suspended it";
    registry.register("mailjet_webhook_alive", help, family(|event| event.is_alive));
    let help = "When Mailjet was last asked with success, in Unix seconds";
    let checked_at = ConstGauge::new(checked.checked_at.get() / 1000);
    registry.register("mailjet_webhook_last_check_seconds", help, checked_at);
}

fn register_emitter(registry: &mut Registry, emitter: &ProgressSnapshot) {
    let records = Family::<[(&str, &str); 1], Counter>::default();
    for (stream, written) in &emitter.records_written {
        records.get_or_create(&[("stream", stream.name())]).inc_by(*written);
    }
    registry.register("records_written", "RECORDs that stdout took, by stream", records);
    let events = ConstCounter::new(emitter.events_written);
    registry.register("events_written", "Events that stdout took, to any stream", events);
    if let Some(position) = emitter.written_through {
        let help = "Sequence up to which stdout took every event";
        registry.register("emitter_position", help, ConstGauge::new(position.get()));
    }
}

fn register_spool(registry: &mut Registry, SpoolStatus { stats, .. }: &SpoolStatus, snapshot: &Snapshot) {
    let counts = [
        ("spool_events", "Events in the spool", Some(stats.events)),
        ("spool_rejected", "Items in the spool that are not events", Some(stats.rejected)),
        ("spool_unconfirmed_events", "Events that no state has confirmed", Some(stats.unconfirmed.events)),
        ("spool_used_bytes", "Bytes of the spool that hold data", Some(stats.disk.used)),
        ("spool_free_bytes", "Free bytes within the spool's file", stats.disk.free_within),
        ("disk_free_bytes", "Free bytes on the spool's disk", stats.disk.disk_free),
    ];
    for (name, help, value) in counts {
        if let Some(value) = value {
            gauge(registry, name, help, count(value));
        }
    }
    let positions = [
        ("committed_position", "The largest sequence that was ever assigned", Some(stats.committed_through)),
        ("confirmed_position", "Sequence up to which states confirm every event", stats.confirmed_through),
        ("trimmed_position", "The largest sequence that was trimmed", stats.trimmed_through),
    ];
    for (name, help, value) in positions {
        if let Some(value) = value {
            registry.register(name, help, ConstGauge::new(value.get()));
        }
    }
    let age = stats.unconfirmed.age_seconds(snapshot.taken_at);
    gauge(registry, "oldest_unconfirmed_age_seconds", "Age of the oldest unconfirmed event", age);
    // The last event that the listener has received or, if it has received none, the newest in the spool.
    let seen = snapshot.listener.as_ref().and_then(|listener| listener.traffic.since_last_event());
    let since = seen.or_else(|| Some(snapshot.taken_at.since(stats.newest_event?)));
    if let Some(since) = since {
        gauge(registry, "last_event_age_seconds", "Time since the last event", since.as_secs_f64());
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    registry.register(name, help, ConstGauge::new(value));
}

/// In Prometheus, gauges are doubles even if they count something.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn count(value: u64) -> f64 {
    value as f64
}
