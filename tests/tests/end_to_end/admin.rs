//! The admin address: health, readiness (by the same facts that decide a webhook's answer) and metrics.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;

use end_to_end::events::{DOCUMENTED_EVENTS, event_type, grouped, numbered_event};
use end_to_end::faults::{Fault, FaultInjector, SpoolFile, SystemCall};
use end_to_end::http::{Endpoint, Reply, free_address, post_head};
use end_to_end::mailjet::{Api, SECRET_KEY};
use end_to_end::message::Record;
use end_to_end::metrics::Metrics;
use end_to_end::program::{Signal, repository};
use end_to_end::tap::{RunningTap, TOKEN, Tap};
use end_to_end::wait;

/// A tap with an admin address.
fn with_admin() -> Tap {
    Tap::new().set("admin_address", "127.0.0.1:0")
}

fn get(admin: &Endpoint, path: &str) -> Reply {
    admin.with_path(path).request("GET")
}

/// The reasons why a tap is not ready; empty if it is ready.
fn reasons(admin: &Endpoint) -> Vec<String> {
    let reply = get(admin, "/readyz");
    let answer = reply.json();
    let reasons = answer["reasons"].as_array().expect("a list").iter();
    let reasons: Vec<_> = reasons
        .map(|reason| {
            assert!(reason["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
            reason["reason"].as_str().expect("a name").to_owned()
        })
        .collect();
    assert_eq!(answer["ready"], reasons.is_empty());
    assert_eq!(reply.status, if reasons.is_empty() { 200 } else { 503 }, "{}", reply.body);
    reasons
}

#[test]
fn only_health_readiness_and_metrics_are_served_without_a_login() {
    let tap = with_admin();
    for running in [tap.listen().start(), Tap::new().run().set("admin_address", "[::1]:0").start()] {
        let (admin, endpoint) = (running.admin(), running.endpoint());
        let health = get(&admin, "/healthz");
        assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
        assert_eq!(reasons(&admin), [""; 0]);
        assert_eq!(Metrics::fetch(&admin).count("spool_events"), 0);
        for path in ["/", "/healthz/", "/metrics/x", "/Metrics", &endpoint.path] {
            assert_eq!(get(&admin, path).status, 401, "{path}");
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            let mut client = admin.connect();
            client.send(format!("HEAD {path} HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n"));
            let answer = client.read_until_closed();
            assert!(
                answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n"),
                "{path}: {answer}"
            );
        }
        for method in ["POST", "DELETE", "OPTIONS"] {
            let reply = admin.with_path("/metrics").request(method);
            assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method}");
            assert_eq!(admin.with_path("/metric").request(method).status, 401);
        }
        // The webhook address serves none of this.
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(endpoint.with_path(path).request("GET").status, 404, "{path}");
        }
    }
}

#[test]
fn an_address_in_use_is_an_error_that_names_the_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let tap = Tap::new().set("admin_address", address.as_str());
    for command in [tap.listen(), tap.run()] {
        let finished = command.finish();
        let error = finished.only_error();
        assert!(error.contains("admin_address") && error.contains(&address), "{error}");
    }
}

#[test]
fn without_an_address_nothing_listens_and_a_drain_never_binds_it() {
    let without_admin = Tap::new();
    let listener = without_admin.listen().start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    assert!(!listener.stop().stderr_contains("admin on"));

    let address = free_address().to_string();
    let tap = Tap::new().set("admin_address", address.as_str());
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    let drained = tap.drain().finish();
    drained.assert_code(0);
    assert_eq!(drained.records().len(), 1);
    assert_eq!(get(&listener.admin(), "/healthz").status, 200);
}

/// How a tap refuses a webhook: the status of the answer, and the reasons in `/readyz`.
fn refusal(running: &RunningTap) -> (u16, Vec<String>) {
    (running.endpoint().post(DOCUMENTED_EVENTS[0]).status, reasons(&running.admin()))
}

