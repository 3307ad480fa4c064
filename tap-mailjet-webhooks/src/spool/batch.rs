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
        let reasons = self.items.receipt.rejected * self.items.reason.len();
        (self.text.len() + reasons) as u64 + u64::from(self.rows()) * ROW_OVERHEAD
    }

    /// Returns the items in order. Each one that is not an event comes with the reason why.
    pub(super) fn items(&self) -> impl Iterator<Item = (&[u8], Option<&str>)> {
        self.items.iter().map(|(range, kind)| {
            (&self.text[range], (kind == ItemKind::Rejected).then_some(&*self.items.reason))
        })
    }
}

/// Where the items of a batch are in its text, in order.
///
/// For each item it keeps two numbers of variable length: the length of the gap before the item, and that of
/// the item. The index of `[0,0,…]` is therefore no larger than the text, where a list of ranges would be
/// many times as large.
#[derive(Debug)]
pub struct Items {
    steps: Vec<u8>,
    /// The end of the last item.
    end: usize,
    /// Why the rejected items are not events.
    reason: Cow<'static, str>,
    receipt: Receipt,
}

impl Items {
    /// The most bytes that the two lengths of one item can take.
    const MAX_STEP_BYTES: usize = 20;

    /// An empty list. `reason` says why the rejected items are not events.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        // Enough for the usual request of one event; the listener's reservation for the request covers it.
        Items {
            steps: Vec::with_capacity(2 * Self::MAX_STEP_BYTES),
            end: 0,
            reason: reason.into(),
            receipt: Receipt::default(),
        }
    }

    /// Adds an item, which must not start before the last one ends. More memory is taken from `reservation`.
    pub fn push(
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
        match kind {
            ItemKind::Event => self.receipt.accepted += 1,
            ItemKind::Rejected => self.receipt.rejected += 1,
        }
        Ok(())
    }

    /// Returns the range and the kind of each item.
    pub fn iter(&self) -> impl Iterator<Item = (Range<usize>, ItemKind)> {
        let mut steps = self.steps.iter();
        let mut end = 0;
        std::iter::from_fn(move || {
            let start = end + read(&mut steps)?;
            let step = read(&mut steps)?;
            end = start + (step >> 1);
            let kind = if step & 1 == 1 { ItemKind::Event } else { ItemKind::Rejected };
            Some((start..end, kind))
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
    use super::ItemKind::{Event, Rejected};
    use super::*;

    #[test]
    fn items_are_found_where_they_were_added() {
        let ranges = [
            (0..1, Event),
            (1..1, Rejected),
            (3..130, Event),
            (257..400, Rejected),
            (70_000..3 << 30, Event),
        ];
        let mut reservation = Budget::new(1 << 20).reserve(0).expect("memory");
        let mut items = Items::new("why");
        for (range, kind) in ranges.clone() {
            items.push(range, kind, &mut reservation).expect("memory");
        }
        assert_eq!(items.iter().collect::<Vec<_>>(), ranges);
        assert_eq!(items.receipt, Receipt { accepted: 3, rejected: 2 });
    }

    /// Each item here has two bytes of text and two bytes of index, which are reserved before they are used.
    #[test]
    fn the_index_is_no_larger_than_its_text_and_stays_within_the_budget() {
        let mut reservation = Budget::new(100_000).reserve(0).expect("memory");
        let mut items = Items::new("why");
        let mut taken = 0;
        while items.push(1 + 2 * taken..2 + 2 * taken, Rejected, &mut reservation).is_ok() {
            taken += 1;
        }
        assert_eq!(items.steps.len(), 2 * taken);
        assert!((25_000..=50_000).contains(&taken), "{taken}");
    }

    #[test]
    fn the_cost_of_a_rejected_item_includes_its_reason() {
        let cost = |kind| {
            let mut reservation = Budget::new(1 << 20).reserve(0).expect("memory");
            let mut items = Items::new("a reason of 26 characters.");
            for at in 0..1000 {
                items.push(2 * at..2 * at + 1, kind, &mut reservation).expect("memory");
            }
            Batch::new(Bytes::from(vec![b'0'; 2000]), items, UnixMillis::new(0), reservation).cost()
        };
        assert_eq!((cost(Event), cost(Rejected)), (42_000, 68_000));
    }
}
