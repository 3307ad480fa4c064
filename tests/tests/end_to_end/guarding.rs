//! What keeps one client from harming the others, and more events from harming those that are kept.

use std::net::TcpListener;

use end_to_end::events::{SEVEN, numbered};
use end_to_end::http::{Client, post_head};
use end_to_end::tap::Tap;
use end_to_end::wait;

#[test]
fn a_body_that_does_not_come_is_answered_408() {
    let tap = Tap::new().set("body_timeout_seconds", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[], SEVEN[0].len()));
    client.send(&SEVEN[0][..10]);
    assert_eq!(client.reply().status, 408);
    assert_eq!(client.until_closed(), "");
    assert_eq!(tap.spool().events(), []);
}

#[test]
fn a_head_that_does_not_come_closes_the_connection() {
    let tap = Tap::new().set("header_timeout_seconds", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut silent = endpoint.connect();
    let mut slow = endpoint.connect();
    slow.send(format!("POST {} HTTP/1.1\r\nHost:", endpoint.path));
    // What is sent before, if anything, is no 200.
    for answer in [silent.until_closed(), slow.until_closed()] {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    endpoint.accept(SEVEN[0]);
}

/// Their answers have nowhere to go.
#[test]
fn clients_that_ask_and_do_not_read_do_not_keep_their_connections() {
    let tap = Tap::new().set("max_connections", 2).set("header_timeout_seconds", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let requests = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100_000);
    let deaf: Vec<_> = (0..2).map(|_| endpoint.connect()).collect();
    std::thread::scope(|scope| {
        let send = |mut client: Client| {
            let requests = &requests;
            scope.spawn(move || {
                let _ = client.try_send(requests);
                client
            })
        };
        let deaf: Vec<_> = deaf.into_iter().map(send).collect();
        endpoint.accept(SEVEN[0]);
        drop(deaf);
    });
}

#[test]
fn what_is_not_http_is_turned_away_and_harms_nobody() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    for noise in ["\x16\x03\x01\x02\x00 TLS?\r\n\r\n", "hello\r\n\r\n", "POST\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let mut client = endpoint.connect();
        let _ = client.try_send(noise);
        let answer = client.until_closed();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{noise:?}: {answer}");
    }
    // A client that goes away in the middle of its body leaves nothing behind.
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[], 1000));
    client.send("{\"event\":");
    drop(client);
    endpoint.accept(SEVEN[0]);
    assert_eq!(tap.spool().events().len(), 1);
    assert_eq!(tap.spool().rejected(), []);
}

/// A webhook that is being read is finished; a connection that does nothing makes room.
#[test]
fn past_max_connections_who_has_been_idle_for_longest_makes_room() {
    let tap = Tap::new().set("max_connections", 2);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut reading: Vec<_> = [1, 2]
        .map(|number| {
            let mut client = endpoint.connect();
            // The answer says that the head has been read.
            client.send(post_head(&endpoint.path, &[("Expect", "100-continue")], numbered(number).len()));
            assert_eq!(client.reply().status, 100);
            client
        })
        .into();
    let mut third = endpoint.connect();
    third.send(post_head(&endpoint.path, &[], numbered(3).len()) + &numbered(3));
    let _ = listener.program.stderr().wait_for("all 2 connections (max_connections) are taken");
    let second = &mut reading[1];
    second.send(numbered(2));
    assert_eq!(second.reply().status, 200);
    assert_eq!(third.reply().status, 200);
    assert_eq!(second.until_closed(), "");
    // The third has been idle since its answer.
    let mut fourth = endpoint.connect();
    assert_eq!(fourth.post(&endpoint.path, &numbered(4)).expect("an answer").status, 200);
    assert_eq!(third.until_closed(), "");
    let first = &mut reading[0];
    first.send(numbered(1));
    assert_eq!(first.reply().status, 200);
    let kept: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    assert_eq!(kept, [2, 3, 4, 1].map(numbered));
}

/// The default of `max_connections` is what many systems let a process have open in all.
#[test]
fn max_connections_fit_whatever_the_soft_limit_of_open_files_is() {
    let tap = Tap::new().set("max_connections", 300);
    let listener = tap.listen().through(&["sh", "-c", "ulimit -Sn 100; exec \"$0\" \"$@\""]).start();
    let endpoint = listener.endpoint();
    let mut clients: Vec<_> = (0..300).map(|_| endpoint.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.post(&endpoint.path, SEVEN[0]).expect("an answer").status, 200);
    }
    assert!(!listener.stop().says("max_connections"));
}

