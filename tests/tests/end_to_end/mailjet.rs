//! `mailjet`: what a user does with it, and what happens when it goes wrong. The other side is a stand-in for
//! Mailjet.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::http::{Endpoint, free_address};
use end_to_end::mailjet::{Api, EVENT_TYPES, Fault, Row, SECRET_KEY, Sender};
use end_to_end::program::Signal;
use end_to_end::tap::{FinishedTap, PASSWORD, RunningTap, Tap, TapCommand, USERNAME};
use end_to_end::wait;
use serde_json::{Value, json};

const FOREIGN: &str = "https://someone:hunter2@other.example.com/hooks/hunter2hunter2hunter2";

/// A tap that Mailjet can reach, with the keys of the stand-in's account.
pub(crate) fn tap_of(api: &Api) -> Tap {
    let address = free_address();
    Tap::new()
        .with_created_urls()
        .set("listen_address", address.to_string())
        .set("public_url", format!("http://{address}"))
        .set("mailjet_api_url", api.url())
        .set("mailjet_api_key", api.key.as_str())
        .set("mailjet_secret_key", SECRET_KEY)
        .set("mailjet_check_interval_seconds", 0)
}

fn command<'a>(tap: &'a Tap, arguments: &[&str]) -> TapCommand<'a> {
    tap.command(&["mailjet"]).args(arguments)
}

fn mailjet(tap: &Tap, arguments: &[&str]) -> FinishedTap {
    command(tap, arguments).finish()
}

/// Runs a command that must succeed.
fn succeed(tap: &Tap, arguments: &[&str]) -> FinishedTap {
    let finished = mailjet(tap, arguments);
    finished.assert_code(0);
    finished
}

fn listen(tap: &Tap) -> RunningTap {
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    listener
}

fn urls(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().map(|row| row.url.clone()).collect()
}

/// The numbers of the sender's events that are in the spool.
fn stored(tap: &Tap) -> BTreeSet<u64> {
    tap.spool().events().iter().filter_map(|event| Sender::number_of(&event.body)).collect()
}

fn assert_all_stored(tap: &Tap, sender: &Sender) {
    assert_eq!(stored(tap), sender.happened().into_iter().collect());
}

#[test]
fn the_first_register_makes_mailjet_post_every_event_here_and_the_next_changes_nothing() {
    let api = Api::start();
    let tap = tap_of(&api);
    let planned = succeed(&tap, &["register", "--dry-run"]);
    assert_eq!(api.changes(), 0, "a dry run changes nothing at Mailjet");
    assert!(!tap.spool().path.exists(), "nor here");
    assert!(planned.stdout.iter().filter(|line| line.contains("register a new webhook URL")).count() == 7);

    let registered = succeed(&tap, &["register"]);
    assert_eq!(registered.stdout, planned.stdout, "a run carries out what a dry run has shown");
    let rows = api.account.rows();
    let types: BTreeSet<_> = rows.iter().map(|row| row.event_type.as_str()).collect();
    assert_eq!(types, EVENT_TYPES.map(|(name, _)| name).into());
    assert!(rows.iter().all(|row| row.is_alive && !row.is_backup && row.version == 2), "{rows:?}");
    assert_eq!(urls(&rows).len(), 1, "one URL for all of them");

    let _listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_eq!((sender.delivered.len(), sender.waiting()), (1, 0), "all seven came in one group");
    assert_all_stored(&tap, &sender);

    let changes = api.changes();
    let again = succeed(&tap, &["register"]);
    assert!(again.stderr_contains("already registered"), "{:?}", again.stderr);
    let status = succeed(&tap, &["status"]);
    assert_eq!(status.stdout.iter().filter(|line| line.contains("as configured")).count(), 7);
    assert_eq!((api.changes(), api.account.rows(), tap.url_ids().len()), (changes, rows, 1));
}

#[test]
fn an_event_that_is_added_later_gets_the_url_of_the_others() {
    let api = Api::start();
    let tap = tap_of(&api);
    let few = command(&tap, &["register"]).set("mailjet_events", vec!["sent", "open"]).finish();
    few.assert_code(0);
    let before = api.account.rows();
    assert_eq!(before.len(), 2);
    succeed(&tap, &["register"]);
    let rows = api.account.rows();
    assert_eq!((rows.len(), urls(&rows)), (7, urls(&before)));
    assert_eq!(rows[..2], before, "these are not touched");
    // An event that is no longer wanted is not removed, unless one asks for it.
    let fewer =
        |arguments: &[&str]| command(&tap, arguments).set("mailjet_events", vec!["sent", "open"]).finish();
    fewer(&["register"]).assert_code(0);
    fewer(&["status"]).assert_code(0);
    assert_eq!(api.account.rows(), rows);
    fewer(&["unregister", "--event", "spam"]).assert_code(0);
    assert_eq!(api.account.rows().len(), 6);
    assert!(api.account.url_of("spam").is_none());
}

