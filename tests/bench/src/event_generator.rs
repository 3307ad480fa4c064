//! Events as Mailjet sends them: all types, in realistic proportions, and no two alike.

use end_to_end::random::SeededRandom;

/// A hundred events, as pairs of a count and an event. [`PLACE`] stands for the number that makes each event
/// unique.
const KINDS: [(usize, &str); 7] = [
    (
        50,
        concat!(
            r#"{"event":"sent","time":1433333949,"MessageID":576460779#########,"#,
            r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","#,
            r#""email":"person#########@example.com","mj_campaign_id":7657476082,"#,
            r#""mj_contact_id":5#########,"customcampaign":"spring-newsletter","#,
            r#""mj_message_id":"576460779#########","#,
            r#""smtp_reply":"sent (250 2.0.0 OK 1433333948 fa5si855896wjc.199 - gsmtp)","#,
            r#""CustomID":"order-#########","Payload":"{\"order\": #########, \"shop\": \"north\"}"}"#
        ),
    ),
    (
        28,
        concat!(
            r#"{"event":"open","time":1433103519,"MessageID":576460779#########,"#,
            r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","#,
            r#""email":"person#########@example.com","mj_campaign_id":7657476082,"#,
            r#""mj_contact_id":5#########,"customcampaign":"spring-newsletter","ip":"192.0.2.17","#,
            r#""geo":"FR","#,
            r#""agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/115.0","#,
            r#""CustomID":"order-#########","Payload":""}"#
        ),
    ),
    (
        9,
        concat!(
            r#"{"event":"click","time":1433334653,"MessageID":576460779#########,"#,
            r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","#,
            r#""email":"person#########@example.com","mj_campaign_id":7657476082,"#,
            r#""mj_contact_id":5#########,"customcampaign":"spring-newsletter","#,
            r#""url":"https://shop.example.com/spring?utm_source=mail&utm_campaign=spring","#,
            r#""ip":"2001:db8::17","geo":"EU","#,
            r#""agent":"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15","#,
            r#""CustomID":"order-#########","Payload":""}"#
        ),
    ),
    (
        5,
        concat!(
            r#"{"event":"bounce","time":1430812195,"MessageID":576460779#########,"#,
            r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","#,
            r#""email":"person#########@example.com","mj_campaign_id":7657476082,"#,
            r#""mj_contact_id":5#########,"customcampaign":"spring-newsletter","#,
            r#""CustomID":"order-#########","Payload":"","blocked":false,"hard_bounce":true,"#,
            r#""error_related_to":"recipient","error":"user unknown","#,
            r#""comment":"550 5.1.1 The email account that you tried to reach does not exist."}"#
        ),
    ),
    (
        3,
        concat!(
            r#"{"event":"blocked","time":1430812195,"MessageID":576460779#########,"#,
            r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","#,
            r#""email":"person#########@example.com","mj_campaign_id":7657476082,"#,
            r#""mj_contact_id":5#########,"customcampaign":"spring-newsletter","#,
            r#""CustomID":"order-#########","Payload":"","error_related_to":"mailjet","#,
            r#""error":"preblocked"}"#
        ),
    ),
    (
        1,
        concat!(
            r#"{"event":"spam","time":1430812195,"MessageID":576460779#########,"#,
            r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","#,
            r#""email":"person#########@example.com","mj_campaign_id":7657476082,"#,
            r#""mj_contact_id":5#########,"customcampaign":"spring-newsletter","#,
            r#""CustomID":"order-#########","Payload":"","source":"JMRPP"}"#
        ),
    ),
    (
        4,
        concat!(
            r#"{"event":"unsub","time":1433334941,"MessageID":576460779#########,"#,
            r#""Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","#,
            r#""email":"person#########@example.com","mj_campaign_id":7657476082,"#,
            r#""mj_contact_id":5#########,"customcampaign":"spring-newsletter","#,
            r#""CustomID":"order-#########","Payload":"","mj_list_id":1,"ip":"192.0.2.17","geo":"DE","#,
            r#""agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/115.0"}"#
        ),
    ),
];

/// Where a number is inserted.
const PLACE: &str = "#########";

/// Makes events. That costs next to nothing: it copies a text and writes a number into it.
#[derive(Debug)]
pub(crate) struct EventGenerator {
    /// A hundred templates in a fixed random order.
    templates: Vec<Template>,
    next: usize,
}

#[derive(Debug, Clone)]
struct Template {
    text: &'static [u8],
    /// The offsets where the number is inserted.
    places: Vec<usize>,
}

impl EventGenerator {
    /// Starts with the first event.
    pub(crate) fn new() -> Self {
        let mut templates: Vec<Template> = Vec::new();
        for (times, text) in KINDS {
            let places = text.match_indices(PLACE).map(|(place, _)| place).collect();
            let template = Template { text: text.as_bytes(), places };
            templates.extend(std::iter::repeat_n(template, times));
        }
        let mut random = SeededRandom::new(7);
        for end in (1..templates.len()).rev() {
            let other = usize::try_from(random.below(end as u64 + 1)).expect("an index");
            templates.swap(end, other);
        }
        EventGenerator { templates, next: 0 }
    }

    /// Appends an event to `out`.
    pub(crate) fn push_event(&mut self, out: &mut Vec<u8>) {
        let Template { text, places } = &self.templates[self.next % self.templates.len()];
        let begin = out.len();
        out.extend_from_slice(text);
        let mut digits = *b"000000000";
        let mut rest = self.next;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        for place in places {
            out[begin + place..][..digits.len()].copy_from_slice(&digits);
        }
        self.next += 1;
    }

    /// Appends the body of a webhook to `out`: one event, or an array of several.
    pub(crate) fn push_body(&mut self, events: u64, out: &mut Vec<u8>) {
        if events == 1 {
            return self.push_event(out);
        }
        for number in 0..events {
            out.push(if number == 0 { b'[' } else { b',' });
            self.push_event(out);
        }
        out.push(b']');
    }
}
