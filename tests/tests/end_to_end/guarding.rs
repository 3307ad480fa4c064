//! Limits: one client cannot harm the others, and new events cannot harm the stored ones.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::http::{Client, Endpoint, post_head};
use end_to_end::tap::Tap;
use end_to_end::wait;

#[test]
fn a_body_that_does_not_arrive_is_answered_408() {
    let tap = Tap::new().set("body_timeout_seconds", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[], DOCUMENTED_EVENTS[0].len()));
    client.send(&DOCUMENTED_EVENTS[0][..10]);
    assert_eq!(client.reply().status, 408);
    assert_eq!(client.read_until_closed(), "");
    assert_eq!(tap.spool().events(), []);
}

#[test]
fn a_head_that_does_not_arrive_closes_the_connection() {
    let tap = Tap::new().set("header_timeout_seconds", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut silent = endpoint.connect();
    let mut slow = endpoint.connect();
    slow.send(format!("POST {} HTTP/1.1\r\nHost:", endpoint.path));
    // The server may send an answer first, but not a 200.
    for answer in [silent.read_until_closed(), slow.read_until_closed()] {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
}

/// The answers of such clients have nowhere to go.
#[test]
fn clients_that_send_requests_but_read_no_answers_are_disconnected() {
    let tap = Tap::new().set("max_connections", 2).set("header_timeout_seconds", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let requests = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100_000);
    let clients: Vec<_> = (0..2).map(|_| endpoint.connect()).collect();
    std::thread::scope(|scope| {
        let send = |mut client: Client| {
            let requests = &requests;
            scope.spawn(move || {
                let _ = client.try_send(requests);
                client
            })
        };
        let clients: Vec<_> = clients.into_iter().map(send).collect();
        endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
        drop(clients);
    });
}

#[test]
fn input_that_is_not_http_is_refused_and_harms_nobody() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    for noise in ["\x16\x03\x01\x02\x00 TLS?\r\n\r\n", "hello\r\n\r\n", "POST\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let mut client = endpoint.connect();
        let _ = client.try_send(noise);
        let answer = client.read_until_closed();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{noise:?}: {answer}");
    }
    // A client that disconnects in the middle of its body leaves nothing behind.
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[], 1000));
    client.send("{\"event\":");
    drop(client);
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(tap.spool().events().len(), 1);
    assert_eq!(tap.spool().rejected(), []);
}

/// A webhook that is being read is finished. A connection that does nothing is closed.
#[test]
fn past_max_connections_the_longest_idle_connection_is_closed() {
    let tap = Tap::new().set("max_connections", 2);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut reading: Vec<_> = [1, 2]
        .map(|number| {
            let mut client = endpoint.connect();
            // The answer shows that the head has been read.
            client.send(post_head(
                &endpoint.path,
                &[("Expect", "100-continue")],
                numbered_event(number).len(),
            ));
            assert_eq!(client.reply().status, 100);
            client
        })
        .into();
    let mut third = endpoint.connect();
    third.send(post_head(&endpoint.path, &[], numbered_event(3).len()) + &numbered_event(3));
    let _ = listener.program.stderr().wait_for("all 2 connections (max_connections) are taken");
    let second = &mut reading[1];
    second.send(numbered_event(2));
    assert_eq!(second.reply().status, 200);
    assert_eq!(third.reply().status, 200);
    assert_eq!(second.read_until_closed(), "");
    // The third has been idle since its answer.
    let mut fourth = endpoint.connect();
    assert_eq!(fourth.post(&endpoint.path, &numbered_event(4)).expect("an answer").status, 200);
    assert_eq!(third.read_until_closed(), "");
    let first = &mut reading[0];
    first.send(numbered_event(1));
    assert_eq!(first.reply().status, 200);
    let stored: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    assert_eq!(stored, [2, 3, 4, 1].map(numbered_event));
}

/// The default of `max_connections` is as large as the number of files that many systems let a process open.
#[test]
fn max_connections_fit_whatever_the_soft_limit_on_open_files_is() {
    let tap = Tap::new().set("max_connections", 300);
    let listener = tap.listen().wrapped_in(&["sh", "-c", "ulimit -Sn 100; exec \"$0\" \"$@\""]).start();
    let endpoint = listener.endpoint();
    let mut clients: Vec<_> = (0..300).map(|_| endpoint.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.post(&endpoint.path, DOCUMENTED_EVENTS[0]).expect("an answer").status, 200);
    }
    assert!(!listener.stop().stderr_contains("max_connections"));
}

