//! What a browser sends.

use url::form_urlencoded;
use warp::http::header::{ACCEPT_ENCODING, HOST, ORIGIN};
use warp::http::{HeaderMap, Method};

/// A request to the admin address.
#[derive(Debug)]
pub(in crate::admin) struct Request {
    pub(in crate::admin) method: Method,
    pub(in crate::admin) path: String,
    pub(in crate::admin) query: String,
    pub(in crate::admin) headers: HeaderMap,
    pub(in crate::admin) body: Vec<u8>,
}

impl Request {
    /// Whether it only looks. What a look may use up, such as a link that works once, is not used up by HEAD.
    pub(super) fn is_look(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// Returns a parameter of the address.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        first(self.query.as_bytes(), name)
    }

    /// Returns a field of the form.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        first(&self.body, name)
    }

    /// Whether a proxy in front has taken the request over TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https")
    }

    /// Whether the browser understands gzip.
    pub(super) fn accepts_gzip(&self) -> bool {
        let lines = self.headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        let mut codings = lines.flat_map(|line| line.split(','));
        codings.any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let is_refused = weight.trim().trim_start_matches("q=").parse() == Ok(0.0);
            name.trim().eq_ignore_ascii_case("gzip") && !is_refused
        })
    }

    /// Whether the request was made by a page of this address, as far as the browser says. Browsers send
    /// `Origin` with every form.
    pub(super) fn is_from_here(&self) -> bool {
        let Some(origin) = self.headers.get(ORIGIN) else { return true };
        let Some(host) = self.headers.get(HOST) else { return false };
        let schemes = ["http://", "https://"].map(str::as_bytes);
        schemes.iter().any(|scheme| origin.as_bytes().strip_prefix(*scheme) == Some(host.as_bytes()))
    }
}

fn first(pairs: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(pairs).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;
    use warp::http::header::HeaderName;

    use super::*;

    fn with_headers(headers: &[(HeaderName, &'static str)]) -> Request {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Request {
            method: Method::GET,
            path: "/".to_owned(),
            query: "a=1&b=%3C&a=2".to_owned(),
            headers: headers.collect(),
            body: b"label=a+b".to_vec(),
        }
    }

    #[test]
    fn a_parameter_is_the_first_of_its_name_decoded() {
        let request = with_headers(&[]);
        let found = [request.parameter("a"), request.parameter("b"), request.field("label")];
        assert_eq!(found, ["1", "<", "a b"].map(|text| Some(text.to_owned())));
        assert_eq!(request.parameter("c"), None);
    }

    #[test]
    fn gzip_is_used_only_if_the_browser_accepts_it() {
        for (accepted, expected) in
            [("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("x-gzip", false), ("*", false)]
        {
            let request = with_headers(&[(ACCEPT_ENCODING, accepted)]);
            assert_eq!(request.accepts_gzip(), expected, "{accepted}");
        }
        assert!(!with_headers(&[]).accepts_gzip());
    }
}
