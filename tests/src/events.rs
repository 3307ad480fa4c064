//! Mailjet's events, and the rows that must result from them. All people are fictitious.

use crate::message::{RawObject, Record, members, same_value};

/// Mailjet's columns in stream `data`.
pub const MAILJET_FIELDS: [&str; 23] = [
    "event",
    "time",
    "MessageID",
    "Message_GUID",
    "email",
    "mj_campaign_id",
    "mj_contact_id",
    "customcampaign",
    "CustomID",
    "Payload",
    "mj_message_id",
    "smtp_reply",
    "ip",
    "geo",
    "agent",
    "url",
    "blocked",
    "hard_bounce",
    "error_related_to",
    "error",
    "comment",
    "source",
    "mj_list_id",
];

/// The columns that the tap adds to stream `data`. None of them is ever null.
pub const SYSTEM_COLUMNS: [&str; 5] =
    ["__sdc_primary_key", "_sdc_sequence", "_sdc_received_at", "_sdc_batched_at", "_sdc_table_version"];

/// An event of each type that Mailjet documents, with every field it can have.
pub const DOCUMENTED_EVENTS: [&str; 7] = [
    concat!(
        r#"{"event":"sent","time":1433333949,"MessageID":94012642276192743,"#,
        r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0c2b7a9e11","email":"ada@example.com","#,
        r#""mj_campaign_id":7657476082,"mj_contact_id":5754145803,"customcampaign":"spring","#,
        r#""mj_message_id":"94012642276192743","#,
        r#""smtp_reply":"sent (250 2.0.0 OK 1433333948 x1.9 - gsmtp)","CustomID":"order-1","#,
        r#""Payload":"{\"order\": 1}"}"#
    ),
    concat!(
        r#"{"event":"open","time":1433103519,"MessageID":104427216766056450,"#,
        r#""Message_GUID":"not-hexadecimal-at-all","email":"grace@example.com","#,
        r#""mj_campaign_id":7276,"mj_contact_id":126,"customcampaign":"","ip":"2001:db8::7","#,
        r#""geo":"FR","agent":"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko","CustomID":"","#,
        r#""Payload":"a;b;c"}"#
    ),
    concat!(
        r#"{"event":"click","time":1433334653,"MessageID":576460779645409236,"#,
        r#""Message_GUID":"a2b1f0aa-52cc-4a0d-8f0e-0d2f5f3c7a10","email":"mary@example.com","#,
        r#""mj_campaign_id":7272,"mj_contact_id":4,"customcampaign":"","#,
        r#""url":"https://example.com/a?b=c&d=%20","ip":"192.0.2.7","geo":"EU","#,
        r#""agent":"Mozilla/5.0","CustomID":"c-1","Payload":"<xml/>"}"#
    ),
    concat!(
        r#"{"event":"bounce","time":1430812195,"MessageID":13792286917004336,"Message_GUID":"b5","#,
        r#""email":"gone@example.com","mj_campaign_id":0,"mj_contact_id":1,"customcampaign":"","#,
        r#""CustomID":"","Payload":"","blocked":false,"hard_bounce":true,"#,
        r#""error_related_to":"recipient","error":"user unknown","#,
        r#""comment":"550 5.1.1 no such user"}"#
    ),
    concat!(
        r#"{"event":"blocked","time":1430812195,"MessageID":13792286917004337,"Message_GUID":"b6","#,
        r#""email":"list@example.com","mj_campaign_id":0,"mj_contact_id":1,"customcampaign":"","#,
        r#""CustomID":"","Payload":"","error_related_to":"mailjet","error":"preblocked"}"#
    ),
    concat!(
        r#"{"event":"spam","time":1430812195,"MessageID":13792286917004338,"Message_GUID":"b7","#,
        r#""email":"cross@example.com","mj_campaign_id":1898,"mj_contact_id":1,"customcampaign":"","#,
        r#""CustomID":"","Payload":"","source":"JMRPP"}"#
    ),
    concat!(
        r#"{"event":"unsub","time":1433334941,"MessageID":20547674933128000,"Message_GUID":"b8","#,
        r#""email":"leaver@example.com","mj_campaign_id":7276,"mj_contact_id":126,"#,
        r#""customcampaign":"","CustomID":"","Payload":"","mj_list_id":1,"ip":"192.0.2.9","geo":"","#,
        r#""agent":"Mozilla/5.0"}"#
    ),
];

