//! The status page in a real browser: every view, with and without scripts, wide, narrow and dark. The
//! pictures in `target/page/` show what the tests have seen.

use std::fs;

use end_to_end::browser::{Browser, DARK, NARROW, WIDE};
use end_to_end::events::{DOCUMENTED_EVENTS, grouped, numbered_events};
use end_to_end::http::Endpoint;
use end_to_end::mailjet::Api;
use end_to_end::program::repository;
use end_to_end::tap::{PASSWORD, RunningTap, Tap};
use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::mailjet::tap_of;

pub(crate) const HEADLINE: &str = "h1";

/// A tap with a status page, whose password is [`PASSWORD`].
pub(crate) fn with_page(tap: Tap) -> Tap {
    tap.set("admin_address", "127.0.0.1:0").set("admin_password", PASSWORD)
}

/// The address of a page.
pub(crate) fn page(tap: &RunningTap, path: &str) -> String {
    tap.admin().with_path(path).url()
}

/// Signs in with the password.
pub(crate) fn sign_in(browser: &Browser, tap: &RunningTap) {
    browser.open(&page(tap, "/"));
    browser.fill("#pw", PASSWORD);
    browser.click_text("Sign in");
    browser.wait_text("footer", "Sign out");
}

#[test]
fn a_first_visit_leads_from_the_login_to_a_webhook_url_and_the_first_event_with_its_row() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let running = tap.run().state().start();
    browser.open(&page(&running, "/"));
    assert_eq!(browser.text(HEADLINE), "Sign in");
    browser.check_all("login");
    browser.fill("#pw", "open sesame");
    browser.click_text("Sign in");
    browser.wait_text("#pw-e", "Wrong password. Try again.");
    browser.check_all("login-wrong");
    browser.fill("#pw", PASSWORD);
    browser.click_text("Sign in");
    browser.wait_text(HEADLINE, "Not receiving yet: there is no webhook URL.");
    assert!(browser.title().starts_with("Not yet · "), "{}", browser.title());
    browser.check_all("empty");

    browser.fill("#label", "Mailjet, main account");
    browser.click_text("Make a webhook URL");
    browser.wait_text(HEADLINE, "Your new webhook URL");
    assert!(browser.text("section").contains("This is the only time it is shown."));
    let url = browser.text("#url");
    let endpoint = running.endpoint().with_path(&url[url.find("/v1/").expect("a path")..]);
    browser.allow_clipboard();
    browser.click_text("Copy URL");
    browser.wait_text("#said", "Copied");
    let copied = "navigator.clipboard.readText().then(text => window.copied = text)";
    let _ = browser.run(copied);
    end_to_end::wait::until("the clipboard", || {
        (browser.run("return window.copied") == json!(url)).then_some(())
    });
    // A picture of a real token is no secret: it is revoked when the test ends. Yet none is kept.
    let _ =
        browser.run("document.getElementById('url').textContent = 'https://hooks.example.com/v1/mailjet/0…'");
    browser.check_all("url-created");
    browser.reload();
    browser.wait_text("section", "This URL was shown already.");
    browser.check_all("url-gone");
    browser.click_text("Back to the status");
    browser.wait_text(HEADLINE, "Not receiving yet: Mailjet has not posted anything.");
    browser.check_all("waiting");

    // What is posted appears by itself, and its row when it is asked for.
    endpoint.post_accepted(DOCUMENTED_EVENTS[3]);
    browser.wait_text("#new-items", "1 new item. Show them");
    browser.click("#new-items");
    browser.wait_text("#item-list", "gone@example.com");
    browser.wait_text(HEADLINE, "Receiving, and the target is up to date.");
    browser.click_text("Details");
    browser.wait_text("#item-list", "Row in data");
    let shown = browser.text("#item-list");
    for expected in ["__sdc_primary_key", "_sdc_sequence", "user unknown", r#""event":"bounce""#] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    browser.click_text("Copy the text as received");
    let _ = browser.run("window.copied = null");
    end_to_end::wait::until("the received text is copied", || {
        let _ = browser.run(copied);
        (browser.run("return window.copied") == json!(DOCUMENTED_EVENTS[3])).then_some(())
    });
    browser.check_all("item-in-place");
    browser.click_text("Open as a page");
    browser.wait_text(HEADLINE, "bounce");
    browser.check_all("item");

    browser.open(&page(&running, "/"));
    browser.click_text("Sign out");
    browser.wait_text(HEADLINE, "Sign in");
    browser.open(&page(&running, "/items/1"));
    assert_eq!(browser.text(HEADLINE), "Sign in");
}

