//! The status page in a real browser: the colours of its headline, its messages, long texts, and its use
//! with the keyboard alone.

use end_to_end::browser::{Browser, NARROW, WIDE};
use end_to_end::events::DOCUMENTED_EVENTS;
use end_to_end::tap::{PASSWORD, Tap};
use end_to_end::wait;
use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::browser::{HEADLINE, page, sign_in, with_page};

/// Describes what has the focus, and says whether that can be seen.
const FOCUS: &str = "
    const element = document.activeElement;
    const name = element.getAttribute('aria-label') ?? element.textContent.trim().replace(/\\s+/g, ' ');
    return [`${element.localName} ${element.id || name}`, getComputedStyle(element).outlineStyle];";

/// Describes what has the focus, which must be visible.
fn focus(browser: &Browser) -> String {
    let focus = browser.run(FOCUS);
    assert_ne!(focus[1], "none", "the focus cannot be seen: {focus}");
    focus[0].as_str().expect("a text").to_owned()
}

/// Presses Tab, and describes what then has the focus.
fn tab(browser: &Browser) -> String {
    browser.press(Key::Tab);
    focus(browser)
}

/// Presses Tab until something has the focus. Returns everything that had it on the way.
fn tab_to(browser: &Browser, wanted: &str) -> Vec<String> {
    let mut passed = Vec::new();
    while passed.last().is_none_or(|focus| focus != wanted) {
        passed.push(tab(browser));
        assert!(passed.len() < 60, "{wanted} is not among {passed:?}");
    }
    passed
}

/// A check that finds nothing must be able to find something.
#[test]
fn the_checks_find_what_is_planted_into_the_page() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let listener = tap.listen().start();
    sign_in(&browser, &listener);
    browser.wait_text(HEADLINE, "Not receiving yet");
    browser.assert_quiet();
    let plant = |parent: &str, element: &str, properties: Value| {
        let script = format!(
            "const planted = Object.assign(document.createElement('{element}'), {properties});
             document.querySelector('{parent}').append(planted);"
        );
        let _ = browser.run(&script);
    };
    let wait_complaint = |expected: &str| {
        wait::until(expected, || {
            browser.complaints().iter().any(|line| line.contains(expected)).then_some(())
        });
    };
    plant("main", "img", json!({ "src": "/missing.png" }));
    wait_complaint("status of 404");
    plant("main", "img", json!({ "src": "http://192.0.2.1/image.png" }));
    wait_complaint("img-src 'self'");
    plant("head", "style", json!({ "textContent": "h1 { color: red }" }));
    wait_complaint("style-src 'self'");
    plant("head", "script", json!({ "textContent": "window.harm = 1" }));
    wait_complaint("script-src 'self'");
    assert_eq!(browser.run("return window.harm ?? null"), Value::Null);
    let _ = browser.run("setTimeout(() => { throw new Error('planted') })");
    wait_complaint("planted");

    let barriers = browser.barriers(WIDE);
    assert!(barriers.len() == 1 && barriers[0].starts_with("image-alt: "), "{barriers:?}");
    assert_eq!(browser.too_wide(), [""; 0]);
    plant("#events .wrap", "div", json!({ "textContent": "planted".repeat(170) }));
    let too_wide = browser.too_wide();
    assert!(too_wide.iter().any(|line| line.starts_with("<div>planted")), "{too_wide:?}");
}

#[test]
fn every_colour_of_the_headline_is_readable() {
    let Some(browser) = Browser::start() else { return };
    let full = with_page(Tap::new().with_created_urls()).set("spool_max_bytes", 1);
    let _ = full.create_url();
    let listener = full.listen().start();
    sign_in(&browser, &listener);
    browser.wait_text(HEADLINE, "Not receiving: the spool is full.");
    browser.click("#test button");
    browser.wait_text("#test-result", "Nothing was stored.");
    browser.check_all("full");

    let behind = with_page(Tap::new());
    behind.spool_bodies(DOCUMENTED_EVENTS);
    behind.spool().execute("UPDATE event SET received_at = received_at - 9000000");
    let running = behind.run().state().start();
    let _ = running.wait_records(DOCUMENTED_EVENTS.len());
    sign_in(&browser, &running);
    browser.wait_text(HEADLINE, "Receiving, but the target is more than 2 hours behind.");
    browser.check_all("behind");

    // What is confirmed now came hours ago.
    let last = behind.spool().events().last().expect("an event").sequence;
    running.wait_bookmark(last);
    behind.append_state(last);
    browser.wait_text(HEADLINE, "Ready. The last event came 2 hours ago.");
    browser.check("quiet", WIDE);
}

