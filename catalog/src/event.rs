//! Mailjet's events, as Mailjet documents them.
//!
//! The structs are never filled in: an event stays the bytes that arrived. They exist so that the columns,
//! their types and their descriptions are written once, as Rust, and the JSON Schemas are derived from them.

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

    /// An event of this type, with every field that Mailjet documents for it, and made-up people.
    #[must_use]
    pub fn sample(self) -> &'static str {
        match self {
            EventType::Sent => {
                r#"{"event":"sent","time":1433333949,"MessageID":19421777835146490,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","mj_campaign_id":7257,"mj_contact_id":4,"customcampaign":"","mj_message_id":"19421777835146490","smtp_reply":"sent (250 2.0.0 OK 1433333948 fa5si855896wjc.199 - gsmtp)","CustomID":"welcome","Payload":""}"#
            }
            EventType::Open => {
                r#"{"event":"open","time":1433103519,"MessageID":19421777396190490,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","mj_campaign_id":7173,"mj_contact_id":320,"customcampaign":"","ip":"192.0.2.1","geo":"FR","agent":"Mozilla/5.0 (Windows NT 10.0) Gecko Firefox/115.0","CustomID":"welcome","Payload":""}"#
            }
            EventType::Click => {
                r#"{"event":"click","time":1433334941,"MessageID":19421777836302490,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","mj_campaign_id":7272,"mj_contact_id":4,"customcampaign":"","url":"https://example.com/offer","ip":"192.0.2.1","geo":"FR","agent":"Mozilla/5.0 (Windows NT 10.0) Gecko Firefox/115.0","CustomID":"welcome","Payload":""}"#
            }
            EventType::Bounce => {
                r#"{"event":"bounce","time":1430812195,"MessageID":13792286917004336,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"nobody@example.com","mj_campaign_id":7288,"mj_contact_id":9,"customcampaign":"","CustomID":"welcome","Payload":"","blocked":false,"hard_bounce":true,"error_related_to":"recipient","error":"user unknown","comment":"Host or domain name not found. Name service error for name=example.com type=A: Host found but no data record of requested type"}"#
            }
            EventType::Blocked => {
                r#"{"event":"blocked","time":1430812195,"MessageID":13792286917004336,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"nobody@example.com","mj_campaign_id":7288,"mj_contact_id":9,"customcampaign":"","CustomID":"welcome","Payload":"","error_related_to":"recipient","error":"user unknown"}"#
            }
            EventType::Spam => {
                r#"{"event":"spam","time":1430812195,"MessageID":13792286917004336,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","mj_campaign_id":1898,"mj_contact_id":7,"customcampaign":"","CustomID":"welcome","Payload":"","source":"JMRPP"}"#
            }
            EventType::Unsub => {
                r#"{"event":"unsub","time":1433334941,"MessageID":20547674933128000,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","mj_campaign_id":7276,"mj_contact_id":126,"customcampaign":"","CustomID":"welcome","Payload":"","mj_list_id":1,"ip":"192.0.2.1","geo":"FR","agent":"Mozilla/5.0 (Windows NT 10.0) Gecko Firefox/115.0"}"#
            }
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

/// What was received and is no event: Stitch's table `_sdc_rejected`.
#[derive(Debug, JsonSchema)]
#[expect(
    clippy::pub_underscore_fields,
    reason = "the names are Stitch's, and they are the names of the columns"
)]
pub struct Rejected {
    /// When it arrived.
    #[schemars(extend("format" = "date-time"))]
    pub _sdc_rejected_at: String,
    /// The table that it was meant for.
    pub table_name: String,
    /// Why it is no event.
    pub reason: String,
    /// What was received, up to its first 64 KiB. Bytes that are not text stand as U+FFFD.
    pub record: String,
}
