//! What one request asks the spool to keep: its text, and where the items stand in it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::{AppendError, Receipt, Reservation};

/// What a batch costs in the file besides its texts, for each row: key, time, header, and its share of the page.
const ROW_OVERHEAD: u64 = 40;

/// What one request asks the spool to keep. It holds the memory that it was reserved until it is dropped.
#[derive(Debug)]
pub struct Batch {
    text: Bytes,
    items: Items,
    received_at: i64,
    _reservation: Reservation,
}

impl Batch {
    /// A batch of `items`, slices of `text`, that arrived at `received_at` (Unix milliseconds).
    ///
    /// The text of events must be JSON objects in UTF-8: the reader relies on it.
    #[must_use]
    pub fn new(text: Bytes, items: Items, received_at: i64, reservation: Reservation) -> Self {
        Batch { text, items, received_at, _reservation: reservation }
    }

    /// How many events the batch holds, and how many items that are not events.
    #[must_use]
    pub fn count(&self) -> Receipt {
        self.items.count
    }

    /// Bytes of text that the batch holds in memory.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes that the batch takes in the file, nearly.
    pub(super) fn cost(&self) -> u64 {
        let Receipt { accepted, rejected } = self.items.count;
        let rows = (accepted + rejected) as u64;
        self.text.len() as u64 + rows * ROW_OVERHEAD + rejected as u64 * self.items.reason.len() as u64
    }

    /// When its webhook arrived: Unix milliseconds.
    pub(super) fn received_at(&self) -> i64 {
        self.received_at
    }

    /// The items in their order, each with the reason why it is none, if it is no event.
    pub(super) fn items(&self) -> impl Iterator<Item = (&[u8], Option<&str>)> {
        self.items.iter().map(|(range, is_event)| {
            (&self.text[range], if is_event { None } else { Some(self.items.reason.as_ref()) })
        })
    }
}

/// Where the items of a batch stand in its text, in their order.
///
/// What is kept of each is two lengths: that of the gap before it and its own, in a byte or two each. So the index of
/// `[0,0,…]` is no larger than the text; one of ranges would be many times as large.
#[derive(Debug)]
pub struct Items {
    steps: Vec<u8>,
    /// Where the last item ends.
    end: usize,
    /// Why those that are not events are none.
    reason: Cow<'static, str>,
    count: Receipt,
}

impl Items {
    /// Bytes that the two lengths of one item can take at the most.
    const STEP_BYTES: usize = 20;

    /// No items yet. `reason` says why those that are not events are none.
    #[must_use]
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        let count = Receipt { accepted: 0, rejected: 0 };
        // Headroom for the one event of the usual request, which is counted with it.
        Items { steps: Vec::with_capacity(2 * Self::STEP_BYTES), end: 0, reason: reason.into(), count }
    }

    /// Adds an item that begins where the last one ends, or later. The memory for it is taken from `reservation`.
    pub fn push(
        &mut self,
        range: Range<usize>,
        is_event: bool,
        reservation: &mut Reservation,
    ) -> Result<(), AppendError> {
        if self.steps.capacity() - self.steps.len() < Self::STEP_BYTES {
            let more = self.steps.capacity();
            reservation.grow(more)?;
            self.steps.reserve_exact(more + self.steps.capacity() - self.steps.len());
        }
        self.write(range.start - self.end);
        self.write(range.len() << 1 | usize::from(is_event));
        self.end = range.end;
        *(if is_event { &mut self.count.accepted } else { &mut self.count.rejected }) += 1;
        Ok(())
    }

    /// Where each item stands, and whether it is an event.
    pub fn iter(&self) -> impl Iterator<Item = (Range<usize>, bool)> {
        let mut steps = self.steps.iter();
        let mut end = 0;
        std::iter::from_fn(move || {
            let start = end + read(&mut steps)?;
            let step = read(&mut steps)?;
            end = start + (step >> 1);
            Some((start..end, step & 1 == 1))
        })
    }

    /// Appends a number: seven bits a byte, the lowest first; the highest bit says that more follow.
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
    use super::*;

    #[test]
    fn items_are_found_where_they_were_put() {
        let ranges =
            [(0..1, true), (1..1, false), (3..130, true), (257..400, false), (70_000..3 << 30, true)];
        let mut reservation = Budget::new(1 << 20).reserve(0).expect("memory");
        let mut items = Items::new("why");
        for (range, is_event) in ranges.clone() {
            items.push(range, is_event, &mut reservation).expect("memory");
        }
        assert_eq!(items.iter().collect::<Vec<_>>(), ranges);
        assert_eq!(items.count, Receipt { accepted: 3, rejected: 2 });
    }

    /// Two bytes of text for each item are answered by two of index, and its room is paid for before it is taken.
    #[test]
    fn the_index_is_no_larger_than_its_text_and_ends_with_the_budget() {
        let mut reservation = Budget::new(100_000).reserve(0).expect("memory");
        let mut items = Items::new("why");
        let mut taken = 0;
        while items.push(1 + 2 * taken..2 + 2 * taken, false, &mut reservation).is_ok() {
            taken += 1;
        }
        assert_eq!(items.steps.len(), 2 * taken);
        assert!((25_000..=50_000).contains(&taken), "{taken}");
    }

    #[test]
    fn rejected_items_cost_their_reason() {
        let cost = |is_event| {
            let mut reservation = Budget::new(1 << 20).reserve(0).expect("memory");
            let mut items = Items::new("a reason of 26 characters.");
            for at in 0..1000 {
                items.push(2 * at..2 * at + 1, is_event, &mut reservation).expect("memory");
            }
            Batch::new(Bytes::from(vec![b'0'; 2000]), items, 0, reservation).cost()
        };
        assert_eq!((cost(true), cost(false)), (42_000, 68_000));
    }
}
