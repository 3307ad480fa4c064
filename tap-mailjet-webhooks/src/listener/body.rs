//! How a body is read: bounded in size and in memory.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, pin_mut};
use tokio::time::{Instant, timeout_at};

use super::connection_slots::Slot;
use super::refusal::Refusal;
use crate::spool::{Append, AppendError, Reservation};

/// The memory that each request counts for, besides its body.
const REQUEST_BYTES: usize = 512;
/// Up to this length, memory for the whole body is taken in advance. For a longer body it is taken as the
/// body arrives, because the length is only claimed.
const TRUSTED_LENGTH: usize = 64 << 10;

/// The time that a body has before its rate matters.
const GRACE: Duration = Duration::from_secs(10);
/// The bytes that have to arrive each second after that, on average.
const LEAST_RATE: u32 = 1024;

/// How long a request waits for other connections to make room in memory, and how often it looks.
const ROOM_TIME: Duration = Duration::from_secs(1);
const ROOM_INTERVAL: Duration = Duration::from_millis(20);

/// Reserves the memory for a request whose body is claimed to have this length. If there is none, stalled and
/// greedy connections make room.
pub(super) async fn reserve(
    claimed_length: Option<u64>,
    spool: &impl Append,
    slot: &Slot,
) -> Result<Reservation, Refusal> {
    let bytes = REQUEST_BYTES + trusted_length(claimed_length);
    let start = Instant::now();
    loop {
        match spool.reserve(bytes) {
            Err(AppendError::Overloaded) if start.elapsed() < ROOM_TIME && slot.make_room() => {
                tokio::time::sleep(ROOM_INTERVAL).await;
            }
            reserved => return reserved.map_err(Refusal::Spool),
        }
    }
}

fn trusted_length(claimed_length: Option<u64>) -> usize {
    let expected = claimed_length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    expected.min(TRUSTED_LENGTH)
}

/// Reads a body to its end. The caller sets the time-out for the whole of it.
pub(super) async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    claimed_length: Option<u64>,
    max_bytes: u64,
    mut reservation: Reservation,
    slot: &Slot,
) -> Result<(Bytes, Reservation), Refusal> {
    let trusted = trusted_length(claimed_length);
    let mut reserved = trusted;
    pin_mut!(body);
    let mut text = BytesMut::new();
    let start = Instant::now();
    slot.note_progress(0);
    loop {
        let seconds = u32::try_from(text.len()).unwrap_or(u32::MAX) / LEAST_RATE;
        let late = start + GRACE + Duration::from_secs(seconds.into());
        let next = timeout_at(late, body.next()).await.map_err(|_| Refusal::BodyLate)?;
        let Some(chunk) = next else { break };
        let mut chunk = chunk.map_err(|_| Refusal::BodyBroken)?;
        let length = text.len() + chunk.remaining();
        if length as u64 > max_bytes {
            return Err(Refusal::BodyTooLarge { limit: max_bytes });
        }
        if length > reserved {
            reservation.grow(length - reserved).map_err(Refusal::Spool)?;
            reserved = length;
        }
        slot.note_progress(length);
        // Most bodies arrive in one chunk, which is not copied.
        if text.is_empty() && claimed_length == Some(length as u64) {
            slot.note_whole_body();
            return Ok((chunk.copy_to_bytes(length), reservation));
        }
        text.reserve(chunk.remaining().max(trusted.saturating_sub(text.len())));
        text.put(chunk);
    }
    slot.note_whole_body();
    Ok((text.freeze(), reservation))
}
