//! What a browser gets: the headers of every answer, and its compression.

use std::io::Write;

use askama::Template;
use flate2::Compression;
use flate2::write::GzEncoder;
use warp::http::StatusCode;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::reply::Response;

use super::view::{Frame, LoginPage, MessagePage};

/// What a browser may load and do: only what comes from this address.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Answers that are shorter are not compressed.
const MIN_COMPRESSED_BYTES: usize = 1000;

/// An answer that has not been sent yet.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Answer { status, content_type, headers: Vec::new(), body: body.into() }
    }

    /// A page.
    pub(super) fn page(status: StatusCode, page: &impl Template) -> Self {
        let body = page.render().expect("templates render into memory");
        Answer::new(status, "text/html; charset=utf-8", body)
    }

    /// The login form.
    pub(super) fn login(error: Option<&'static str>) -> Self {
        Answer::page(StatusCode::UNAUTHORIZED, &LoginPage { error })
    }

    /// A page that says one thing.
    pub(super) fn message(
        frame: Frame,
        status: StatusCode,
        title: &'static str,
        text: impl Into<String>,
    ) -> Self {
        Answer::page(status, &MessagePage { frame, title, text: text.into() })
    }

    /// A part of the page that is the same for all users, signed in or not.
    pub(super) fn asset(content_type: &'static str, text: &'static str) -> Self {
        Answer::new(StatusCode::OK, content_type, text)
    }

    /// A file that the browser saves and never shows.
    pub(super) fn download(bytes: Vec<u8>) -> Self {
        Answer::new(StatusCode::OK, "application/octet-stream", bytes)
            .with_header(CONTENT_DISPOSITION, "attachment")
    }

    /// A redirect to another page of this address.
    pub(super) fn redirect(path: &'static str) -> Self {
        Answer::new(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "").with_header(LOCATION, path)
    }

    /// Adds a header.
    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Turns it into a response, compressed if that helps.
    pub(super) fn into_response(self, accepts_gzip: bool) -> Response {
        let compressed = (accepts_gzip && self.body.len() >= MIN_COMPRESSED_BYTES).then(|| gzip(&self.body));
        let is_compressed = compressed.is_some();
        let mut response = Response::new(compressed.unwrap_or(self.body).into());
        *response.status_mut() = self.status;
        let headers: [(HeaderName, &'static str); 7] = [
            (CONTENT_TYPE, self.content_type),
            (CACHE_CONTROL, "no-store"),
            (VARY, "Accept-Encoding"),
            (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
            // With "no-referrer", browsers would send `Origin: null` with our own forms.
            (REFERRER_POLICY, "same-origin"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ];
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if is_compressed {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response.headers_mut().extend(self.headers);
        response
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("compressing into memory does not fail")
}
