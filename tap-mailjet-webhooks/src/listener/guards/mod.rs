//! The guards: what a request has to pass before its body is read, in the order of [`Guards::admit`].
//!
//! | file | contents |
//! | --- | --- |
//! | [`token`], [`active_tokens`] | the token in the path, and the tokens that are active at the moment |
//! | [`address`] | the client's address, directly or behind trusted proxies |
//! | [`credentials`] | user name and password |
//! | [`framing`] | the host, and the headers about the body: its encoding, and the length that they claim |
//!
//! Past the guards, the body's real size and the time it takes are bounded while it is read.

pub(super) mod active_tokens;
pub(super) mod address;
pub(super) mod credentials;
mod framing;
pub mod token;

use std::net::SocketAddr;

use warp::http::{HeaderMap, Method};
use warp::path::FullPath;

use self::active_tokens::{ActiveTokens, Unknown};
use self::address::AddressGuard;
use self::credentials::Credentials;
use super::refusal::Refusal;
use crate::spool::{AppendError, TokenHash};

/// What a request has to pass before its body is read.
#[derive(Debug, Clone)]
pub struct Guards {
    /// The tokens of the active webhook URLs.
    pub tokens: ActiveTokens,
    /// The addresses that webhooks may come from; `None` if that is any address.
    pub addresses: Option<AddressGuard>,
    /// The user name and password that a request has to have; `None` if it needs none.
    pub credentials: Option<Credentials>,
    /// The largest body, in bytes.
    pub max_body_bytes: u64,
}

/// A request without its body.
pub(super) struct RequestHead {
    pub(super) peer: SocketAddr,
    pub(super) path: FullPath,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
}

impl Guards {
    /// Admits a request, or returns why the first guard that it does not pass refuses it. Returns its token,
    /// and the length that it claims for its body, if it claims one.
    ///
    /// The token comes first: to clients that do not know one, every path looks the same.
    pub(super) fn admit(&self, head: &RequestHead) -> Result<(TokenHash, Option<u64>), Refusal> {
        let RequestHead { peer, path, method, headers } = head;
        let text = path.as_str().strip_prefix(token::PATH);
        // Many tools add a slash.
        let text = text.map(|text| text.strip_suffix('/').unwrap_or(text));
        let token = text.map_or(Ok(None), |text| self.tokens.admit(text));
        let token = token.map_err(|Unknown| Refusal::Spool(AppendError::Unavailable))?;
        let token = token.ok_or_else(|| self.not_found(path.as_str()))?;
        framing::check_host(headers)?;
        if let Some(addresses) = &self.addresses {
            addresses.check(*peer, headers).map_err(|client| Refusal::AddressNotAllowed { client })?;
        }
        if self.credentials.as_ref().is_some_and(|credentials| !credentials.matches(headers)) {
            return Err(Refusal::NotAuthorized);
        }
        if method != Method::POST {
            return Err(Refusal::NotPost);
        }
        framing::check_codings(headers)?;
        Ok((token, framing::claimed_length(headers, self.max_body_bytes)?))
    }

    /// Returns the refusal for a path that is not a webhook's. If it holds an active token all the same, the
    /// log will say so.
    fn not_found(&self, path: &str) -> Refusal {
        let runs = path.split(|c: char| !c.is_ascii_hexdigit()).filter(|run| run.len() == token::DIGITS);
        if !runs.clone().any(|run| matches!(self.tokens.admit(&run.to_ascii_lowercase()), Ok(Some(_)))) {
            return Refusal::NotFound;
        }
        // There may be several tokens, or one in several spellings.
        let without_tokens = runs.fold(path.to_owned(), |shown, run| shown.replace(run, "<token>"));
        Refusal::WrongPath { shown: without_tokens.chars().take(MAX_SHOWN_PATH).collect() }
    }
}

/// How many characters of a wrong path the log shows.
const MAX_SHOWN_PATH: usize = 200;
