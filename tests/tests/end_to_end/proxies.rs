//! Behind real nginx and Caddy, configured as in `scripts/proxies` and the documentation.

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::http::{Endpoint, chunk, chunked_head, free_address, post_head};
use end_to_end::proxy::Proxy;
use end_to_end::tap::{BASIC_AUTHORIZATION, PASSWORD, RunningTap, TOKEN, Tap, USERNAME};
use end_to_end::wait;
use serde_json::json;

/// Starts a tap, and in front of it each of the proxies in turn.
fn behind_each(tap: &Tap, check: impl Fn(&str, &RunningTap, &Endpoint)) {
    for name in ["nginx", "Caddy"] {
        let listener = tap.listen().start();
        let address = listener.endpoint().address;
        let proxy = if name == "nginx" { Proxy::nginx(address, &[]) } else { Proxy::caddy(address, &[]) };
        check(name, &listener, &proxy.endpoint);
        assert!(!proxy.logs().contains(TOKEN), "{name}: {}", proxy.logs());
        listener.stop().assert_code(0);
    }
}

#[test]
fn webhooks_and_answers_pass_through_each_proxy() {
    let tap = Tap::new().set("basic_auth_username", USERNAME).set("basic_auth_password", PASSWORD);
    behind_each(&tap, |name, _, proxy| {
        let basic = [("Authorization", BASIC_AUTHORIZATION)];
        let before = tap.spool().events().len();
        for event in DOCUMENTED_EVENTS {
            assert_eq!(proxy.post_with(&basic, event).json(), json!({ "accepted": 1 }), "{name}");
        }
        let mut client = proxy.connect();
        let head = chunked_head(&proxy.path)
            .replace("\r\n\r\n", &format!("\r\nAuthorization: {BASIC_AUTHORIZATION}\r\n\r\n"));
        client.send(head + &chunk(DOCUMENTED_EVENTS[0]) + &chunk(""));
        assert_eq!(client.reply().status, 200, "{name}");
        assert_eq!(tap.spool().events().len(), before + 8, "{name}");
        let unauthorized = proxy.post(DOCUMENTED_EVENTS[0]);
        assert_eq!(unauthorized.status, 401, "{name}");
        assert!(unauthorized.header("www-authenticate").is_some(), "{name}");
        assert_eq!(proxy.post_with(&basic, "").status, 400, "{name}");
        assert_eq!(proxy.with_path("/").post(DOCUMENTED_EVENTS[0]).status, 404, "{name}");
        let unknown = proxy.with_path(&format!("/v1/mailjet/{}", "0".repeat(64)));
        assert_eq!(unknown.post(DOCUMENTED_EVENTS[0]).json()["error"], "not found", "{name}");
    });
    let full = Tap::new().set("min_free_bytes", 1_000_000_000_000_000_u64);
    behind_each(&full, |name, _, proxy| {
        let reply = proxy.post(DOCUMENTED_EVENTS[0]);
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("30")), "{name}");
    });
}

/// The proxy appends the address of its client. The tap ignores what the client itself claims.
#[test]
fn the_tap_knows_the_clients_address_behind_each_proxy() {
    let tap =
        Tap::new().set("allowed_networks", json!(["127.0.0.2"])).set("trusted_proxies", json!(["127.0.0.1"]));
    behind_each(&tap, |name, listener, proxy| {
        let (friend, stranger) =
            (proxy.clone().from_source("127.0.0.2"), proxy.clone().from_source("127.0.0.3"));
        friend.post_accepted(DOCUMENTED_EVENTS[0]);
        for forged in ["127.0.0.2", "127.0.0.2, 127.0.0.1", "garbage"] {
            let headers = [("X-Forwarded-For", forged)];
            assert_eq!(stranger.post_with(&headers, DOCUMENTED_EVENTS[0]).status, 403, "{name}: {forged}");
            assert_eq!(friend.post_with(&headers, DOCUMENTED_EVENTS[0]).status, 200, "{name}: {forged}");
        }
        // Connections that bypass the proxy are not trusted.
        let direct = listener.endpoint().from_source("127.0.0.3");
        assert_eq!(direct.post_with(&[("X-Forwarded-For", "127.0.0.2")], DOCUMENTED_EVENTS[0]).status, 403);
        let _ = listener.program.stderr().wait_for("127.0.0.3 is not in allowed_networks");
    });
}

