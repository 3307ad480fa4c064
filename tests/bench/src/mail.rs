//! Events as Mailjet sends them: of all seven types, in proportions as they are, and each another one.

use end_to_end::chance::Chance;

/// The events of a hundred, each with how many of them are like it. `#########` is the number that makes it another one.
const KINDS: [(usize, &str); 7] = [
    (
        50,
        r#"{"event":"sent","time":1433333949,"MessageID":576460779#########,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","email":"person#########@example.com","mj_campaign_id":7657476082,"mj_contact_id":5#########,"customcampaign":"spring-newsletter","mj_message_id":"576460779#########","smtp_reply":"sent (250 2.0.0 OK 1433333948 fa5si855896wjc.199 - gsmtp)","CustomID":"order-#########","Payload":"{\"order\": #########, \"shop\": \"north\"}"}"#,
    ),
    (
        28,
        r#"{"event":"open","time":1433103519,"MessageID":576460779#########,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","email":"person#########@example.com","mj_campaign_id":7657476082,"mj_contact_id":5#########,"customcampaign":"spring-newsletter","ip":"192.0.2.17","geo":"FR","agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/115.0","CustomID":"order-#########","Payload":""}"#,
    ),
    (
        9,
        r#"{"event":"click","time":1433334653,"MessageID":576460779#########,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","email":"person#########@example.com","mj_campaign_id":7657476082,"mj_contact_id":5#########,"customcampaign":"spring-newsletter","url":"https://shop.example.com/spring?utm_source=mail&utm_campaign=spring","ip":"2001:db8::17","geo":"EU","agent":"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15","CustomID":"order-#########","Payload":""}"#,
    ),
    (
        5,
        r#"{"event":"bounce","time":1430812195,"MessageID":576460779#########,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","email":"person#########@example.com","mj_campaign_id":7657476082,"mj_contact_id":5#########,"customcampaign":"spring-newsletter","CustomID":"order-#########","Payload":"","blocked":false,"hard_bounce":true,"error_related_to":"recipient","error":"user unknown","comment":"550 5.1.1 The email account that you tried to reach does not exist."}"#,
    ),
    (
        3,
        r#"{"event":"blocked","time":1430812195,"MessageID":576460779#########,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","email":"person#########@example.com","mj_campaign_id":7657476082,"mj_contact_id":5#########,"customcampaign":"spring-newsletter","CustomID":"order-#########","Payload":"","error_related_to":"mailjet","error":"preblocked"}"#,
    ),
    (
        1,
        r#"{"event":"spam","time":1430812195,"MessageID":576460779#########,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","email":"person#########@example.com","mj_campaign_id":7657476082,"mj_contact_id":5#########,"customcampaign":"spring-newsletter","CustomID":"order-#########","Payload":"","source":"JMRPP"}"#,
    ),
    (
        4,
        r#"{"event":"unsub","time":1433334941,"MessageID":576460779#########,"Message_GUID":"6e3d1a52-0b2c-4f8a-9d55-1f0#########","email":"person#########@example.com","mj_campaign_id":7657476082,"mj_contact_id":5#########,"customcampaign":"spring-newsletter","CustomID":"order-#########","Payload":"","mj_list_id":1,"ip":"192.0.2.17","geo":"DE","agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/115.0"}"#,
    ),
];

/// Where a number goes.
const PLACE: &str = "#########";

/// Makes events. They cost next to nothing: a text is copied, and a number written into it.
#[derive(Debug)]
pub(crate) struct Mail {
    /// A hundred of them, in an order that nobody has chosen.
    templates: Vec<Template>,
    next: usize,
}

#[derive(Debug, Clone)]
struct Template {
    text: &'static [u8],
    /// Where the numbers go.
    places: Vec<usize>,
}

impl Mail {
    /// Begins at the beginning.
    pub(crate) fn new() -> Self {
        let mut templates: Vec<Template> = Vec::new();
        for (times, text) in KINDS {
            let places = text.match_indices(PLACE).map(|(place, _)| place).collect();
            let template = Template { text: text.as_bytes(), places };
            templates.extend(std::iter::repeat_n(template, times));
        }
        let mut chance = Chance::of(7);
        for end in (1..templates.len()).rev() {
            let other = usize::try_from(chance.below(end as u64 + 1)).expect("an index");
            templates.swap(end, other);
        }
        Mail { templates, next: 0 }
    }

    /// Appends an event.
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

    /// Appends the body of a webhook: one event, or an array of several.
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
