//! Requests to the status page.

use crate::http::{Endpoint, Reply};
use crate::tap::{PASSWORD, RunningTap};

/// Requests to the status page, as a browser makes them. It keeps one cookie.
#[derive(Debug)]
pub struct PageClient {
    /// The admin address.
    pub admin: Endpoint,
    /// The cookie, if there is one.
    pub cookie: Option<String>,
}

impl PageClient {
    /// Nobody is signed in yet.
    #[must_use]
    pub fn new(tap: &RunningTap) -> Self {
        PageClient { admin: tap.admin(), cookie: None }
    }

    /// Signs in with [`PASSWORD`].
    #[must_use]
    pub fn signed_in(tap: &RunningTap) -> Self {
        let mut browser = PageClient::new(tap);
        assert_eq!(browser.post("/sign-in", &[("password", PASSWORD)]).status, 303);
        browser
    }

    /// Sends any request.
    #[must_use]
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let host = self.admin.address;
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let mut client = self.admin.connect();
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let reply = client.reply();
        if let Some(set) = reply.header("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        reply
    }

    /// Asks for a page.
    #[must_use]
    pub fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, "", "")
    }

    /// Asks for the head of a page, and returns everything that comes.
    #[must_use]
    pub fn head(&mut self, path: &str) -> String {
        let host = self.admin.address;
        let cookie = self.cookie.clone().unwrap_or_default();
        let mut client = self.admin.connect();
        client.send(format!(
            "HEAD {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        ));
        client.read_until_closed()
    }

    /// Sends a form as a page of this address does.
    #[must_use]
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let origin = format!("Origin: http://{}\r\n", self.admin.address);
        self.request("POST", path, &origin, &encode_form(fields))
    }

    /// The token that the page's forms send.
    #[must_use]
    pub fn form_token(&mut self) -> String {
        let page = self.get("/").body;
        let (_, rest) = page.split_once(r#"name="csrf" value=""#).expect("a form");
        rest[..32].to_owned()
    }
}

/// Encodes the fields of a form.
#[must_use]
pub fn encode_form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect::<String>()
    };
    fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}