#[test]
fn each_proxy_allows_bodies_of_the_taps_maximum_size() {
    let tap = Tap::new();
    behind_each(&tap, |name, _, proxy| {
        let largest = DOCUMENTED_EVENTS[0].to_owned() + &" ".repeat(20_000_000 - DOCUMENTED_EVENTS[0].len());
        proxy.post_accepted(&largest);
        let mut client = proxy.connect();
        let _ = client.try_send(post_head(&proxy.path, &[], largest.len() + 1) + &largest + " ");
        // A proxy that closes while the rest is still in transit may lose its own answer.
        if let Ok(reply) = client.try_reply() {
            assert_eq!(reply.status, 413, "{name}");
        }
    });
    // nginx refuses a much too large body without reading it.
    let listener = tap.listen().start();
    let proxy = Proxy::nginx(listener.endpoint().address, &[]);
    let mut client = proxy.endpoint.connect();
    client.send(post_head(&proxy.endpoint.path, &[], 30_000_000));
    assert_eq!(client.reply().status, 413);
}

/// nginx handles slow clients itself. It forwards a request only once it has all of it.
#[test]
fn slow_clients_of_nginx_do_not_reach_the_tap() {
    let tap = Tap::new().set("log_level", "debug");
    let listener = tap.listen().start();
    let short = [
        ("client_header_timeout 10s", "client_header_timeout 1s"),
        ("client_body_timeout 30s", "client_body_timeout 1s"),
    ];
    let proxy = Proxy::nginx(listener.endpoint().address, &short);
    let endpoint = &proxy.endpoint;
    let request = post_head(&endpoint.path, &[], DOCUMENTED_EVENTS[0].len()) + DOCUMENTED_EVENTS[0];
    for end in [20, request.len() - 1] {
        let mut client = endpoint.connect();
        client.send(&request[..end]);
        let answer = client.read_until_closed();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    endpoint.post_accepted(DOCUMENTED_EVENTS[1]);
    assert_eq!(tap.spool().events().len(), 1);
    assert!(!listener.stop().stderr_contains("refused"));
}

/// While the tap is down, a proxy never answers 200, and what Mailjet retries arrives later.
#[test]
fn no_proxy_answers_200_while_the_tap_is_down() {
    let tap = Tap::new().set("listen_address", free_address().to_string());
    let listener = tap.listen().start();
    let address = listener.endpoint().address;
    let proxies = [Proxy::nginx(address, &[]), Proxy::caddy(address, &[])];
    listener.stop().assert_code(0);
    for proxy in &proxies {
        assert_eq!(proxy.endpoint.post(numbered_event(1)).status, 502);
        assert!(!proxy.logs().contains(TOKEN), "{}", proxy.logs());
    }
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    for proxy in &proxies {
        // nginx does not retry a server that failed within the last ten seconds.
        wait::until("the proxy tries the tap again", || {
            (proxy.endpoint.post(numbered_event(1)).status == 200).then_some(())
        });
    }
}

/// Where the proxy and the tap could disagree about where a request ends, one of them refuses, so nothing is
/// smuggled.
#[test]
fn no_request_is_smuggled_past_a_proxy() {
    let tap = Tap::new();
    behind_each(&tap, |name, _, proxy| {
        let before = tap.spool().events().len();
        let smuggled = post_head(&proxy.path, &[], 20) + r#"{"event":"smuggled"}"#;
        let chunks = chunk(DOCUMENTED_EVENTS[0]) + &chunk("");
        for framing in [
            format!(
                "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{smuggled}",
                chunks.len() + smuggled.len()
            ),
            format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{smuggled}"),
            format!(
                "Transfer-Encoding: xchunked\r\nContent-Length: {}\r\n\r\n{chunks}{smuggled}",
                chunks.len() + smuggled.len()
            ),
            format!(
                "Content-Length: 5\r\nContent-Length: {}\r\n\r\n{}{smuggled}",
                DOCUMENTED_EVENTS[0].len() + smuggled.len(),
                DOCUMENTED_EVENTS[0]
            ),
        ] {
            let mut client = proxy.connect();
            let _ = client.try_send(format!(
                "POST {} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{framing}",
                proxy.path
            ));
            let _ = client.read_until_closed();
        }
        proxy.post_accepted(DOCUMENTED_EVENTS[1]);
        let stored: Vec<_> = tap.spool().events().into_iter().skip(before).map(|event| event.body).collect();
        assert!(!stored.iter().any(|body| body.contains("smuggled")), "{name}: {stored:?}");
    });
}
