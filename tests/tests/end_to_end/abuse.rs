//! Hostile clients: whatever they do, genuine webhooks are answered and memory stays bounded.
//!
//! Slow heads and bodies are in `guarding`, TLS handshakes in `tls`, deeply nested bodies in `receiving`.

use std::thread;

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::http::{Client, Endpoint, chunk, chunked_head, post_head};
use end_to_end::program::allow_open_files;
use end_to_end::tap::Tap;
use end_to_end::tls::Certificate;
use end_to_end::wait;

/// A second request, sent where the end of the first one's body is ambiguous. If the tap ran it, the event
/// would be stored.
const SMUGGLED: &str =
    "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n{\"event\":\"smuggled\"}";

/// What the server does with the connection after its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Closed,
    StaysOpen,
}
use Then::{Closed, StaysOpen};

/// Heads and bodies of odd requests: a name, the text after the Host header, the expected statuses, and what
/// follows.
///
/// `{path}` stands for the webhook's path, `{event}` for an event, `{length}` for the event's length, and
/// `{chunks}` for the event as a chunked body.
const SHAPES: &[(&str, &str, &[u16], Then)] = &[
    // Two conflicting lengths.
    (
        "both framings",
        "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
        &[200],
        Closed,
    ),
    (
        "both framings, and a second request where the chunked body ends",
        "Transfer-Encoding: chunked\r\nContent-Length: 200\r\n\r\n{chunks}{smuggled}",
        &[200],
        Closed,
    ),
    (
        "both framings, and a length of half the body",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{smuggled}",
        &[200],
        Closed,
    ),
    ("two lengths", "Content-Length: {length}\r\nContent-Length: 5\r\n\r\n{event}{smuggled}", &[400], Closed),
    ("a list of lengths", "Content-Length: {length}, {length}\r\n\r\n{event}", &[400], Closed),
    (
        "the same length twice",
        "Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{event}",
        &[200],
        StaysOpen,
    ),
    ("a length with a sign", "Content-Length: +{length}\r\n\r\n{event}", &[400], Closed),
    ("a negative length", "Content-Length: -1\r\n\r\n{event}", &[400], Closed),
    ("a hexadecimal length", "Content-Length: 0x10\r\n\r\n{event}", &[400], Closed),
    ("an empty length", "Content-Length:\r\n\r\n{event}", &[400], Closed),
    ("a length beyond 64 bits", "Content-Length: 99999999999999999999\r\n\r\n{event}", &[400], Closed),
    ("the largest length", "Content-Length: 18446744073709551615\r\n\r\n{event}", &[431], Closed),
    ("no length", "\r\n{smuggled}", &[400, 200], StaysOpen),
    // Transfer codings that servers understand differently.
    (
        "chunked twice",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
        &[415],
        StaysOpen,
    ),
    ("chunked twice on one line", "Transfer-Encoding: chunked, chunked\r\n\r\n{chunks}", &[415], StaysOpen),
    ("a coding before chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n{chunks}", &[415], StaysOpen),
    ("a coding after chunked", "Transfer-Encoding: chunked, identity\r\n\r\n{chunks}", &[400], Closed),
    ("the identity coding", "Transfer-Encoding: identity\r\n\r\n{chunks}", &[400], Closed),
    ("an unknown coding", "Transfer-Encoding: xchunked\r\n\r\n{chunks}", &[400], Closed),
    ("a coding in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n{chunks}", &[400], Closed),
    (
        "a control character before the coding",
        "Transfer-Encoding: \u{b}chunked\r\n\r\n{chunks}",
        &[400],
        Closed,
    ),
    ("a space before the colon", "Transfer-Encoding : chunked\r\n\r\n{chunks}", &[400], Closed),
    ("upper case", "TRANSFER-ENCODING: CHUNKED\r\n\r\n{chunks}", &[200], StaysOpen),
    // Chunks.
    (
        "a chunk extension",
        "Transfer-Encoding: chunked\r\n\r\n{size};a=b\r\n{event}\r\n0\r\n\r\n",
        &[200],
        StaysOpen,
    ),
    (
        "a line break in an extension",
        "Transfer-Encoding: chunked\r\n\r\n{size};a\nb\r\n{event}\r\n0\r\n\r\n",
        &[400],
        Closed,
    ),
    (
        "chunks with bare line feeds",
        "Transfer-Encoding: chunked\r\n\r\n{size}\n{event}\n0\n\n",
        &[400],
        Closed,
    ),
    (
        "a chunk size with a prefix",
        "Transfer-Encoding: chunked\r\n\r\n0x{size}\r\n{event}\r\n0\r\n\r\n",
        &[400],
        Closed,
    ),
    ("a negative chunk size", "Transfer-Encoding: chunked\r\n\r\n-1\r\n{event}\r\n0\r\n\r\n", &[400], Closed),
    (
        "a chunk size beyond 64 bits",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{event}\r\n",
        &[400],
        Closed,
    ),
    (
        "a chunk longer than its size",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{event}\r\n0\r\n\r\n",
        &[400],
        Closed,
    ),
    (
        "trailers",
        "Transfer-Encoding: chunked\r\n\r\n{size}\r\n{event}\r\n0\r\nX: y\r\n\r\n",
        &[200],
        StaysOpen,
    ),
    (
        "endless trailers",
        "Transfer-Encoding: chunked\r\n\r\n{size}\r\n{event}\r\n0\r\nX: {long}\r\n\r\n",
        &[400],
        Closed,
    ),
    (
        "an endless extension",
        "Transfer-Encoding: chunked\r\n\r\n{size};{long}\r\n{event}\r\n0\r\n\r\n",
        &[400],
        Closed,
    ),
    // Heads.
    ("a folded header", "X: a\r\n b\r\nContent-Length: {length}\r\n\r\n{event}", &[400], Closed),
    ("a folded transfer coding", "Transfer-Encoding:\r\n chunked\r\n\r\n{chunks}", &[400], Closed),
    ("a header without a name", ": a\r\nContent-Length: {length}\r\n\r\n{event}", &[400], Closed),
    (
        "a header with a space in its name",
        "X y: a\r\nContent-Length: {length}\r\n\r\n{event}",
        &[400],
        Closed,
    ),
    ("a NUL in a header", "X: a\0b\r\nContent-Length: {length}\r\n\r\n{event}", &[400], Closed),
    (
        "a bare carriage return",
        "X: a\rContent-Length: 5\r\nContent-Length: {length}\r\n\r\n{event}",
        &[400],
        Closed,
    ),
    ("a bare line feed", "X: a\nContent-Length: {length}\r\n\r\n{event}", &[200], StaysOpen),
    (
        "a header that is too long",
        "X: {long}{long}{long}\r\nContent-Length: {length}\r\n\r\n{event}",
        &[431],
        Closed,
    ),
    ("too many headers", "{many}Content-Length: {length}\r\n\r\n{event}", &[431], Closed),
    (
        "duplicate headers",
        "Content-Type: text/plain\r\nContent-Type: x\r\n\
         Content-Length: {length}\r\n\r\n{event}",
        &[200],
        StaysOpen,
    ),
    ("two hosts", "Host: other\r\nContent-Length: {length}\r\n\r\n{event}", &[400], StaysOpen),
    (
        "an upgrade that the server ignores",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {length}\r\n\r\n{event}",
        &[200],
        StaysOpen,
    ),
    // Bodies whose length is wrong.
    ("a body longer than its length", "Content-Length: 5\r\n\r\n{event}", &[200, 400], Closed),
    ("a genuine second request", "Content-Length: {length}\r\n\r\n{event}{smuggled}", &[200, 200], StaysOpen),
];