#[test]
fn each_refusal_says_what_happened_and_leads_back() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let _ = tap.create_url();
    let listener = tap.listen().start();
    browser.open(&page(&listener, "/sign-in?once=00"));
    browser.wait_text("#pw-e", "This link was used already.");
    browser.check("link-used", WIDE);
    sign_in(&browser, &listener);
    browser.wait_text(HEADLINE, "Not receiving yet: Mailjet has not posted anything.");
    for path in ["/items/1", "/nothing"] {
        browser.open(&page(&listener, path));
        browser.check("no-such-page", WIDE);
        browser.click_text("Back to the status");
        browser.wait_text(HEADLINE, "Not receiving yet: Mailjet has not posted anything.");
        assert_eq!(browser.address(), "/");
    }
    // Another window makes the second URL, after this one has loaded its form.
    browser.wait_text("#url-list", "Make a webhook URL");
    browser.click_text("Pause");
    let _ = tap.create_url();
    browser.click_text("Make a webhook URL");
    browser.wait_text("section", "Two URLs are active");
    browser.check("two-urls", WIDE);
    browser.click_text("Back to the status");
    browser.wait_text(HEADLINE, "Not receiving yet: Mailjet has not posted anything.");
    let _ = browser.run("document.querySelector('#test [name=csrf]').value = 'old'");
    browser.click("#test button");
    browser.wait_text("section", "The form is old");
    browser.check("old-form", WIDE);
}

/// Labels, addresses and columns that are as long as they can be.
#[test]
fn long_texts_stay_within_their_place() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let running = tap.run().state().start();
    sign_in(&browser, &running);
    let mut url = String::new();
    for label in ["W".repeat(100), "<b>".repeat(33)] {
        browser.wait_text("main", "Make a webhook URL");
        browser.fill("#label", &label);
        browser.click_text("Make a webhook URL");
        browser.wait_text(HEADLINE, "Your new webhook URL");
        url = browser.text("#url");
        browser.check("long-label", NARROW);
        browser.click_text("I have copied it. Back to the status");
    }
    browser.wait_text("#url-list", "Two URLs are active");
    let endpoint = running.endpoint().with_path(&url[url.find("/v1/").expect("a path")..]);
    let long = "w".repeat(1000);
    let event =
        json!({ "event": long, "email": format!("{long}@example.com"), "error": long, &long: [long] });
    endpoint.post_accepted(event.to_string());
    assert_eq!(endpoint.post(&long).status, 200);
    browser.wait_text("#new-items", "2 new items. Show them");
    browser.click("#new-items");
    browser.wait_text("#item-list", "rejected");
    browser.check("long-texts", NARROW);
    browser.click("tr:not(.bad) a.go");
    browser.wait_text("#item-list", "Row in data");
    browser.check("long-item-in-place", NARROW);
    browser.click_text("Open as a page");
    browser.wait_text(HEADLINE, "other");
    browser.check("long-item", NARROW);
    browser.open(&page(&running, "/"));
    browser.click("[popovertarget=revoke-2]");
    browser.check("long-revoke", NARROW);
}

#[test]
fn the_keyboard_alone_is_enough() {
    let Some(browser) = Browser::start() else { return };
    let tap = with_page(Tap::new().with_created_urls());
    let endpoint = tap.create_url();
    let running = tap.run().state().start();
    let endpoint = running.endpoint().with_path(&endpoint.path);
    endpoint.post_accepted(DOCUMENTED_EVENTS[3]);
    browser.open(&page(&running, "/"));
    // The field of the password has the focus at once.
    browser.type_text(PASSWORD);
    browser.press(Key::Enter);
    browser.wait_text(HEADLINE, "Receiving, and the target is up to date.");
    browser.wait_text("#as-of", "Live, as of");
    // Where a skip leads, the content begins.
    assert_eq!(tab(&browser), "a Skip to the content");
    browser.press(Key::Enter);
    assert_eq!(tab(&browser), "button Pause");

    browser.open(&page(&running, "/"));
    browser.wait_text("#as-of", "Live, as of");
    let order = tab_to(&browser, "button Sign out");
    let item = format!("a Details of item {}", tap.spool().events()[0].sequence);
    assert_eq!(
        order[..8],
        [
            "a Skip to the content",
            "a Events",
            "a Webhook URLs",
            "a Mailjet",
            "a Recent items",
            "a Send a test",
            "button Pause",
            "a Refresh"
        ]
    );
    assert_eq!(
        order[8..14],
        [
            "a Last hour",
            "a Last 14 days",
            "summary Show as a table",
            "button Revoke… URL 1",
            "input label",
            "button Make a webhook URL"
        ]
    );
    assert_eq!(
        order[14..24],
        ["All", "sent", "open", "click", "unsub", "bounce", "blocked", "spam", "other", "rejected only"]
            .map(|name| format!("a {name}"))
    );
    assert_eq!(
        order[24..],
        [
            item.as_str(),
            "select event",
            "button Send a test",
            "a /metrics",
            "a /healthz",
            "a /readyz",
            "button Sign out"
        ]
    );

    // The focus returns to where it was when a dialog closes.
    browser.open(&page(&running, "/"));
    let _ = tab_to(&browser, "button Revoke… URL 1");
    browser.press(Key::Enter);
    wait::until("the safe button has the focus", || (browser.focused() == "Keep it").then_some(()));
    browser.press(Key::Escape);
    wait::until("the focus returns", || (browser.run(FOCUS)[0] == "button Revoke… URL 1").then_some(()));
    // What an item opens comes right behind it.
    let _ = tab_to(&browser, &item);
    browser.type_text(" ");
    browser.wait_text("#item-list", "Row in data");
    assert_eq!(focus(&browser), item.replace("Details of", "Close"));
    assert_eq!(tab(&browser), "button Copy the text as received");
    let _ = tab_to(&browser, "a Open as a page");
    browser.press(Key::Enter);
    browser.wait_text(HEADLINE, "bounce");
}
