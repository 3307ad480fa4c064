//! What Mailjet sends, and the rows that have to come of it. All people are made up.

use crate::message::{RawObject, Record, members, same_value};

/// The columns of stream `data` that are Mailjet's.
pub const FIELDS: [&str; 23] = [
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

/// The columns of stream `data` that the tap adds, none of which is ever null.
pub const SYSTEM_COLUMNS: [&str; 5] =
    ["__sdc_primary_key", "_sdc_sequence", "_sdc_received_at", "_sdc_batched_at", "_sdc_table_version"];

/// The seven events that Mailjet documents, with every field that each can have.
pub const SEVEN: [&str; 7] = [
    r#"{"event":"sent","time":1433333949,"MessageID":94012642276192743,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0c2b7a9e11","email":"ada@example.com","mj_campaign_id":7657476082,"mj_contact_id":5754145803,"customcampaign":"spring","mj_message_id":"94012642276192743","smtp_reply":"sent (250 2.0.0 OK 1433333948 x1.9 - gsmtp)","CustomID":"order-1","Payload":"{\"order\": 1}"}"#,
    r#"{"event":"open","time":1433103519,"MessageID":104427216766056450,"Message_GUID":"not-hexadecimal-at-all","email":"grace@example.com","mj_campaign_id":7276,"mj_contact_id":126,"customcampaign":"","ip":"2001:db8::7","geo":"FR","agent":"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko","CustomID":"","Payload":"a;b;c"}"#,
    r#"{"event":"click","time":1433334653,"MessageID":576460779645409236,"Message_GUID":"a2b1f0aa-52cc-4a0d-8f0e-0d2f5f3c7a10","email":"mary@example.com","mj_campaign_id":7272,"mj_contact_id":4,"customcampaign":"","url":"https://example.com/a?b=c&d=%20","ip":"192.0.2.7","geo":"EU","agent":"Mozilla/5.0","CustomID":"c-1","Payload":"<xml/>"}"#,
    r#"{"event":"bounce","time":1430812195,"MessageID":13792286917004336,"Message_GUID":"b5","email":"gone@example.com","mj_campaign_id":0,"mj_contact_id":1,"customcampaign":"","CustomID":"","Payload":"","blocked":false,"hard_bounce":true,"error_related_to":"recipient","error":"user unknown","comment":"550 5.1.1 no such user"}"#,
    r#"{"event":"blocked","time":1430812195,"MessageID":13792286917004337,"Message_GUID":"b6","email":"list@example.com","mj_campaign_id":0,"mj_contact_id":1,"customcampaign":"","CustomID":"","Payload":"","error_related_to":"mailjet","error":"preblocked"}"#,
    r#"{"event":"spam","time":1430812195,"MessageID":13792286917004338,"Message_GUID":"b7","email":"cross@example.com","mj_campaign_id":1898,"mj_contact_id":1,"customcampaign":"","CustomID":"","Payload":"","source":"JMRPP"}"#,
    r#"{"event":"unsub","time":1433334941,"MessageID":20547674933128000,"Message_GUID":"b8","email":"leaver@example.com","mj_campaign_id":7276,"mj_contact_id":126,"customcampaign":"","CustomID":"","Payload":"","mj_list_id":1,"ip":"192.0.2.9","geo":"","agent":"Mozilla/5.0"}"#,
];

/// An event of an odd shape. Its fields come into the columns of their names as they are, but for `changes`.
#[derive(Debug, Clone, Copy)]
pub struct Odd {
    /// What is odd.
    pub name: &'static str,
    /// The event.
    pub event: &'static str,
    /// Columns whose value is not simply the field's, with the text of their value. The rest of the event's unknown
    /// fields have to be in `_sdc_extra`.
    pub changes: &'static [(&'static str, &'static str)],
}

/// What Mailjet's "Send a test" button sends for a bounce: "" wherever there is nothing to say.
const TEST_BUTTON_BOUNCE: &str = r#"{"event":"bounce","time":1430812195,"MessageID":0,"email":"","mj_campaign_id":"","mj_contact_id":"","customcampaign":"","CustomID":"","Payload":"","blocked":"","hard_bounce":"","error_related_to":"","error":""}"#;
/// The same for an unsub.
const TEST_BUTTON_UNSUB: &str = r#"{"event":"unsub","time":1433334941,"MessageID":0,"email":"","mj_campaign_id":"","mj_contact_id":"","customcampaign":"","CustomID":"","Payload":"","mj_list_id":"","ip":"","geo":"","agent":""}"#;
/// A part of a grouped test of 2025: keys in alphabetical order, and neither `error`, `CustomID` nor `Payload`.
const GROUPED_TEST_BOUNCE: &str = r#"{"MessageID":0,"blocked":"","customcampaign":"","email":"","event":"bounce","hard_bounce":"","mj_campaign_id":"","mj_contact_id":"","time":1740000000}"#;

/// Every odd shape that is known to arrive, and some that could.
pub const ODD: &[Odd] = &[
    Odd {
        name: "the test button's bounce",
        event: TEST_BUTTON_BOUNCE,
        changes: &[
            ("mj_campaign_id", "null"),
            ("mj_contact_id", "null"),
            ("blocked", "null"),
            ("hard_bounce", "null"),
        ],
    },
    Odd {
        name: "the test button's unsub",
        event: TEST_BUTTON_UNSUB,
        changes: &[("mj_campaign_id", "null"), ("mj_contact_id", "null"), ("mj_list_id", "null")],
    },
    Odd {
        name: "a grouped test, keys in alphabetical order",
        event: GROUPED_TEST_BOUNCE,
        changes: &[
            ("mj_campaign_id", "null"),
            ("mj_contact_id", "null"),
            ("blocked", "null"),
            ("hard_bounce", "null"),
        ],
    },
    Odd {
        name: "a sent without mj_message_id",
        event: r#"{"event":"sent","time":1433333949,"MessageID":94012642276192744,"email":"ada@example.com","smtp_reply":"sent"}"#,
        changes: &[],
    },
    Odd {
        name: "a bounce without comment and without email",
        event: r#"{"event":"bounce","time":1430812196,"MessageID":3,"blocked":true,"hard_bounce":false,"error_related_to":"domain","error":"policy issue"}"#,
        changes: &[],
    },
    Odd {
        name: "policy issue with an empty error",
        event: r#"{"event":"blocked","time":1430812197,"MessageID":4,"error_related_to":"policy issue","error":""}"#,
        changes: &[],
    },
    Odd {
        name: "customcampaign and Payload null",
        event: r#"{"event":"open","time":1433103520,"MessageID":5,"customcampaign":null,"Payload":null}"#,
        changes: &[],
    },
    Odd {
        name: "integers as text",
        event: r#"{"event":"click","time":"1513975381","MessageID":"576460779645409236","mj_contact_id":"-1"}"#,
        changes: &[("time", "1513975381"), ("MessageID", "576460779645409236"), ("mj_contact_id", "-1")],
    },
    Odd {
        name: "booleans as text",
        event: r#"{"event":"bounce","time":1430812198,"blocked":"true","hard_bounce":"false"}"#,
        changes: &[("blocked", "true"), ("hard_bounce", "false")],
    },
    Odd {
        name: "an event name with a capital",
        event: r#"{"event":"Open","time":1433103521,"MessageID":6}"#,
        changes: &[],
    },
    Odd {
        name: "an obsolete event",
        event: r#"{"event":"typofix","time":1433103522,"original_address":"x@exmaple.com","new_address":"x@example.com"}"#,
        changes: &[],
    },
    Odd {
        name: "an unsubscription by the mail program's own button",
        event: r#"{"event":"unsub","time":1433334942,"MessageID":7,"mj_list_id":0,"agent":"List-Unsubscribe"}"#,
        changes: &[],
    },
    Odd {
        name: "the same unsub an hour later",
        event: r#"{"event":"unsub","time":1433338542,"MessageID":7,"mj_list_id":0,"agent":"List-Unsubscribe"}"#,
        changes: &[],
    },
    Odd {
        name: "an open with a url",
        event: r#"{"event":"open","time":1433103523,"MessageID":8,"url":"https://example.com/"}"#,
        changes: &[],
    },
    Odd {
        name: "unknown fields of every type, numbers digit by digit",
        event: r#"{"event":"open","time":1433103524,"score":1.10,"big":123456789012345678901234567890,"tiny":1E-7,"on":true,"tags":["a",1.0],"by":{"os":{"name":"X"}},"none":null}"#,
        changes: &[
            ("big", r#""123456789012345678901234567890""#),
            ("tags", r#""[\"a\",1.0]""#),
            ("by__os__name", r#""X""#),
        ],
    },
    Odd {
        name: "values that do not fit their columns",
        event: r#"{"event":5,"time":1.5,"MessageID":9223372036854775808,"email":{"a":1},"mj_contact_id":"abc","blocked":1,"hard_bounce":"True","mj_list_id":"007","Payload":["x"]}"#,
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
    Odd {
        name: "fields with the names of system columns",
        event: r#"{"event":"open","time":1433103525,"_sdc_sequence":5,"__sdc_primary_key":"x","_sdc_extra":{"a":1},"_sdc_batched_at":""}"#,
        changes: &[(
            "_sdc_extra",
            r#"{"_sdc_sequence":5,"__sdc_primary_key":"x","_sdc_extra__a":1,"_sdc_batched_at":""}"#,
        )],
    },
    Odd {
        name: "a name that differs by case alone",
        event: r#"{"event":"open","time":1433103526,"messageid":5,"Email":"x@example.com"}"#,
        changes: &[("_sdc_extra", r#"{"messageid":5,"Email":"x@example.com"}"#)],
    },
    Odd {
        name: "text beyond ASCII, plain and escaped",
        event: r#"{"event":"open","time":1433103527,"email":"zoë@exämple.com","Payload":"\u00e9 \ud83d\ude00 😀 \" \\ \/ \b\f\n\r\t \u0001 \u2028","naïve ключ":"\u65e5本"}"#,
        changes: &[],
    },
    Odd {
        name: "text that targets stop at: U+0000, and half a surrogate pair",
        event: r#"{"event":"open","time":1433103530,"Payload":"a\u0000b","CustomID":"\ud83d"}"#,
        changes: &[("Payload", r#""\"a\\u0000b\"""#), ("CustomID", r#""\"\\ud83d\"""#)],
    },
    Odd {
        name: "keys written with escapes",
        event: r#"{"\u0065vent":"open","time":1433103528,"\u0065mail":"ada@example.com","tw\u006f":2}"#,
        changes: &[("two", "2")],
    },
    Odd {
        name: "white space wherever JSON allows it",
        event: " {\n\t\"event\" : \"open\" ,\r\n \"time\": 1433103529 , \"list\" : [ 1 , 2 ] } ",
        changes: &[("list", r#""[ 1 , 2 ]""#)],
    },
    Odd { name: "an empty object", event: "{}", changes: &[] },
];

/// A JSON array of `events`: what Mailjet sends when events are grouped.
#[must_use]
pub fn grouped<T: AsRef<str>>(events: &[T]) -> String {
    let events: Vec<_> = events.iter().map(AsRef::as_ref).collect();
    format!("[{}]", events.join(","))
}

/// An event that differs from every other `numbered` one.
#[must_use]
pub fn numbered(id: u64) -> String {
    let email = id % 50;
    format!(
        r#"{{"event":"click","time":1433334653,"MessageID":{},"Message_GUID":"guid-{id}","email":"person{email}@example.com","mj_campaign_id":7272,"mj_contact_id":{email},"customcampaign":"","CustomID":"{id}","Payload":"","url":"https://example.com/{id}","ip":"192.0.2.7","geo":"FR","agent":"Mozilla/5.0"}}"#,
        576_460_779_645_000_000 + id,
    )
}

/// `count` numbered events.
#[must_use]
pub fn numbered_from(first: u64, count: u64) -> Vec<String> {
    (first..first + count).map(numbered).collect()
}

/// The number of a row that came of a numbered event.
#[must_use]
pub fn number_of(row: &Record) -> u64 {
    row.text("CustomID").parse().unwrap_or_else(|_| panic!("not a numbered event: {}", row.text))
}

/// The number of a numbered event, or of a row of one, without taking the text apart.
#[must_use]
pub fn number_in(text: &str) -> u64 {
    let number = text.split_once(r#""CustomID":""#).and_then(|(_, rest)| rest.split_once('"'));
    number
        .and_then(|(digits, _)| digits.parse().ok())
        .unwrap_or_else(|| panic!("not a numbered event: {text}"))
}

/// The text of the value that `column` has to have in the row that comes of an event with these `fields`: the field of its
/// name, but for `changes`, and null where there is neither.
#[must_use]
pub fn expected<'e>(fields: &'e RawObject, changes: &'e [(&str, &str)], column: &str) -> &'e str {
    let change = changes.iter().find(|(name, _)| *name == column).map(|(_, value)| *value);
    let is_field = !SYSTEM_COLUMNS.contains(&column) && column != "_sdc_extra";
    change.or_else(|| fields.get(column).filter(|_| is_field).map(|raw| raw.get())).unwrap_or("null")
}

/// Demands that `row` is what has to come of `event`: its fields in the columns of their names, but for `changes`, and null
/// in all others.
pub fn assert_row(row: &Record, event: &str, changes: &[(&str, &str)]) {
    let fields = members(event);
    let fields_and_changes = FIELDS.into_iter().chain(changes.iter().map(|(name, _)| *name));
    for column in fields_and_changes.chain(row.column_names().filter(|name| !SYSTEM_COLUMNS.contains(name))) {
        let (found, expected) = (row.raw(column), expected(&fields, changes, column));
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