/// Wherever two servers could disagree about where a request ends, the tap refuses the request or closes the
/// connection.
#[test]
fn odd_requests_are_answered_once_and_smuggle_nothing() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let event = DOCUMENTED_EVENTS[6];
    let (length, size) = (event.len().to_string(), format!("{:x}", event.len()));
    let chunks = chunk(event) + &chunk("");
    let (long, many) = ("x".repeat(70_000), "X: a\r\n".repeat(200));
    for (name, shape, statuses, then) in SHAPES {
        let stored = tap.spool().events().len();
        let request = format!("POST {{path}} HTTP/1.1\r\nHost: test\r\n{shape}")
            .replace("{smuggled}", SMUGGLED)
            .replace("{path}", &endpoint.path)
            .replace("{chunks}", &chunks)
            .replace("{length}", &length)
            .replace("{size}", &size)
            .replace("{event}", event)
            .replace("{long}", &long)
            .replace("{many}", &many);
        let mut client = endpoint.connect();
        let _ = client.try_send(&request);
        let answers: Vec<_> = statuses
            .iter()
            .map(|_| client.try_reply().unwrap_or_else(|error| panic!("{name}: {error}")))
            .collect();
        assert!(
            answers.iter().map(|answer| answer.status).eq(statuses.iter().copied()),
            "{name}: {answers:?}"
        );
        match then {
            Closed => assert_eq!(client.read_until_closed(), "", "{name}"),
            StaysOpen => {
                let reply = client.post(&endpoint.path, DOCUMENTED_EVENTS[0]);
                assert_eq!(reply.map(|reply| reply.status).ok(), Some(200), "{name}");
            }
        }
        let accepted = answers.iter().filter(|answer| answer.body == r#"{"accepted": 1}"#).count();
        let expected = stored + accepted + usize::from(*then == StaysOpen);
        assert_eq!(tap.spool().events().len(), expected, "{name}");
        endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    }
}

