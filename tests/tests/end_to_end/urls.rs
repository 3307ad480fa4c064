//! Webhook URLs, the only secrets that the tap creates itself.

use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::http::Endpoint;
use end_to_end::tap::Tap;
use end_to_end::wait;

#[test]
fn url_new_prints_one_url_and_nothing_else_on_stdout() {
    let tap = Tap::new().with_created_urls().set("public_url", "https://mail.example.com/hooks/");
    let finished = tap.url(&["new"]).finish();
    finished.assert_code(0);
    let [url] = &finished.stdout[..] else { panic!("one line, not {:?}", finished.stdout) };
    let token =
        url.strip_prefix("https://mail.example.com/hooks/v1/mailjet/").expect("public_url comes first");
    assert_eq!(token.len(), 64);
    assert!(token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{token}");
    assert!(!finished.stderr.is_empty(), "hints for people are on stderr");
    assert!(!tap.spool().webhook_urls().to_lowercase().contains(token), "only a hash is stored");
}

#[test]
fn url_list_shows_everything_but_the_token() {
    let tap = Tap::new().with_created_urls();
    let labelled = tap.url(&["new", "--label", "blue one"]).finish();
    labelled.assert_code(0);
    let listed = tap.url(&["list"]).finish();
    listed.assert_code(0);
    let table = listed.stdout.join("\n");
    let header = listed.stdout[0].to_lowercase();
    for column in ["id", "label", "created", "last used"] {
        assert!(header.contains(column), "{table}");
    }
    let row = listed.stdout.iter().find(|line| line.contains("blue one")).expect("its row");
    assert!(row.contains('1'), "its id: {row}");
    let token = labelled.stdout[0].rsplit('/').next().expect("a token");
    assert!(!table.contains(token));
}

/// `url list` is read on a terminal, which would obey control characters.
#[test]
fn a_label_is_one_line_of_text() {
    let tap = Tap::new().with_created_urls();
    for label in ["two\nlines", "\u{1b}[31mred", &"x".repeat(101)] {
        let refused = tap.url(&["new", "--label", label]).finish();
        refused.assert_code(2);
        assert_eq!(refused.stdout, [""; 0]);
    }
    tap.url(&["new", "--label", &"é".repeat(100)]).finish().assert_code(0);
}

#[test]
fn a_third_url_is_refused_until_one_is_revoked() {
    let tap = Tap::new().with_created_urls();
    let (first, second) = (tap.create_url(), tap.create_url());
    assert_ne!(first, second);
    let refused = tap.url(&["new"]).finish();
    assert!(refused.only_error().contains("revoke"), "{}", refused.only_error());
    assert_eq!(refused.stdout, [""; 0]);
    tap.url(&["revoke", "1"]).finish().assert_code(0);
    let _ = tap.create_url();
}

#[test]
fn an_unknown_url_cannot_be_revoked() {
    let tap = Tap::new().with_created_urls();
    let _ = tap.create_url();
    assert!(tap.url(&["revoke", "7"]).finish().only_error().contains('7'));
    tap.url(&["revoke", "1"]).finish().assert_code(0);
    tap.url(&["revoke", "x"]).finish().assert_code(2);
}

#[test]
fn a_running_listener_accepts_new_urls_and_refuses_revoked_ones() {
    let tap = Tap::new().with_created_urls();
    let listener = tap.listen().start();
    let server = listener.endpoint();
    let at = |created: &Endpoint| server.with_path(&created.path);
    assert_eq!(server.post(DOCUMENTED_EVENTS[0]).status, 404, "no token is valid yet");

    let first = at(&tap.create_url());
    wait::until("the new URL works", || (first.post(DOCUMENTED_EVENTS[0]).status == 200).then_some(()));
    // Rotation: the second URL is created, Mailjet is changed, the first is revoked.
    let second = at(&tap.create_url());
    wait::until("the second URL works", || (second.post(DOCUMENTED_EVENTS[0]).status == 200).then_some(()));
    assert_eq!(first.post(DOCUMENTED_EVENTS[0]).status, 200, "both work");
    // An open connection must not bypass the revocation.
    let mut open = first.connect();
    assert_eq!(open.post(&first.path, DOCUMENTED_EVENTS[0]).expect("an answer").status, 200);

    tap.url(&["revoke", "1"]).finish().assert_code(0);
    wait::until("the revoked URL stops working", || {
        let status = open.post(&first.path, DOCUMENTED_EVENTS[0]).expect("an answer").status;
        assert!(matches!(status, 200 | 404), "{status}");
        (status == 404).then_some(())
    });
    assert_eq!(second.post(DOCUMENTED_EVENTS[0]).status, 200);
    let unknown = server.with_path(&format!("/v1/mailjet/{}", "0".repeat(64)));
    assert_eq!(
        first.post(DOCUMENTED_EVENTS[0]).without_date(),
        unknown.post(DOCUMENTED_EVENTS[0]).without_date()
    );
    let malformed = server.with_path("/v1/mailjet/x");
    assert_eq!(
        first.post(DOCUMENTED_EVENTS[0]).without_date(),
        malformed.post(DOCUMENTED_EVENTS[0]).without_date()
    );
}

/// Somebody who knows a URL posts the largest webhooks that he can, one after the other, on several
/// connections.
#[test]
fn a_url_can_be_revoked_while_somebody_posts_through_it_as_much_as_he_can() {
    let tap = Tap::new().with_created_urls();
    let (leaked, other) = (tap.create_url().path, tap.create_url().path);
    let listener = tap.listen().start();
    let body = format!("[{}{{}}]", r#"{"event":"open"},"#.repeat(99_999));
    let posting = [1, 2, 3].map(|_| {
        let (endpoint, body) = (listener.endpoint().with_path(&leaked), body.clone());
        // A stranger's body is not read to its end, so the connection may break before the 404 is read.
        let is_accepted = move || {
            let reply = endpoint.connect().post(&endpoint.path, &body);
            reply.is_ok_and(|reply| reply.status != 404)
        };
        std::thread::spawn(move || while is_accepted() {})
    });
    wait::until("they are stored", || (tap.spool().count_up_to(i64::MAX) > 200_000).then_some(()));
    tap.url(&["revoke", "1"]).finish().assert_code(0);
    for thread in posting {
        thread.join().expect("each is refused in the end");
    }
    listener.endpoint().with_path(&other).post_accepted(DOCUMENTED_EVENTS[0]);
}

#[test]
fn url_list_shows_the_last_use() {
    let tap = Tap::new().with_created_urls();
    let created = tap.create_url();
    let listed = || tap.url(&["list"]).finish().stdout.join("\n");
    let before = listed();
    let listener = tap.listen().start();
    listener.endpoint().with_path(&created.path).post_accepted(DOCUMENTED_EVENTS[0]);
    wait::until("the use is listed", || (listed() != before).then_some(()));
}

/// An operator who waits for a URL to fall out of use must not be misled by refused requests to it.
#[test]
fn a_refused_request_does_not_count_as_use_of_a_url() {
    let tap = Tap::new().with_created_urls();
    let (old, new) = (tap.create_url(), tap.create_url());
    let listener = tap.listen().start();
    let endpoint = listener.endpoint();
    assert_eq!(endpoint.with_path(&old.path).request("GET").status, 405);
    endpoint.with_path(&new.path).post_accepted(DOCUMENTED_EVENTS[0]);
    let listed = || tap.url(&["list"]).finish().stdout;
    wait::until("the list shows the use of the new URL", || (!listed()[2].ends_with("never")).then_some(()));
    assert!(listed()[1].ends_with("never"), "{:?}", listed());
}

/// If the tokens come from the configuration, a URL created by a command would not work.
#[test]
fn with_webhook_tokens_the_url_commands_are_errors() {
    let tap = Tap::new();
    for arguments in [&["new"][..], &["list"], &["revoke", "1"]] {
        let finished = tap.url(arguments).finish();
        assert!(finished.only_error().contains("webhook_tokens"), "{arguments:?}: {:?}", finished.stderr);
        assert_eq!(finished.stdout, [""; 0]);
    }
}

#[test]
fn two_tokens_from_the_configuration_both_work() {
    let (one, other) = ("1".repeat(64), "2".repeat(64));
    let tap = Tap::new().set("webhook_tokens", vec![one.clone(), other.clone()]);
    let listener = tap.listen().start();
    for token in [one, other] {
        listener.endpoint().with_path(&format!("/v1/mailjet/{token}")).post_accepted(DOCUMENTED_EVENTS[0]);
    }
    assert_eq!(listener.endpoint().post(DOCUMENTED_EVENTS[0]).status, 404);
}

/// An administrator creates the URL from another folder than the one that the service works in.
#[test]
fn a_relative_spool_path_starts_at_the_folder_of_its_configuration() {
    let tap = Tap::new().with_created_urls().set("spool_path", "relative/spool.db");
    let elsewhere = tap.folder().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a new folder");
    let script = "cd elsewhere && exec \"$0\" \"$@\"";
    let made = tap.url(&["new"]).wrapped_in(&["sh", "-c", script]).finish();
    made.assert_code(0);
    let path = tap.folder().join("relative/spool.db");
    assert!(path.is_file() && std::fs::read_dir(&elsewhere).expect("a folder").next().is_none());
    let created = format!("{}: it did not exist and has been created", path.display());
    assert!(made.stderr_contains(&created), "{:?}", made.stderr);
    assert!(made.stderr_contains(&format!("of spool {}", path.display())), "{:?}", made.stderr);
    let listener = tap.listen().start();
    let path = Endpoint::parse(&made.stdout[0]).path;
    listener.endpoint().with_path(&path).post_accepted("{}");
    assert!(!listener.stop().stderr_contains("has been created"));
}

#[test]
fn a_command_that_only_reads_creates_no_spool() {
    let tap = Tap::new().with_created_urls();
    for arguments in
        [&["url", "list"][..], &["url", "revoke", "1"], &["spool", "status"], &["spool", "verify"]]
    {
        let finished = tap.command(arguments).finish();
        assert!(finished.only_error().contains("does not exist yet"), "{arguments:?}: {:?}", finished.stderr);
        assert!(!tap.spool().path.exists(), "{arguments:?}");
    }
}

/// A user may use a URL as soon as it is shown.
#[test]
fn a_new_url_is_accepted_as_soon_as_it_is_shown() {
    let tap = Tap::new().with_created_urls();
    let listener = tap.listen().start();
    for label in ["one", "two"] {
        let made = tap.url(&["new", "--label", label]).finish();
        let path = Endpoint::parse(&made.stdout[0]).path;
        listener.endpoint().with_path(&path).post_accepted(DOCUMENTED_EVENTS[0]);
    }
}

#[test]
fn a_url_that_nobody_can_post_to_comes_with_a_warning() {
    for (address, public_url, is_warned) in [
        ("0.0.0.0:8480", None, true),
        ("[::]:8480", None, true),
        ("127.0.0.1:0", None, true),
        ("0.0.0.0:8480", Some("https://hooks.example.com"), false),
        ("192.0.2.1:8480", None, false),
    ] {
        let mut tap = Tap::new().with_created_urls().set("listen_address", address);
        if let Some(url) = public_url {
            tap = tap.set("public_url", url);
        }
        let made = tap.url(&["new"]).finish();
        made.assert_code(0);
        assert_eq!(made.stderr_contains("nobody can post"), is_warned, "{address}: {:?}", made.stderr);
    }
}
