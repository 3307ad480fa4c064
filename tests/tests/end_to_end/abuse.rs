//! What a hostile client can do, and that good webhooks are answered meanwhile, in memory that has an end.
//!
//! Slow heads and bodies are in `guarding`, handshakes in `tls`, bodies of any depth in `receiving`.

use std::thread;

use end_to_end::events::{SEVEN, numbered};
use end_to_end::http::{Client, Endpoint, chunk, chunked_head, post_head};
use end_to_end::program::allow_open_files;
use end_to_end::tap::Tap;
use end_to_end::tls::Certificate;
use end_to_end::wait;

/// What is sent where the end of a body is in doubt: if it were taken for a request, it would be kept.
const SMUGGLED: &str =
    "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n{\"event\":\"smuggled\"}";

/// What becomes of a connection after the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Closed,
    GoesOn,
}
use Then::{Closed, GoesOn};

/// `{path}` is the path of the webhook, `{event}` an event, `{length}` its length, and `{chunks}` the same as a chunked body.
const SHAPES: &[(&str, &str, &[u16], Then)] = &[
    // Which of two lengths is meant.
    (
        "both framings",
        "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
        &[200],
        Closed,
    ),
    (
        "both framings, and a request where the one body ends and the other goes on",
        "Transfer-Encoding: chunked\r\nContent-Length: 200\r\n\r\n{chunks}{smuggled}",
        &[200],
        Closed,
    ),
    (
        "both framings, the length being that of half the body",
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
        GoesOn,
    ),
    ("a length with a sign", "Content-Length: +{length}\r\n\r\n{event}", &[400], Closed),
    ("a negative length", "Content-Length: -1\r\n\r\n{event}", &[400], Closed),
    ("a hexadecimal length", "Content-Length: 0x10\r\n\r\n{event}", &[400], Closed),
    ("an empty length", "Content-Length:\r\n\r\n{event}", &[400], Closed),
    ("a length beyond 64 bits", "Content-Length: 99999999999999999999\r\n\r\n{event}", &[400], Closed),
    ("the largest length", "Content-Length: 18446744073709551615\r\n\r\n{event}", &[431], Closed),
    ("no length", "\r\n{smuggled}", &[400, 200], GoesOn),
    // Transfer codings that are not understood everywhere in the same way.
    (
        "chunked twice",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
        &[415],
        GoesOn,
    ),
    ("chunked twice in one line", "Transfer-Encoding: chunked, chunked\r\n\r\n{chunks}", &[415], GoesOn),
    ("a coding before chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n{chunks}", &[415], GoesOn),
    ("a coding after chunked", "Transfer-Encoding: chunked, identity\r\n\r\n{chunks}", &[400], Closed),
    ("no coding", "Transfer-Encoding: identity\r\n\r\n{chunks}", &[400], Closed),
    ("another coding", "Transfer-Encoding: xchunked\r\n\r\n{chunks}", &[400], Closed),
    ("a coding in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n{chunks}", &[400], Closed),
    (
        "a control character before the coding",
        "Transfer-Encoding: \u{b}chunked\r\n\r\n{chunks}",
        &[400],
        Closed,
    ),
    ("a space before the colon", "Transfer-Encoding : chunked\r\n\r\n{chunks}", &[400], Closed),
    ("capitals", "TRANSFER-ENCODING: CHUNKED\r\n\r\n{chunks}", &[200], GoesOn),
    // Chunks.
    (
        "a chunk's extension",
        "Transfer-Encoding: chunked\r\n\r\n{size};a=b\r\n{event}\r\n0\r\n\r\n",
        &[200],
        GoesOn,
    ),
    (
        "a line end in an extension",
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
        "a chunk's size with a prefix",
        "Transfer-Encoding: chunked\r\n\r\n0x{size}\r\n{event}\r\n0\r\n\r\n",
        &[400],
        Closed,
    ),
    ("a negative size", "Transfer-Encoding: chunked\r\n\r\n-1\r\n{event}\r\n0\r\n\r\n", &[400], Closed),
    (
        "a size beyond 64 bits",
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
    ("trailers", "Transfer-Encoding: chunked\r\n\r\n{size}\r\n{event}\r\n0\r\nX: y\r\n\r\n", &[200], GoesOn),
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
    ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n{chunks}", &[400], Closed),
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
    ("a bare line feed", "X: a\nContent-Length: {length}\r\n\r\n{event}", &[200], GoesOn),
    ("a header too long", "X: {long}{long}{long}\r\nContent-Length: {length}\r\n\r\n{event}", &[431], Closed),
    ("too many headers", "{many}Content-Length: {length}\r\n\r\n{event}", &[431], Closed),
    (
        "headers twice",
        "Host: other\r\nContent-Type: text/plain\r\nContent-Type: x\r\nContent-Length: {length}\r\n\r\n{event}",
        &[200],
        GoesOn,
    ),
    (
        "an upgrade that is not taken up",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {length}\r\n\r\n{event}",
        &[200],
        GoesOn,
    ),
    // Bodies that lie about their length.
    ("a body longer than its length", "Content-Length: 5\r\n\r\n{event}", &[400, 400], Closed),
    (
        "what follows is a request of its own",
        "Content-Length: {length}\r\n\r\n{event}{smuggled}",
        &[200, 200],
        GoesOn,
    ),
];

/// Wherever two servers could disagree about where a request ends, this one refuses or closes.
#[test]
fn requests_of_odd_shapes_are_answered_once_and_smuggle_nothing() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let event = SEVEN[6];
    let (length, size) = (event.len().to_string(), format!("{:x}", event.len()));
    let chunks = chunk(event) + &chunk("");
    let (long, many) = ("x".repeat(70_000), "X: a\r\n".repeat(200));
    for (name, shape, statuses, then) in SHAPES {
        let kept = tap.spool().events().len();
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
            .map(|_| client.try_reply().unwrap_or_else(|error| panic!("{name}: {error}")).status)
            .collect();
        assert_eq!(answers, *statuses, "{name}");
        match then {
            Closed => assert_eq!(client.until_closed(), "", "{name}"),
            GoesOn => {
                let reply = client.post(&endpoint.path, SEVEN[0]);
                assert_eq!(reply.map(|reply| reply.status).ok(), Some(200), "{name}");
            }
        }
        let accepted = statuses.iter().filter(|status| **status == 200).count();
        let expected = kept + accepted + usize::from(*then == GoesOn);
        assert_eq!(tap.spool().events().len(), expected, "{name}");
        endpoint.accept(SEVEN[0]);
    }
}

