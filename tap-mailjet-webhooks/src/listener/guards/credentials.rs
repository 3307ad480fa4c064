//! Basic authentication: who has the URL must also have a user name and a password.

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

/// What may stand in the user name and password of a URL as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A user name.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Username(SecretString);

/// A password.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(SecretString);

impl TryFrom<String> for Username {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The first colon is where the password begins.
        if !is_plain(&text) || text.contains(':') {
            return Err("it can't be a user name");
        }
        Ok(Username(text.into()))
    }
}

impl TryFrom<String> for Password {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain(&text) { Ok(Password(text.into())) } else { Err("it can't be a password") }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// The user name and password that a request has to bring.
#[derive(Debug, Clone)]
pub struct Credentials {
    username: Username,
    password: Password,
    /// Hash of what follows `Basic ` in the header: of one length, so that a comparison tells nothing of the length.
    hash: [u8; 32],
}

impl Credentials {
    /// The credentials of a user name and its password.
    #[must_use]
    pub fn new(username: Username, password: Password) -> Self {
        let credentials = format!("{}:{}", username.0.expose_secret(), password.0.expose_secret());
        let hash = hash(STANDARD.encode(credentials).as_bytes());
        Credentials { username, password, hash }
    }

    /// Puts them into an http URL, as Mailjet takes them from it.
    pub fn add_to(&self, url: &mut Url) {
        // `Url` does not escape `%`, so the texts are escaped before.
        let [username, password] = [&self.username.0, &self.password.0]
            .map(|text| utf8_percent_encode(text.expose_secret(), ESCAPED).to_string());
        url.set_username(&username)
            .and_then(|()| url.set_password(Some(&password)))
            .expect("an http URL has a host");
    }

    /// Whether a request brings them. They are compared in constant time.
    #[must_use]
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        // Of two lines there is no telling which one a proxy in front has looked at.
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
    fn only_the_right_header_is_admitted_and_only_once() {
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
        for (lines, admitted) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(AUTHORIZATION, HeaderValue::from_static(line));
            }
            assert_eq!(credentials.admit(&headers), *admitted, "{lines:?}");
        }
        assert!(!format!("{credentials:?}").contains("sesame"));
    }

    #[test]
    fn in_a_url_what_means_something_there_is_escaped() {
        let mut url = Url::parse("https://example.com/x").expect("a URL");
        credentials("mail.jet", "a:b@c/d é%").add_to(&mut url);
        assert_eq!(url.as_str(), "https://mail.jet:a%3Ab%40c%2Fd%20%C3%A9%25@example.com/x");
    }

    #[test]
    fn a_user_name_has_no_colon_and_neither_is_empty() {
        for wrong in ["", "a:b", "a\nb"] {
            assert!(Username::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
        for wrong in ["", "a\u{7f}b"] {
            assert!(Password::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}
