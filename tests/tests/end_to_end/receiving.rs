//! The answer to a webhook, in every case.

use end_to_end::events::{DOCUMENTED_EVENTS, grouped, numbered_event};
use end_to_end::http::{chunk, chunked_head, post_head};
use end_to_end::tap::{TOKEN, Tap};
use serde_json::json;

/// Mailjet sends one event in a request, or several in an array.
#[test]
fn single_and_grouped_events_are_accepted() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let cases = [
        (DOCUMENTED_EVENTS[0].to_owned(), 1),
        (grouped(&DOCUMENTED_EVENTS), DOCUMENTED_EVENTS.len()),
        (grouped(&DOCUMENTED_EVENTS[..1]), 1),
        ("[]".to_owned(), 0),
        (" [ ] \n".to_owned(), 0),
    ];
    let mut stored = 0;
    for (body, accepted) in cases {
        let reply = endpoint.post(&body);
        assert_eq!((reply.status, reply.json()), (200, json!({ "accepted": accepted })), "{body}");
        stored += accepted;
        assert_eq!(tap.spool().events().len(), stored, "{body}");
    }
}

#[test]
fn a_repeated_body_is_accepted_again() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let mut connection = listener.endpoint().connect();
    for _ in 0..3 {
        let reply = connection
            .post(&listener.endpoint().path, DOCUMENTED_EVENTS[6])
            .expect("a connection is kept alive");
        assert_eq!(reply.status, 200);
    }
    assert_eq!(tap.spool().events().len(), 3);
}

#[test]
fn array_elements_that_are_not_objects_are_rejected_and_the_others_accepted() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let body = format!(r#"[{},5,"x",null,[{{}}],true,{}]"#, DOCUMENTED_EVENTS[0], DOCUMENTED_EVENTS[1]);
    let reply = listener.endpoint().post(body);
    let error = "the array element is not a JSON object, so it is not an event";
    assert_eq!((reply.status, reply.json()), (200, json!({ "accepted": 2, "rejected": 1, "error": error })));
    let stored: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    assert_eq!(stored, DOCUMENTED_EVENTS[..2]);
    let rejected: Vec<_> = tap.spool().rejected().into_iter().map(|rejected| rejected.body).collect();
    assert_eq!(rejected, [br#"5,"x",null,[{}],true"#], "a run of them is one item");
}

/// What decides is whether a repeat could help: Mailjet would repeat the same bytes for 24 hours.
#[test]
fn a_body_without_events_is_stored_whole_and_answered_200() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let large = "x".repeat(100_000);
    let cases: [&[u8]; 8] = [
        b"hello",
        b"{\"event\":\"open\"",
        b"{event:\"open\"}",
        b"5",
        b"\"open\"",
        b"null",
        b"event=open&time=1",
        large.as_bytes(),
    ];
    for body in cases {
        let reply = endpoint.post(body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!(reply.status, 200, "{shown}");
        let answer = reply.json();
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(0), &json!(1)), "{shown}");
        assert!(answer["error"].is_string(), "{shown}: {}", reply.body);
    }
    let stored = tap.spool().rejected();
    assert_eq!(stored.iter().map(|rejected| &rejected.body[..]).collect::<Vec<_>>(), cases);
    assert!(stored.iter().all(|rejected| !rejected.reason.is_empty()));
    assert_eq!(tap.spool().events(), []);
}

/// A proxy that drops bodies must not look like success.
#[test]
fn an_empty_body_is_answered_400_and_a_body_of_too_many_values_413() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    for body in ["", "  \n", "\u{feff}"] {
        let reply = listener.endpoint().post(body);
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("the body is empty")));
    }
    let body = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(listener.endpoint().post(body(100_001)).status, 413);
    assert_eq!((tap.spool().events(), tap.spool().rejected().len()), (vec![], 0), "nothing is stored");
    assert_eq!(listener.endpoint().post(body(100_000)).json(), json!({ "accepted": 100_000 }));
}

