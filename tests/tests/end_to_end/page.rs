//! The status page: who may see it, what it shows, and what can be done with it. Requests are made as a
//! browser makes them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use end_to_end::events::{DOCUMENTED_EVENTS, grouped, numbered_events};
use end_to_end::http::{Endpoint, free_address};
use end_to_end::page::{PageClient, encode_form};
use end_to_end::program::script;
use end_to_end::tap::{PASSWORD, Tap};
use end_to_end::wait;

/// A tap with a status page, whose password is [`PASSWORD`].
fn with_page() -> Tap {
    Tap::new().with_created_urls().set("admin_address", "127.0.0.1:0").set("admin_password", PASSWORD)
}

#[test]
fn without_a_login_every_path_shows_the_login_form_and_nothing_else() {
    let tap = with_page();
    let _ = tap.create_url();
    let listener = tap.listen().start();
    let mut browser = PageClient::new(&listener);
    let first = browser.get("/");
    assert_eq!(first.status, 401);
    assert!(first.body.contains(r#"type="password""#));
    for path in ["/urls/new", "/urls/1/revoke", "/nothing", "/sign-in"] {
        let reply = browser.get(path);
        assert_eq!((reply.status, &reply.body), (401, &first.body), "{path}");
    }
    for path in ["/urls", "/urls/1/revoke", "/sign-out"] {
        let reply = browser.post(path, &[("csrf", "x")]);
        assert_eq!((reply.status, &reply.body), (401, &first.body), "{path}");
    }
    // Nor does it show whether there is a password.
    let other = Tap::new().set("admin_address", "127.0.0.1:0");
    let without_password = other.listen().start();
    assert_eq!(PageClient::new(&without_password).get("/").body, first.body);
    for secret in [env!("CARGO_PKG_VERSION"), "primary", "127.0.0.1"] {
        assert!(!first.body.contains(secret), "{secret}");
    }
    assert_eq!(tap.url_ids(), ["1"]);
}

#[test]
fn every_answer_forbids_foreign_content_frames_and_caches() {
    let tap = with_page();
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    for path in ["/", "/page.css", "/page.js", "/icon-ok.svg", "/nothing", "/?period=days"] {
        let reply = browser.get(path);
        let policy = reply.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    let page = browser.get("/").body;
    for forbidden in ["style=\"", "onclick", "<style", "<script>", "src=\"http", "href=\"http", "href=\"//"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.len() < 50_000);
}

#[test]
fn the_password_opens_the_page_until_the_user_signs_out() {
    let tap = with_page();
    let listener = tap.listen().start();
    let mut browser = PageClient::new(&listener);
    let wrong = browser.post("/sign-in", &[("password", "open sesame")]);
    assert!(wrong.status == 401 && wrong.body.contains("Wrong password. Try again."));
    let signed_in = browser.post("/sign-in", &[("password", PASSWORD)]);
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/")));
    let cookie = signed_in.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(browser.get("/").body.contains("Not receiving yet: there is no webhook URL."));
    assert_eq!(browser.get("/sign-in").header("location"), Some("/"));
    for method in ["PUT", "DELETE", "OPTIONS"] {
        assert_eq!(browser.request(method, "/", "", "").status, 405, "{method}");
    }
    let token = browser.form_token();
    assert_eq!(browser.post("/sign-out", &[("csrf", &token)]).status, 303);
    browser.cookie = cookie.split(';').next().map(str::to_owned);
    assert_eq!(browser.get("/").status, 401, "the old cookie is worth nothing");
    // Behind a proxy that speaks TLS.
    let form = encode_form(&[("password", PASSWORD)]);
    let secure = browser.request("POST", "/sign-in", "X-Forwarded-Proto: https\r\n", &form);
    assert!(secure.header("set-cookie").expect("a cookie").ends_with("; Secure"));
}

#[test]
fn wrong_tries_are_limited_for_all_together() {
    let tap = with_page();
    let listener = tap.listen().start();
    wait::until("the limit is reached", || {
        let mut tries = (0..6).map(|_| PageClient::new(&listener).post("/sign-in", &[("password", "x")]));
        tries.any(|reply| reply.body.contains("Too many tries.")).then_some(())
    });
    // A second later, the right one works.
    wait::until("the limit is over", || {
        (PageClient::new(&listener).post("/sign-in", &[("password", PASSWORD)]).status == 303).then_some(())
    });
}

/// Runs a command on a terminal, signs in with the link that it prints, and ends it with Ctrl-C.
fn use_the_printed_link(command: &Command) {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().expect("text"))).collect();
    let mut on_terminal = Command::new("script");
    on_terminal.args(["--quiet", "--return", "--command", &format!("exec {}", words.join(" ")), "/dev/null"]);
    on_terminal.current_dir(command.get_current_dir().expect("a folder"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => on_terminal.env(name, value),
            None => on_terminal.env_remove(name),
        };
    }
    let mut on_terminal =
        on_terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script starts");
    let mut terminal = on_terminal.stdin.take().expect("a pipe");
    let shown = BufReader::new(on_terminal.stdout.take().expect("a pipe"));
    let mut lines = shown.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("/sign-in?once=")).expect("a link");
    let (_, link) = line.split_once("http://").expect("a URL");
    let link: String = link.chars().take_while(|c| c.is_ascii_graphic() && *c != '\u{1b}').collect();
    let link = Endpoint::parse(&format!("http://{link}"));
    let mut browser = PageClient { admin: link.clone(), cookie: None };
    assert!(browser.head(&link.path).starts_with("HTTP/1.1 401"), "a look ahead does not use it up");
    let opened = browser.get(&link.path);
    assert_eq!((opened.status, opened.header("location")), (303, Some("/")));
    assert_eq!(browser.get("/").status, 200);
    let again = PageClient { admin: link.clone(), cookie: None }.get(&link.path);
    assert!(again.status == 401 && again.body.contains("This link was used already."), "{}", again.body);
    terminal.write_all(b"\x03").expect("Ctrl-C");
    lines.for_each(drop);
    assert_eq!(on_terminal.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_start_on_a_terminal_prints_a_link_that_works_once() {
    let tap = with_page().set("admin_password", serde_json::Value::Null);
    use_the_printed_link(&tap.listen().into_command());
    let without_terminal = tap.listen().start();
    let _ = without_terminal.admin();
    assert!(!without_terminal.stop().stderr_contains("sign-in?once="));
}

#[test]
fn the_quick_start_prints_a_link_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = serde_json::json!({
        "listen_address": free_address(),
        "admin_address": "127.0.0.1:0",
        "spool_path": folder.path().join("spool.db"),
        "min_free_bytes": 0,
    });
    std::fs::write(folder.path().join("tap.json"), config.to_string()).expect("a configuration");
    use_the_printed_link(&script("scripts/run", folder.path()));
}

/// A stranger's page can lead a browser here, under the stranger's name or with the operator's cookie.
#[test]
fn foreign_names_and_foreign_forms_are_refused() {
    let tap = with_page().set("admin_hosts", vec!["tap.example.com"]);
    let _ = tap.create_url();
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    let token = browser.form_token();
    for (host, status) in [("rebind.example.net", 421), ("tap.example.com:8481", 401), ("localhost", 401)] {
        for path in ["/", "/metrics"] {
            let mut client = listener.admin().connect();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let expected = if path == "/metrics" && status == 401 { 200 } else { status };
            assert_eq!(client.reply().status, expected, "{host}{path}");
        }
    }
    let right = encode_form(&[("csrf", &token)]);
    for (origin, body) in [
        ("Origin: http://evil.example.net\r\n", right.as_str()),
        ("Origin: null\r\n", right.as_str()),
        ("", "csrf=00000000000000000000000000000000"),
        ("", ""),
    ] {
        assert_eq!(browser.request("POST", "/urls/1/revoke", origin, body).status, 403, "{origin}{body}");
    }
    assert_eq!(tap.url_ids(), ["1"]);
    // Behind a proxy that does not pass the host name on, the form says so.
    let password = encode_form(&[("password", PASSWORD)]);
    let reply = browser.request("POST", "/sign-in", "Origin: https://tap.example.com\r\n", &password);
    assert!(reply.status == 401 && reply.body.contains("has to pass the host name on"), "{}", reply.body);
    assert_eq!(browser.request("POST", "/urls", "", &"x".repeat(20_000)).status, 413);
    assert_eq!(browser.post("/urls/1/revoke", &[("csrf", &token)]).status, 303);
    assert_eq!(tap.url_ids(), [""; 0]);
}

#[test]
fn a_url_is_made_shown_once_used_and_revoked() {
    let tap = with_page();
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    let token = browser.form_token();
    let made = browser.post("/urls", &[("csrf", &token), ("label", "<b>primary</b>")]);
    assert_eq!((made.status, made.header("location")), (303, Some("/urls/new")));
    let shown = browser.get("/urls/new").body;
    let (_, rest) = shown.split_once("/v1/mailjet/").expect("the URL");
    let path = format!("/v1/mailjet/{}", &rest[..64]);
    assert!(shown.contains("This is the only time") && !shown.contains("<b>primary"), "{shown}");
    let again = browser.get("/urls/new");
    assert!(again.status == 410 && !again.body.contains(&path) && again.body.contains("shown already"));
    assert!(browser.get("/").body.contains("Not receiving yet: Mailjet has not posted anything."));

    listener.endpoint().with_path(&path).post_accepted(DOCUMENTED_EVENTS[0]);
    wait::until("the use is shown", || {
        let page = browser.get("/").body;
        (page.contains("Receiving, but nothing is confirmed.") && !page.contains(">never<")).then_some(())
    });
    let second = browser.post("/urls", &[("csrf", &token), ("label", "")]);
    assert_eq!(second.status, 303);
    let third = browser.post("/urls", &[("csrf", &token), ("label", "")]);
    assert!(third.status == 409 && third.body.contains("Two URLs are active"), "{}", third.body);
    for label in ["\u{202e}primary", "two\nlines", &"x".repeat(101)] {
        assert_eq!(browser.post("/urls", &[("csrf", &token), ("label", label)]).status, 400, "{label}");
    }
    assert_eq!(browser.post("/urls/1/revoke", &[("csrf", &token)]).status, 303);
    for path in ["/urls/1/revoke", "/urls/9/revoke", "/urls/-1/revoke", "/urls//revoke"] {
        let none = browser.post(path, &[("csrf", &token)]);
        assert!(none.status == 404 && none.body.contains("There is no such active URL"), "{path}");
    }
    wait::until("it is refused", || {
        (listener.endpoint().with_path(&path).post(DOCUMENTED_EVENTS[0]).status == 404).then_some(())
    });
}

#[test]
fn events_over_time_survive_a_restart() {
    let tap = with_page().set("webhook_tokens", vec![end_to_end::tap::TOKEN]);
    let listener = tap.listen().start();
    listener.endpoint().post_accepted(grouped(&numbered_events(0, 1_234)));
    assert_eq!(listener.endpoint().post("no event").status, 200);
    listener.stop().assert_code(0);
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    for path in ["/", "/?period=days"] {
        let page = browser.get(path).body;
        assert!(page.contains("</span>rejected <b>1</b>"), "{page}");
        assert!(
            page.contains("<b>1\u{2009}234</b>") && page.contains(r#"class="k-rejected" d="M"#),
            "{page}"
        );
        assert!(page.contains("The tokens come from"));
    }
}

/// Text from events is hostile. It is shown, and does nothing.
#[test]
fn the_last_items_are_listed_filtered_and_shown_with_their_rows() {
    let tap = with_page().set("webhook_tokens", vec![end_to_end::tap::TOKEN]);
    let running = tap.run().state().start();
    let mut browser = PageClient::signed_in(&running);
    assert!(browser.get("/").body.contains("Nothing has arrived yet."));
    let endpoint = running.endpoint();
    endpoint.post_accepted(grouped(&numbered_events(0, 120)));
    let hostile = concat!(
        r#"{"event":"bounce","email":"<script>alert(1)</script>","error":"\u202egpj.exe\u001b[31m","#,
        r#""<svg/onload=x>":"javascript:alert(1)","hard_bounce":"maybe"}"#
    );
    endpoint.post_accepted(hostile);
    assert_eq!(endpoint.post("<img src=x onerror=alert(1)>").status, 200);
    let records = running.wait_records(121);

    let page = browser.get("/").body;
    assert_eq!(page.matches("aria-label=\"Details of item").count(), 25);
    assert!(page.contains("the body is not JSON") && page.contains(">U+202E</span>gpj.exe"), "{page}");
    let all = browser.get("/?items=100").body;
    assert_eq!(all.matches("aria-label=\"Details of item").count(), 100);
    let bounces = browser.get("/?type=bounce").body;
    let rejected = browser.get("/?rejected=1").body;
    assert_eq!(rejected.matches("aria-label=\"Details of item").count(), 1);
    let sequence = records.last().expect("a record").sequence();
    assert!(bounces.contains(&format!("/items/{sequence}")));

    let item = browser.get(&format!("/items/{sequence}"));
    assert_eq!(item.status, 200);
    for expected in ["hard_bounce__st", ">maybe<", "javascript:alert(1)", "&#60;svg/onload=x&#62;", "U+001B"]
    {
        assert!(item.body.contains(expected), "{expected}: {}", item.body);
    }
    for page in [&page, &all, &item.body, &rejected] {
        for forbidden in ["<script>alert", "<img src=x", "<svg/onload", "\u{202e}", "\u{1b}"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
    let raw = browser.get(&format!("/items/{sequence}/raw"));
    assert_eq!((raw.status, raw.body.as_str()), (200, hostile));
    assert_eq!(raw.header("content-type"), Some("application/octet-stream"));
    assert_eq!(raw.header("content-disposition"), Some("attachment"));
    assert_eq!(browser.get("/items/1/raw").status, 404);
    assert_eq!(browser.get("/items/1").status, 404);
    assert_eq!(browser.get("/items/x").status, 404);
    // What the target has confirmed is shown as such.
    wait::until("a STATE covers it", || {
        browser.get(&format!("/items/{sequence}")).body.contains(">written</span>").then_some(())
    });
    tap.append_state(sequence);
    wait::until("it is confirmed", || {
        browser.get(&format!("/items/{sequence}")).body.contains(">confirmed</span>").then_some(())
    });
}

#[test]
fn a_listener_shows_what_a_drain_beside_it_has_confirmed() {
    let tap = with_page().set("webhook_tokens", vec![end_to_end::tap::TOKEN]);
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    listener.endpoint().post_accepted(grouped(&numbered_events(0, 30)));
    let page = browser.get("/").body;
    assert!(page.contains("This process only receives.") && page.contains("Drains run beside this process."));
    let drained = tap.drain().state().finish();
    drained.assert_code(0);
    let page = browser.get("/").body;
    assert!(page.contains(">written</span>") && page.contains("30 events"), "{page}");
    let last = drained.records().last().expect("a record").sequence();
    tap.append_state(last);
    tap.drain().state().finish().assert_code(0);
    let page = browser.get("/").body;
    assert!(page.contains("Receiving, and the target is up to date."), "{page}");
    assert!(page.contains("Drains run beside this process. Last confirmed "), "{page}");
    assert!(page.contains(">confirmed</span>") && page.contains("0 events"), "{page}");
}

#[test]
fn large_items_are_listed_and_cut_where_they_are_shown() {
    let tap = with_page().set("webhook_tokens", vec![end_to_end::tap::TOKEN]);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    let text = "x".repeat(3_000_000);
    for _ in 0..3 {
        endpoint
            .post_accepted(format!(r#"{{"event":"open","email":"{text}","new":"{text:.9}","more":[1]}}"#));
    }
    assert_eq!(endpoint.post(&text).status, 200);
    let mut browser = PageClient::signed_in(&listener);
    let page = browser.get("/").body;
    assert!(page.len() < 50_000, "{}", page.len());
    // Two of the events, and the rejected item.
    assert_eq!(page.matches("aria-label=\"Details of item").count(), 3);
    assert!(page.contains("Older items are too large to be listed here."));
    for (filter, note) in
        [("type=open", "(3\u{2009}000\u{2009}000 characters)"), ("rejected=1", "characters)")]
    {
        let list = browser.get(&format!("/?{filter}")).body;
        let (_, path) = list.split_once("href=\"/items/").expect("an item");
        let path = format!("/items/{}", path.split('"').next().expect("a sequence"));
        let item = browser.get(&path).body;
        assert!(item.len() < 150_000 && item.contains(note), "{path}: {}", item.len());
        assert!(item.contains("Only the beginning is shown."));
        assert!(browser.get(&format!("{path}/raw")).body.len() >= 3_000_000);
    }
}

/// A browser in the middle of a form must not keep a health check out.
#[test]
fn a_form_that_does_not_arrive_gives_its_connection_back() {
    let tap = with_page();
    let listener = tap.listen().start();
    let admin = listener.admin();
    let slow: Vec<_> = (0..16)
        .map(|_| {
            let mut client = admin.connect();
            client.send("POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\npass");
            client
        })
        .collect();
    for mut client in slow {
        assert_eq!(client.reply().status, 408);
    }
    assert_eq!(admin.with_path("/healthz").request("GET").status, 200);
}

#[test]
fn an_answer_is_compressed_if_the_browser_accepts_that() {
    let tap = with_page();
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    let plain = browser.get("/");
    assert_eq!(plain.header("content-encoding"), None);
    let cookie = browser.cookie.clone().expect("a cookie");
    let mut client = browser.admin.connect();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nAccept-Encoding: gzip, br\r\n\
         Connection: close\r\n\r\n"
    ));
    let compressed = client.read_until_closed();
    assert!(compressed.contains("\r\ncontent-encoding: gzip\r\n"), "{compressed}");
    assert!(compressed.contains("\r\nvary: Accept-Encoding\r\n"), "{compressed}");
    let (_, length) = compressed.split_once("\r\ncontent-length: ").expect("a length");
    let length: usize = length.lines().next().expect("a line").parse().expect("a number");
    assert!(length < plain.body.len() / 2, "{length}");
}

/// Programs that look ahead ask with HEAD. That must not use up what is shown once.
#[test]
fn head_is_answered_like_get_and_uses_nothing_up() {
    let tap = with_page();
    let listener = tap.listen().start();
    let mut browser = PageClient::signed_in(&listener);
    for path in ["/", "/page.css", "/items/1", "/nothing"] {
        let get = browser.get(path);
        let head = browser.head(path);
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", get.status)), "{path}: {head}");
        assert!(head.ends_with("\r\n\r\n"), "{path}: {head}");
    }
    let token = browser.form_token();
    assert_eq!(browser.post("/urls", &[("csrf", &token), ("label", "")]).status, 303);
    assert!(browser.head("/urls/new").starts_with("HTTP/1.1 404"));
    assert!(browser.get("/urls/new").body.contains("This is the only time"));
}