#[test]
fn single_and_grouped_events_are_registered_as_configured() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    let single = |arguments: &[&str]| command(&tap, arguments).set("mailjet_group_events", false).finish();
    assert!(single(&["status"]).only_error().contains("sent, open"));
    single(&["register"]).assert_code(0);
    assert!(api.account.rows().iter().all(|row| row.version == 1));
    single(&["status"]).assert_code(0);
    let _listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_eq!(sender.delivered.len(), 7);
    assert_all_stored(&tap, &sender);
}

/// Both URLs work until the old one has not been used for as long as was asked for, over a restart as well.
#[test]
fn a_rotation_under_load_misses_nothing_and_the_old_url_retires_once_it_is_unused() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    let old = api.account.url_of("open").expect("a URL");
    let listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    // Each change takes long enough for events to be posted in between.
    api.fail_next("PUT", vec![Fault::Slow(Duration::from_millis(100)); 7]);
    let mut rotating = command(&tap, &["rotate", "--when-unused", "0.001"]).start();
    while rotating.program.is_running() {
        sender.happen();
    }
    rotating.finish().assert_code(0);
    let new = api.account.url_of("open").expect("a URL");
    assert_ne!(new, old);
    assert_eq!(urls(&api.account.rows()), BTreeSet::from([new]));
    assert_eq!((sender.refused.clone(), sender.waiting()), (vec![], 0), "nothing was refused");
    assert_all_stored(&tap, &sender);

    // A use of the old URL starts its time anew.
    let old = Endpoint::parse(&old);
    old.post_accepted(DOCUMENTED_EVENTS[0]);
    listener.stop().assert_code(0);
    // While no listener runs, nobody could have used it.
    assert_eq!(tap.url_ids(), ["1", "2"]);
    let listed = tap.url(&["list"]).finish();
    assert!(listed.stdout[1].contains("without use"), "{:?}", listed.stdout);
    let listener = listen(&tap);
    old.post_accepted(DOCUMENTED_EVENTS[0]);
    let _ = listener.program.stderr().wait_for("webhook URL 1 was revoked");
    assert_eq!(old.post(DOCUMENTED_EVENTS[0]).status, 404);
    sender.happen();
    assert_all_stored(&tap, &sender);
    assert_eq!(tap.url_ids(), ["2"]);
    succeed(&tap, &["status"]);
}

#[test]
fn the_old_url_of_a_rotation_stays_for_a_day_and_may_be_a_third_one() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    let _by_hand = tap.create_url();
    let rotated = succeed(&tap, &["rotate"]);
    assert!(rotated.stderr_contains("has not been used for 24 hours"), "{:?}", rotated.stderr);
    assert_eq!(tap.url_ids(), ["1", "2", "3"]);
    // The URL that Mailjet never had stays, and no other can be made until the first is gone.
    assert!(mailjet(&tap, &["rotate"]).only_error().contains("url list"));
    assert!(!tap.url(&["new"]).finish().only_error().is_empty());
    let listener = listen(&tap);
    tap.url(&["revoke", "1", "--when-unused", "0"]).finish().assert_code(0);
    let _ = listener.program.stderr().wait_for("webhook URL 1 was revoked");
    succeed(&tap, &["rotate"]);
    assert_eq!(tap.url_ids(), ["2", "3", "4"]);
}

