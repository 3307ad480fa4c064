//! The spool in PostgreSQL, with real servers that fail: what a 200 means, and that one emitter writes.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use end_to_end::database::{Postgres, Replicated};
use end_to_end::events::{DOCUMENTED_EVENTS, number_of, numbered_event};
use end_to_end::http::Endpoint;
use end_to_end::message::Message;
use end_to_end::program::Signal;
use end_to_end::tap::{RunningTap, Tap};
use end_to_end::tls::Certificate;
use end_to_end::wait;
use rcgen::SanType;
use serde_json::json;

/// A tap whose spool is replicated. A commit that nobody confirms fails soon.
fn tap_on(servers: &Replicated) -> Tap {
    Tap::new()
        .with_spool_in(&servers.url())
        .set("spool_durability", "quorum")
        .set("spool_commit_timeout_seconds", 2)
}

/// Runs the emitter until it is stopped.
fn emit(tap: &Tap) -> RunningTap {
    tap.run().set("mode", "emit").state().start()
}

fn post(endpoint: &Endpoint, number: u64) -> (u16, String) {
    let reply = endpoint.post(numbered_event(number));
    (reply.status, reply.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// Posts until the answer is 200.
fn post_until_accepted(endpoint: &Endpoint, number: u64) {
    wait::until("a webhook is accepted again", || (post(endpoint, number).0 == 200).then_some(()));
}

#[test]
fn each_setting_with_which_events_could_be_lost_is_one_line_that_names_it() {
    let server = Postgres::start_with(&[]);
    for (setting, value, durability) in [
        ("fsync", "off", "local"),
        ("synchronous_commit", "off", "managed"),
        ("synchronous_commit", "off", "local"),
        ("synchronous_commit", "local", "quorum"),
        ("synchronous_commit", "remote_write", "quorum"),
        ("synchronous_standby_names", "''", "quorum"),
    ] {
        server.set(setting, value);
        let tap =
            Tap::new().with_spool_in(&server.url()).set("spool_durability", durability).with_created_urls();
        for command in [tap.listen(), tap.drain(), tap.url(&["new"])] {
            let refused = command.finish();
            refused.assert_code(1);
            let expected = format!("the database's setting {setting} is");
            assert!(refused.only_error().contains(&expected), "{setting}: {:?}", refused.stderr);
        }
        server.set(setting, if setting.ends_with("names") { "''" } else { "on" });
    }
}

#[test]
fn a_setting_that_is_weakened_while_the_tap_runs_is_503_until_it_is_mended() {
    let servers = Replicated::start();
    let tap = tap_on(&servers).set("admin_address", "127.0.0.1:0");
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    assert_eq!(post(&endpoint, 0).0, 200);
    servers.servers[0].set("synchronous_standby_names", "''");
    let (status, error) = post(&endpoint, 1);
    assert_eq!(status, 503);
    assert!(error.contains("spool_durability"), "{error}");
    let _ = listener.program.stderr().wait_for("synchronous_standby_names is empty");
    let ready = listener.admin().with_path("/readyz").request("GET");
    assert_eq!((ready.status, ready.json()["reasons"][0]["reason"].clone()), (503, json!("not_durable")));
    servers.servers[0].set("synchronous_standby_names", "'ANY 1 (two, three)'");
    servers.wait_connected(0, 2);
    assert_eq!(post(&endpoint, 2).0, 200);
    listener.stop().assert_code(0);
}

#[test]
fn several_listeners_store_and_one_emitter_writes() {
    let servers = Replicated::start();
    let tap = tap_on(&servers);
    let other_machine = Tap::new().sharing_spool_of(&tap);
    let listeners = [tap.listen().start(), other_machine.listen().start()];
    let emitter = emit(&tap);
    for number in 0..40 {
        assert_eq!(post(&listeners[usize::from(number % 2 == 1)].endpoint(), number).0, 200);
    }
    let records = emitter.wait_records(40);
    assert!(records.is_sorted_by(|one, next| one.sequence() < next.sequence()), "{records:?}");
    let numbers: Vec<_> = records.iter().map(number_of).collect();
    assert!(numbers.is_sorted(), "each event was stored before the next was posted: {numbers:?}");

    let second = emit(&other_machine).finish();
    second.assert_code(75);
    assert!(second.stderr_contains("is the emitter of spool"), "{:?}", second.stderr);
    let status = tap.command(&["spool", "status"]).finish();
    let shown = status.stdout.iter().filter(|line| line.starts_with("listener ")).count();
    assert_eq!(shown, 1, "one line names both: {:?}", status.stdout);

    let ended = emitter.stop();
    ended.assert_code(0);
    let last = ended.messages().last().and_then(Message::bookmark);
    assert_eq!(last, Some(records[39].sequence()));
    for listener in listeners {
        listener.stop().assert_code(0);
    }
}

/// An emitter that was stopped for longer than its lease, such as a virtual machine that is moved.
#[test]
fn an_emitter_whose_role_was_taken_writes_no_state() {
    let servers = Replicated::start();
    let tap = tap_on(&servers).set("emitter_lease_seconds", 1);
    let other_machine = Tap::new().sharing_spool_of(&tap);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut stale = emit(&tap);
    assert_eq!(post(&endpoint, 0).0, 200);
    let before = stale.wait_records(1);
    stale.wait_bookmark(before[0].sequence());
    stale.program.signal(Signal::STOP);
    // Its state file is where the next emitter is.
    other_machine.append_state(before[0].sequence());
    let next = wait::until("the lease expires", || {
        let mut next = emit(&other_machine);
        thread::sleep(Duration::from_millis(300));
        next.program.is_running().then_some(next)
    });
    assert_eq!(post(&endpoint, 1).0, 200);
    let written = next.wait_records(1);
    stale.program.signal(Signal::CONT);
    let ended = stale.finish();
    ended.assert_code(75);
    assert!(ended.stderr_contains("another process has become the emitter"), "{:?}", ended.stderr);
    let states = ended.messages().into_iter().filter_map(|message| message.bookmark());
    assert_eq!(states.max(), Some(before[0].sequence()), "no STATE of what the next one has written");
    next.wait_bookmark(written[0].sequence());
    next.stop().assert_code(0);
}

#[test]
fn without_standbys_nothing_is_accepted_and_with_them_everything_goes_on() {
    let mut servers = Replicated::start();
    let tap = tap_on(&servers);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    assert_eq!(post(&endpoint, 0).0, 200);
    servers.signal_standbys(Signal::STOP);
    for number in 1..4 {
        assert_eq!(post(&endpoint, number).0, 503);
    }
    let _ = listener.program.stderr().wait_for("it is unknown whether the database has stored it");
    servers.servers[1].signal(Signal::CONT);
    for number in 4..8 {
        post_until_accepted(&endpoint, number);
    }
    servers.servers[2].signal(Signal::CONT);
    listener.stop().assert_code(0);
    let emitted = tap.drain().finish().records();
    let numbers: Vec<_> = emitted.iter().map(number_of).collect();
    for number in [0, 4, 5, 6, 7] {
        assert!(numbers.contains(&number), "event {number} was answered 200: {numbers:?}");
    }
}

/// To cancel a statement that waits for a standby ends the wait, and the server reports success.
#[test]
fn a_commit_whose_wait_was_cancelled_is_not_answered_200() {
    let mut servers = Replicated::start();
    let tap = tap_on(&servers).set("spool_commit_timeout_seconds", 20);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    assert_eq!(post(&endpoint, 0).0, 200);
    servers.signal_standbys(Signal::STOP);
    let (status, error) = thread::scope(|scope| {
        let waiting = scope.spawn(|| post(&endpoint, 1));
        let cancel = "SELECT count(*) FROM (SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
            WHERE wait_event = 'SyncRep' AND query LIKE '%cardinality%') AS cancelled";
        wait::until("a group waits", || (servers.servers[0].query(cancel).trim() != "0").then_some(()));
        waiting.join().expect("an answer")
    });
    assert_eq!(status, 503, "{error}");
    servers.signal_standbys(Signal::CONT);
    post_until_accepted(&endpoint, 2);
    listener.stop().assert_code(0);
}

/// Patroni does that when the last standby goes, unless it is strict: the server ends the wait without a
/// word.
#[test]
fn a_commit_whose_wait_a_setting_has_ended_is_not_answered_200() {
    let mut servers = Replicated::start();
    let tap = tap_on(&servers).set("spool_commit_timeout_seconds", 20);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    assert_eq!(post(&endpoint, 0).0, 200);
    servers.signal_standbys(Signal::STOP);
    let (status, error) = thread::scope(|scope| {
        let waiting = scope.spawn(|| post(&endpoint, 1));
        let groups = "SELECT count(*) FROM pg_stat_activity \
            WHERE wait_event = 'SyncRep' AND query LIKE '%cardinality%'";
        wait::until("a group waits", || (servers.servers[0].query(groups).trim() != "0").then_some(()));
        servers.servers[0].set("synchronous_standby_names", "''");
        waiting.join().expect("an answer")
    });
    assert_eq!(status, 503);
    assert!(error.contains("spool_durability"), "{error}");
    listener.stop().assert_code(0);
}

/// Each session that waits for a standby stays until one comes, whether or not anybody waits for it.
#[test]
fn sessions_do_not_pile_up_while_the_standbys_are_away() {
    let mut servers = Replicated::start();
    let tap = tap_on(&servers).set("admin_address", "127.0.0.1:0").set("spool_commit_timeout_seconds", 0.5);
    let listener = tap.listen().start();
    let (endpoint, ready) = (listener.endpoint(), listener.admin().with_path("/readyz"));
    assert_eq!(post(&endpoint, 0).0, 200);
    servers.signal_standbys(Signal::STOP);
    for number in 1..8 {
        assert_eq!(post(&endpoint, number).0, 503);
        assert_eq!(ready.request("GET").status, 503);
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let waiting: u32 = servers.servers[0].query(waiting).trim().parse().expect("a number");
    assert!((1..=3).contains(&waiting), "a group, a probe and a note at most: {waiting}");
    servers.signal_standbys(Signal::CONT);
    post_until_accepted(&endpoint, 8);
    listener.stop().assert_code(0);
}

/// After a restart, the primary shows what no standby has. A failover would give its sequence to another
/// event.
#[test]
fn an_event_that_is_on_one_server_only_is_not_written() {
    let mut servers = Replicated::start();
    // A STATE before the record would wait for the standbys, too.
    let tap = tap_on(&servers).set("state_interval_seconds", 3600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    assert_eq!(post(&endpoint, 0).0, 200);
    let emitter = emit(&tap);
    emitter.wait_bookmark(emitter.wait_records(1)[0].sequence());
    servers.signal_standbys(Signal::STOP);
    assert_eq!(post(&endpoint, 1).0, 503);
    servers.servers[0].kill();
    servers.servers[0].start_again();
    let visible = "SELECT count(*) FROM event";
    wait::until("the event is visible", || (tap.spool().text(visible) == "2").then_some(()));
    let _ = emitter.program.stderr().wait_for("nothing is written until that is settled");
    let written = |emitter: &RunningTap| {
        emitter.stdout().so_far().iter().filter(|line| line.contains("\"RECORD\"")).count()
    };
    assert_eq!(written(&emitter), 1);
    servers.signal_standbys(Signal::CONT);
    // Now it is on two servers.
    let _ = emitter.wait_records(2);
    emitter.stop().assert_code(0);
    listener.stop().assert_code(0);
}

#[test]
fn a_failover_loses_nothing_and_restarts_nothing() {
    let mut servers = Replicated::start();
    let tap = tap_on(&servers);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let emitter = emit(&tap);
    for number in 0..20 {
        assert_eq!(post(&endpoint, number).0, 200);
    }
    servers.servers[0].kill();
    assert_eq!(post(&endpoint, 20).0, 503);
    servers.fail_over();
    for number in 21..40 {
        post_until_accepted(&endpoint, number);
    }
    // Each CustomID is the number of its event.
    let ids: Vec<_> = (0..20).chain(21..40).map(|number| format!("\"CustomID\":\"{number}\"")).collect();
    wait::until("everything that was answered 200 is written", || {
        let text = emitter.stdout().so_far().join("\n");
        ids.iter().all(|id| text.contains(id)).then_some(())
    });
    let ended = emitter.stop();
    ended.assert_code(0);
    let records = ended.records();
    assert!(records.is_sorted_by(|one, next| one.sequence() < next.sequence()), "no sequence comes twice");
    listener.stop().assert_code(0);
    let verified = tap.command(&["spool", "verify"]).finish();
    verified.assert_code(0);
}

#[test]
fn a_webhook_url_works_everywhere_and_a_revoked_one_nowhere() {
    let mut servers = Replicated::start();
    let tap = tap_on(&servers).with_created_urls();
    let other_machine = Tap::new().sharing_spool_of(&tap);
    let listeners = [tap.listen().start(), other_machine.listen().start()];
    let url = tap.create_url();
    // `url new` has waited for that.
    let endpoints = listeners.each_ref().map(|listener| listener.endpoint().with_path(&url.path));
    for endpoint in &endpoints {
        assert_eq!(post(endpoint, 0).0, 200);
    }
    // A primary that does not answer: what is known is soon too old.
    servers.servers[0].signal(Signal::STOP);
    for endpoint in &endpoints {
        assert_eq!(post(endpoint, 1).0, 503);
    }
    servers.servers[0].signal(Signal::CONT);
    for endpoint in &endpoints {
        post_until_accepted(endpoint, 2);
    }
    tap.url(&["revoke", "1"]).finish().assert_code(0);
    for endpoint in &endpoints {
        wait::until("it is refused", || (post(endpoint, 3).0 == 404).then_some(()));
    }
    for listener in listeners {
        listener.stop().assert_code(0);
    }
}

#[test]
fn a_copy_of_an_sqlite_spool_has_the_same_events_columns_and_urls() {
    let server = Postgres::start_with(&["fsync=on"]);
    let old = Tap::new().with_spool_file().with_created_urls();
    let url = old.create_url();
    let listener = old.listen().start();
    let endpoint = listener.endpoint().with_path(&url.path);
    for event in DOCUMENTED_EVENTS {
        endpoint.post_accepted(event);
    }
    endpoint.post_accepted(r#"[{"event":"open","brand_new":1},5]"#);
    listener.stop().assert_code(0);
    let written = old.drain().state().finish();
    written.assert_code(0);
    let file = old.spool().path;
    let file = file.to_str().expect("text");

    let new = Tap::new().with_spool_in(&server.url()).with_created_urls().set("spool_durability", "local");
    let copy = || new.command(&["spool", "copy", file]).finish();
    let copied = copy();
    copied.assert_code(0);
    assert!(copied.stdout[0].contains("8 events, 1 rejected items, 1 webhook URLs"), "{:?}", copied.stdout);
    for command in [&["spool", "export"][..], &["columns", "list"], &["url", "list"]] {
        let [before, after] = [&old, &new].map(|tap| tap.command(command).finish().stdout);
        assert_eq!(before, after, "{command:?}");
        assert!(!after.is_empty(), "{command:?}");
    }
    new.command(&["spool", "verify"]).finish().assert_code(0);
    let listener = new.listen().start();
    let beside = copy();
    beside.assert_code(1);
    assert!(beside.only_error().contains("stop it before you copy"), "{:?}", beside.stderr);
    listener.stop().assert_code(0);
    // On a busy machine, the server may notice a little later that the listener has gone.
    wait::until("the spool is refused because it was used", || {
        copy().stderr_contains("it has been used already").then_some(())
    });

    // The state goes on, and so do the sequences.
    let last = written.records().iter().map(end_to_end::message::Record::sequence).max().expect("records");
    new.append_state(last);
    let listener = new.listen().start();
    listener.endpoint().with_path(&url.path).post_accepted(DOCUMENTED_EVENTS[0]);
    listener.stop().assert_code(0);
    let more = new.drain().state().finish();
    let more = more.records_of("data");
    assert_eq!(more.len(), 1, "only the new one");
    assert!(more[0].sequence() > last);
}

#[test]
fn a_copy_that_was_interrupted_is_continued_and_nothing_else_may_use_it_before() {
    let server = Postgres::start_with(&["fsync=on"]);
    let old = Tap::new().with_spool_file();
    old.spool_bodies(DOCUMENTED_EVENTS);
    let path = old.spool().path;
    let new = Tap::new().with_spool_in(&server.url()).set("spool_durability", "local").with_created_urls();
    let copy = || new.command(&["spool", "copy", path.to_str().expect("text")]).finish();
    copy().assert_code(0);
    // What is left of a copy that was killed after the first event.
    new.spool().execute(
        "INSERT INTO fact SELECT 'copied_events', min(sequence) FROM event;
         INSERT INTO fact VALUES ('copy_unfinished', 1);
         DELETE FROM event WHERE sequence > (SELECT min(sequence) FROM event);
         UPDATE seq SET events = 1, event_bytes = (SELECT octet_length(body) FROM event);
         DELETE FROM count_mark; DELETE FROM item_count",
    );
    for command in [new.listen(), new.drain(), new.url(&["list"]), new.command(&["spool", "status"])] {
        let refused = command.finish();
        refused.assert_code(1);
        assert!(refused.only_error().contains("`spool copy` again"), "{:?}", refused.stderr);
    }
    copy().assert_code(0);
    assert_eq!(new.spool().events(), old.spool().events());
    new.command(&["spool", "verify"]).finish().assert_code(0);
}

/// A loopback address that no other test uses, so that the server can have its usual port there.
fn loopback_address() -> IpAddr {
    let id = std::process::id();
    let [.., high, low] = id.to_be_bytes();
    IpAddr::from([127, 99, high, low])
}

#[test]
fn the_certificate_of_a_database_is_verified() {
    let address = loopback_address();
    let elsewhere = IpAddr::from([192, 0, 2, 7]);
    let [certificate, other, misnamed] = [address, address, elsewhere].map(|address| {
        Certificate::with_params(|params| params.subject_alt_names = vec![SanType::IpAddress(address)])
    });
    let server = Postgres::start_with(&[&format!("listen_addresses={address}")]);
    let folder = tempfile::tempdir().expect("a folder");
    certificate.write_into(folder.path());
    server.serve_tls(folder.path());
    let authority = folder.path().join("certificate.pem");
    let url = format!("postgresql://tester@{address}/postgres?sslmode=verify-full");
    let tap = Tap::new().with_spool_in(&url).set("spool_durability", "local");
    let tap = tap.set("spool_tls_ca", authority.to_str());
    let listener = tap.listen().start();
    assert_eq!(post(&listener.endpoint(), 0).0, 200);
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = 'tap-mailjet-webhooks'";
    assert_eq!(server.query(encrypted).trim(), "t");
    listener.stop().assert_code(0);

    other.write_into(tap.folder());
    let untrusted = tap.folder().join("certificate.pem");
    for (authority, expected) in [
        (untrusted.to_str().expect("text"), "invalid peer certificate"),
        ("system", "invalid peer certificate"),
        ("/nowhere/ca.pem", "spool_tls_ca: /nowhere/ca.pem: No such file"),
        ("/dev/null", "spool_tls_ca: /dev/null: it holds no certificate"),
    ] {
        let refused = tap.listen().set("spool_tls_ca", authority).finish();
        refused.assert_code(1);
        assert!(refused.only_error().contains(expected), "{authority}: {:?}", refused.stderr);
    }
    // A trusted certificate that is another server's.
    misnamed.write_into(folder.path());
    server.serve_tls(folder.path());
    let refused = tap.listen().finish();
    refused.assert_code(1);
    assert!(refused.only_error().contains("not valid for name"), "{:?}", refused.stderr);
}

#[test]
fn two_spools_or_a_wrong_url_are_one_line_and_no_secret_is_shown() {
    let tap = Tap::new().with_spool_file();
    let cases =
        [("postgresql://tap:hush@127.0.0.1/x", "both set"), ("mysql://tap:hush@127.0.0.1/x", "both set")];
    for (url, expected) in cases {
        let refused = tap.drain().set("spool_url", url).finish();
        refused.assert_code(1);
        assert!(refused.only_error().contains(expected), "{:?}", refused.stderr);
    }
    let cases = [
        ("mysql://tap:hush@127.0.0.1/x", "does not start with postgresql://"),
        ("postgresql://tap:hush@127.0.0.1/x?colour=hush", "colour"),
        ("postgresql://tap:hush@127.0.0.1:1/x", "no server accepts writes: 127.0.0.1:1: "),
    ];
    for (url, expected) in cases {
        let tap = Tap::new().with_spool_in(url);
        let refused = tap.drain().finish();
        refused.assert_code(1);
        assert!(refused.only_error().contains(expected), "{:?}", refused.stderr);
        assert!(!refused.stderr_contains("hush"), "{:?}", refused.stderr);
    }
}
