//! A real browser: Debian's Chromium, driven through `WebDriver`.
//!
//! Nothing waits for time to pass: a test waits until the page says something. Each view that a test checks
//! is drawn into `target/page/`.
//!
//! - [`Browser`] does what a user does: opens, clicks, types and reads.
//! - `check` holds what must be true of every view: it fits, hinders nobody, and loads only its own files.
//! - `driver` starts the programs, and ends them.

mod check;
mod driver;

use std::fs;

use driver::{ChromiumCommand, Driver};
use fantoccini::error::CmdError;
use fantoccini::key::Key;
use fantoccini::{Client, Locator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::program::repository;
use crate::wait;

/// A width and a colour scheme in which a page is checked.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// What is added to the name of the picture.
    pub name: &'static str,
    /// In pixels.
    pub width: u32,
    /// Whether the user prefers dark colours.
    pub is_dark: bool,
}

/// A wide window.
pub const WIDE: View = View { name: "wide", width: 1280, is_dark: false };
/// A phone.
pub const NARROW: View = View { name: "narrow", width: 360, is_dark: false };
/// A wide window at night.
pub const DARK: View = View { name: "dark", width: 1280, is_dark: true };

/// A running browser with one window. It ends with the test, even if that panics.
#[derive(Debug)]
pub struct Browser {
    runtime: Runtime,
    client: Client,
    _driver: Driver,
    _profile: TempDir,
    /// The source of axe-core, which checks accessibility in the page.
    axe: String,
    runs_scripts: bool,
}

impl Browser {
    /// Starts a browser; `None`, with a line that says so, if a tool is missing.
    #[must_use]
    pub fn start() -> Option<Self> {
        Browser::start_with(true)
    }

    /// Starts a browser in which pages run no scripts.
    #[must_use]
    pub fn start_without_scripts() -> Option<Self> {
        Browser::start_with(false)
    }

    fn start_with(runs_scripts: bool) -> Option<Self> {
        let axe = repository().join("target/npm/node_modules/axe-core/axe.min.js");
        let Ok(axe) = fs::read_to_string(&axe) else {
            eprintln!("skipped: axe-core is missing; scripts/test installs it from npm");
            return None;
        };
        let driver = Driver::start()?;
        let profile = TempDir::new().expect("a temporary folder");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of tokio");
        let client = runtime.block_on(driver.open_browser(profile.path(), runs_scripts))?;
        let browser = Browser { runtime, client, _driver: driver, _profile: profile, axe, runs_scripts };
        browser.look(WIDE);
        Some(browser)
    }

    fn wait_for<T>(&self, command: impl Future<Output = Result<T, CmdError>>) -> T {
        self.runtime.block_on(command).expect("the browser obeys")
    }

    /// Does something with an element as soon as it is there. The page may still load, or replace the element
    /// in between.
    fn act(&self, what: &str, action: impl AsyncFn() -> Result<(), CmdError>) {
        wait::until(what, || match self.runtime.block_on(action()) {
            Ok(()) => Some(()),
            Err(error) if error.is_no_such_element() || error.is_stale_element_reference() => None,
            Err(error) => panic!("{what}: {error}"),
        });
    }

    fn issue(&self, command: ChromiumCommand) -> Value {
        self.wait_for(self.client.issue_cmd(command))
    }

    /// Sends a command of the `DevTools` protocol.
    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.issue(ChromiumCommand { path: "goog/cdp/execute", body })
    }

    /// Sets the width of the window and the colours that its user prefers.
    pub fn look(&self, view: View) {
        let metrics = json!({ "width": view.width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if view.is_dark { "dark" } else { "light" };
        // A page that still scrolls cannot be clicked.
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Lets pages use the clipboard, as a user does who is asked.
    pub fn allow_clipboard(&self) {
        let permissions = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        self.devtools("Browser.grantPermissions", &permissions);
    }

    /// Opens an address.
    pub fn open(&self, url: &str) {
        self.wait_for(self.client.goto(url));
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.wait_for(self.client.refresh());
    }

    /// The path and query of the address that is shown.
    #[must_use]
    pub fn address(&self) -> String {
        let url = self.wait_for(self.client.current_url());
        url[url::Position::BeforePath..].to_owned()
    }

    /// The title of the page.
    #[must_use]
    pub fn title(&self) -> String {
        self.wait_for(self.client.title())
    }

    /// Clicks what a selector finds first.
    pub fn click(&self, selector: &str) {
        self.act(&format!("click {selector}"), async || {
            self.client.find(Locator::Css(selector)).await?.click().await
        });
    }

    /// Clicks the button or link with this text.
    pub fn click_text(&self, text: &str) {
        let path = format!("//*[self::a or self::button][normalize-space()='{text}']");
        self.act(&format!("click “{text}”"), async || {
            self.client.find(Locator::XPath(&path)).await?.click().await
        });
    }

    /// Types into a field, in place of what it holds.
    pub fn fill(&self, selector: &str, text: &str) {
        self.act(&format!("fill {selector}"), async || {
            let field = self.client.find(Locator::Css(selector)).await?;
            field.clear().await?;
            field.send_keys(text).await
        });
    }

    /// Chooses an option.
    pub fn choose(&self, selector: &str, option: &str) {
        self.act(&format!("choose {option} of {selector}"), async || {
            self.client.find(Locator::Css(selector)).await?.select_by_label(option).await
        });
    }

    /// Types where the focus is.
    pub fn type_text(&self, text: &str) {
        self.wait_for(async { self.client.active_element().await?.send_keys(text).await });
    }

    /// Presses a key where the focus is.
    pub fn press(&self, key: Key) {
        self.type_text(&char::from(key).to_string());
    }

    /// The text that has the focus.
    #[must_use]
    pub fn focused(&self) -> String {
        self.wait_for(async { self.client.active_element().await?.text().await })
    }

    /// The visible text of what a selector finds first; empty if it finds nothing.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        let text = async {
            let found = self.client.find_all(Locator::Css(selector)).await?;
            match found.first() {
                Some(element) => element.text().await,
                None => Ok(String::new()),
            }
        };
        // The page may replace the element while it is read.
        self.runtime.block_on(text).unwrap_or_default()
    }

    /// How many elements a selector finds.
    #[must_use]
    pub fn count(&self, selector: &str) -> usize {
        self.wait_for(self.client.find_all(Locator::Css(selector))).len()
    }

    /// Waits until a selector finds exactly `count` elements.
    pub fn wait_count(&self, selector: &str, count: usize) {
        wait::until(&format!("{count} of {selector}"), || (self.count(selector) == count).then_some(()));
    }

    /// Waits until the visible text of an element contains `text`.
    pub fn wait_text(&self, selector: &str, text: &str) {
        wait::until(&format!("{selector} says: {text}"), || self.text(selector).contains(text).then_some(()));
    }

    /// How many bytes were transferred for the page and everything that it has loaded.
    #[must_use]
    pub fn transferred_bytes(&self) -> u64 {
        let sum = "return performance.getEntries().reduce((sum, e) => sum + (e.transferSize ?? 0), 0)";
        self.run(sum).as_u64().expect("a number")
    }

    /// Runs a script in the page, and returns its value.
    #[must_use]
    pub fn run(&self, script: &str) -> Value {
        self.wait_for(self.client.execute(script, Vec::new()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}