#[test]
fn a_url_that_mailjet_has_suspended_after_a_day_of_503_is_revived_with_a_new_one() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    let full = tap.listen().set("spool_max_bytes", 1).start();
    let _ = full.endpoint();
    let mut sender = Sender::new(&api.account);
    sender.happen();
    sender.pass(24 * 3600);
    assert!(sender.refused.iter().all(|status| *status == Some(503)), "{:?}", sender.refused.first());
    // At once, and then every 30 seconds.
    assert_eq!((sender.refused.len(), sender.lost.len()), (2881, 7));
    assert!(api.account.rows().iter().all(|row| !row.is_alive));
    full.stop().assert_code(0);

    let status = mailjet(&tap, &["status"]);
    assert!(status.only_error().contains("sent, open, click, bounce, blocked, spam, unsub"));
    assert!(status.stdout[1].contains("dead") && status.stdout[1].contains("suspended"));
    let listener = listen(&tap);
    let suspended = api.account.url_of("open").expect("a URL");
    succeed(&tap, &["register"]);
    assert_ne!(api.account.url_of("open"), Some(suspended.clone()));
    assert!(api.account.rows().iter().all(|row| row.is_alive));
    let before = sender.happened().len();
    sender.happen();
    assert_eq!(stored(&tap), sender.happened()[before..].iter().copied().collect());
    // What still comes to the old one is accepted.
    Endpoint::parse(&suspended).post_accepted(DOCUMENTED_EVENTS[0]);
    succeed(&tap, &["status"]);
    listener.stop().assert_code(0);
}

/// One event is suspended and the others are alive: all of them move, so that the old URL can retire.
#[test]
fn a_url_that_is_suspended_for_one_event_is_left_by_all() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    let rows = api.account.rows();
    api.account.change(rows[3].id, |row| row.is_alive = false);
    let error = mailjet(&tap, &["status"]);
    assert!(error.only_error().contains("not registered as configured: bounce;"), "{:?}", error.stderr);
    succeed(&tap, &["register"]);
    let after = api.account.rows();
    assert_eq!(urls(&after).len(), 1);
    assert!(urls(&after).is_disjoint(&urls(&rows)));
    assert_eq!(
        after.iter().map(|row| row.id).collect::<Vec<_>>(),
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        "rows are changed in place"
    );
}

#[test]
fn too_many_requests_in_the_middle_only_delay_a_register() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("POST", [Fault::None, Fault::None, Fault::TooMany, Fault::TooMany]);
    let registered = succeed(&tap, &["register"]);
    assert!(registered.stderr_contains("(429); trying again in 2 s"), "{:?}", registered.stderr);
    assert_eq!((api.account.rows().len(), urls(&api.account.rows()).len()), (7, 1));
}

#[test]
fn a_register_that_fails_half_way_says_what_is_done_and_the_same_command_finishes_it() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("POST", [Fault::None, Fault::None, Fault::Answer(401, "")]);
    let failed = mailjet(&tap, &["register"]);
    let error = failed.only_error();
    assert!(error.contains("Done: sent, open.") && error.contains("click:"), "{error}");
    assert_eq!(api.account.rows().len(), 2);
    assert!(!mailjet(&tap, &["status"]).only_error().is_empty());
    succeed(&tap, &["register"]);
    assert_eq!((api.account.rows().len(), urls(&api.account.rows()).len()), (7, 1));
    assert_eq!(tap.url_ids(), ["1"]);
}

#[test]
fn a_register_of_which_nothing_was_done_leaves_no_url_behind() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("POST", [Fault::Answer(403, r#"{"ErrorMessage": "no rights", "StatusCode": 403}"#)]);
    let failed = mailjet(&tap, &["register"]);
    let error = failed.only_error();
    assert!(error.contains("403: no rights") && error.contains("Nothing is done yet"), "{error}");
    assert_eq!(tap.url_ids(), [""; 0]);
}

/// The outcome of a call without an answer is unknown. The next list shows it.
#[test]
fn a_lost_answer_neither_registers_twice_nor_loses_a_change() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("POST", [Fault::None, Fault::LostAnswer, Fault::Answer(500, "<html></html>")]);
    succeed(&tap, &["register"]);
    assert_eq!((api.account.rows().len(), urls(&api.account.rows()).len()), (7, 1));
    api.fail_next("PUT", [Fault::LostAnswer]);
    succeed(&tap, &["rotate"]);
    assert_eq!(urls(&api.account.rows()).len(), 1);
    api.fail_next("DELETE", [Fault::LostAnswer]);
    succeed(&tap, &["unregister"]);
    assert_eq!(api.account.rows(), []);
}

/// What may have been registered must go on working, even if the command has failed.
#[test]
fn a_url_that_mailjet_may_have_is_not_revoked_by_a_register_that_fails() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("POST", [Fault::LostAnswer, Fault::Answer(401, "")]);
    let failed = mailjet(&tap, &["register"]);
    assert!(failed.only_error().contains("401"), "{:?}", failed.stderr);
    let _listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_eq!((sender.delivered.len(), &sender.refused), (1, &vec![]), "sent is registered");
    succeed(&tap, &["register"]);
    assert_eq!((api.account.rows().len(), urls(&api.account.rows()).len()), (7, 1));
}

