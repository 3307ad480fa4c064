//! A request's items on their way into the spool: the text, and where each item is in it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::{AppendError, ItemKind, Reservation};
use crate::os::clock::UnixMillis;

/// Bytes that a row takes besides its text: key, time, header and a share of the page.
const ROW_OVERHEAD: u64 = 40;

/// Proof that a batch is durable. Only [`Append::append`](super::Append::append) returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The number of stored events.
    pub accepted: usize,
    /// The number of stored items that are not events.
    pub rejected: usize,
}

/// The items of one request. A batch holds its reserved memory until it is dropped.
#[derive(Debug)]
pub struct Batch {
    pub(super) text: Bytes,
    items: Items,
    /// When the webhook arrived.
    pub(super) received_at: UnixMillis,
    _reservation: Reservation,
}

impl Batch {
    /// A batch of `items`, which are slices of `text`.
    ///
    /// Each event must be a JSON object in UTF-8; the spool does not check that.
    pub fn new(text: Bytes, items: Items, received_at: UnixMillis, reservation: Reservation) -> Self {
        Batch { text, items, received_at, _reservation: reservation }
    }

    /// Returns the receipt to give once the batch is stored.
    pub fn receipt(&self) -> Receipt {
        self.items.receipt
    }

    pub(super) fn rows(&self) -> u32 {
        let Receipt { accepted, rejected } = self.items.receipt;
        u32::try_from(accepted + rejected).unwrap_or(u32::MAX)
    }

    /// Estimates the bytes that the batch takes in storage.
    pub(super) fn cost(&self) -> u64 {
        let reasons: usize = self.items.iter().filter_map(|(_, reason)| reason).map(str::len).sum();
        (self.text.len() + reasons) as u64 + u64::from(self.rows()) * ROW_OVERHEAD
    }

    /// Returns the items in order. Each one that is not an event comes with the reason why.
    pub(super) fn items(&self) -> impl Iterator<Item = (&[u8], Option<&str>)> {
        self.items.iter().map(|(range, reason)| (&self.text[range], reason))
    }
}

/// Where the items of a batch are in its text, in order.
///
/// For each item it keeps a few numbers of variable length: the length of the gap before the item, that of
/// the item, and which reason it is rejected for. The index of `[{},{},…]` is therefore no larger than the
/// text, where a list of ranges would be many times as large.
#[derive(Debug)]
pub struct Items {
    steps: Vec<u8>,
    /// The end of the last item.
    end: usize,
    /// Why the rejected items are not events: each reason once.
    reasons: Vec<Cow<'static, str>>,
    receipt: Receipt,
}

impl Items {
    /// The most bytes that the numbers of one item can take.
    const MAX_STEP_BYTES: usize = 30;
    /// How many different reasons are kept. Items beyond them get the last one.
    const MAX_REASONS: usize = 16;

    /// An empty list.
    pub fn new() -> Self {
        // Enough for the usual request of one event; the listener's reservation for the request covers it.
        Items {
            steps: Vec::with_capacity(2 * Self::MAX_STEP_BYTES),
            end: 0,
            reasons: Vec::new(),
            receipt: Receipt::default(),
        }
    }

    /// Adds an event, which must not start before the last item ends. More memory is taken from
    /// `reservation`.
    pub fn push_event(
        &mut self,
        range: Range<usize>,
        reservation: &mut Reservation,
    ) -> Result<(), AppendError> {
        self.push(range, ItemKind::Event, reservation)?;
        self.receipt.accepted += 1;
        Ok(())
    }

    /// Adds something that is not an event, and the reason why. Otherwise like [`Items::push_event`].
    pub fn push_rejected(
        &mut self,
        range: Range<usize>,
        reason: Cow<'static, str>,
        reservation: &mut Reservation,
    ) -> Result<(), AppendError> {
        let known = self.reasons.iter().position(|known| *known == reason);
        let index = known.unwrap_or_else(|| {
            if self.reasons.len() < Self::MAX_REASONS {
                self.reasons.push(reason);
            }
            self.reasons.len() - 1
        });
        self.push(range, ItemKind::Rejected, reservation)?;
        self.write(index);
        self.receipt.rejected += 1;
        Ok(())
    }