/// An unusual event. Its fields go unchanged into the columns of their names, except for `changes`.
#[derive(Debug, Clone, Copy)]
pub struct OddEvent {
    /// The unusual thing about it.
    pub name: &'static str,
    /// The event.
    pub event: &'static str,
    /// Columns whose value differs from the field's, with the expected text. Further unknown fields must be
    /// in `_sdc_extra`.
    pub changes: &'static [(&'static str, &'static str)],
}

/// What Mailjet's "Send a test" button sends for a bounce: "" for everything without a value.
const TEST_BUTTON_BOUNCE: &str = concat!(
    r#"{"event":"bounce","time":1430812195,"MessageID":0,"email":"","mj_campaign_id":"","#,
    r#""mj_contact_id":"","customcampaign":"","CustomID":"","Payload":"","blocked":"","#,
    r#""hard_bounce":"","error_related_to":"","error":""}"#
);
/// The same for an unsub.
const TEST_BUTTON_UNSUB: &str = concat!(
    r#"{"event":"unsub","time":1433334941,"MessageID":0,"email":"","mj_campaign_id":"","#,
    r#""mj_contact_id":"","customcampaign":"","CustomID":"","Payload":"","mj_list_id":"","#,
    r#""ip":"","geo":"","agent":""}"#
);
/// Part of a grouped test of 2025: keys in alphabetical order, without `error`, `CustomID` and `Payload`.
const GROUPED_TEST_BOUNCE: &str = concat!(
    r#"{"MessageID":0,"blocked":"","customcampaign":"","email":"","event":"bounce","#,
    r#""hard_bounce":"","mj_campaign_id":"","mj_contact_id":"","time":1740000000}"#
);