/// The first attempt at a change had an effect, and the second was refused.
#[test]
fn a_new_url_that_mailjet_has_taken_is_never_revoked_by_a_rotation_that_fails() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    api.fail_next("PUT", [Fault::LostAnswer, Fault::Answer(403, r#"{"StatusCode": 403}"#)]);
    let failed = mailjet(&tap, &["rotate"]);
    assert!(failed.only_error().contains("403"), "{:?}", failed.stderr);
    let _listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_eq!((sender.refused.clone(), sender.waiting()), (vec![], 0));
    assert_all_stored(&tap, &sender);
    succeed(&tap, &["rotate"]);
    assert_eq!((urls(&api.account.rows()).len(), tap.url_ids()), (1, vec!["1".to_owned(), "2".to_owned()]));
}

/// A register that was not completed left its URL pending. What leaked must be replaced all the same.
#[test]
fn a_rotation_after_a_register_that_failed_makes_a_new_url() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("POST", [Fault::None, Fault::Answer(403, r#"{"StatusCode": 403}"#)]);
    assert!(mailjet(&tap, &["register"]).only_error().contains("Done: sent."));
    let leaked = api.account.url_of("sent");
    succeed(&tap, &["rotate"]);
    assert_eq!((api.account.rows().len(), urls(&api.account.rows()).len()), (7, 1));
    assert_ne!(api.account.url_of("sent"), leaked);
    let listed = tap.url(&["list"]).finish().stdout;
    assert!(listed[1].contains("without use"), "{listed:?}");
}

/// Somebody changes rows between the list and the change.
#[test]
fn a_row_that_somebody_has_just_changed_is_not_overwritten_or_deleted() {
    const COLLEAGUE: &str = "https://colleague.example.com/new";
    for arguments in [&["rotate"][..], &["register", "--replace"], &["unregister"]] {
        let api = Api::start();
        let tap = tap_of(&api);
        succeed(&tap, &["register"]);
        if arguments.contains(&"--replace") {
            api.account.change(api.account.rows()[0].id, |row| FOREIGN.clone_into(&mut row.url));
        }
        // The last call before the first change looks at the row once more.
        let (id, before) = (api.account.rows()[0].id, api.calls().len());
        api.fail_next("GET", vec![Fault::Slow(Duration::from_secs(1)); 3]);
        let changing = command(&tap, arguments).start();
        wait::until("it lists", || (api.calls().len() > before).then_some(()));
        wait::until("the list is answered", || (api.calls().len() > before + 1).then_some(()));
        api.account.change(id, |row| COLLEAGUE.clone_into(&mut row.url));
        let _ = changing.finish();
        let row = api.account.rows().into_iter().find(|row| row.id == id);
        assert_eq!(row.map(|row| row.url).as_deref(), Some(COLLEAGUE), "{arguments:?}");
    }
}

/// Mailjet's obsolete events, and whatever it adds, may have our URL as well.
#[test]
fn a_url_that_a_row_of_an_unknown_event_has_does_not_retire() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    let url = api.account.url_of("open").expect("a URL");
    let obsolete = api.account.add("typofix", &url, false);
    let rotated = succeed(&tap, &["rotate"]);
    assert!(rotated.stderr_contains("webhook URL 1 stays active, because Mailjet has it for an event"));
    let listed = tap.url(&["list"]).finish().stdout;
    assert!(listed.iter().all(|line| !line.contains("without use")), "{listed:?}");
    succeed(&tap, &["unregister"]);
    assert_eq!(api.account.rows().iter().map(|row| row.id).collect::<Vec<_>>(), [obsolete]);
}

/// Events that were taken out of `mailjet_events` must not start again.
#[test]
fn what_is_dead_or_revoked_for_other_events_is_not_revived() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    tap.url(&["revoke", "1"]).finish().assert_code(0);
    let before = api.account.rows();
    command(&tap, &["register"]).set("mailjet_events", vec!["open"]).finish().assert_code(0);
    let changed = before.iter().zip(api.account.rows()).filter(|(before, now)| before.url != now.url);
    assert_eq!(changed.map(|(_, now)| now.event_type).collect::<Vec<_>>(), ["open"]);
}

/// A message of Mailjet may repeat the URL that it refuses.
#[test]
fn no_message_of_mailjet_shows_our_token() {
    let api = Api::start();
    let tap = tap_of(&api);
    let token = "ab".repeat(32);
    for message in
        ["Invalid url hooks.example.com/v1/mailjet/TOKEN", "https:\\/\\/hooks\\/TOKEN", "a%2FTOKEN"]
    {
        let body = format!(r#"{{"ErrorMessage": "{message}", "StatusCode": 400}}"#).replace("TOKEN", &token);
        api.fail_next("POST", vec![Fault::Answer(400, body.leak()); 21]);
        // The harness finds tokens in everything that a program prints.
        mailjet(&tap, &["register"]).assert_code(1);
        api.clear_faults();
    }
}

/// The token of a URL that was never sent to Mailjet is known to nobody.
#[test]
fn a_register_that_was_killed_before_mailjet_had_the_url_leaves_nothing() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("POST", [Fault::Slow(Duration::from_secs(3600))]);
    let killed = command(&tap, &["register"]).start();
    wait::until("the URL is sent", || api.calls().iter().any(|call| call.starts_with("POST")).then_some(()));
    let _ = killed.kill();
    assert_eq!((api.account.rows(), tap.url_ids()), (vec![], vec!["1".to_owned()]));
    let next = succeed(&tap, &["register"]);
    assert!(next.stderr_contains("webhook URL 1 was created but never registered"), "{:?}", next.stderr);
    assert_eq!(api.account.rows().len(), 7);
    // Mailjet may still be at work on the call of the killed command.
    let listed = tap.url(&["list"]).finish().stdout;
    assert!(listed[1].contains("retires after 10 minutes more without use"), "{listed:?}");
    assert!(!listed[2].contains("without use"), "{listed:?}");
}

#[test]
fn a_rotation_that_was_killed_half_way_goes_on_to_the_same_url() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    api.fail_next("PUT", [Fault::None, Fault::None, Fault::Slow(Duration::from_secs(3600))]);
    let killed = command(&tap, &["rotate"]).start();
    let puts = || api.calls().iter().filter(|call| call.starts_with("PUT")).count();
    wait::until("the third row is changed", || (puts() == 3).then_some(()));
    let _ = killed.kill();
    assert_eq!(urls(&api.account.rows()).len(), 2);
    let new = api.account.url_of("sent");
    // Either command finishes it.
    succeed(&tap, &["register"]);
    assert_eq!(urls(&api.account.rows()), new.into_iter().collect());
    assert_eq!(tap.url_ids(), ["1", "2"]);
    // Now it is complete: the next rotation is another one.
    succeed(&tap, &["rotate"]);
    assert_eq!(tap.url_ids(), ["1", "2", "3"]);
}

#[test]
fn two_people_who_register_from_one_spool_do_not_get_in_each_others_way() {
    let api = Api::start();
    let tap = tap_of(&api);
    tap.spool_bodies(["{}"; 0]);
    api.fail_next("POST", vec![Fault::Slow(Duration::from_millis(300)); 7]);
    let first = command(&tap, &["register"]).start();
    wait::until("the first is at work", || (api.changes() > 0).then_some(()));
    mailjet(&tap, &["register"]).assert_code(75);
    first.finish().assert_code(0);
    succeed(&tap, &["register"]);
    assert_eq!((api.account.rows().len(), tap.url_ids()), (7, vec!["1".to_owned()]));
}

/// Two taps with spools of their own: neither takes an event from the other without being told to.
#[test]
fn somebody_who_registers_another_url_at_the_same_time_is_not_overwritten() {
    for arguments in [&["register"][..], &["register", "--replace"]] {
        let api = Api::start();
        let tap = tap_of(&api);
        let overtaken = Fault::Overtaken("click", "https://other.example.com/".to_owned());
        api.fail_next("POST", [Fault::None, Fault::None, overtaken]);
        let refused = mailjet(&tap, arguments);
        let error = refused.only_error();
        assert!(error.contains("other URLs are registered for click"), "{error}");
        assert_eq!(api.account.rows().len(), 7);
        assert_eq!(api.account.url_of("click").as_deref(), Some("https://other.example.com/"));
        assert_eq!(urls(&api.account.rows()).len(), 2);
    }
}

#[test]
fn urls_of_others_and_backups_are_left_alone_unless_one_asks_to_replace_them() {
    let api = Api::start();
    let tap = tap_of(&api);
    let foreign = api.account.add("open", FOREIGN, false);
    let backups = ["open", "click", "sent"].map(|event_type| api.account.add(event_type, FOREIGN, true));
    for event_type in ["spam", "unsub", "bounce", "blocked"] {
        api.account.add(event_type, "https://backup.example.com/", true);
    }
    let row = |id| api.account.rows().into_iter().find(|row| row.id == id).expect("it is still there");
    let (before, backups_before) = (row(foreign), backups.map(row));

    let left = mailjet(&tap, &["register"]);
    assert!(left.only_error().contains("registered for open and were left alone"), "{:?}", left.stderr);
    assert_eq!((row(foreign), backups.map(row)), (before.clone(), backups_before.clone()));
    assert_eq!(api.account.rows().len(), 14, "six are new, past the tenth row as well");
    assert!(!mailjet(&tap, &["status"]).only_error().is_empty());

    let replaced = succeed(&tap, &["register", "--replace"]);
    let named = replaced.stdout.iter().find(|line| line.starts_with("open")).expect("a line");
    assert!(named.contains("https://other.example.com/…") && named.contains("REPLACE"), "{named}");
    let shown = [left.stdout, left.stderr, replaced.stdout, replaced.stderr].concat().join("\n");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(row(foreign).id, before.id, "it is changed in place");
    assert_eq!(api.account.url_of("open"), api.account.url_of("click"));
    assert_eq!(backups.map(row), backups_before);
    succeed(&tap, &["status"]);

    let again = api.account.add("open", FOREIGN, true);
    let planned = succeed(&tap, &["unregister", "--dry-run"]);
    assert_eq!(api.account.rows().len(), 15);
    let removed = succeed(&tap, &["unregister"]);
    assert_eq!((planned.stdout, removed.stdout.len()), (removed.stdout.clone(), 8));
    assert_eq!(backups.map(row), backups_before);
    assert_eq!(row(again).url, FOREIGN);
    assert!(api.account.rows().iter().all(|row| row.is_backup));
    // Without a number, they would concern every row.
    let changes =
        api.calls().into_iter().filter(|call| call.starts_with("PUT") || call.starts_with("DELETE"));
    assert!(changes.into_iter().all(|call| call.ends_with(|c: char| c.is_ascii_digit())));
}

/// Somebody else's primary URL is suspended, and Mailjet posts to the backup, which is ours.
#[test]
fn a_backup_that_is_ours_receives_is_shown_and_keeps_its_url_from_retiring() {
    let api = Api::start();
    let tap = tap_of(&api);
    let url = tap.create_url().url();
    for (event_type, _) in EVENT_TYPES {
        let primary = api.account.add(event_type, FOREIGN, false);
        api.account.change(primary, |row| row.is_alive = false);
        api.account.add(event_type, &url, true);
    }
    let listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_all_stored(&tap, &sender);
    let status = mailjet(&tap, &["status"]);
    let spam = status.stdout.iter().find(|line| line.starts_with("spam")).expect("a line");
    assert!(spam.contains("dead") && spam.contains("webhook URL 1, alive, single"), "{spam}");

    let replaced = succeed(&tap, &["register", "--replace"]);
    assert!(replaced.stderr_contains("webhook URL 1 stays active, because it is the backup for sent"));
    let listed = tap.url(&["list"]).finish().stdout;
    assert!(listed.iter().all(|line| !line.contains("without use")), "{listed:?}");
    sender.happen();
    assert_all_stored(&tap, &sender);
    listener.stop().assert_code(0);
}

#[test]
fn our_urls_are_recognised_with_credentials_and_in_other_spellings() {
    let api = Api::start();
    let tap = tap_of(&api).set("basic_auth_username", USERNAME).set("basic_auth_password", PASSWORD);
    succeed(&tap, &["register"]);
    let _listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_eq!(sender.refused, []);
    assert_all_stored(&tap, &sender);

    for row in api.account.rows() {
        api.account.change(row.id, |row| row.url = row.url.replacen("http", "HTTP", 1) + "/");
    }
    succeed(&tap, &["status"]);
    // Our token, but the listener would answer 401.
    let row = &api.account.rows()[2];
    let (start, rest) = row.url.split_once("//").expect("a URL");
    let (_, rest) = rest.split_once('@').expect("credentials");
    api.account.change(row.id, |row| row.url = format!("{start}//{rest}"));
    assert!(mailjet(&tap, &["status"]).only_error().contains("configured: click;"));
    succeed(&tap, &["register"]);
    sender.happen();
    assert_eq!(sender.refused, []);
    assert_all_stored(&tap, &sender);
    assert_eq!(tap.url_ids(), ["1"]);
}

/// Of `webhook_tokens`, the tap keeps only hashes: it can recognise and remove such a URL, but not register
/// it.
#[test]
fn a_url_of_webhook_tokens_that_was_entered_by_hand_is_recognised() {
    let api = Api::start();
    let token = "5".repeat(64);
    let tap = tap_of(&api).set("webhook_tokens", vec![token.clone()]).set("mailjet_group_events", false);
    let base = tap.listen().start().endpoint().with_path("").url();
    for (event_type, _) in EVENT_TYPES {
        api.account.add(event_type, &format!("{base}/v1/mailjet/{token}"), false);
    }
    let status = succeed(&tap, &["status"]);
    assert!(status.stdout[1].contains("a URL of webhook_tokens"), "{:?}", status.stdout);
    std::fs::remove_file(tap.spool().path).expect("the spool");
    succeed(&tap, &["status"]);
    tap.spool_bodies(["{}"; 0]);
    succeed(&tap, &["unregister"]);
    assert_eq!(api.account.rows(), []);
}

#[test]
fn a_revoked_url_that_mailjet_still_has_is_replaced() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    tap.url(&["revoke", "1"]).finish().assert_code(0);
    let status = mailjet(&tap, &["status"]);
    assert!(status.stdout[1].contains("revoked"), "{:?}", status.stdout);
    status.assert_code(1);
    succeed(&tap, &["register"]);
    let _listener = listen(&tap);
    let mut sender = Sender::new(&api.account);
    sender.happen();
    assert_all_stored(&tap, &sender);
}

