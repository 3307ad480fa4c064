//! A real browser: Debian's Chromium, driven through `WebDriver`.
//!
//! Nothing waits for time to pass: a test waits until the page says something. Each view that a test checks
//! ends as a picture in `target/page/`.

use std::fmt::Debug;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fantoccini::error::CmdError;
use fantoccini::key::Key;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::program::repository;
use crate::wait;

/// How Chromium is started. It makes no connections of its own, and needs no display.
const ARGUMENTS: [&str; 11] = [
    "--headless=new",
    // Root, who runs the tests in a container, has no sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
];

/// How wide and in which colours a page is looked at.
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

/// A running browser with one window.
#[derive(Debug)]
pub struct Browser {
    runtime: Runtime,
    client: Client,
    _driver: Driver,
    _profile: TempDir,
    /// Checks accessibility, in the page.
    axe: String,
}

/// The process that starts the browser. The browser ends with it.
#[derive(Debug)]
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        // It ends the browsers that it has started.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// Starts a driver, and returns its address.
fn start_driver() -> Option<(Driver, String)> {
    let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
    let Ok(mut child) = started else {
        eprintln!("skipped: chromedriver is missing (Debian's package chromium-driver)");
        return None;
    };
    let stdout = child.stdout.take().expect("it is piped");
    let driver = Driver(child);
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("started successfully on port")).expect("the driver starts");
    let port: String = line.chars().filter(char::is_ascii_digit).collect();
    // The rest must be read, or the driver would block.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, format!("http://127.0.0.1:{port}")))
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
        let (driver, address) = start_driver()?;
        let profile = TempDir::new().expect("a temporary folder");
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let arguments: Vec<_> = ARGUMENTS.iter().copied().chain([user_data.as_str()]).collect();
        // 1 allows and 2 blocks them, for pages. The driver's own scripts run in any case.
        let scripts = if runs_scripts { 1 } else { 2 };
        let capabilities = json!({
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of tokio");
        let capabilities: Capabilities = capabilities.into_iter().collect();
        let connected = async {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities).connect(&address).await
        };
        let client = runtime.block_on(connected).expect("Chromium starts (Debian's package chromium)");
        let browser = Browser { runtime, client, _driver: driver, _profile: profile, axe };
        browser.look(WIDE);
        Some(browser)
    }

    fn wait_for<T>(&self, command: impl Future<Output = Result<T, CmdError>>) -> T {
        self.runtime.block_on(command).expect("the browser carries out the command")
    }

    fn send(&self, command: ChromiumCommand) -> Value {
        self.wait_for(self.client.issue_cmd(command))
    }

    /// Sends a command of the `DevTools` protocol.
    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.send(ChromiumCommand {
            path: "goog/cdp/execute",
            body: json!({ "cmd": command, "params": parameters }),
        })
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
        self.wait_for(async { self.client.find(Locator::Css(selector)).await?.click().await });
    }

    /// Clicks the button or link with this text.
    pub fn click_text(&self, text: &str) {
        let path = format!("//*[self::a or self::button][normalize-space()='{text}']");
        self.wait_for(async { self.client.find(Locator::XPath(&path)).await?.click().await });
    }

    /// Types into a field, in place of what it holds.
    pub fn fill(&self, selector: &str, text: &str) {
        self.wait_for(async {
            let field = self.client.find(Locator::Css(selector)).await?;
            field.clear().await?;
            field.send_keys(text).await
        });
    }

    /// Chooses an option.
    pub fn choose(&self, selector: &str, option: &str) {
        self.wait_for(async {
            self.client.find(Locator::Css(selector)).await?.select_by_label(option).await
        });
    }

    /// Presses a key where the focus is.
    pub fn press(&self, key: Key) {
        let text = char::from(key).to_string();
        self.wait_for(async { self.client.active_element().await?.send_keys(&text).await });
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

    /// Checks a view of the page that is shown: it is accessible, fits its width, and has loaded nothing from
    /// another address. Draws it into `target/page/`.
    pub fn check(&self, name: &str, view: View) {
        self.look(view);
        let file = folder().join(format!("{name}-{}.png", view.name));
        self.draw(&file, None);
        let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(self.run(overflow), json!(0), "{name}, {view:?}: it scrolls sideways");
        // A panel has rounded corners, over which nothing may hang.
        let overflow = "return [...document.querySelectorAll('.panel, .band .wrap')]\
                        .filter(e => e.scrollWidth > e.clientWidth).map(e => e.outerHTML.slice(0, 200))";
        assert_eq!(self.run(overflow), json!([]), "{name}, {view:?}: something is too wide");
        self.assert_accessible(&format!("{name}, {view:?}"));
        self.assert_quiet();
        self.look(WIDE);
    }

    /// Checks a page in all views.
    pub fn check_all(&self, name: &str) {
        for view in [WIDE, NARROW, DARK] {
            self.check(name, view);
        }
    }

    /// Draws the page into a file: all of it, or as much as fits into `height` at the width of a wide window.
    pub fn draw(&self, file: &Path, height: Option<u32>) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        let mut options = json!({ "format": "png", "captureBeyondViewport": true });
        if let Some(height) = height {
            options["clip"] = json!({ "x": 0, "y": 0, "width": WIDE.width, "height": height, "scale": 1 });
        }
        let picture = self.devtools("Page.captureScreenshot", &options);
        let picture = picture["data"].as_str().expect("a picture");
        fs::write(file, decode_base64(picture)).expect("a file");
    }

    /// Asserts that axe-core finds nothing that hinders users.
    fn assert_accessible(&self, what: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1]; {}; \
             axe.run().then(r => done({{ passed: r.passes.length, violations: r.violations.map(v =>
             [v.id, v.help, v.nodes.map(n => n.target.join(' '))]) }}));",
            self.axe
        );
        let found = self.wait_for(self.client.execute_async(&script, Vec::new()));
        assert_eq!(found["violations"], json!([]), "{what}: axe-core finds this");
        assert!(
            found["passed"].as_u64().is_some_and(|passed| passed > 5),
            "{what}: axe-core has run: {found}"
        );
    }

    /// Asserts that nothing was refused, missing or thrown, and that no other address was asked.
    pub fn assert_quiet(&self) {
        let log = self.send(ChromiumCommand { path: "se/log", body: json!({ "type": "browser" }) });
        let severe = log.as_array().expect("lines").iter().filter(|line| line["level"] == "SEVERE");
        let severe = severe.filter_map(|line| line["message"].as_str());
        // The login form, and a page that says that something is gone, have a status that says so.
        let expected = ["status of 401", "status of 410", "status of 404", "status of 409"];
        let severe: Vec<_> =
            severe.filter(|line| !expected.iter().any(|status| line.contains(status))).collect();
        assert!(severe.is_empty(), "{severe:?}");
        let strangers = self.run(
            "return performance.getEntriesByType('resource').map(e => e.name)\
             .filter(name => !name.startsWith(location.origin + '/'))",
        );
        assert_eq!(strangers, json!([]), "another address was asked");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}

/// Where the pictures go.
fn folder() -> PathBuf {
    repository().join("target/page")
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("the driver sends base64")
}

/// A command that only Chromium's driver knows.
#[derive(Debug)]
struct ChromiumCommand {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for ChromiumCommand {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