#[test]
fn a_tap_that_would_refuse_a_webhook_is_not_ready_and_says_why() {
    let tap = with_admin();
    let cases =
        [("spool_max_bytes", 1, "spool_full"), ("min_free_bytes", 1_000_000_000_000_000_u64, "disk_low")];
    for (key, value, reason) in cases {
        let running = tap.listen().set(key, value).start();
        assert_eq!(refusal(&running), (503, vec![reason.to_owned()]));
        let metrics = Metrics::fetch(&running.admin());
        assert_eq!(metrics.count(&format!("requests_total{{class=\"5xx\",outcome=\"{reason}\"}}")), 1);
    }
}

#[test]
fn a_tap_is_not_ready_while_its_spool_is_locked() {
    let tap = with_admin();
    let running = tap.listen().start();
    let admin = running.admin();
    assert_eq!(reasons(&admin), [""; 0]);
    let lock = tap.spool().lock();
    assert_eq!(reasons(&admin), ["spool_locked"]);
    // While a webhook waits for the lock, its answer waits too.
    let endpoint = running.endpoint();
    let waiting = std::thread::spawn(move || endpoint.post(DOCUMENTED_EVENTS[0]).status);
    wait::until("the writer is busy", || (reasons(&admin) == ["no_answer"]).then_some(()));
    assert_eq!(get(&admin, "/healthz").status, 200);
    assert_eq!(Metrics::fetch(&admin).count("spool_events"), 0);
    drop(lock);
    assert_eq!(waiting.join().expect("an answer"), 200);
    assert_eq!(reasons(&admin), [""; 0]);
}

#[test]
fn a_tap_is_ready_only_while_it_has_a_webhook_url() {
    let tap = with_admin().with_created_urls();
    let running = tap.listen().start();
    assert_eq!(reasons(&running.admin()), ["no_webhook_url"]);
    let _ = tap.create_url();
    wait::until("the tap is ready", || reasons(&running.admin()).is_empty().then_some(()));
    let revoked = tap.url(&["revoke", "1"]).finish();
    revoked.assert_code(0);
    wait::until("the tap is no longer ready", || {
        (reasons(&running.admin()) == ["no_webhook_url"]).then_some(())
    });
}

#[test]
fn a_stopping_tap_is_healthy_but_not_ready() {
    let tap = with_admin();
    tap.spool_bodies([]);
    // More than the pipe holds: the tap cannot write it all, and so cannot end.
    tap.spool().insert_many(2_000, 1_000);
    let (mut program, unread) = tap.run().start_unread();
    let line = program.stderr().wait_for("admin on http://");
    let (_, rest) = line.split_once("admin on ").expect("an address");
    let admin = Endpoint::parse(rest.split(": ").next().expect("an address"));
    assert_eq!(reasons(&admin), [""; 0]);
    program.signal(Signal::TERM);
    wait::until("the tap is stopping", || (reasons(&admin) == ["stopping"]).then_some(()));
    assert_eq!(get(&admin, "/healthz").status, 200);
    assert_eq!(Metrics::fetch(&admin).count("spool_events"), 2_000);
    program.kill();
    drop(unread);
}

/// Such a request's target is not a path.
#[test]
fn a_proxy_request_is_refused() {
    let tap = with_admin();
    let listener = tap.listen().start();
    let admin = listener.admin();
    for request in
        ["CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n", "GET test:80 HTTP/1.1\r\nHost: test\r\n\r\n"]
    {
        let mut client = admin.connect();
        client.send(request);
        assert!(matches!(client.reply().status, 400 | 404 | 421), "{request}");
    }
    assert_eq!(get(&admin, "/healthz").status, 200);
}

/// The metrics open the spool for reading. That must not leave anything in the write-ahead log.
#[test]
fn a_tap_that_served_metrics_leaves_no_write_ahead_log() {
    let tap = with_admin();
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(Metrics::fetch(&listener.admin()).count("spool_events"), 1);
    listener.stop().assert_code(0);
    assert!(!tap.folder().join("spool.db-wal").exists());
}