/// One broken event, or one byte, costs none of its neighbours.
#[test]
fn whole_events_of_a_broken_body_are_accepted_and_the_rest_is_kept() {
    let (open, click) = (r#"{"event":"open"}"#, r#"{"event":"click"}"#);
    let control = "{\"event\":\"open\",\"comment\":\"a\nb\tc\"}";
    let cases = [
        (format!("\u{feff}{open}"), 1, vec![]),
        (format!("\u{feff}[{open},{click}]"), 2, vec![]),
        (format!("{open}{click}"), 2, vec![]),
        (format!("{open}\n{click}\r\n"), 2, vec![]),
        (format!("[{open}]\n[{click},{open}]"), 3, vec![]),
        (format!("[{open},]"), 1, vec![]),
        (format!("[{control},{open}]"), 2, vec![]),
        (format!("{open}]"), 1, vec!["]"]),
        (format!("[{open},{{\"event\":oops}},{click}]"), 2, vec!["{\"event\":oops}"]),
        (format!("[{open},{{\"event\":\"cl"), 1, vec!["{\"event\":\"cl"]),
        (format!("[{open},"), 1, vec![","]),
        (format!("[{open}"), 1, vec![""]),
    ];
    for (body, accepted, rejected) in cases {
        let tap = Tap::new();
        let listener = tap.run().start();
        let reply = listener.endpoint().post(&body);
        assert_eq!(reply.status, 200, "{body}");
        assert_eq!(reply.json()["accepted"], accepted, "{body}: {}", reply.body);
        assert_eq!(
            reply.json().get("rejected"),
            (!rejected.is_empty()).then_some(&json!(rejected.len())),
            "{body}"
        );
        let finished = listener.stop();
        finished.assert_code(0);
        assert_eq!(finished.records().len(), accepted, "{body}");
        let kept: Vec<_> =
            finished.records_of("_sdc_rejected").iter().map(|row| row.text("record")).collect();
        assert_eq!(kept, rejected, "{body}");
        if body.contains("a\nb") {
            assert_eq!(finished.records()[0].text("comment"), "a\nb\tc");
        }
    }
}

/// A client that has sent everything may close its side of the connection, as some clients do.
#[test]
fn a_client_that_closes_its_side_after_the_body_is_answered() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut stream = std::net::TcpStream::connect(endpoint.address).expect("a connection");
    let request =
        end_to_end::http::post_head(&endpoint.path, &[], DOCUMENTED_EVENTS[0].len()) + DOCUMENTED_EVENTS[0];
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("the request is sent");
    stream.shutdown(std::net::Shutdown::Write).expect("one side is closed");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Probing reveals nothing: not whether a token was once valid, and not which paths exist.
#[test]
fn every_wrong_path_gets_the_same_404() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let unknown = endpoint.with_path(&format!("/v1/mailjet/{}", TOKEN.replace('0', "1")));
    let expected = unknown.post(DOCUMENTED_EVENTS[0]);
    assert_eq!(expected.status, 404);
    let paths = [
        "/".to_owned(),
        "/v1/mailjet".to_owned(),
        "/v1/mailjet/".to_owned(),
        "/v1/mailjet/short".to_owned(),
        format!("/v1/mailjet/{}", TOKEN.to_uppercase()),
        format!("/v1/mailjet/{TOKEN}0"),
        format!("/v1/mailjet/{}", &TOKEN[1..]),
        format!("/v1/mailjet/{TOKEN}//"),
        format!("/v1/mailjet/{TOKEN}/more"),
        format!("/v1//mailjet/{TOKEN}"),
        format!("/v2/mailjet/{TOKEN}"),
        format!("/mailjet/{TOKEN}"),
        format!("/{TOKEN}"),
        "/v1/mailjet/%00".to_owned(),
        "/healthz".to_owned(),
    ];
    for path in paths {
        let wrong = endpoint.with_path(&path);
        assert_eq!(wrong.post(DOCUMENTED_EVENTS[0]).without_date(), expected.without_date(), "POST {path}");
        assert_eq!(wrong.request("GET").without_date(), expected.without_date(), "GET {path}");
    }
    assert_eq!(unknown.request("DELETE").without_date(), expected.without_date());
    assert_eq!(
        unknown.post("not JSON").without_date(),
        expected.without_date(),
        "the token is checked first"
    );
    // The target of this request is not a path.
    let mut proxied = endpoint.connect();
    proxied.send("CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(proxied.reply().without_date(), expected.without_date(), "CONNECT");
    for header in ["Content-Encoding", "Content-Type", "User-Agent"] {
        let odd = unknown.post_with(&[(header, "é")], DOCUMENTED_EVENTS[0]);
        assert_eq!(odd.without_date(), expected.without_date(), "{header}");
    }
    assert_eq!(tap.spool().events(), []);
    assert_eq!(tap.spool().rejected(), []);
}

#[test]
fn methods_other_than_post_are_answered_405_with_allow() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let reply = listener.endpoint().request(method);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
    }
}

#[test]
fn a_body_of_max_body_bytes_is_accepted_and_a_larger_one_refused() {
    let tap = Tap::new().set("max_body_bytes", 2000);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let event = numbered_event(1);
    let largest = format!("{event}{}", " ".repeat(2000 - event.len()));
    endpoint.post_accepted(&largest);

    // The size is checked before the body is read, so the body need not even be sent.
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[], 2001));
    assert_eq!(client.reply().status, 413);

    let mut client = endpoint.connect();
    client.send(chunked_head(&endpoint.path));
    client.send(chunk(&largest));
    client.send(chunk(""));
    assert_eq!(client.reply().status, 200);

    // A chunked body has no size to check in advance. It is counted as it arrives.
    let mut client = endpoint.connect();
    client.send(chunked_head(&endpoint.path));
    client.send(chunk(&largest));
    client.send(chunk(" "));
    assert_eq!(client.reply().status, 413);
    assert_eq!(tap.spool().events().len(), 2);
}