#[test]
fn a_url_is_revoked_only_after_a_confirmation_that_escape_takes_back() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let endpoint = tap.create_url();
    let listener = tap.listen().start();
    let endpoint = listener.endpoint().with_path(&endpoint.path);
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    sign_in(&browser, &listener);
    browser.wait_text("#url-list", "second");
    browser.click("[popovertarget=revoke-1]");
    browser.wait_text("#revoke-1", "It was last used");
    end_to_end::wait::until("the safe button has the focus", || {
        (browser.focused() == "Keep it").then_some(())
    });
    browser.check_all("revoke");
    browser.press(Key::Escape);
    end_to_end::wait::until("it is closed", || browser.text("#revoke-1").is_empty().then_some(()));
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    browser.click("[popovertarget=revoke-1]");
    browser.wait_text("#revoke-1", "Revoke URL 1");
    browser.click("#revoke-1 .danger");
    browser.wait_text("#url-list", "No webhook URL yet.");
    end_to_end::wait::until("it is refused", || {
        (endpoint.post(DOCUMENTED_EVENTS[0]).status == 404).then_some(())
    });
}

/// Text from events tries to run scripts, to lead elsewhere, and to change how text reads.
#[test]
fn rejected_and_hostile_items_are_shown_filtered_and_do_nothing() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new());
    let running = tap.run().state().start();
    let endpoint = running.endpoint();
    let attack = "<img src=x onerror='window.harm=1'><svg onload='window.harm=1'>";
    for event in ["open", "bounce", "<script>window.harm=1</script>"] {
        let event = json!({
            "event": event, "email": attack, "error": "\u{202e}gpj.exe\u{7}",
            "url": "javascript:window.harm=1",
            "<script>window.harm=1</script>": attack, "agent": attack.repeat(20),
        });
        endpoint.post_accepted(event.to_string());
    }
    assert_eq!(endpoint.post("event=open&email=li.wei%40example.com").status, 200);
    sign_in(&browser, &running);
    browser.wait_text("#item-list", "the body is not JSON: it looks like a URL-encoded form");
    browser.check_all("hostile");
    browser.click_text("rejected only");
    browser.wait_count("#item-list tbody tr", 1);
    browser.click_text("Details");
    browser.wait_text("#item-list", "Rejected:");
    browser.wait_text("#item-list", "event=open&email=li.wei%40example.com");
    browser.wait_text("#item-list", "Row in _sdc_rejected");
    browser.check_all("rejected");
    browser.click_text("bounce");
    browser.wait_count("#item-list tbody tr[id]", 1);
    browser.click_text("Details");
    browser.wait_text("#item-list", "U+202E");
    browser.check_all("hostile-item");
    assert_eq!(browser.run("return window.harm ?? null"), Value::Null);
    assert_eq!(browser.count("#items img, #items [href^='javascript:'], #items script"), 0);
    browser.open(&page(&running, "/?period=days"));
    browser.check_all("14-days");
    browser.click("summary");
    browser.wait_text(".mini", "rejected");
    browser.check_all("14-days-table");
}

