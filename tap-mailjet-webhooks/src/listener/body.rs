//! How a body is read: bounded in size and in memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, pin_mut};

use super::refusal::Refusal;
use crate::spool::{Append, Reservation};

/// The memory that each request counts for, besides its body.
const REQUEST_BYTES: usize = 512;
/// Up to this length, memory for the whole body is taken in advance. For a longer body it is taken as the
/// body arrives, because the length is only claimed.
const TRUSTED_LENGTH: usize = 64 << 10;

/// Reads a body to its end. The caller sets the time-out.
pub(super) async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    claimed_length: Option<u64>,
    max_bytes: u64,
    spool: &impl Append,
) -> Result<(Bytes, Reservation), Refusal> {
    let expected = claimed_length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    let trusted = expected.min(TRUSTED_LENGTH);
    let mut reserved = trusted;
    let mut reservation = spool.reserve(REQUEST_BYTES + reserved).map_err(Refusal::Spool)?;
    pin_mut!(body);
    let mut text = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| Refusal::BodyBroken)?;
        let length = text.len() + chunk.remaining();
        if length as u64 > max_bytes {
            return Err(Refusal::BodyTooLarge { limit: max_bytes });
        }
        if length > reserved {
            reservation.grow(length - reserved).map_err(Refusal::Spool)?;
            reserved = length;
        }
        // Most bodies arrive in one chunk, which is not copied.
        if text.is_empty() && claimed_length == Some(length as u64) {
            return Ok((chunk.copy_to_bytes(length), reservation));
        }
        text.reserve(chunk.remaining().max(trusted.saturating_sub(text.len())));
        text.put(chunk);
    }
    Ok((text.freeze(), reservation))
}