#[test]
fn a_chunked_body_is_assembled() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut client = endpoint.connect();
    client.send(chunked_head(&endpoint.path));
    for part in DOCUMENTED_EVENTS[0].as_bytes().chunks(7) {
        client.send(chunk(std::str::from_utf8(part).expect("the event is ASCII")));
    }
    client.send(chunk(""));
    assert_eq!(client.reply().json(), json!({ "accepted": 1 }));
    assert_eq!(tap.spool().events()[0].body, DOCUMENTED_EVENTS[0]);
}

#[test]
fn a_content_encoding_is_answered_415() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let reply = listener.endpoint().post_with(&[("Content-Encoding", encoding)], DOCUMENTED_EVENTS[0]);
        assert_eq!(reply.status, 415, "{encoding}");
    }
    let reply = listener.endpoint().post_with(&[("Content-Encoding", "identity")], DOCUMENTED_EVENTS[0]);
    assert_eq!(reply.status, 200, "identity means no encoding");
    assert_eq!(tap.spool().events().len(), 1);
}

/// Mailjet documents neither header, so nothing may depend on them.
#[test]
fn any_content_type_and_user_agent_are_accepted() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let headers: [&[(&str, &str)]; 6] = [
        &[],
        &[("Content-Type", "application/json")],
        &[("Content-Type", "application/json; charset=utf-8")],
        &[("Content-Type", "text/plain")],
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Type", "%%%"), ("User-Agent", "")],
    ];
    for headers in headers {
        let reply = listener.endpoint().post_with(headers, DOCUMENTED_EVENTS[0]);
        assert_eq!(reply.status, 200, "{headers:?}");
    }
}

/// curl and others ask before they send a large body.
#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[("Expect", "100-continue")], DOCUMENTED_EVENTS[0].len()));
    assert_eq!(client.reply().status, 100);
    client.send(DOCUMENTED_EVENTS[0]);
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_query_in_the_url_is_ignored() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    endpoint.with_path(&format!("{}?from=mailjet", endpoint.path)).post_accepted(DOCUMENTED_EVENTS[0]);
}

/// The parser must neither recurse for each level nor give up at 128 levels. An event is accepted whatever is
/// in it, and so is the next one.
#[test]
fn a_body_of_any_depth_is_accepted() {
    let tap = Tap::new();
    let listener = tap.run().start();
    let endpoint = listener.endpoint();
    for depth in [200, 100_000] {
        let body = format!(r#"{{"event":"open","deep":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(endpoint.post(body).json(), json!({ "accepted": 1 }), "{depth} levels");
    }
    assert_eq!(endpoint.post("[".repeat(100_000)).json()["rejected"], 1);
    endpoint.post_accepted(numbered_event(1));
    let records = listener.wait_records(3);
    assert_eq!(records[2].text("CustomID"), "1");
}

/// Many tools append a slash to a URL.
#[test]
fn a_slash_after_the_token_is_accepted() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    for path in [format!("{}/", endpoint.path), format!("{}/?from=mailjet", endpoint.path)] {
        endpoint.with_path(&path).post_accepted(DOCUMENTED_EVENTS[0]);
    }
    assert_eq!(endpoint.with_path(&format!("{}//", endpoint.path)).post("{}").status, 404);
}

/// Without a word, a URL with a mistake in its path looks like a tap that receives nothing.
#[test]
fn a_valid_token_at_a_wrong_path_is_answered_like_any_other_and_leaves_a_warning() {
    for (path, shown) in [
        (format!("/hooks/v1/mailjet/{TOKEN}"), "/hooks/v1/mailjet/<token>,"),
        (format!("/{}/{TOKEN}", TOKEN.to_uppercase()), "/<token>/<token>,"),
        (format!("//v1/mailjet/{TOKEN}"), "//v1/mailjet/<token>,"),
        (format!("/v1/mailjet/{}", TOKEN.to_uppercase()), "/v1/mailjet/<token>,"),
        (format!("/v1/mailjet/{TOKEN};jsessionid=1"), "/v1/mailjet/<token>;jsessionid=1,"),
    ] {
        let tap = Tap::new();
        let listener = tap.listen().start();
        let endpoint = listener.endpoint();
        let expected = endpoint.with_path("/").post("{}").without_date();
        assert_eq!(endpoint.with_path(&path).post("{}").without_date(), expected, "{path}");
        let warning = listener.program.stderr().wait_for("a request with a valid token came to");
        assert!(warning.contains(shown) && warning.contains("/v1/mailjet/<token>. Correct"), "{warning}");
        listener.stop().assert_code(0);
    }
}

#[test]
fn a_client_that_speaks_another_protocol_leaves_a_warning_that_says_what_to_change() {
    let cases: [(&[u8], &str); 4] = [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\nPOST / HTTP/1.1\r\n\r\n", "PROXY protocol"),
        (b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02", "PROXY protocol"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (b"\x16\x03\x01\0\x05\x01\0\0\x01\x03\r\n\r\n", "it speaks TLS"),
    ];
    for (bytes, expected) in cases {
        let tap = Tap::new();
        let listener = tap.listen().start();
        let mut client = listener.endpoint().connect();
        client.send(bytes);
        let warning = listener.program.stderr().wait_for("a client cannot be understood");
        assert!(warning.contains(expected), "{warning}");
        listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    }
}