#[test]
fn wrong_and_missing_keys_are_one_line_that_says_which() {
    let api = Api::start();
    let tap = tap_of(&api);
    for arguments in [&["status"][..], &["register"], &["register", "--dry-run"]] {
        let refused = command(&tap, arguments).set("mailjet_secret_key", "wrong").finish();
        let error = refused.only_error();
        let named = ["401", "mailjet_api_key", "mailjet_secret_key", "mailjet_api_url"];
        assert!(named.iter().all(|name| error.contains(name)), "{error}");
        let half = command(&tap, arguments).set("mailjet_secret_key", Value::Null).finish();
        assert!(half.only_error().contains("\"mailjet_secret_key\" is not"), "{:?}", half.stderr);
        let none = command(&tap, arguments)
            .set("mailjet_secret_key", Value::Null)
            .set("mailjet_api_key", Value::Null);
        let none = none.finish();
        assert!(none.only_error().contains("API key management"), "{:?}", none.stderr);
    }
    let nowhere = command(&tap, &["register"]).set("public_url", Value::Null).finish();
    assert!(nowhere.only_error().contains("\"public_url\" is not set"));
    let tokens = command(&tap, &["register"]).set("webhook_tokens", vec!["a".repeat(64)]).finish();
    assert!(tokens.only_error().contains("webhook_tokens"));
    for wrong in ["http://api.mailjet.com", "https://api.mailjet.com/v3"] {
        let finished = command(&tap, &["status"]).set("mailjet_api_url", wrong).finish();
        assert!(finished.only_error().contains("mailjet_api_url"), "{:?}", finished.stderr);
    }
    assert_eq!(api.changes(), 0);
}