    fn push(
        &mut self,
        range: Range<usize>,
        kind: ItemKind,
        reservation: &mut Reservation,
    ) -> Result<(), AppendError> {
        if self.steps.capacity() - self.steps.len() < Self::MAX_STEP_BYTES {
            let more = self.steps.capacity();
            reservation.grow(more)?;
            self.steps.reserve_exact(more + self.steps.capacity() - self.steps.len());
        }
        self.write(range.start - self.end);
        self.write(range.len() << 1 | usize::from(kind == ItemKind::Event));
        self.end = range.end;
        Ok(())
    }

    /// Returns how many items of each kind there are.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Returns the range of each item and, unless it is an event, the reason why not.
    pub fn iter(&self) -> impl Iterator<Item = (Range<usize>, Option<&str>)> {
        let mut steps = self.steps.iter();
        let mut end = 0;
        std::iter::from_fn(move || {
            let start = end + read(&mut steps)?;
            let step = read(&mut steps)?;
            end = start + (step >> 1);
            let is_event = step & 1 == 1;
            let reason = if is_event { None } else { Some(&*self.reasons[read(&mut steps)?]) };
            Some((start..end, reason))
        })
    }

    /// Appends a number, seven bits a byte, lowest first. The highest bit of a byte says that more follow.
    fn write(&mut self, mut number: usize) {
        while number > 0x7f {
            self.steps.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.steps.push(number.to_le_bytes()[0]);
    }
}

impl Default for Items {
    fn default() -> Self {
        Items::new()
    }
}

fn read<'a>(steps: &mut impl Iterator<Item = &'a u8>) -> Option<usize> {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let byte = *steps.next()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::super::Budget;
    use super::*;

    #[test]
    fn items_are_found_where_they_were_added() {
        let ranges = [
            (0..1, None),
            (1..1, Some("why")),
            (3..130, None),
            (257..400, Some("because")),
            (401..402, Some("why")),
            (70_000..3 << 30, None),
        ];
        let mut reservation = Budget::new(1 << 20).reserve(0).expect("memory");
        let mut items = Items::new();
        for (range, reason) in ranges.clone() {
            match reason {
                None => items.push_event(range, &mut reservation),
                Some(reason) => items.push_rejected(range, reason.into(), &mut reservation),
            }
            .expect("memory");
        }
        assert_eq!(items.iter().collect::<Vec<_>>(), ranges);
        assert_eq!(items.receipt, Receipt { accepted: 3, rejected: 3 });
    }

    /// Each item here has two bytes of text and two bytes of index, which are reserved before they are used.
    #[test]
    fn the_index_is_no_larger_than_its_text_and_stays_within_the_budget() {
        let mut reservation = Budget::new(100_000).reserve(0).expect("memory");
        let mut items = Items::new();
        let mut taken = 0;
        while items.push_event(1 + 2 * taken..2 + 2 * taken, &mut reservation).is_ok() {
            taken += 1;
        }
        assert_eq!(items.steps.len(), 2 * taken);
        assert!((25_000..=50_000).contains(&taken), "{taken}");
    }

    #[test]
    fn the_number_of_reasons_is_bounded() {
        let mut reservation = Budget::new(1 << 20).reserve(0).expect("memory");
        let mut items = Items::new();
        for at in 0..100 {
            items.push_rejected(at..at + 1, format!("reason {at}").into(), &mut reservation).expect("memory");
        }
        assert_eq!(items.reasons.len(), Items::MAX_REASONS);
        assert_eq!(items.iter().last(), Some((99..100, Some("reason 15"))));
    }

    #[test]
    fn the_cost_of_a_rejected_item_includes_its_reason() {
        let cost = |is_event| {
            let mut reservation = Budget::new(1 << 20).reserve(0).expect("memory");
            let mut items = Items::new();
            for at in 0..1000 {
                let range = 2 * at..2 * at + 1;
                match is_event {
                    true => items.push_event(range, &mut reservation),
                    false => {
                        items.push_rejected(range, "a reason of 26 characters.".into(), &mut reservation)
                    }
                }
                .expect("memory");
            }
            Batch::new(Bytes::from(vec![b'0'; 2000]), items, UnixMillis::new(0), reservation).cost()
        };
        assert_eq!((cost(true), cost(false)), (42_000, 68_000));
    }
}
