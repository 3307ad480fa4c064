//! How a rejected item is written: as text, and exactly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::lossy_text;

/// How much of a rejected item is also shown as text if that is not exact.
const PREVIEW_BYTES: usize = 64 << 10;
/// How many control characters a text may have for each of its other bytes. JSON writes such a character
/// with six.
const MAX_CONTROL_SHARE: usize = 4;

/// The columns `record` and `record_base64` of a rejected item.
pub(super) struct RejectedRecord {
    /// The item as text. If it is not exact, only its beginning.
    pub(super) text: String,
    /// The item's bytes, if the text is not exactly the item.
    pub(super) base64: Option<String>,
}

impl RejectedRecord {
    pub(super) fn new(body: &[u8]) -> Self {
        let controls = body.iter().filter(|byte| byte.is_ascii_control()).count();
        let is_text = controls <= PREVIEW_BYTES.max(body.len() / MAX_CONTROL_SHARE) && !body.contains(&0);
        match str::from_utf8(body) {
            Ok(text) if is_text => RejectedRecord { text: text.to_owned(), base64: None },
            _ => RejectedRecord {
                text: lossy_text(&body[..body.len().min(PREVIEW_BYTES)]),
                base64: Some(STANDARD.encode(body)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_text_cannot_hold_is_kept_in_base64() {
        let columns = |body: &[u8]| {
            let record = RejectedRecord::new(body);
            (record.text, record.base64)
        };
        assert_eq!(columns("é\n\t".as_bytes()), ("é\n\t".to_owned(), None));
        assert_eq!(columns(b"caf\xe9"), ("caf\u{fffd}".to_owned(), Some("Y2Fm6Q==".to_owned())));
        assert_eq!(columns(b"a\0"), ("a\u{fffd}".to_owned(), Some("YQA=".to_owned())));
        let long = "x".repeat(1 << 20);
        assert_eq!(columns(long.as_bytes()), (long, None));
        // As text in JSON, these would be six times as long.
        let (text, base64) = columns(&vec![1; 1 << 20]);
        assert_eq!((text.len(), base64.map(|text| text.len())), (PREVIEW_BYTES, Some(1_398_104)));
        let (text, base64) = columns(&[b"\xff".as_slice(), &vec![b'x'; 1 << 20]].concat());
        assert!(text.len() < PREVIEW_BYTES + 3 && base64.is_some());
    }
}