#[test]
fn where_open_files_are_too_few_a_warning_says_how_many_connections_fit() {
    let tap = Tap::new().set("max_connections", 300);
    let listener = tap.listen().through(&["sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\""]).start();
    let endpoint = listener.endpoint();
    // More than fit: the first make room for the last.
    let mut clients: Vec<_> = (0..150).map(|_| endpoint.connect()).collect();
    for client in &mut clients[150 - 72..] {
        assert_eq!(client.post(&endpoint.path, SEVEN[0]).expect("an answer").status, 200);
    }
    let finished = listener.stop();
    finished.assert_code(0);
    assert!(finished.says("no more than 72 connections"), "{:?}", finished.stderr);
}

#[test]
fn a_full_spool_answers_503_and_takes_again_what_trimming_makes_room_for() {
    let tap = Tap::new().set("spool_max_bytes", 200_000).set("retention_days", 0);
    tap.append_state(0);
    let running = tap.run().state().start();
    let endpoint = running.endpoint();
    let mut accepted = 0;
    let refused = loop {
        let reply = endpoint.post(numbered(accepted));
        if reply.status != 200 {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 10_000, "the spool has no end");
    };
    assert_eq!(refused.status, 503);
    let retry_after: u32 = refused.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!(retry_after > 0);
    assert!(refused.json()["error"].is_string());
    let records = running.wait_records(usize::try_from(accepted).expect("a small number"));
    assert_eq!(tap.spool().events().len(), records.len(), "all that was answered with 200, and nothing else");

    tap.append_state(records.last().expect("a record").sequence());
    wait::until("the spool has room again", || {
        (endpoint.post(numbered(accepted)).status == 200).then_some(())
    });
}

#[test]
fn a_disk_that_is_nearly_full_is_answered_503() {
    let tap = Tap::new().set("min_free_bytes", 1_000_000_000_000_000_u64);
    let listener = tap.listen().start();
    let reply = listener.endpoint().post(SEVEN[0]);
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(tap.spool().events(), []);
}

/// What is read or waits has an end, in bytes. Past it nothing new is begun before half is free, so that what was begun gets
/// through.
#[test]
fn past_the_bound_on_memory_webhooks_are_answered_503_until_half_of_it_is_free() {
    let tap = Tap::new().set("body_timeout_seconds", 600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    // The bound is four bodies of the largest size; each of these is a little less, and lacks its end.
    let (event, spaces) = (SEVEN[0], " ".repeat(19_800_000 - SEVEN[0].len()));
    let mut held: Vec<_> = (0..4)
        .map(|_| {
            let mut client = endpoint.connect();
            client.send(post_head(&endpoint.path, &[], event.len() + spaces.len() + 1) + event);
            client.send(&spaces);
            client
        })
        .collect();
    endpoint.wait_read();
    let refused = endpoint.post(format!("{event}{}", &spaces[..1_000_000]));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.json()["error"].as_str().is_some_and(|error| error.contains("too much is waiting")));
    // Three are more than half: however small, nothing new is begun.
    let mut finish = || {
        let mut client = held.pop().expect("one more");
        client.send(" ");
        assert_eq!(client.reply().status, 200);
    };
    finish();
    for number in 0..20 {
        assert_eq!(endpoint.post(numbered(number)).status, 503);
    }
    finish();
    wait::until("it recovers by itself", || (endpoint.post(numbered(20)).status == 200).then_some(()));
    endpoint.accept(numbered(21));
    finish();
    finish();
}

/// The list of a body's events must not take many times the memory of the body.
#[test]
fn a_body_of_a_million_elements_takes_memory_for_little_more_than_its_text() {
    let tap = Tap::new().set("spool_max_bytes", 1_000_000);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    endpoint.accept(SEVEN[0]);
    let before = listener.program.peak_memory();
    let body = format!("[{}0]", "0,".repeat(4_000_000));
    let reply = endpoint.post(&body);
    assert_eq!(
        (reply.status, reply.json()["error"].as_str()),
        (503, Some("the spool is full (spool_max_bytes); try again later"))
    );
    let taken = listener.program.peak_memory() - before;
    // The body, once more while it is put together, and its list, once more while that grows.
    assert!(taken < 5 * body.len(), "{taken} bytes for a body of {}", body.len());
}

/// What is kept of an element that is no event is more than the element.
#[test]
fn rejected_elements_count_in_the_spool_with_all_that_is_kept_of_them() {
    let tap = Tap::new().set("spool_max_bytes", 200_000);
    let listener = tap.listen().start();
    let body = format!("[{}0]", "0,".repeat(3_000));
    assert_eq!(listener.endpoint().post(&body).status, 503);
    listener.endpoint().accept("[0,1,2]");
    assert_eq!(tap.spool().rejected().len(), 3);
}

#[test]
fn an_address_that_is_taken_is_an_error_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let tap = Tap::new().set("listen_address", address.as_str());
    let finished = tap.listen().finish();
    let error = finished.sole_error();
    assert!(error.contains(&address), "{error}");
}
