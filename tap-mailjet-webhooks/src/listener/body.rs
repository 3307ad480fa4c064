//! Reading a body: bounded in size, in time and in memory.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, pin_mut};

use super::refusal::Refusal;
use crate::spool::{Append, Reservation};

/// Memory that a request is counted with besides its body.
const REQUEST_BYTES: usize = 512;
/// Up to this size, room is made for the whole body at once; a larger one makes room as it arrives, since its length
/// is only claimed.
const TRUSTED_LENGTH: usize = 64 << 10;

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) max_bytes: u64,
    pub(super) timeout: Duration,
}

/// Reads a body to its end.
pub(super) async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    claimed_length: Option<u64>,
    limits: BodyLimits,
    spool: &impl Append,
) -> Result<(Bytes, Reservation), Refusal> {
    let too_large = Refusal::BodyTooLarge { limit: limits.max_bytes };
    if claimed_length.is_some_and(|length| length > limits.max_bytes) {
        return Err(too_large);
    }
    let trusted =
        claimed_length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX)).min(TRUSTED_LENGTH);
    let mut reserved = trusted;
    let mut reservation = spool.reserve(REQUEST_BYTES + reserved).map_err(Refusal::Spool)?;
    let read = async {
        pin_mut!(body);
        let mut whole = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| Refusal::BodyBroken)?;
            let length = whole.len() + chunk.remaining();
            if length as u64 > limits.max_bytes {
                return Err(too_large);
            }
            if length > reserved {
                reservation.grow(length - reserved).map_err(Refusal::Spool)?;
                reserved = length;
            }
            // The usual body comes in one piece, which is kept as it is.
            if whole.is_empty() && claimed_length == Some(length as u64) {
                return Ok(chunk.copy_to_bytes(length));
            }
            whole.reserve(chunk.remaining().max(trusted.saturating_sub(whole.len())));
            bytes::BufMut::put(&mut whole, chunk);
        }
        Ok(whole.freeze())
    };
    let whole = tokio::time::timeout(limits.timeout, read).await.map_err(|_| Refusal::BodyLate)??;
    Ok((whole, reservation))
}
