//! Spools that earlier versions have created. Everything in them is still there.

use std::fs;

use end_to_end::events::{DOCUMENTED_EVENTS, assert_row, number_of, numbered_event};
use end_to_end::message::members;
use end_to_end::program::repository;
use end_to_end::tap::Tap;

/// How many documented events each fixture holds, whatever types Mailjet has added since.
const FIXTURE_EVENTS: usize = 7;

/// Each spool in `tests/fixtures` holds the documented events, an event with nothing but a new field, and a
/// rejected item. A drain has already written all of it.
#[test]
fn a_spool_of_every_earlier_format_can_be_read_verified_and_appended_to() {
    let mut spools = 0;
    for entry in fs::read_dir(repository().join("tests/fixtures")).expect("fixtures") {
        let fixture = entry.expect("a fixture").path();
        let tap = Tap::new();
        fs::copy(&fixture, tap.spool().path).expect("a copy");
        // A command that only reads leaves the format as it is.
        for arguments in [&["url", "list"][..], &["spool", "status"], &["spool", "verify"]] {
            tap.command(arguments).set("webhook_tokens", Vec::<String>::new()).finish().assert_code(0);
        }
        let drained = tap.drain().finish();
        drained.assert_code(0);
        let rows = drained.records();
        assert_eq!(rows.len(), FIXTURE_EVENTS + 1, "{}", fixture.display());
        for (row, event) in rows.iter().zip(&DOCUMENTED_EVENTS[..FIXTURE_EVENTS]) {
            assert_row(row, event, &[]);
        }
        let last = &rows[FIXTURE_EVENTS];
        assert_eq!(last.raw("new_field"), "1", "{:?}", members(&last.text));
        assert_eq!(drained.records_of("_sdc_rejected")[0].text("record"), "no event");
        tap.spool_bodies([numbered_event(9).as_str()]);
        tap.append_state(last.sequence());
        let next = tap.drain().state().finish();
        next.assert_code(0);
        assert_eq!(next.records().iter().map(number_of).collect::<Vec<_>>(), [9]);
        tap.command(&["spool", "verify"]).finish().assert_code(0);
        spools += 1;
    }
    assert!(spools > 0);
}
