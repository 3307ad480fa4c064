//! The credentials guard: a request needs not only the URL but also a user name and a password (Basic
//! authentication).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

/// The characters that are escaped in the user name and password of a URL.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A user name, as a request can have it: not empty, without colons and control characters.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Username(SecretString);

/// A password, as a request can have it: not empty, without control characters.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(SecretString);

impl TryFrom<String> for Username {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // In the header, the password begins after the first colon.
        if !is_plain(&text) || text.contains(':') {
            return Err("it cannot be a user name");
        }
        Ok(Username(text.into()))
    }
}

impl TryFrom<String> for Password {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain(&text) { Ok(Password(text.into())) } else { Err("it cannot be a password") }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// The user name and password that a request has to have.
#[derive(Debug, Clone)]
pub struct Credentials {
    username: Username,
    password: Password,
    /// The hash of what follows `Basic ` in the header. Hashes all have one length, so comparing them does
    /// not reveal the length of the password.
    hash: [u8; 32],
}

impl Credentials {
    /// Hashes the credentials once, so that checking a request is cheap.
    pub(crate) fn new(username: Username, password: Password) -> Self {
        let credentials = format!("{}:{}", username.0.expose_secret(), password.0.expose_secret());
        let hash = hash(STANDARD.encode(credentials).as_bytes());
        Credentials { username, password, hash }
    }

    /// Adds them to an http URL. Mailjet sends what the URL contains.
    pub fn add_to(&self, url: &mut Url) {
        // Escaped here because `Url` does not escape `%`.
        let [username, password] = [&self.username.0, &self.password.0]
            .map(|text| utf8_percent_encode(text.expose_secret(), ESCAPED).to_string());
        url.set_username(&username)
            .and_then(|()| url.set_password(Some(&password)))
            .expect("an http URL has a host");
    }

    /// Returns whether a request has them. They are compared in constant time.
    pub(crate) fn matches(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        // Of two lines, a proxy in front may have checked either one.
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        let Some((scheme, credentials)) = line.as_bytes().split_at_checked(b"Basic ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Basic ") && bool::from(hash(credentials.trim_ascii()).ct_eq(&self.hash))
    }
}

fn hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn credentials(username: &str, password: &str) -> Credentials {
        Credentials::new(
            username.to_owned().try_into().expect("a user name"),
            password.to_owned().try_into().expect("a password"),
        )
    }

    #[test]
    fn credentials_match_exactly_one_header_line_with_the_right_value() {
        // The example of RFC 7617.
        let credentials = credentials("Aladdin", "open sesame");
        let right = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        let cases: &[(&[&str], bool)] = &[
            (&[right], true),
            (&["basic   QWxhZGRpbjpvcGVuIHNlc2FtZQ== "], true),
            (&[], false),
            (&[right, right], false),
            (&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZR=="], false),
            (&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"], false),
            (&["QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], false),
            (&["Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], false),
            (&["BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ=="], false),
            (&["Basic Aladdin:open sesame"], false),
            (&["Basic "], false),
            (&["Basic"], false),
            (&[""], false),
        ];
        for (lines, matches) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(AUTHORIZATION, HeaderValue::from_static(line));
            }
            assert_eq!(credentials.matches(&headers), *matches, "{lines:?}");
        }
        assert!(!format!("{credentials:?}").contains("sesame"));
    }

    #[test]
    fn characters_with_a_meaning_in_urls_are_escaped() {
        let mut url = Url::parse("https://example.com/x").expect("a URL");
        credentials("mail.jet", "a:b@c/d é%").add_to(&mut url);
        assert_eq!(url.as_str(), "https://mail.jet:a%3Ab%40c%2Fd%20%C3%A9%25@example.com/x");
    }

    #[test]
    fn user_names_with_colons_control_characters_and_empty_values_are_invalid() {
        for wrong in ["", "a:b", "a\nb"] {
            assert!(Username::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
        for wrong in ["", "a\u{7f}b"] {
            assert!(Password::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}