/// Every unusual event that is known to arrive, and some that could.
pub const ODD_EVENTS: &[OddEvent] = &[
    OddEvent {
        name: "the test button's bounce",
        event: TEST_BUTTON_BOUNCE,
        changes: &[
            ("mj_campaign_id", "null"),
            ("mj_contact_id", "null"),
            ("blocked", "null"),
            ("hard_bounce", "null"),
        ],
    },
    OddEvent {
        name: "the test button's unsub",
        event: TEST_BUTTON_UNSUB,
        changes: &[("mj_campaign_id", "null"), ("mj_contact_id", "null"), ("mj_list_id", "null")],
    },
    OddEvent {
        name: "a grouped test, keys in alphabetical order",
        event: GROUPED_TEST_BOUNCE,
        changes: &[
            ("mj_campaign_id", "null"),
            ("mj_contact_id", "null"),
            ("blocked", "null"),
            ("hard_bounce", "null"),
        ],
    },
    OddEvent {
        name: "a sent without mj_message_id",
        event: concat!(
            r#"{"event":"sent","time":1433333949,"MessageID":94012642276192744,"#,
            r#""email":"ada@example.com","smtp_reply":"sent"}"#
        ),
        changes: &[],
    },
    OddEvent {
        name: "a bounce without comment and without email",
        event: concat!(
            r#"{"event":"bounce","time":1430812196,"MessageID":3,"blocked":true,"hard_bounce":false,"#,
            r#""error_related_to":"domain","error":"policy issue"}"#
        ),
        changes: &[],
    },
    OddEvent {
        name: "policy issue with an empty error",
        event: concat!(
            r#"{"event":"blocked","time":1430812197,"MessageID":4,"error_related_to":"policy issue","#,
            r#""error":""}"#
        ),
        changes: &[],
    },
    OddEvent {
        name: "customcampaign and Payload null",
        event: r#"{"event":"open","time":1433103520,"MessageID":5,"customcampaign":null,"Payload":null}"#,
        changes: &[],
    },
    OddEvent {
        name: "integers as text",
        event: concat!(
            r#"{"event":"click","time":"1513975381","MessageID":"576460779645409236","#,
            r#""mj_contact_id":"-1"}"#
        ),
        changes: &[("time", "1513975381"), ("MessageID", "576460779645409236"), ("mj_contact_id", "-1")],
    },
    OddEvent {
        name: "booleans as text",
        event: r#"{"event":"bounce","time":1430812198,"blocked":"true","hard_bounce":"false"}"#,
        changes: &[("blocked", "true"), ("hard_bounce", "false")],
    },
    OddEvent {
        name: "an event name with a capital",
        event: r#"{"event":"Open","time":1433103521,"MessageID":6}"#,
        changes: &[],
    },
    OddEvent {
        name: "an obsolete event",
        event: concat!(
            r#"{"event":"typofix","time":1433103522,"original_address":"x@exmaple.com","#,
            r#""new_address":"x@example.com"}"#
        ),
        changes: &[],
    },
    OddEvent {
        name: "an unsubscription by the mail program's own button",
        event: concat!(
            r#"{"event":"unsub","time":1433334942,"MessageID":7,"mj_list_id":0,"#,
            r#""agent":"List-Unsubscribe"}"#
        ),
        changes: &[],
    },
    OddEvent {
        name: "the same unsub an hour later",
        event: concat!(
            r#"{"event":"unsub","time":1433338542,"MessageID":7,"mj_list_id":0,"#,
            r#""agent":"List-Unsubscribe"}"#
        ),
        changes: &[],
    },
    OddEvent {
        name: "an open with a url",
        event: r#"{"event":"open","time":1433103523,"MessageID":8,"url":"https://example.com/"}"#,
        changes: &[],
    },
    OddEvent {
        name: "unknown fields of every type, numbers digit by digit",
        event: concat!(
            r#"{"event":"open","time":1433103524,"score":1.10,"big":123456789012345678901234567890,"#,
            r#""tiny":1E-7,"on":true,"tags":["a",1.0],"by":{"os":{"name":"X"}},"none":null}"#
        ),
        changes: &[
            ("big", r#""123456789012345678901234567890""#),
            ("tags", r#""[\"a\",1.0]""#),
            ("by__os__name", r#""X""#),
        ],
    },
    OddEvent {
        name: "values that do not fit their columns",
        event: concat!(
            r#"{"event":5,"time":1.5,"MessageID":9223372036854775808,"email":{"a":1},"#,
            r#""mj_contact_id":"abc","blocked":1,"hard_bounce":"True","mj_list_id":"007","#,
            r#""Payload":["x"]}"#
        ),
        changes: &[
            ("event", "null"),
            ("time", "null"),
            ("MessageID", "null"),
            ("email", "null"),
            ("mj_contact_id", "null"),
            ("blocked", "null"),
            ("hard_bounce", "null"),
            ("mj_list_id", "null"),
            ("event__it", "5"),
            ("time__fl", "1.5"),
            ("MessageID__st", r#""9223372036854775808""#),
            ("email__a", "1"),
            ("mj_contact_id__st", r#""abc""#),
            ("blocked__it", "1"),
            ("hard_bounce__st", r#""True""#),
            ("mj_list_id__st", r#""007""#),
            ("Payload", r#""[\"x\"]""#),
        ],
    },
    OddEvent {
        name: "fields with the names of system columns",
        event: concat!(
            r#"{"event":"open","time":1433103525,"_sdc_sequence":5,"__sdc_primary_key":"x","#,
            r#""_sdc_extra":{"a":1},"_sdc_batched_at":""}"#
        ),
        changes: &[(
            "_sdc_extra",
            r#"{"_sdc_sequence":5,"__sdc_primary_key":"x","_sdc_extra":{"a":1},"_sdc_batched_at":""}"#,
        )],
    },
    OddEvent {
        name: "a name that differs by case alone",
        event: r#"{"event":"open","time":1433103526,"messageid":5,"Email":"x@example.com"}"#,
        changes: &[("_sdc_extra", r#"{"messageid":5,"Email":"x@example.com"}"#)],
    },
    OddEvent {
        name: "text beyond ASCII, plain and escaped",
        event: concat!(
            r#"{"event":"open","time":1433103527,"email":"zoë@exämple.com","#,
            r#""Payload":"\u00e9 \ud83d\ude00 😀 \" \\ \/ \b\f\n\r\t \u0001 \u2028","#,
            r#""naïve ключ":"\u65e5本"}"#
        ),
        changes: &[("_sdc_extra", r#"{"naïve ключ":"\u65e5本"}"#)],
    },
    OddEvent {
        name: "text that targets stop at: U+0000, and half a surrogate pair",
        event: r#"{"event":"open","time":1433103530,"Payload":"a\u0000b","CustomID":"\ud83d"}"#,
        changes: &[("Payload", r#""\"a\\u0000b\"""#), ("CustomID", r#""\"\\ud83d\"""#)],
    },
    OddEvent {
        name: "keys written with escapes",
        event: r#"{"\u0065vent":"open","time":1433103528,"\u0065mail":"ada@example.com","tw\u006f":2}"#,
        changes: &[("two", "2")],
    },
    OddEvent {
        name: "white space wherever JSON allows it",
        event: " {\n\t\"event\" : \"open\" ,\r\n \"time\": 1433103529 , \"list\" : [ 1 , 2 ] } ",
        changes: &[("list", r#""[ 1 , 2 ]""#)],
    },
    OddEvent { name: "an empty object", event: "{}", changes: &[] },
];

/// A JSON array of `events`, as Mailjet sends grouped events.
#[must_use]
pub fn grouped<T: AsRef<str>>(events: &[T]) -> String {
    let events: Vec<_> = events.iter().map(AsRef::as_ref).collect();
    format!("[{}]", events.join(","))
}

/// The type of an event: the value of its field `event`.
#[must_use]
pub fn event_type(event: &str) -> String {
    members(event)["event"].get().trim_matches('"').to_owned()
}

/// A click event that differs from that of every other number.
#[must_use]
pub fn numbered_event(id: u64) -> String {
    let (message, person) = (576_460_779_645_000_000 + id, id % 50);
    let mail =
        format!(r#""MessageID":{message},"Message_GUID":"guid-{id}","email":"person{person}@example.com","#);
    let ids = format!(r#""mj_campaign_id":7272,"mj_contact_id":{person},"customcampaign":"","#);
    let click =
        format!(r#""CustomID":"{id}","Payload":"","url":"https://example.com/{id}","ip":"192.0.2.7","#);
    format!(r#"{{"event":"click","time":1433334653,{mail}{ids}{click}"geo":"FR","agent":"Mozilla/5.0"}}"#)
}

/// `count` numbered events, starting with number `first`.
#[must_use]
pub fn numbered_events(first: u64, count: u64) -> Vec<String> {
    (first..first + count).map(numbered_event).collect()
}

/// The number of the event from which a row results.
#[must_use]
pub fn number_of(row: &Record) -> u64 {
    row.text("CustomID").parse().unwrap_or_else(|_| panic!("not a numbered event: {}", row.text))
}

/// The number of a numbered event, or of its row, without parsing the whole text.
#[must_use]
pub fn number_in(text: &str) -> u64 {
    let number = text.split_once(r#""CustomID":""#).and_then(|(_, rest)| rest.split_once('"'));
    number
        .and_then(|(digits, _)| digits.parse().ok())
        .unwrap_or_else(|| panic!("not a numbered event: {text}"))
}

/// The expected text of `column` in the row of an event with these `fields`: the field of that name, except
/// for `changes`, or null if there is neither.
#[must_use]
pub fn expected_value<'e>(fields: &'e RawObject, changes: &'e [(&str, &str)], column: &str) -> &'e str {
    let change = changes.iter().find(|(name, _)| *name == column).map(|(_, value)| *value);
    let is_field = !SYSTEM_COLUMNS.contains(&column) && column != "_sdc_extra";
    change.or_else(|| fields.get(column).filter(|_| is_field).map(|raw| raw.get())).unwrap_or("null")
}

/// Asserts that `row` results from `event`: the event's fields in the columns of their names, except for
/// `changes`, and null in all others.
pub fn assert_row(row: &Record, event: &str, changes: &[(&str, &str)]) {
    let fields = members(event);
    let fields_and_changes = MAILJET_FIELDS.into_iter().chain(changes.iter().map(|(name, _)| *name));
    for column in fields_and_changes.chain(row.column_names().filter(|name| !SYSTEM_COLUMNS.contains(name))) {
        let (found, expected) = (row.raw(column), expected_value(&fields, changes, column));
        assert!(
            same_value(found, expected),
            "{column} is {found}, not {expected}\nof {event}\nin {}",
            row.text
        );
    }
    for column in SYSTEM_COLUMNS {
        assert_ne!(row.raw(column), "null", "{column} of {event}");
    }
}