#[test]
fn the_admin_address_answers_while_all_webhook_connections_are_in_use() {
    let tap = with_admin().set("max_connections", 2);
    let running = tap.listen().start();
    let (admin, endpoint) = (running.admin(), running.endpoint());
    let mut clients = [endpoint.connect(), endpoint.connect()];
    for client in &mut clients {
        assert_eq!(client.post(&endpoint.path, DOCUMENTED_EVENTS[0]).expect("an answer").status, 200);
    }
    // They are idle, so they would give way to new ones.
    assert_eq!((Metrics::fetch(&admin).count("connections"), reasons(&admin)), (2, Vec::new()));
    for client in &mut clients {
        client.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n", endpoint.path));
    }
    wait::until("both are busy", || (reasons(&admin) == ["connections_taken"]).then_some(()));
    assert_eq!(get(&admin, "/healthz").status, 200);
    assert_eq!(Metrics::fetch(&admin).count("connections"), 2);
    drop(clients);
    Metrics::wait_until(&admin, "connections", |count| count == 0.0);
    assert_eq!(reasons(&admin), [""; 0]);
}

#[test]
fn clients_that_misuse_the_admin_address_harm_neither_it_nor_webhooks() {
    let tap = with_admin();
    let running = tap.listen().start();
    let (admin, endpoint) = (running.admin(), running.endpoint());
    let mut long = admin.connect();
    let _ =
        long.try_send(format!("GET /healthz HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(100_000)));
    let answer = long.read_until_closed();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    // More connections than it serves at once, and none sends anything. Each is closed, and the others get
    // their turn.
    let mut silent: Vec<_> = (0..20).map(|_| admin.connect()).collect();
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(silent[0].read_until_closed(), "");
    assert_eq!(get(&admin, "/healthz").status, 200);
}

#[test]
fn requests_are_counted_by_status_outcome_and_event_type() {
    let tap = with_admin();
    let running = tap.listen().start();
    let (admin, endpoint) = (running.admin(), running.endpoint());
    for event in DOCUMENTED_EVENTS {
        endpoint.post_accepted(event);
    }
    endpoint.post_accepted(grouped(&[
        DOCUMENTED_EVENTS[1].to_owned(),
        r#"{"a":{"event":"sent"},"event":"typofix"}"#.to_owned(),
    ]));
    endpoint.post_accepted(format!("[{}, 5, null]", DOCUMENTED_EVENTS[1]));
    assert_eq!(endpoint.post("event=open").status, 200);
    assert_eq!(endpoint.post("").status, 400);
    assert_eq!(endpoint.with_path("/nowhere").post("{}").status, 404);
    assert_eq!(endpoint.request("GET").status, 405);

    let metrics = Metrics::fetch(&admin);
    let documented = i64::try_from(DOCUMENTED_EVENTS.len()).expect("a small number");
    let requests = [
        ("2xx", "accepted", documented + 1),
        ("2xx", "accepted_in_part", 1),
        ("2xx", "not_events", 1),
        ("4xx", "body_empty", 1),
        ("4xx", "not_found", 1),
        ("4xx", "not_post", 1),
    ];
    for (class, outcome, count) in requests {
        let series = format!("requests_total{{class=\"{class}\",outcome=\"{outcome}\"}}");
        assert_eq!(metrics.count(&series), count, "{series}");
    }
    let received = |event: &str| metrics.count(&format!("events_received_total{{event=\"{event}\"}}"));
    for event in DOCUMENTED_EVENTS {
        let event_type = event_type(event);
        assert_eq!(received(&event_type), if event_type == "open" { 3 } else { 1 }, "{event_type}");
    }
    assert_eq!(received("other"), 1);
    assert_eq!(metrics.count("rejected_received_total"), 2);
    let spooled = (tap.spool().events().len(), tap.spool().rejected().len());
    assert_eq!(spooled, (DOCUMENTED_EVENTS.len() + 3, 2));
    assert_eq!((metrics.count("spool_events"), metrics.count("spool_rejected")), (documented + 3, 2));
    assert_eq!(metrics.count("commit_rows_sum"), documented + 5);
    assert_eq!(metrics.count("commit_rows_count"), metrics.count("commit_seconds_count"));
    assert!(metrics.count("commit_seconds_count") > 0 && metrics.get("commit_seconds_sum") > Some(0.0));
    assert_eq!(metrics.count("committed_position"), last_sequence(&tap));
    assert!(metrics.count("spool_used_bytes") > 4096);
    assert!(metrics.get("last_event_age_seconds").is_some_and(|age| age >= 0.0));
}

/// The largest sequence assigned so far.
fn last_sequence(tap: &Tap) -> i64 {
    let query = "SELECT CAST(max(sequence) AS TEXT)
        FROM (SELECT sequence FROM event UNION ALL SELECT sequence FROM rejected) AS item";
    tap.spool().text(query).parse().expect("a number")
}

#[test]
fn senders_cannot_add_metric_series_and_metrics_contain_no_token() {
    let tap = with_admin();
    let running = tap.listen().start();
    let (admin, endpoint) = (running.admin(), running.endpoint());
    let post = |name: &str| {
        endpoint.post_accepted(format!(r#"{{"event":"{name}","{name}":1}}"#));
        assert_eq!(endpoint.with_path(&format!("/{name}")).post("{}").status, 404);
        assert_eq!(endpoint.post_with(&[("Content-Encoding", name)], "{}").status, 415);
        assert_eq!(endpoint.request(&name.to_uppercase()).status, 405);
    };
    post("first");
    let before = Metrics::fetch(&admin);
    for number in 0..50 {
        post(&format!("name{number}"));
    }
    let after = Metrics::fetch(&admin);
    assert_eq!(before.series(), after.series());
    assert_eq!(after.count("events_received_total{event=\"other\"}"), 51);
    for secret in ["name1", &TOKEN[..16]] {
        assert!(!after.text.contains(secret), "{}", after.text);
    }
}

#[test]
fn metrics_show_the_written_and_the_confirmed_position() {
    let tap = with_admin();
    tap.append_state(0);
    let running = tap.run().state().start();
    let (admin, endpoint) = (running.admin(), running.endpoint());
    for number in 0..5 {
        endpoint.post_accepted(numbered_event(number));
    }
    let records = running.wait_records(5);
    let sequences: Vec<_> = records.iter().map(Record::sequence).collect();
    let position = |sequence: i64| move |value: f64| format!("{value}") == sequence.to_string();
    let written = Metrics::wait_until(&admin, "emitter_position", position(sequences[4]));
    assert_eq!(written.count("records_written_total{stream=\"data\"}"), 5);
    assert_eq!((written.count("events_written_total"), written.count("spool_unwritten_events")), (5, 0));
    assert_eq!(written.count("spool_unconfirmed_events"), 5);
    assert_eq!(written.count("oldest_unwritten_age_seconds"), 0);
    assert!(written.get("oldest_unconfirmed_age_seconds") > Some(0.0));
    assert_eq!(written.get("confirmed_position"), None);

    tap.append_state(sequences[2]);
    let some = Metrics::wait_until(&admin, "confirmed_position", position(sequences[2]));
    assert_eq!(some.count("spool_unconfirmed_events"), 2);
    tap.append_state(sequences[4]);
    let all = Metrics::wait_until(&admin, "confirmed_position", position(sequences[4]));
    assert_eq!((all.count("spool_unconfirmed_events"), all.count("oldest_unconfirmed_age_seconds")), (0, 0));
}

/// Compares the names of one scrape that has every metric with the table.
#[test]
fn the_page_on_operations_lists_every_metric_and_no_other() {
    let tap = with_admin().set("retention_days", 0);
    tap.spool_bodies([DOCUMENTED_EVENTS[0]]);
    let drained = tap.drain().state().finish();
    tap.append_state(drained.records()[0].sequence());
    tap.drain().state().finish().assert_code(0);
    let mailjet = Api::start();
    let keys = [("mailjet_api_key", mailjet.key.as_str()), ("mailjet_secret_key", SECRET_KEY)];
    let running = keys.into_iter().fold(tap.run(), |run, (key, value)| run.set(key, value));
    let running = running.set("mailjet_api_url", mailjet.url()).state().start();
    running.endpoint().post_accepted(DOCUMENTED_EVENTS[1]);
    let _ = running.wait_records(1);
    Metrics::wait_until(&running.admin(), "mailjet_webhook_last_check_seconds", |_| true);
    let metrics = Metrics::wait_until(&running.admin(), "events_written_total", |count| count > 0.0);
    let name_of = |series: &str| {
        let name = series.split('{').next().expect("a name");
        let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|ending| name.strip_suffix(ending));
        histogram.unwrap_or(name).to_owned()
    };
    let exported: BTreeSet<_> = metrics.series().into_iter().map(name_of).collect();

    let page = repository().join("tap-mailjet-webhooks/docs/operations.md");
    let page = fs::read_to_string(page).expect("the page exists");
    let (_, table) = page.split_once("| metric | ").expect("the page has a table of metrics");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = rows.map(|row| row.split('|').nth(1).expect("a row has cells"));
    let listed: BTreeSet<_> =
        names.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(name_of).collect();
    // The free space of another machine's disk is not known.
    let is_exported = |name: &String| name != "disk_free_bytes" || !tap.spool().is_in_postgres();
    assert_eq!(exported, listed.into_iter().filter(is_exported).collect());
}

/// A listener has no emitter. It reads from the spool what drains have confirmed.
#[test]
fn a_listener_shows_what_drains_beside_it_have_confirmed() {
    let tap = with_admin().set("retention_days", 0);
    let listener = tap.listen().start();
    let (admin, endpoint) = (listener.admin(), listener.endpoint());
    for number in 0..5 {
        endpoint.post_accepted(numbered_event(number));
    }
    assert_eq!(Metrics::fetch(&admin).count("spool_unconfirmed_events"), 5);
    let drained = tap.drain().state().finish();
    let last = drained.records().last().expect("records").sequence();
    assert_eq!(
        Metrics::fetch(&admin).count("spool_unconfirmed_events"),
        5,
        "no target has confirmed them yet"
    );
    tap.append_state(last);
    endpoint.post_accepted(numbered_event(5));
    tap.drain().state().finish().assert_code(0);
    let metrics = Metrics::fetch(&admin);
    assert_eq!((metrics.count("confirmed_position"), metrics.count("trimmed_position")), (last, last));
    assert_eq!((metrics.count("spool_unconfirmed_events"), metrics.count("spool_events")), (1, 1));
    assert_eq!(metrics.get("emitter_position"), None);
}

/// A probe gives up after a second, and must learn before that why the tap is not ready.
#[test]
fn health_and_readiness_are_answered_while_the_disk_hangs() {
    let tap = with_admin();
    let Some(disk) = FaultInjector::build_for(&tap) else { return };
    let mut listener = disk.inject_into(tap.listen()).start();
    let (admin, endpoint) = (listener.admin(), listener.endpoint());
    disk.plan(SystemCall::Sync, SpoolFile::Wal, Fault::Hang, 1);
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[], DOCUMENTED_EVENTS[0].len()));
    client.send(DOCUMENTED_EVENTS[0]);
    wait::until("the disk hangs", || (disk.failed_calls() > 0).then_some(()));
    for _ in 0..3 {
        assert_eq!(get(&admin, "/healthz").status, 200);
        assert_eq!(reasons(&admin), ["no_answer"]);
    }
    listener.program.kill();
}
