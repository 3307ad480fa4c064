//! Everything together: webhooks under load, a real pipe, and target-jsonl.

use end_to_end::events::{number_of, numbered_event};
use end_to_end::oracle::Oracle;
use end_to_end::pipeline::Pipeline;
use end_to_end::tap::Tap;
use end_to_end::target::Target;
use end_to_end::wait;

/// Kills something under load, starts again, and checks that every acknowledged event arrives.
fn assert_nothing_is_lost(kill: fn(Pipeline)) {
    let tap = Tap::new();
    let target = Target::in_folder(tap.folder());
    let first = Pipeline::start(&tap, &target);
    let oracle = Oracle::start(first.tap.endpoint(), 4);
    oracle.wait_acknowledged(300);
    kill(first);
    let second = Pipeline::start(&tap, &target);
    oracle.redirect(second.tap.endpoint());
    oracle.wait_acknowledged(300);
    oracle.sent_so_far().assert_none_lost(&tap, &target);
    let sent = oracle.stop();
    second.stop();
    sent.assert_pipeline_delivered(&tap, &target, 2);
}

#[test]
fn a_target_killed_under_load_loses_nothing() {
    assert_nothing_is_lost(Pipeline::kill_target);
}

#[test]
fn a_tap_killed_under_load_loses_nothing() {
    assert_nothing_is_lost(Pipeline::kill_tap);
}

/// After an orderly stop, nothing is left between the two: every event arrives exactly once.
#[test]
fn a_stopped_pipeline_delivers_each_event_once() {
    let tap = Tap::new();
    let target = Target::in_folder(tap.folder());
    let mut acknowledged = 0;
    for round in 1..=3 {
        let pipeline = Pipeline::start(&tap, &target);
        let endpoint = pipeline.tap.endpoint();
        for id in 0..20 {
            endpoint.post_accepted(numbered_event(round * 100 + id));
            acknowledged += 1;
        }
        pipeline.stop();
        assert_eq!(target.rows().len(), acknowledged);
    }
}

/// The target's state file lets the tap trim. The spool becomes empty without any command.
#[test]
fn the_spool_is_trimmed_as_the_target_confirms() {
    let tap = Tap::new().set("retention_days", 0);
    let target = Target::in_folder(tap.folder());
    let pipeline = Pipeline::start(&tap, &target);
    let oracle = Oracle::start(pipeline.tap.endpoint(), 2);
    oracle.wait_acknowledged(500);
    let sent = oracle.stop();
    wait::until("the spool is empty", || tap.spool().events().is_empty().then_some(()));
    pipeline.stop();
    sent.assert_pipeline_delivered(&tap, &target, 1);
}

/// JSON's grammar allows more than most parsers accept: half a surrogate pair, numbers beyond any double, any
/// depth. One such event must not stop the target, and with it every later event.
#[test]
fn an_event_that_most_parsers_refuse_does_not_stop_the_pipeline() {
    let deep = |levels| format!(r#"{{"event":"open","deep":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let bodies = [
        r#"{"event":"open","Payload":"\ud83d"}"#.to_owned(),
        r#"{"event":"open","x":"\ude00","y":["\ud83d"],"\ud800":1}"#.to_owned(),
        r#"{"event":"open","x":1e400,"y":-1E+999,"z":1e-999,"time":1e400,"MessageID":-0}"#.to_owned(),
        r#"{"event":"open","event":"click","x":1,"x":2}"#.to_owned(),
        deep(99),
        deep(127),
        deep(128),
        deep(129),
        deep(1_000),
        deep(10_000),
        numbered_event(1),
    ];
    let tap = Tap::new();
    let target = Target::in_folder(tap.folder());
    let pipeline = Pipeline::start(&tap, &target);
    for body in &bodies {
        pipeline.tap.endpoint().post_accepted(body);
    }
    pipeline.stop();
    let rows = target.rows();
    assert_eq!(rows.len(), bodies.len());
    assert_eq!(number_of(&rows[bodies.len() - 1]), 1);
}
