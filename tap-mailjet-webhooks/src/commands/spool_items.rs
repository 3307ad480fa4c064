//! How `spool verify` and `spool export` judge and describe stored items.

use serde_json::value::RawValue;

use crate::spool::{Damage, ItemKind};

/// Says which items cannot be read, and why.
pub(super) fn describe_damage(kind: ItemKind, damage: &Damage) -> String {
    let Damage { after, through, reason } = damage;
    let items = match kind {
        ItemKind::Event => "events",
        ItemKind::Rejected => "rejected items",
    };
    format!("{items} with sequences from {} to {through} cannot be read: {reason}", after.next())
}

/// Whether the body of an event is what it was when it was stored: one JSON object.
pub(super) fn is_json_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<&RawValue>(body).is_ok()
}