#[test]
fn mailjet_is_checked_and_registered_and_a_suspended_url_stands_in_the_headline() {
    let Some(browser) = Browser::start() else { return };
    let api = Api::start();
    api.account.add("unsub", "https://crm.example.com/hooks", false);
    let tap = with_page(tap_of(&api));
    let running = tap.run().state().start();
    sign_in(&browser, &running);
    browser.click_text("Show what would change in Mailjet");
    browser.wait_text(HEADLINE, "Register 6 events?");
    browser.check_all("register");
    browser.click_text("Register 6 events");
    browser.wait_text("#mailjet", "1 event is not as configured.");
    browser.check_all("registered");
    let path = Endpoint::parse(&api.account.url_of("bounce").expect("a URL")).path;
    running.endpoint().with_path(&path).post_accepted(DOCUMENTED_EVENTS[3]);
    browser.wait_text(HEADLINE, "Receiving, and the target is up to date.");
    let rows = api.account.rows();
    for row in rows.iter().filter(|row| ["bounce", "blocked"].contains(&row.event_type.as_str())) {
        api.account.change(row.id, |row| row.is_alive = false);
    }
    browser.click_text("Check now");
    browser.wait_text(HEADLINE, "Receiving, but Mailjet has suspended the URL for bounce and blocked.");
    browser.check_all("suspended");
    browser.open(&page(&running, "/mailjet/register"));
    browser.wait_text("section", "bounce: suspended; it gets the new URL");
    // All events move to the new URL, so that the old one can retire.
    browser.click_text("Register 6 events");
    browser.wait_text("#mailjet", "1 event is not as configured.");
}

#[test]
fn a_test_shows_what_came_back_and_how_far_it_gets() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new());
    let running = tap.run().state().start();
    sign_in(&browser, &running);
    browser.choose("#event", "click");
    browser.click("#test button");
    browser.wait_text("#test-result", "click: 200 in ");
    assert_eq!(browser.address(), "/#test");
    browser.wait_text("#test-result", "written to the target, which has not confirmed it yet");
    tap.append_state(tap.spool().events()[0].sequence);
    browser.wait_text("#test-result", "Accepted, on disk, and confirmed by the target.");
    browser.check_all("test");
    browser.click_text("Show the item and its row");
    browser.wait_text(HEADLINE, "click");
}

/// The page is never out of date without saying so, and never changes what somebody is using.
#[test]
fn the_page_refreshes_itself_leaves_alone_what_is_used_and_says_when_the_tap_is_gone() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let endpoint = tap.create_url();
    let running = tap.run().state().start();
    let endpoint = running.endpoint().with_path(&endpoint.path);
    sign_in(&browser, &running);
    browser.wait_text("#as-of", "Live, as of");
    browser.fill("#url-list #label", "half a la");
    endpoint.post_accepted(DOCUMENTED_EVENTS[1]);
    browser.wait_text(HEADLINE, "Receiving, and the target is up to date.");
    browser.wait_text("#said", "Receiving, and the target is up to date.");
    assert_eq!(browser.run("return document.querySelector('#url-list #label').value"), json!("half a la"));
    browser.click_text("Pause");
    browser.wait_text("#as-of", "Paused, as of");
    browser.click_text("Resume");
    browser.wait_text("#as-of", "Live, as of");
    running.stop().assert_code(0);
    browser.wait_text("#lost", "Lost the connection to the tap at ");
    assert!(browser.text("#lost").contains("The figures are from then."));
    for view in [WIDE, NARROW, DARK] {
        browser.check_content("lost", view);
    }
}