/// Request lines that are not a webhook's. Each gets an error or nothing, and none causes a panic.
#[test]
fn other_request_lines_are_refused() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let long = "x".repeat(200_000);
    let cases = [
        ("CONNECT example.com:443 HTTP/1.1".to_owned(), "404"),
        ("OPTIONS * HTTP/1.1".to_owned(), "404"),
        ("GET /../../etc/passwd HTTP/1.1".to_owned(), "404"),
        ("GET /%2e%2e/%00 HTTP/1.1".to_owned(), "404"),
        (format!("POST http://example.com{} HTTP/1.1", endpoint.path), "400"),
        (format!("POST {} HTTP/1.0", endpoint.path), "400"),
        (format!("POST {} HTTP/1.2", endpoint.path), "400"),
        (format!("POST {}?{} HTTP/1.1", endpoint.path, &long[..66_000]), "414"),
        ("GET /".to_owned(), "400"),
        ("GET  / HTTP/1.1".to_owned(), "400"),
        (" GET / HTTP/1.1".to_owned(), "400"),
        ("G\u{e9}T / HTTP/1.1".to_owned(), "400"),
        ("PRI * HTTP/2.0".to_owned(), ""),
        (long, "4"),
    ];
    for (line, status) in cases {
        let mut client = endpoint.connect();
        let _ = client.try_send(format!("{line}\r\nHost: test\r\nConnection: close\r\n\r\n"));
        let answer = client.read_until_closed();
        let shown = &line[..line.len().min(60)];
        let found = answer.split(' ').nth(1).unwrap_or_default();
        assert!(found.starts_with(status), "{shown}: {answer}");
        assert!(answer.matches("HTTP/1.").count() < 2, "{shown}: {answer}");
    }
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(tap.spool().events().len(), 1);
}

/// A client that disconnects in the middle of a request leaves nothing behind, wherever it stops.
#[test]
fn a_client_that_disconnects_early_leaves_nothing_behind() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let request = post_head(&endpoint.path, &[], DOCUMENTED_EVENTS[0].len()) + DOCUMENTED_EVENTS[0];
    let chunked = chunked_head(&endpoint.path) + &chunk(DOCUMENTED_EVENTS[0]);
    for whole in [&request, &chunked] {
        for end in (0..whole.len()).step_by(7) {
            let mut client = endpoint.connect();
            client.send(&whole[..end]);
        }
    }
    endpoint.post_accepted(DOCUMENTED_EVENTS[1]);
    assert_eq!(tap.spool().events().len(), 1);
    assert_eq!(tap.spool().rejected(), []);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut client = endpoint.connect();
    let requests: String = (0..500)
        .map(|number| post_head(&endpoint.path, &[], numbered_event(number).len()) + &numbered_event(number))
        .collect();
    client.send(requests);
    for _ in 0..500 {
        assert_eq!(client.reply().status, 200);
    }
    let stored: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    assert_eq!(stored, (0..500).map(numbered_event).collect::<Vec<_>>());
}

/// The server cannot send anything to such a client, so without a limit the connection would stay open
/// forever.
#[test]
fn a_client_that_reads_no_answers_loses_its_connection() {
    let tap = Tap::new().set("max_connections", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut unread = endpoint.connect();
    let requests = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1000);
    // It ends when the server closes the connection. Once the answers are blocked, the server stops reading
    // requests.
    let sending = thread::spawn(move || while unread.try_send(&requests).is_ok() {});
    for event in DOCUMENTED_EVENTS {
        endpoint.post_accepted(event);
    }
    sending.join().expect("the thread does not panic");
}