#[test]
fn too_low_a_limit_on_open_files_is_a_warning_with_the_number_that_fits() {
    let tap = Tap::new().set("max_connections", 300);
    let listener = tap.listen().wrapped_in(&["sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\""]).start();
    let endpoint = listener.endpoint();
    // More than fit: the first ones are closed for the last ones.
    let mut clients: Vec<_> = (0..150).map(|_| endpoint.connect()).collect();
    for client in &mut clients[150 - 72..] {
        assert_eq!(client.post(&endpoint.path, DOCUMENTED_EVENTS[0]).expect("an answer").status, 200);
    }
    let finished = listener.stop();
    finished.assert_code(0);
    assert!(finished.stderr_contains("no more than 72 connections"), "{:?}", finished.stderr);
}

#[test]
fn a_full_spool_answers_503_until_trimming_makes_room() {
    let tap = Tap::new().set("spool_max_bytes", 200_000).set("retention_days", 0);
    tap.append_state(0);
    let running = tap.run().state().start();
    let endpoint = running.endpoint();
    let mut accepted = 0;
    let refused = loop {
        let reply = endpoint.post(numbered_event(accepted));
        if reply.status != 200 {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 10_000, "the spool never fills up");
    };
    assert_eq!(refused.status, 503);
    let retry_after: u32 = refused.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!(retry_after > 0);
    assert!(refused.json()["error"].is_string());
    let records = running.wait_records(usize::try_from(accepted).expect("a small number"));
    assert_eq!(tap.spool().events().len(), records.len(), "every event answered with 200, and nothing else");

    tap.append_state(records.last().expect("a record").sequence());
    wait::until("the spool has room again", || {
        (endpoint.post(numbered_event(accepted)).status == 200).then_some(())
    });
}

#[test]
fn with_too_little_free_disk_space_the_answer_is_503() {
    let tap = Tap::new().set("min_free_bytes", 1_000_000_000_000_000_u64);
    let listener = tap.listen().start();
    let reply = listener.endpoint().post(DOCUMENTED_EVENTS[0]);
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(tap.spool().events(), []);
}

/// Bodies that are on their way, slowly: a byte of each arrives every tenth of a second.
struct SlowBodies {
    /// Each client, and how many bytes it has still to send.
    clients: Arc<Mutex<Vec<(Client, usize)>>>,
}

