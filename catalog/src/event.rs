//! Mailjet's events, as Mailjet documents them.
//!
//! The structs are never filled in: an event stays the bytes that arrived. They exist so that the columns,
//! their types and their descriptions are written once, as Rust, and the JSON Schemas are derived from them.

use std::borrow::Cow;
use std::ops::ControlFlow;

use schemars::JsonSchema;

use crate::members::{self, Member};

/// The types of events that Mailjet documents. Webhooks with other types are accepted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Mailjet's")]
pub enum EventType {
    Sent,
    Open,
    Click,
    Bounce,
    Blocked,
    Spam,
    Unsub,
}

impl EventType {
    /// All types, in Mailjet's order.
    pub const ALL: [Self; 7] =
        [Self::Sent, Self::Open, Self::Click, Self::Bounce, Self::Blocked, Self::Spam, Self::Unsub];

    /// Returns the type that has this name, as [`type_name`] returns it.
    pub fn from_name(name: &str) -> Option<Self> {
        EventType::ALL.into_iter().find(|event_type| event_type.name() == name)
    }

    /// Returns the name, as in the field `event`.
    pub fn name(self) -> &'static str {
        match self {
            EventType::Sent => "sent",
            EventType::Open => "open",
            EventType::Click => "click",
            EventType::Bounce => "bounce",
            EventType::Blocked => "blocked",
            EventType::Spam => "spam",
            EventType::Unsub => "unsub",
        }
    }

    /// Returns an event of this type, with every field that Mailjet documents for it, and invented values.
    pub fn sample(self) -> &'static str {
        match self {
            EventType::Sent => concat!(
                r#"{"event":"sent","time":1433333949,"MessageID":19421777835146490,"#,
                r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","#,
                r#""mj_campaign_id":7257,"mj_contact_id":4,"customcampaign":"","#,
                r#""mj_message_id":"19421777835146490","#,
                r#""smtp_reply":"sent (250 2.0.0 OK 1433333948 fa5si855896wjc.199 - gsmtp)","#,
                r#""CustomID":"welcome","Payload":""}"#,
            ),
            EventType::Open => concat!(
                r#"{"event":"open","time":1433103519,"MessageID":19421777396190490,"#,
                r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","#,
                r#""mj_campaign_id":7173,"mj_contact_id":320,"customcampaign":"","ip":"192.0.2.1","#,
                r#""geo":"FR","agent":"Mozilla/5.0 (Windows NT 10.0) Gecko Firefox/115.0","#,
                r#""CustomID":"welcome","Payload":""}"#,
            ),
            EventType::Click => concat!(
                r#"{"event":"click","time":1433334941,"MessageID":19421777836302490,"#,
                r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","#,
                r#""mj_campaign_id":7272,"mj_contact_id":4,"customcampaign":"","#,
                r#""url":"https://example.com/offer","ip":"192.0.2.1","geo":"FR","#,
                r#""agent":"Mozilla/5.0 (Windows NT 10.0) Gecko Firefox/115.0","CustomID":"welcome","#,
                r#""Payload":""}"#,
            ),
            EventType::Bounce => concat!(
                r#"{"event":"bounce","time":1430812195,"MessageID":13792286917004336,"#,
                r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"nobody@example.com","#,
                r#""mj_campaign_id":7288,"mj_contact_id":9,"customcampaign":"","CustomID":"welcome","#,
                r#""Payload":"","blocked":false,"hard_bounce":true,"error_related_to":"recipient","#,
                r#""error":"user unknown","#,
                r#""comment":"Host or domain name not found. Name service error for name=example.com "#,
                r#"type=A: Host found but no data record of requested type"}"#,
            ),
            EventType::Blocked => concat!(
                r#"{"event":"blocked","time":1430812195,"MessageID":13792286917004336,"#,
                r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"nobody@example.com","#,
                r#""mj_campaign_id":7288,"mj_contact_id":9,"customcampaign":"","CustomID":"welcome","#,
                r#""Payload":"","error_related_to":"recipient","error":"user unknown"}"#,
            ),
            EventType::Spam => concat!(
                r#"{"event":"spam","time":1430812195,"MessageID":13792286917004336,"#,
                r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","#,
                r#""mj_campaign_id":1898,"mj_contact_id":7,"customcampaign":"","CustomID":"welcome","#,
                r#""Payload":"","source":"JMRPP"}"#,
            ),
            EventType::Unsub => concat!(
                r#"{"event":"unsub","time":1433334941,"MessageID":20547674933128000,"#,
                r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","#,
                r#""mj_campaign_id":7276,"mj_contact_id":126,"customcampaign":"","CustomID":"welcome","#,
                r#""Payload":"","mj_list_id":1,"ip":"192.0.2.1","geo":"FR","#,
                r#""agent":"Mozilla/5.0 (Windows NT 10.0) Gecko Firefox/115.0"}"#,
            ),
        }
    }
}

