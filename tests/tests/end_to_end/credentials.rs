//! What a client needs besides the URL: user name and password, and an allowed address.

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::http::{Endpoint, Reply, free_address, post_head};
use end_to_end::tap::{BASIC_AUTHORIZATION, PASSWORD, TOKEN, Tap, USERNAME};
use serde_json::json;

fn with_credentials(tap: Tap) -> Tap {
    tap.set("basic_auth_username", USERNAME).set("basic_auth_password", PASSWORD)
}

#[test]
fn basic_authentication_accepts_only_the_right_user_and_password() {
    let tap = with_credentials(Tap::new());
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    assert_eq!(
        endpoint.post_with(&[("Authorization", BASIC_AUTHORIZATION)], DOCUMENTED_EVENTS[0]).status,
        200
    );
    let wrong: [&[(&str, &str)]; 6] = [
        &[],
        &[("Authorization", "")],
        &[("Authorization", "Basic ")],
        &[("Authorization", "Basic bWFpbGpldDp3cm9uZw==")],
        &[("Authorization", "Bearer bWFpbGpldDp3cm9uZw==")],
        &[("Authorization", BASIC_AUTHORIZATION), ("Authorization", BASIC_AUTHORIZATION)],
    ];
    for headers in wrong {
        let reply = endpoint.post_with(headers, DOCUMENTED_EVENTS[0]);
        assert_eq!(reply.status, 401, "{headers:?}");
        let challenge = reply.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        assert!(reply.json()["error"].is_string());
    }
    assert_eq!(tap.spool().events().len(), 1);
    let finished = listener.stop();
    assert!(
        finished.stderr_contains("basic_auth_username"),
        "the log names the setting: {:?}",
        finished.stderr
    );
}

#[test]
fn guards_run_in_the_documented_order() {
    let tap = with_credentials(Tap::new()).set("allowed_networks", json!(["192.0.2.0/24"]));
    let tap = tap.set("trusted_proxies", json!(["127.0.0.1"])).set("max_body_bytes", 1000);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let (from, basic) = (("X-Forwarded-For", "192.0.2.1"), ("Authorization", BASIC_AUTHORIZATION));
    let gzip = ("Content-Encoding", "gzip");
    let long = " ".repeat(2000);
    let post = |endpoint: &Endpoint, headers: &[(&str, &str)], body: &str| -> Reply {
        endpoint.post_with(headers, body)
    };
    let unknown = endpoint.with_path(&format!("/v1/mailjet/{}", "0".repeat(64)));
    let expected = unknown.post("");
    // A stranger does not even learn that other guards exist.
    for headers in [&[][..], &[from], &[from, basic], &[from, basic, gzip]] {
        assert_eq!(post(&unknown, headers, &long).without_date(), expected.without_date(), "{headers:?}");
    }
    let cases = [
        (&[basic, gzip][..], &*long, 403),
        (&[from, gzip], &long, 401),
        (&[from, basic, gzip], &long, 415),
        (&[from, basic], &long, 413),
        (&[from, basic], "", 400),
        (&[from, basic], DOCUMENTED_EVENTS[0], 200),
    ];
    for (headers, body, status) in cases {
        assert_eq!(post(&endpoint, headers, body).status, status, "{headers:?}");
    }
    assert_eq!(endpoint.request("GET").status, 403, "the method is checked after the guards");
}

#[test]
fn only_allowed_networks_may_post() {
    let tap = Tap::new();
    for (networks, status) in [
        (json!(["127.0.0.0/8"]), 200),
        (json!(["::ffff:127.0.0.1/128"]), 200),
        (json!(["192.0.2.0/24", "127.0.0.1"]), 200),
        (json!(["192.0.2.0/24", "::1"]), 403),
    ] {
        let listener = tap.listen().set("allowed_networks", networks.clone()).start();
        // No proxy is trusted, so the header is ignored.
        let forged = [("X-Forwarded-For", "192.0.2.1")];
        for headers in [&[][..], &forged] {
            assert_eq!(
                listener.endpoint().post_with(headers, DOCUMENTED_EVENTS[0]).status,
                status,
                "{networks}"
            );
        }
        let finished = listener.stop();
        assert_eq!(finished.stderr_contains("127.0.0.1 is not in allowed_networks"), status == 403);
    }
}

/// A socket that accepts both kinds of addresses shows IPv4 addresses in IPv6 form.
#[test]
fn an_ipv4_client_matches_ipv4_networks_on_an_ipv6_socket() {
    let port = free_address().port();
    let tap = Tap::new().set("listen_address", format!("[::]:{port}"));
    let listener = tap.listen().set("allowed_networks", json!(["127.0.0.1"])).start();
    let _ = listener.program.stderr().wait_for("listening on ");
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}/v1/mailjet/{TOKEN}"));
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
}

