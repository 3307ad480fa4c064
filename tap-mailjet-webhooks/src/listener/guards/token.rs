//! Tokens, which distinguish webhook URLs from each other and keep them secret.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::spool::TokenHash;

/// The path of a webhook URL, up to the token.
pub const PATH: &str = "/v1/mailjet/";
/// The digits of a token.
pub const DIGITS: usize = 64;
/// How many webhook URLs may be active at a time: one can be created and registered with Mailjet before the
/// other is revoked.
pub const MAX_ACTIVE: usize = 2;

/// The secret part of a webhook URL: 64 lower-case hexadecimal digits.
///
/// It can be shown only as part of the whole URL, by [`Token::url`].
#[derive(Debug)]
pub struct Token(SecretString);

impl Token {
    /// Creates a token from the system's random source.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let digits = bytes.iter().flat_map(|byte: &u8| [byte >> 4, byte & 15]);
        let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        Ok(Token(text.into()))
    }

    /// Reads a token. Returns `None` if `text` does not have the form of one.
    pub fn parse(text: String) -> Option<Self> {
        Token::is_well_formed(&text).then(|| Token(text.into()))
    }

    pub(crate) fn is_well_formed(text: &str) -> bool {
        text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// Returns the whole webhook URL, for Mailjet.
    pub(crate) fn url(&self, public_url: &str) -> String {
        format!("{}{PATH}{}", public_url.trim_end_matches('/'), self.0.expose_secret())
    }

    /// Returns the hash that the spool stores.
    pub fn hash(&self) -> TokenHash {
        hash(self.0.expose_secret())
    }
}

pub(super) fn hash(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_64_lower_case_hexadecimal_digits_and_is_shown_only_in_its_url() {
        let token = Token::random().expect("random numbers");
        let text = token.0.expose_secret();
        assert!(Token::is_well_formed(text));
        assert_eq!(
            token.url("https://hooks.example.com/"),
            format!("https://hooks.example.com/v1/mailjet/{text}")
        );
        assert!(!format!("{token:?}").contains(text));
        let upper = "A".repeat(64);
        for wrong in ["", "abc", upper.as_str(), &text[1..], &format!("{text}0")] {
            assert!(!Token::is_well_formed(wrong), "{wrong}");
        }
    }
}
