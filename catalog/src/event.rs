//! Mailjet's events, as Mailjet documents them.
//!
//! The structs are never filled in: an event stays the bytes that arrived. They exist so that the columns, their
//! types and their descriptions are written once, as Rust, and the JSON Schemas are derived from them.

use schemars::JsonSchema;

/// The kinds of events that Mailjet documents. A webhook may carry any other name: it is taken all the same.
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
    /// All of them, in Mailjet's order.
    pub const ALL: [EventType; 7] = [
        EventType::Sent,
        EventType::Open,
        EventType::Click,
        EventType::Bounce,
        EventType::Blocked,
        EventType::Spam,
        EventType::Unsub,
    ];

    /// The name, as it stands in the field `event`.
    #[must_use]
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
}

/// Every field that Mailjet documents for any of its seven events. Each may be missing.
///
/// `x-events` names the events that have a field; a field without it belongs to all of them.
#[derive(Debug, JsonSchema)]
#[expect(non_snake_case, reason = "the names are Mailjet's, and they are the names of the columns")]
pub struct Event {
    /// Kind of event: sent, open, click, bounce, blocked, spam or unsub.
    pub event: Option<String>,
    /// When the event happened: Unix time in seconds.
    pub time: Option<i64>,
    /// Mailjet's id of the message. A 64-bit integer, in practice above 2^53.
    pub MessageID: Option<i64>,
    /// Mailjet's other id of the message, usually a UUID.
    pub Message_GUID: Option<String>,
    /// Address of the recipient.
    pub email: Option<String>,
    /// Id of the campaign that the message belongs to.
    pub mj_campaign_id: Option<i64>,
    /// Id of the recipient in Mailjet's contact list.
    pub mj_contact_id: Option<i64>,
    /// Name of the campaign, as the sender gave it.
    pub customcampaign: Option<String>,
    /// Id of the message, as the sender gave it.
    pub CustomID: Option<String>,
    /// Whatever the sender attached to the message. Opaque text.
    pub Payload: Option<String>,
    /// Deprecated twin of `MessageID`, as text.
    #[schemars(extend("x-events" = ["sent"]))]
    pub mj_message_id: Option<String>,
    /// What the receiving mail server answered.
    #[schemars(extend("x-events" = ["sent"]))]
    pub smtp_reply: Option<String>,
    /// Address of the person who opened, clicked or unsubscribed.
    #[schemars(extend("x-events" = ["open", "click", "unsub"]))]
    pub ip: Option<String>,
    /// Country code of that address.
    #[schemars(extend("x-events" = ["open", "click", "unsub"]))]
    pub geo: Option<String>,
    /// User agent that opened, clicked or unsubscribed.
    #[schemars(extend("x-events" = ["open", "click", "unsub"]))]
    pub agent: Option<String>,
    /// Link that was clicked.
    #[schemars(extend("x-events" = ["click"]))]
    pub url: Option<String>,
    /// Whether Mailjet has blocked the address since.
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

/// What the tap adds to each row. None of these is ever null.
#[derive(Debug, JsonSchema)]
#[expect(
    clippy::pub_underscore_fields,
    reason = "the names are Stitch's, and they are the names of the columns"
)]
pub struct SystemColumns {
    /// Key of the row: a 128-bit hash of the event's content, in the shape of a UUID. A webhook that Mailjet repeats
    /// has the key of its first delivery.
    pub __sdc_primary_key: String,
    /// Position of the row: unique, strictly increasing, a Unix epoch in milliseconds (or nanoseconds). Of rows with
    /// one key, the one with the largest value is the latest version.
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