#[test]
fn a_slow_api_is_waited_for_and_one_that_does_not_answer_is_named() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("", vec![Fault::Slow(Duration::from_millis(300)); 12]);
    succeed(&tap, &["register"]);
    api.fail_next("GET", [Fault::Answer(503, "<html>later</html>"), Fault::LostAnswer]);
    succeed(&tap, &["status"]);
    let nobody = format!("http://{}", free_address());
    let finished = command(&tap, &["status"]).set("mailjet_api_url", nobody).finish();
    let error = finished.only_error();
    assert!(
        error.contains("no answer from http://127.0.0.1") && error.contains("mailjet_api_url"),
        "{error}"
    );
}

/// In a network of its own, which has no name server.
#[test]
fn an_api_whose_host_is_unknown_is_one_line_that_names_the_setting() {
    let namespace = ["unshare", "--map-root-user", "--net"];
    let is_allowed = Command::new(namespace[0]).args(&namespace[1..]).arg("true").status();
    if !is_allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no network namespace can be made here");
        return;
    }
    let api = Api::start();
    let tap = tap_of(&api).set("mailjet_api_url", "https://mailjet.invalid");
    let finished = command(&tap, &["status"]).wrapped_in(&namespace).finish();
    let error = finished.only_error();
    assert!(error.contains("host of https://mailjet.invalid is unknown; check mailjet_api_url"), "{error}");
}