/// Returns the name of an event's type, in lower case, given the event's JSON text.
///
/// The type is the value of the field `event`, which Mailjet has been seen to write with a capital. If the
/// field is repeated, the last one that is not null counts, as it does for the column `event`. Returns `None`
/// if there is no such field or its value is not text.
///
/// The listener calls this for every event. Mailjet writes the field first, so the scan ends there unless the
/// field may be repeated: that takes 50 ns, and scanning a whole event 350 ns.
pub fn type_name(event: &str) -> Option<Cow<'_, str>> {
    let mut last = None;
    members::visit_members(event, |member, rest| {
        if member.value == "null" || member.name() != "event" {
            return ControlFlow::Continue(());
        }
        last = Some(member);
        // The field's name can be written in another way only with escapes such as \u0065 for its letters.
        let may_be_repeated = rest.contains("\"event\"") || rest.contains("\\u00");
        if may_be_repeated { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    last.and_then(|member| lower_case_text(&member))
}

/// Returns a member's value in lower case; `None` if it is not text.
fn lower_case_text<'a>(member: &Member<'a>) -> Option<Cow<'a, str>> {
    let is_usual = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    match member.value.strip_prefix('"')?.strip_suffix('"')? {
        text if member.is_plain && text.bytes().all(is_usual) => Some(Cow::Borrowed(text)),
        _ => serde_json::from_str::<String>(member.value).ok().map(|text| Cow::Owned(text.to_lowercase())),
    }
}

/// Every field that Mailjet documents for any of its event types. Each may be missing.
///
/// `x-events` names the event types that have a field. A field without it belongs to all types.
#[derive(Debug, JsonSchema)]
#[expect(non_snake_case, reason = "the names are Mailjet's, and they are the names of the columns")]
pub struct Event {
    /// Type of event: sent, open, click, bounce, blocked, spam or unsub.
    pub event: Option<String>,
    /// When the event happened: Unix time in seconds.
    pub time: Option<i64>,
    /// Mailjet's id of the message. A 64-bit integer, in practice above 2^53.
    pub MessageID: Option<i64>,
    /// Mailjet's other id of the message, usually a UUID.
    pub Message_GUID: Option<String>,
    /// Email address of the recipient.
    pub email: Option<String>,
    /// Id of the campaign that the message belongs to.
    pub mj_campaign_id: Option<i64>,
    /// Id of the recipient in Mailjet's contact list.
    pub mj_contact_id: Option<i64>,
    /// Name of the campaign, as the sender gave it.
    pub customcampaign: Option<String>,
    /// Id of the message, as the sender gave it.
    pub CustomID: Option<String>,
    /// Text that the sender attached to the message.
    pub Payload: Option<String>,
    /// Deprecated twin of `MessageID`, as text.
    #[schemars(extend("x-events" = ["sent"]))]
    pub mj_message_id: Option<String>,
    /// What the receiving mail server answered.
    #[schemars(extend("x-events" = ["sent"]))]
    pub smtp_reply: Option<String>,
    /// IP address of the person who opened, clicked or unsubscribed.
    #[schemars(extend("x-events" = ["open", "click", "unsub"]))]
    pub ip: Option<String>,
    /// Country code of that IP address.
    #[schemars(extend("x-events" = ["open", "click", "unsub"]))]
    pub geo: Option<String>,
    /// User agent that opened, clicked or unsubscribed.
    #[schemars(extend("x-events" = ["open", "click", "unsub"]))]
    pub agent: Option<String>,
    /// Link that was clicked.
    #[schemars(extend("x-events" = ["click"]))]
    pub url: Option<String>,
    /// Whether Mailjet has blocked the recipient's address since.
    #[schemars(extend("x-events" = ["bounce"]))]
    pub blocked: Option<bool>,
    /// Whether the bounce is permanent.
    #[schemars(extend("x-events" = ["bounce"]))]
    pub hard_bounce: Option<bool>,
    /// What the error concerns: recipient, domain, content, spam, system or mailjet.
    #[schemars(extend("x-events" = ["bounce", "blocked"]))]
    pub error_related_to: Option<String>,
    /// Short reason of the error.
    #[schemars(extend("x-events" = ["bounce", "blocked"]))]
    pub error: Option<String>,
    /// What the receiving mail server said.
    #[schemars(extend("x-events" = ["bounce"]))]
    pub comment: Option<String>,
    /// Feedback loop that reported the complaint.
    #[schemars(extend("x-events" = ["spam"]))]
    pub source: Option<String>,
    /// Id of the contact list that was left.
    #[schemars(extend("x-events" = ["unsub"]))]
    pub mj_list_id: Option<i64>,
}