impl SlowBodies {
    /// Starts four bodies of almost the largest size, which together are almost the bound on memory.
    fn start(endpoint: &Endpoint) -> Self {
        const UNSENT: usize = 50_000;
        let event = DOCUMENTED_EVENTS[0];
        let spaces = " ".repeat(19_850_000);
        let start = || {
            let mut client = endpoint.connect();
            client.send(post_head(&endpoint.path, &[], event.len() + spaces.len() + UNSENT) + event);
            client.send(&spaces);
            (client, UNSENT)
        };
        let bodies = SlowBodies { clients: Arc::new(Mutex::new((0..4).map(|_| start()).collect())) };
        endpoint.wait_read();
        let clients = Arc::downgrade(&bodies.clients);
        thread::spawn(move || {
            while let Some(clients) = clients.upgrade() {
                for (client, unsent) in clients.lock().expect("no panic").iter_mut() {
                    if client.try_send(" ").is_ok() {
                        *unsent -= 1;
                    }
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        bodies
    }

    /// Sends the rest of one of them.
    fn finish_one(&self) {
        let (mut client, unsent) = self.clients.lock().expect("no panic").pop().expect("one more");
        client.send(" ".repeat(unsent));
        assert_eq!(client.reply().status, 200);
    }
}

/// The memory of bodies being read or waiting is bounded in bytes. Past the bound, no new body is started
/// before half of it is free, so that the started ones get through.
#[test]
fn past_the_memory_bound_webhooks_are_answered_503_until_half_is_free() {
    let tap = Tap::new().set("body_timeout_seconds", 600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let held = SlowBodies::start(&endpoint);
    let refused = endpoint.post(format!("{}{}", DOCUMENTED_EVENTS[0], " ".repeat(1_000_000)));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.json()["error"].as_str().is_some_and(|error| error.contains("too much is waiting")));
    // Three are more than half, so nothing new is started, however small.
    held.finish_one();
    for number in 0..20 {
        assert_eq!(endpoint.post(numbered_event(number)).status, 503);
    }
    held.finish_one();
    wait::until("the listener accepts webhooks again", || {
        (endpoint.post(numbered_event(20)).status == 200).then_some(())
    });
    endpoint.post_accepted(numbered_event(21));
    held.finish_one();
    held.finish_one();
}

/// Someone who knows a webhook URL starts large bodies and sends only a byte of each now and then, for ten
/// minutes.
#[test]
fn a_peer_with_most_of_the_memory_makes_room_for_another_peer() {
    let tap = Tap::new().set("body_timeout_seconds", 600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let _held = SlowBodies::start(&endpoint.clone().from_source("127.0.0.2"));
    wait::until("another peer's webhook is accepted", || {
        (endpoint.post(numbered_event(1)).status == 200).then_some(())
    });
    endpoint.post_accepted(numbered_event(2));
}

/// The bodies stop short, and nobody sends anything any more.
#[test]
fn bodies_that_make_no_progress_make_room_in_memory() {
    let tap = Tap::new().set("body_timeout_seconds", 600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let held = SlowBodies::start(&endpoint);
    let _stalled = std::mem::take(&mut *held.clients.lock().expect("no panic"));
    wait::until("a webhook of the same peer is accepted", || {
        (endpoint.post(numbered_event(1)).status == 200).then_some(())
    });
}

/// A thousand POSTs whose bodies never come.
#[test]
fn connections_whose_bodies_make_no_progress_give_way_like_idle_ones() {
    let tap = Tap::new().set("body_timeout_seconds", 600).set("max_connections", 8);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let post_head_only = |endpoint: &Endpoint| {
        let mut client = endpoint.connect();
        client.send(post_head(&endpoint.path, &[], 10));
        client
    };
    let silent: Vec<_> = (0..8).map(|_| post_head_only(&endpoint)).collect();
    for number in 0..20 {
        endpoint.post_accepted(numbered_event(number));
    }
    drop(silent);

    // Another peer's bodies make progress, but too slowly for a webhook.
    let other = endpoint.clone().from_source("127.0.0.3");
    let mut slow: Vec<_> = (0..8).map(|_| post_head_only(&other)).collect();
    let slow = thread::spawn(move || {
        for _ in 0..5 {
            for client in &mut slow {
                drop(client.try_send("{"));
            }
            thread::sleep(Duration::from_millis(100));
        }
        slow
    });
    for number in 20..40 {
        endpoint.post_accepted(numbered_event(number));
    }
    drop(slow.join());
}

/// The list of a body's events must not take many times the body's memory.
#[test]
fn a_body_of_millions_of_elements_takes_little_more_memory_than_its_text() {
    let tap = Tap::new().set("spool_max_bytes", 1_000_000);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    let before = listener.program.peak_memory();
    for element in ["0,", "{},", "{},x,"] {
        let body = format!("[{}0]", element.repeat(16_000_000 / element.len()));
        let reply = endpoint.post(&body);
        assert_eq!(
            (reply.status, reply.json()["error"].as_str()),
            (413, Some("the body holds more than 100000 values"))
        );
        let used = listener.program.peak_memory() - before;
        // The body, and a second copy while it is assembled.
        assert!(used < 3 * body.len(), "{used} bytes for a body of {}", body.len());
    }
    assert_eq!((tap.spool().events().len(), tap.spool().rejected().len()), (1, 0));
}

/// A rejected element is stored with more than its own text.
#[test]
fn rejected_elements_count_with_everything_stored_about_them() {
    let tap = Tap::new().set("spool_max_bytes", 200_000);
    let listener = tap.listen().start();
    let body = |count| (0..count).map(|number| format!("{number},{{}}")).collect::<Vec<_>>().join(",");
    assert_eq!(listener.endpoint().post(format!("[{}]", body(1_500))).status, 503);
    assert_eq!(listener.endpoint().post(format!("[{}]", body(3))).status, 200);
    assert_eq!(tap.spool().rejected().len(), 3);
}

#[test]
fn an_address_in_use_is_a_one_line_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let tap = Tap::new().set("listen_address", address.as_str());
    let finished = tap.listen().finish();
    let error = finished.only_error();
    assert!(error.contains(&address), "{error}");
}