/// First lines that are no webhook's. None is answered with more than an error, and none ends in a panic.
#[test]
fn other_first_lines_are_turned_away() {
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
        let answer = client.until_closed();
        let shown = &line[..line.len().min(60)];
        let found = answer.split(' ').nth(1).unwrap_or_default();
        assert!(found.starts_with(status), "{shown}: {answer}");
        assert!(answer.matches("HTTP/1.").count() < 2, "{shown}: {answer}");
    }
    endpoint.accept(SEVEN[0]);
    assert_eq!(tap.spool().events().len(), 1);
}

/// A client that goes away in the middle leaves nothing behind, wherever that is.
#[test]
fn who_closes_early_leaves_nothing_behind() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let request = post_head(&endpoint.path, &[], SEVEN[0].len()) + SEVEN[0];
    let chunked = chunked_head(&endpoint.path) + &chunk(SEVEN[0]);
    for whole in [&request, &chunked] {
        for end in (0..whole.len()).step_by(7) {
            let mut client = endpoint.connect();
            client.send(&whole[..end]);
        }
    }
    endpoint.accept(SEVEN[1]);
    assert_eq!(tap.spool().events().len(), 1);
    assert_eq!(tap.spool().rejected(), []);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let tap = Tap::new();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut client = endpoint.connect();
    let requests: String = (0..500)
        .map(|number| post_head(&endpoint.path, &[], numbered(number).len()) + &numbered(number))
        .collect();
    client.send(requests);
    for _ in 0..500 {
        assert_eq!(client.reply().status, 200);
    }
    let kept: Vec<_> = tap.spool().events().into_iter().map(|event| event.body).collect();
    assert_eq!(kept, (0..500).map(numbered).collect::<Vec<_>>());
}

