//! What a request's headers say about its body: its encoding and its length.

use warp::http::HeaderMap;
use warp::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};

use crate::listener::refusal::Refusal;

/// Refuses a request with several `Host` headers, of which two servers could believe different ones (RFC
/// 9112, section 3.2).
pub(super) fn check_host(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.get_all(HOST).iter().count() > 1 { Err(Refusal::SeveralHosts) } else { Ok(()) }
}

/// Refuses a body with a content coding such as gzip, or with a transfer coding other than chunks.
pub(super) fn check_codings(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_content_coding = |value: &HeaderValue| {
        let coding = value.as_bytes().trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    };
    if headers.get_all(CONTENT_ENCODING).iter().any(is_content_coding) {
        return Err(Refusal::BodyEncoded);
    }
    // Any other transfer coding either encodes the body or makes a proxy see its end elsewhere.
    let mut transfer_codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !transfer_codings.next().is_none_or(is_chunked) || transfer_codings.next().is_some() {
        return Err(Refusal::BodyEncoded);
    }
    Ok(())
}

/// Returns the length that a request claims for its body, if it claims one, and refuses one above
/// `max_body_bytes`.
pub(super) fn claimed_length(headers: &HeaderMap, max_body_bytes: u64) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|digits| digits.parse().ok()).ok_or(Refusal::BadHeader)?;
    if length > max_body_bytes {
        return Err(Refusal::BodyTooLarge { limit: max_body_bytes });
    }
    Ok(Some(length))
}
