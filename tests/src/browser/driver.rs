//! Debian's `chromedriver`, which starts Chromium and speaks `WebDriver`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

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

/// The driver's process. The browser ends with it.
#[derive(Debug)]
pub(super) struct Driver {
    process: Child,
    address: String,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // On SIGTERM, the driver ends the browsers that it has started.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

impl Driver {
    /// Starts a driver on a free port; `None`, with a line that says so, if it is missing.
    pub(super) fn start() -> Option<Self> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let Ok(mut process) = started else {
            eprintln!("skipped: chromedriver is missing (Debian's package chromium-driver)");
            return None;
        };
        let stdout = process.stdout.take().expect("it is piped");
        let mut driver = Driver { process, address: String::new() };
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let line =
            lines.find(|line| line.contains("started successfully on port")).expect("the driver starts");
        let port: String = line.chars().filter(char::is_ascii_digit).collect();
        driver.address = format!("http://127.0.0.1:{port}");
        // The rest must be read, or the driver would block.
        std::thread::spawn(move || lines.for_each(drop));
        Some(driver)
    }

    /// Starts Chromium with an empty profile; `None`, with a line that says so, if it is missing.
    pub(super) async fn open_browser(&self, profile: &Path, runs_scripts: bool) -> Option<Client> {
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connected =
            builder.capabilities(capabilities(profile, runs_scripts)).connect(&self.address).await;
        match connected {
            Ok(client) => Some(client),
            Err(error) if error.to_string().to_lowercase().contains("chrome binary") => {
                eprintln!("skipped: Chromium is missing (Debian's package chromium)");
                None
            }
            Err(error) => panic!("Chromium does not start: {error}"),
        }
    }
}

fn capabilities(profile: &Path, runs_scripts: bool) -> Capabilities {
    let user_data = format!("--user-data-dir={}", profile.display());
    let arguments: Vec<_> = ARGUMENTS.iter().copied().chain([user_data.as_str()]).collect();
    // 1 allows and 2 blocks the scripts of pages. The driver's own scripts run in any case, as long as they
    // wait for nothing.
    let scripts = if runs_scripts { 1 } else { 2 };
    let capabilities = json!({
        "goog:loggingPrefs": { "browser": "ALL" },
        "goog:chromeOptions": {
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        },
    });
    let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
    capabilities.into_iter().collect()
}

/// A command that only Chromium's driver knows.
#[derive(Debug)]
pub(super) struct ChromiumCommand {
    /// Below the session's path.
    pub(super) path: &'static str,
    pub(super) body: Value,
}

impl WebDriverCompatibleCommand for ChromiumCommand {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