/// Such a connection is at a loss to be told anything, and would stay for ever.
#[test]
fn who_does_not_read_the_answers_makes_room() {
    let tap = Tap::new().set("max_connections", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut deaf = endpoint.connect();
    let requests = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1000);
    // It ends when the connection is closed: nobody reads what it sends once the answers have nowhere to go.
    let sending = thread::spawn(move || while deaf.try_send(&requests).is_ok() {});
    for event in SEVEN {
        endpoint.accept(event);
    }
    sending.join().expect("it does not panic");
}

/// Connections that say nothing, or never say all, by plain HTTP and by TLS. Each has its place, and costs little.
#[test]
fn thousands_of_idle_connections_keep_nobody_from_posting() {
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
        endpoint.accept(SEVEN[0]);
        let before = listener.program.peak_memory();
        let idle: Vec<Client> = (0..count).map(|number| begin(&server, number, beginning)).collect();
        endpoint.accept(SEVEN[1]);
        server.wait_read();
        let taken = (listener.program.peak_memory() - before) / count;
        assert!(taken < 32 << 10, "{taken} bytes for each connection, TLS: {tls}");
        endpoint.accept(SEVEN[2]);
        drop(idle);
        endpoint.accept(SEVEN[3]);
    }
}

/// More of them than there are places.
#[test]
fn past_max_connections_idle_ones_take_places_from_each_other() {
    let tap = Tap::new().set("max_connections", 100).set("header_timeout_seconds", 600);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let mut idle = Vec::new();
    for number in 0..1000 {
        idle.push(begin(&endpoint, number, b"POST /"));
        if number % 50 == 0 {
            endpoint.accept(SEVEN[0]);
        }
    }
    for client in &mut idle[..900] {
        let _ = client.until_closed();
    }
    endpoint.accept(SEVEN[0]);
}

/// Opens a connection, and begins to say something on every second.
fn begin(endpoint: &Endpoint, number: usize, beginning: &[u8]) -> Client {
    let mut client = endpoint.connect();
    if number.is_multiple_of(2) {
        let _ = client.try_send(beginning);
    }
    client
}

/// Everything at once that takes memory: bodies as large as they may be, of clients that know the URL, and strangers on as many
/// connections as there may be, with heads that are nearly as large as they may be and do not end. What does not fit is
/// refused and repeated.
#[test]
fn whatever_is_sent_memory_stays_within_what_the_readme_says() {
    const README_MEBIBYTES: usize = 512;
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
    let body = SEVEN[1].to_owned() + &" ".repeat(20_000_000 - SEVEN[1].len());
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| deliver(&endpoint, &body));
        }
        for number in 0..20 {
            deliver(&endpoint, &numbered(number));
        }
    });
    assert_eq!(tap.spool().events().len(), 12 + 20);
    let most = listener.program.peak_memory() >> 20;
    assert!(most < README_MEBIBYTES, "{most} MiB");
    assert!(include_str!("../../../README.md").contains(&format!("{README_MEBIBYTES} MiB")));
}

/// Repeats a webhook until it is taken, as Mailjet does.
fn deliver(endpoint: &Endpoint, body: &str) {
    wait::until("it is taken", || {
        let mut client = endpoint.try_connect().ok()?;
        let status = client.post(&endpoint.path, body).ok()?.status;
        assert!(matches!(status, 200 | 503), "{status}");
        (status == 200).then_some(())
    });
}