#[test]
fn without_scripts_everything_is_shown_and_every_form_works() {
    let Some(browser) = Browser::start_without_scripts() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let running = tap.run().state().start();
    sign_in(&browser, &running);
    browser.wait_text(HEADLINE, "Not receiving yet: there is no webhook URL.");
    browser.fill("#label", "primary");
    browser.click_text("Make a webhook URL");
    browser.wait_text(HEADLINE, "Your new webhook URL");
    let url = browser.text("#url");
    assert_eq!(browser.count("button[data-copy]:not([hidden])"), 0);
    browser.click_text("I have copied it. Back to the status");
    let endpoint = running.endpoint().with_path(&url[url.find("/v1/").expect("a path")..]);
    endpoint.post_accepted(grouped(&numbered_events(0, 30)));
    assert_eq!(endpoint.post("no event").status, 200);
    end_to_end::wait::until("the events are shown", || {
        browser.click_text("Refresh");
        browser.text("#item-list").contains("the body is not JSON").then_some(())
    });
    assert!(browser.text("#as-of").starts_with("As of "));
    browser.check_all("no-script");
    browser.click_text("Show up to 100");
    browser.wait_count("#item-list tbody tr", 31);
    browser.click_text("rejected only");
    browser.click("a.go");
    browser.wait_text("section", "Rejected:");
    browser.open(&page(&running, "/"));
    browser.click("[popovertarget=revoke-1]");
    browser.wait_text("#revoke-1", "It stops working within a second");
    browser.click_text("Keep it");
    browser.choose("#event", "spam");
    browser.click("#test button");
    browser.wait_text("#test-result", "spam: 200 in ");
    browser.click_text("Last 14 days");
    browser.wait_text("#events", "The last 14 days, a bar an hour");
    browser.check("no-script-14-days", NARROW);
    browser.click_text("Sign out");
    browser.wait_text(HEADLINE, "Sign in");
}

/// Returns SQL that adds an hour of made-up counts to a spool.
fn lively_hour() -> String {
    let types =
        [("sent", 30.0), ("open", 22.0), ("click", 9.0), ("unsub", 2.0), ("bounce", 2.0), ("blocked", 1.0)];
    let wave = |minute: u32, base: f64| {
        let minute = f64::from(minute);
        base * (1.3 + (minute / 9.0).sin() / 2.0 + (minute * 1.7 + base).cos() / 4.0)
    };
    let minutes = (1..60).flat_map(|minute| types.map(|(name, base)| (minute, name, wave(minute, base))));
    let add = |(minute, name, count): (u32, &str, f64)| {
        format!(
            "INSERT INTO item_count SELECT 60000, (unixepoch() / 60 - {minute}) * 60000, '{name}', \
             CAST(round({count}) AS INTEGER);"
        )
    };
    minutes.map(add).collect()
}

/// Draws the picture in the README and in `docs/operations.md`, and fails if it is missing or too large.
#[test]
fn the_picture_in_the_documents_shows_the_page() {
    let committed = repository().join("tap-mailjet-webhooks/docs/status-page.png");
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let made = tap.url(&["new", "--label", "primary"]).finish();
    made.assert_code(0);
    let endpoint = Endpoint::parse(&made.stdout[0]);
    tap.spool().execute(&lively_hour());
    let running = tap.run().set("public_url", "https://hooks.example.com").state().start();
    let endpoint = running.endpoint().with_path(&endpoint.path);
    for event in DOCUMENTED_EVENTS {
        endpoint.post_accepted(event);
    }
    assert_eq!(endpoint.post("event=open&email=li.wei%40example.com").status, 200);
    let last = running.wait_records(DOCUMENTED_EVENTS.len()).last().expect("a record").sequence();
    running.wait_bookmark(last);
    tap.append_state(last);
    sign_in(&browser, &running);
    browser.wait_text(HEADLINE, "Receiving, and the target is up to date.");
    browser.wait_text("#way", "0 events");
    browser.reload();
    let transferred = browser.transferred_bytes();
    assert!((5_000..50_000).contains(&transferred), "the page and its parts: {transferred} bytes");
    let drawn = repository().join("target/page/status-page.png");
    browser.draw(&drawn, Some(1500));
    browser.check_all("status");
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        fs::copy(&drawn, &committed).expect("a file");
    }
    for file in [drawn, committed] {
        let length = fs::metadata(&file).expect("the picture").len();
        assert!((20_000..200_000).contains(&length), "{}: {length} bytes", file.display());
    }
}
