//! The guards: what a request has to pass before its body is read.
//!
//! [`Guards::admit`] has their order. Past them, the body's real size and the time it takes are bounded while
//! it is read.

pub(super) mod active_tokens;
pub(super) mod address;
pub(super) mod credentials;
mod framing;
pub mod token;

use warp::http::Method;

use self::active_tokens::{ActiveTokens, AdmittedToken};
use self::address::AddressGuard;
use self::credentials::Credentials;
use super::handler::RequestHead;
use super::refusal::Refusal;

/// What a request has to pass.
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

/// What the guards know of a request that has passed them.
pub(super) struct Admitted {
    pub(super) token: AdmittedToken,
    /// The length of the body, if the client says it in advance.
    pub(super) claimed_length: Option<u64>,
}

impl Guards {
    /// Admits a request, or returns why the first guard that it does not pass refuses it.
    ///
    /// The token comes first: to clients that do not know one, every path looks the same.
    pub(super) fn admit(&self, head: &RequestHead) -> Result<Admitted, Refusal> {
        let token = self.check_token(head)?;
        self.check_address(head)?;
        self.check_credentials(head)?;
        check_method(head)?;
        framing::check_codings(&head.headers)?;
        let claimed_length = framing::claimed_length(&head.headers, self.max_body_bytes)?;
        Ok(Admitted { token, claimed_length })
    }

    fn check_token(&self, head: &RequestHead) -> Result<AdmittedToken, Refusal> {
        let token = head.path.as_str().strip_prefix(token::PATH);
        token.and_then(|token| self.tokens.admit(token)).ok_or(Refusal::NotFound)
    }

    fn check_address(&self, head: &RequestHead) -> Result<(), Refusal> {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        addresses.check(head.peer, &head.headers).map_err(|client| Refusal::AddressNotAllowed { client })
    }

    fn check_credentials(&self, head: &RequestHead) -> Result<(), Refusal> {
        match &self.credentials {
            Some(credentials) if !credentials.matches(&head.headers) => Err(Refusal::NotAuthorized),
            _ => Ok(()),
        }
    }
}

fn check_method(head: &RequestHead) -> Result<(), Refusal> {
    if head.method == Method::POST { Ok(()) } else { Err(Refusal::NotPost) }
}