/// Connections that send nothing, or never finish a request, over plain HTTP and TLS. Each has a slot and
/// costs little.
#[test]
fn thousands_of_idle_connections_do_not_block_webhooks() {
    let count = allow_open_files(10_500).saturating_sub(500);
    assert!(count >= 2000, "too few open files are allowed for this test: {count}");
    let certificate = Certificate::new();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (tls, beginning) in [(false, &b"POST /v1/mailjet/0011"[..]), (true, hello)] {
        let tap = Tap::new().set("max_connections", count + 50).set("header_timeout_seconds", 600);
        let tap = if tls { tap.with_tls(&certificate) } else { tap };
        let listener = tap.listen().start();
        let server = listener.endpoint();
        let endpoint = if tls { server.clone().trusting(certificate.trust()) } else { server.clone() };
        endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
        let before = listener.program.peak_memory();
        let idle: Vec<Client> = (0..count).map(|number| begin(&server, number, beginning)).collect();
        endpoint.post_accepted(DOCUMENTED_EVENTS[1]);
        server.wait_read();
        let each = (listener.program.peak_memory() - before) / count;
        assert!(each < 32 << 10, "{each} bytes for each connection, TLS: {tls}");
        endpoint.post_accepted(DOCUMENTED_EVENTS[2]);
        drop(idle);
        endpoint.post_accepted(DOCUMENTED_EVENTS[3]);
    }
}

/// More idle connections than there are slots.
#[test]
fn past_max_connections_idle_connections_displace_each_other() {
    let tap = Tap::new().set("max_connections", 100).set("header_timeout_seconds", 600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut idle = Vec::new();
    for number in 0..1000 {
        idle.push(begin(&endpoint, number, b"POST /"));
        if number % 50 == 0 {
            endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
        }
    }
    for client in &mut idle[..900] {
        let _ = client.read_until_closed();
    }
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
}

/// Opens a connection. On every second one, sends the beginning of a request.
fn begin(endpoint: &Endpoint, number: usize, beginning: &[u8]) -> Client {
    let mut client = endpoint.connect();
    if number.is_multiple_of(2) {
        let _ = client.try_send(beginning);
    }
    client
}

/// Everything that takes memory, all at once: clients that know the URL send the largest bodies allowed, and
/// strangers fill all connections with heads that are almost too large and never end. What does not fit is
/// refused, and the clients retry it.
#[test]
fn memory_stays_within_the_documented_limit_whatever_is_sent() {
    const DOCUMENTED_MEBIBYTES: usize = 512;
    let connections = allow_open_files(2000) / 2;
    assert_eq!(connections, 1000, "too few open files are allowed for this test");
    let certificate = Certificate::new();
    let tap = Tap::new().with_tls(&certificate).set("header_timeout_seconds", 600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint().trusting(certificate.trust());
    let head = post_head(&endpoint.path, &[("X", &"x".repeat(60_000))], 1);
    let _strangers: Vec<_> = (0..connections)
        .map(|_| {
            let mut client = endpoint.connect();
            client.send(&head[..head.len() - 4]);
            client
        })
        .collect();
    endpoint.wait_read();
    let body = DOCUMENTED_EVENTS[1].to_owned() + &" ".repeat(20_000_000 - DOCUMENTED_EVENTS[1].len());
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| deliver(&endpoint, &body));
        }
        for number in 0..20 {
            deliver(&endpoint, &numbered_event(number));
        }
    });
    assert_eq!(tap.spool().events().len(), 12 + 20);
    let peak = listener.program.peak_memory() >> 20;
    assert!(peak < DOCUMENTED_MEBIBYTES, "{peak} MiB");
    let page = include_str!("../../../tap-mailjet-webhooks/docs/scaling.md");
    assert!(page.contains(&format!("{DOCUMENTED_MEBIBYTES} MiB")));
}

/// Retries a webhook until it is accepted, as Mailjet does.
fn deliver(endpoint: &Endpoint, body: &str) {
    wait::until("the webhook is accepted", || {
        let mut client = endpoint.try_connect().ok()?;
        let status = client.post(&endpoint.path, body).ok()?.status;
        assert!(matches!(status, 200 | 503), "{status}");
        (status == 200).then_some(())
    });
}