/// The columns that the tap adds to each row. They are never null.
#[derive(Debug, JsonSchema)]
#[expect(clippy::pub_underscore_fields, reason = "the names are those of Stitch's columns")]
pub struct SystemColumns {
    /// Key of the row: a 128-bit hash of the event's content, in the shape of a UUID. A webhook that Mailjet
    /// repeats has the key of its first delivery.
    pub __sdc_primary_key: String,
    /// Position of the row: unique, strictly increasing, a Unix epoch in milliseconds (or nanoseconds). Of
    /// rows with one key, the one with the largest value is the latest version.
    pub _sdc_sequence: i64,
    /// When the webhook arrived.
    #[schemars(extend("format" = "date-time"))]
    pub _sdc_received_at: String,
    /// When the row was written to the target.
    #[schemars(extend("format" = "date-time"))]
    pub _sdc_batched_at: String,
    /// Version of the table. Always 0: the table is append-only and is never replaced.
    pub _sdc_table_version: i64,
}

/// The columns of received items that are not events: Stitch's table `_sdc_rejected`.
#[derive(Debug, JsonSchema)]
#[expect(clippy::pub_underscore_fields, reason = "the names are those of Stitch's columns")]
pub struct Rejected {
    /// When the item arrived.
    #[schemars(extend("format" = "date-time"))]
    pub _sdc_rejected_at: String,
    /// Table that the item was meant for.
    pub table_name: String,
    /// Why the item is not an event.
    pub reason: String,
    /// The item. If `record_base64` is set, only its first 64 KiB, with U+FFFD for what is not text.
    pub record: String,
    /// The item's bytes in base64, if they are not UTF-8 text.
    pub record_base64: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::members::tests::members_by_serde_json;

    /// Finds the type's name with `serde_json`.
    fn type_name_by_serde_json(event: &str) -> Option<String> {
        let members = members_by_serde_json(event).expect("an object");
        let is_event = |name: &str| serde_json::from_str(name).is_ok_and(|name: String| name == "event");
        let (_, value) = members.into_iter().rev().find(|(name, value)| is_event(name) && value != "null")?;
        let value: Value = serde_json::from_str(&value).expect("a value");
        value.as_str().map(str::to_lowercase)
    }

    #[test]
    fn the_name_is_found_wherever_the_field_stands_and_however_it_is_written() {
        let names = r#""event" | "\u0065vent" | "even\u0074" | "Event" | "a" | "a\"event\"""#;
        let values = r#"null | "open" | "Click" | "\u0053ENT" | "KLICK\u212A" | "event"
            | "\"event\": \"spam\"" | 5 | {"event":"bounce","b":["}",{"event":1}]} | ["event", "unsub"]"#;
        let values = values.split('|').map(str::trim);
        let members: Vec<_> =
            names.split(" | ").flat_map(|name| values.clone().map(move |value| (name, value))).collect();
        let check = |event: &str| {
            assert_eq!(type_name(event).as_deref(), type_name_by_serde_json(event).as_deref(), "{event}");
        };
        check("{}");
        check("\t{ }\n");
        for (first_name, first) in &members {
            check(&format!("{{{first_name}:{first}}}"));
            for (second_name, second) in &members {
                check(&format!("{{\n{first_name} :\t{first} , {second_name}\r: {second}\n}}"));
                for (third_name, third) in members.iter().step_by(7) {
                    check(&format!("{{{first_name}:{first},{second_name}:{second},{third_name}:{third}}}"));
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_not_unicode_is_no_type() {
        assert_eq!(type_name(r#"{"event":"\ud800"}"#), None);
        assert_eq!(type_name(r#"{"\ud800":"","event":"open"}"#).as_deref(), Some("open"));
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{{\"a\":{}{},\"event\":\"open\"}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(type_name(&deep).as_deref(), Some("open"));
    }

    #[test]
    fn a_text_that_breaks_off_is_scanned_as_far_as_it_goes() {
        let event = r#"{"a":{"b":["x\"",1]},"n":null,"t":true,"event":"open"}"#;
        for end in 0..event.len() - 1 {
            assert_eq!(type_name(&event[..end]), None, "{end}");
        }
    }

    #[test]
    fn every_type_has_a_name_and_a_sample() {
        for event_type in EventType::ALL {
            let name = type_name(event_type.sample()).expect("a name");
            assert_eq!(EventType::from_name(&name), Some(event_type));
        }
        assert_eq!(EventType::from_name("typofix"), None);
    }
}