/// An answer that is not understood must not look like an account without rows.
#[test]
fn garbage_in_place_of_an_answer_changes_nothing() {
    let api = Api::start();
    let tap = tap_of(&api);
    succeed(&tap, &["register"]);
    let (changes, rows) = (api.changes(), api.account.rows());
    for (status, body) in [
        (200, ""),
        (200, "<html>a login page</html>"),
        (200, "[]"),
        (200, r#"{"Count": 0}"#),
        (200, r#"{"Data": {}}"#),
        (200, r#"{"Data": [1, 2]}"#),
        (200, r#"{"Data": [{"ID": 1"#),
        (200, "\u{0}\u{1}"),
        (301, ""),
        (404, "<html>not here</html>"),
        (400, r#"{"error": "another API"}"#),
    ] {
        for arguments in [&["status"][..], &["register"], &["rotate"], &["unregister"]] {
            api.fail_next("GET", [Fault::Answer(status, body)]);
            let finished = mailjet(&tap, arguments);
            assert!(
                finished.only_error().contains("mailjet_api_url"),
                "{status} {body}: {:?}",
                finished.stderr
            );
        }
    }
    assert_eq!((api.changes(), api.account.rows()), (changes, rows));
    assert_eq!(tap.url_ids(), ["1"]);
}

#[test]
fn scripts_get_json() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.account.add("open", FOREIGN, false);
    let parse = |finished: &FinishedTap| -> Value {
        assert_eq!(finished.stdout.len(), 1);
        serde_json::from_str(&finished.stdout[0]).expect("JSON")
    };
    let planned = parse(&succeed(&tap, &["register", "--dry-run", "--format", "json"]));
    let changes: Vec<_> = planned["changes"].as_array().expect("a list").iter().collect();
    assert_eq!((&changes[0]["event"], &changes[0]["change"]), (&json!("sent"), &json!("create")));
    assert_eq!((&changes[1]["event"], &changes[1]["change"]), (&json!("open"), &json!("leave")));
    mailjet(&tap, &["register", "--format", "json"]).assert_code(1);
    let status = mailjet(&tap, &["status", "--format", "json"]);
    status.assert_code(1);
    let status = parse(&status);
    assert_eq!(status["as_configured"], false);
    let expected = json!({
        "owner": "ours", "webhook_url_id": 1, "address": status["events"][0]["primary"]["address"],
        "status": "alive", "grouped": true,
    });
    assert_eq!(status["events"][0]["primary"], expected);
    assert_eq!(status["events"][1]["problem"], "other_url");
    assert_eq!(status["events"][1]["primary"]["address"], "https://other.example.com/…");
    let removed = parse(&succeed(&tap, &["unregister", "--format", "json"]));
    assert_eq!(removed["removed"].as_array().map(Vec::len), Some(6));
}

/// Several keys of one Mailjet account, or of sub-accounts, each with rows of its own, share a spool.
#[test]
fn a_rotation_of_one_account_leaves_the_url_of_another_alone() {
    let (one, other) = (Api::start(), Api::start_with_key("another-key"));
    let tap = tap_of(&one);
    let of_other = |arguments: &[&str]| {
        let command = command(&tap, arguments).set("mailjet_api_url", other.url());
        command.set("mailjet_api_key", other.key.as_str()).finish()
    };
    succeed(&tap, &["register"]);
    of_other(&["register"]).assert_code(0);
    assert!(urls(&one.account.rows()).is_disjoint(&urls(&other.account.rows())));
    succeed(&tap, &["rotate"]);
    let listed = tap.url(&["list"]).finish().stdout;
    let retiring: Vec<_> = listed.iter().map(|line| line.contains("without use")).collect();
    assert_eq!(retiring, [false, true, false, false], "{listed:?}");
    of_other(&["status"]).assert_code(0);
    succeed(&tap, &["status"]);
    let _listener = listen(&tap);
    for api in [&one, &other] {
        let mut sender = Sender::new(&api.account);
        sender.happen();
        assert_eq!(sender.refused, []);
    }
}

#[test]
fn ctrl_c_ends_a_command_that_waits_for_mailjet() {
    let api = Api::start();
    let tap = tap_of(&api);
    api.fail_next("GET", [Fault::Slow(Duration::from_secs(3600))]);
    let mut waiting = command(&tap, &["register"]).start();
    wait::until("it asks", || (!api.calls().is_empty()).then_some(()));
    waiting.program.signal(Signal::INT);
    assert_eq!(waiting.finish().code, None, "the signal ends it at once");
}
