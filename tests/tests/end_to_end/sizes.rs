//! Events of extreme sizes and shapes: each becomes a row or a rejected item of bounded size, and what
//! follows it is written.

use std::fs;

use end_to_end::events::{number_of, numbered_event};
use end_to_end::hostile::worst_bodies;
use end_to_end::message::Record;
use end_to_end::pipeline::Pipeline;
use end_to_end::tap::Tap;
use end_to_end::target::Target;
use end_to_end::wait;

/// Almost the largest body that is accepted by default.
const BODY_BYTES: usize = 19_900_000;
/// What the README promises.
const MOST_MEMORY: usize = 512 << 20;

/// The listener, the emitter, the bundled target and the state survive each of them, one after the other, and
/// so do the events behind them.
#[test]
fn no_event_stops_a_pipeline_or_takes_more_memory_than_promised() {
    let tap = Tap::new();
    let target = Target::in_folder(tap.folder());
    let listener = tap.listen().start();
    for (what, body) in worst_bodies(BODY_BYTES) {
        let reply = listener.endpoint().post(&body);
        assert!(matches!(reply.status, 200 | 413), "{what}: {} {}", reply.status, reply.body);
    }
    listener.endpoint().post_accepted(numbered_event(7));
    let peak = listener.program.peak_memory();
    assert!(peak < MOST_MEMORY, "the listener took {} MiB", peak >> 20);
    listener.stop().assert_code(0);

    let pipeline = Pipeline::start(&tap, &target);
    let last = *tap.spool().sequences().last().expect("an event");
    wait::until_computed("a STATE covers the last event", || {
        tap.bookmarks().last().is_some_and(|bookmark| *bookmark >= last).then_some(())
    });
    let peak = pipeline.tap.program.peak_memory();
    assert!(peak < MOST_MEMORY, "the emitter took {} MiB", peak >> 20);
    pipeline.stop();
    assert_eq!(target.rows().last().map(number_of), Some(7));
    let reasons: Vec<_> = fs::read_to_string(target.file("_sdc_rejected"))
        .expect("rejected items")
        .lines()
        .map(|row| Record::from_row(row).text("reason"))
        .collect();
    for (reason, count) in [
        ("the event is too large for a row: it has more than 100000 values", 4),
        ("the event is too large for a row: its row would be longer than 64 MiB", 1),
        ("the body is not JSON: control character", 1),
    ] {
        let found = reasons.iter().filter(|found| found.starts_with(reason)).count();
        assert_eq!(found, count, "{reason}: {reasons:?}");
    }
}
