//! What one request asks the spool to store: its text, and where the items are in it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::{AppendError, ItemKind, Reservation};
use crate::os::clock::UnixMillis;

/// What a row costs besides its text: key, time, header, and its share of the page.
const ROW_OVERHEAD: u64 = 40;

/// Proof that a batch is durable. Only a spool gives receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Events that are stored.
    pub accepted: usize,
    /// Items that are stored although they are not events.
    pub rejected: usize,
}

/// What one request asks the spool to store. It holds its reserved memory until it is dropped.
#[derive(Debug)]
pub struct Batch {
    text: Bytes,
    items: Items,
    received_at: UnixMillis,
    _reservation: Reservation,
}

impl Batch {
    /// A batch of `items`, slices of `text`, that arrived at `received_at`.
    ///
    /// The text of each event must be a JSON object in UTF-8: the emitter relies on it.
    #[must_use]
    pub fn new(text: Bytes, items: Items, received_at: UnixMillis, reservation: Reservation) -> Self {
        Batch { text, items, received_at, _reservation: reservation }
    }

    /// The receipt that the batch gets once it is stored.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        self.items.receipt
    }

    /// Bytes of text that the batch holds in memory.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes that the batch takes in storage, approximately.
    pub(super) fn cost(&self) -> u64 {
        let Receipt { accepted, rejected } = self.items.receipt;
        let rows = (accepted + rejected) as u64;
        self.text.len() as u64 + rows * ROW_OVERHEAD + rejected as u64 * self.items.reason.len() as u64
    }

    /// When its webhook arrived.
    pub(super) fn received_at(&self) -> UnixMillis {
        self.received_at
    }

    /// The items in their order, each with the reason why it is not an event, if it is not one.
    pub(super) fn items(&self) -> impl Iterator<Item = (&[u8], Option<&str>)> {
        self.items.iter().map(|(range, kind)| {
            let rejected_for = match kind {
                ItemKind::Event => None,
                ItemKind::Rejected => Some(self.items.reason.as_ref()),
            };
            (&self.text[range], rejected_for)
        })
    }
}

/// Where the items of a batch are in its text, in their order.
///
/// For each item it keeps two lengths, in a byte or two each: that of the gap before the item, and the item's own. So the
/// index of `[0,0,…]` is no larger than the text; a list of ranges would be many times as large.
#[derive(Debug)]
pub struct Items {
    steps: Vec<u8>,
    /// Where the last item ends.
    end: usize,
    /// Why those that are rejected are not events.
    reason: Cow<'static, str>,
    receipt: Receipt,
}

impl Items {
    /// Bytes that the two lengths of one item take at most.
    const STEP_BYTES: usize = 20;

    /// An empty list. `reason` says why those that are rejected are not events.
    #[must_use]
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        // Headroom for the one event of the usual request, which is counted with it.
        Items {
            steps: Vec::with_capacity(2 * Self::STEP_BYTES),
            end: 0,
            reason: reason.into(),
            receipt: Receipt::default(),
        }
    }

    /// Adds an item that starts where the last one ends, or later. Its memory is taken from `reservation`.
    pub fn push(
        &mut self,
        range: Range<usize>,
        kind: ItemKind,
        reservation: &mut Reservation,
    ) -> Result<(), AppendError> {
        if self.steps.capacity() - self.steps.len() < Self::STEP_BYTES {
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

    /// Where each item is, and of which kind.
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

    /// Appends a number: seven bits a byte, the lowest first; the highest bit means that more follow.
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

    /// Two bytes of text for each item lead to two bytes of index, and they are reserved before they are used.
    #[test]
    fn the_index_is_no_larger_than_its_text_and_stops_at_the_budget() {
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
    fn a_rejected_item_costs_its_reason_as_well() {
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