#[test]
fn the_client_address_is_the_last_one_that_no_trusted_proxy_has() {
    let tap = Tap::new()
        .set("allowed_networks", json!(["192.0.2.0/24"]))
        .set("trusted_proxies", json!(["127.0.0.1", "10.0.0.0/8"]));
    let listener = tap.listen().start();
    let cases: [(&[&str], u16); 9] = [
        (&["192.0.2.1"], 200),
        (&["192.0.2.1, 10.1.2.3"], 200),
        (&["192.0.2.1", "10.1.2.3"], 200),
        (&["garbage", "192.0.2.1"], 200),
        (&[], 403),
        (&["203.0.113.1"], 403),
        (&["192.0.2.1, 203.0.113.1"], 403),
        (&["192.0.2.1", "203.0.113.1"], 403),
        (&["192.0.2.1, garbage"], 403),
    ];
    for (lines, status) in cases {
        let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(listener.endpoint().post_with(&headers, DOCUMENTED_EVENTS[0]).status, status, "{lines:?}");
    }
}

#[test]
fn trusted_proxies_without_allowed_networks_are_a_warning() {
    let tap = Tap::new().set("trusted_proxies", json!(["127.0.0.1"]));
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(DOCUMENTED_EVENTS[0]);
    assert!(
        listener.stop().stderr_contains("\"trusted_proxies\" has no effect without \"allowed_networks\"")
    );
}

/// A secret appears in no log at any level, in no answer, not in the process's title, and in nothing that the
/// program prints about itself. The harness checks the output of every program at its end.
#[test]
fn no_secret_is_ever_shown() {
    let tap = with_credentials(Tap::new()).set("log_level", "trace");
    let mut listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let wrong = [("Authorization", "Basic bWFpbGpldDp3cm9uZw==")];
    let replies = [
        endpoint.post_with(&[("Authorization", BASIC_AUTHORIZATION)], DOCUMENTED_EVENTS[0]),
        endpoint.post_with(
            &[("Authorization", BASIC_AUTHORIZATION)],
            format!("{TOKEN} {PASSWORD} {BASIC_AUTHORIZATION}"),
        ),
        endpoint.post_with(&wrong, DOCUMENTED_EVENTS[0]),
        endpoint.with_path("/").post(TOKEN),
    ];
    for reply in replies {
        let text = reply.head + &reply.body;
        for secret in [TOKEN, USERNAME, PASSWORD, BASIC_AUTHORIZATION] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    for title in listener.program.visible_names() {
        assert!(!title.contains(TOKEN) && !title.contains(PASSWORD), "{title}");
    }
    let mut client = endpoint.connect();
    client.send(post_head(&endpoint.path, &[("Authorization", BASIC_AUTHORIZATION)], 10));
    listener.program.kill();
}

#[test]
fn incomplete_or_malformed_settings_are_errors_that_show_no_secret() {
    let half =
        [("basic_auth_username", "basic_auth_password"), ("basic_auth_password", "basic_auth_username")];
    for (set, missing) in half {
        let tap = Tap::new().with_created_urls().set(set, PASSWORD);
        for finished in [tap.listen().finish(), tap.url(&["new"]).finish()] {
            let error = finished.only_error();
            assert!(error.contains(set) && error.contains(missing), "{error}");
            assert_eq!(finished.stdout, [""; 0]);
        }
        assert!(tap.url(&["list"]).finish().stdout.len() < 2, "no URL was made");
    }
    for (key, value) in
        [("basic_auth_username", format!("{PASSWORD}:")), ("basic_auth_password", format!("{PASSWORD}\n"))]
    {
        let finished = with_credentials(Tap::new()).set(key, value).listen().finish();
        assert!(finished.only_error().contains(key), "{:?}", finished.stderr);
    }
    for key in ["allowed_networks", "trusted_proxies"] {
        let finished = Tap::new().set(key, json!(["127.0.0.1", "192.0.2.0/33"])).listen().finish();
        let error = finished.only_error();
        let reason = "\"192.0.2.0/33\" is neither a network nor an address";
        assert!(error.contains(key) && error.contains(reason), "{error}");
    }
}

/// The printed URL can be pasted into Mailjet as it is.
#[test]
fn the_printed_url_contains_user_name_and_password() {
    let tap = with_credentials(Tap::new()).with_created_urls();
    let url = tap.set("public_url", "https://hooks.example.com/x").url(&["new"]).finish().stdout.remove(0);
    let start = format!(
        "https://{USERNAME}:{}@hooks.example.com/x/v1/mailjet/",
        PASSWORD.replace(',', "%2C").replace(' ', "%20")
    );
    assert!(url.starts_with(&start), "{url}");

    let tap =
        with_credentials(Tap::new()).with_created_urls().set("listen_address", free_address().to_string());
    let url = tap.url(&["new"]).finish().stdout.remove(0);
    let listener = tap.listen().start();
    let _ = listener.endpoint();
    let sent = tap.command(&["send-test", "--event", "open", "--url", &url]).finish();
    sent.assert_code(0);
    assert_eq!(tap.spool().events().len(), 1);

    let tap = Tap::new().with_created_urls().set("public_url", format!("https://u:{PASSWORD}@example.com"));
    let finished = tap.url(&["new"]).finish();
    assert!(finished.only_error().contains("basic_auth_username"), "{:?}", finished.stderr);
}
