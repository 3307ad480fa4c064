//! Webhooks that somebody made to take as much time and memory as possible.

/// A body of `bytes` at most: `part` between `before` and `after`, again and again.
fn repeated(bytes: usize, before: &str, part: &str, after: &str) -> String {
    let length = bytes - before.len() - after.len();
    format!("{before}{}{after}", part.repeat(length / part.len()))
}

/// The worst bodies of `bytes` that are known, each with a name. Whoever knows a URL can send them.
#[must_use]
pub fn worst_bodies(bytes: usize) -> Vec<(&'static str, String)> {
    let repeated = |before: &str, part: &str, after: &str| repeated(bytes, before, part, after);
    let open = r#"{"event":"open","#;
    let nested = |levels: usize, before: &str, after: &str| {
        let before = format!("{open}\"a\":{}\"", before.repeat(levels));
        repeated(&before, "x", &format!("\"{}}}", after.repeat(levels)))
    };
    let half = bytes / 2 - 20;
    vec![
        (
            "members without a column",
            repeated(&format!("{open}\"{}\":{{", "n".repeat(63)), r#""":1,"#, r#""":1}}"#),
        ),
        ("members with one name", repeated(&format!("{open}\"a\":{{"), r#""":1,"#, r#""":1}}"#)),
        ("fields with one name", repeated(open, r#""":1,"#, r#""":1}"#)),
        ("numbers", repeated(&format!("{open}\"a\":["), "0,", "0]}")),
        ("objects", repeated(&format!("{open}\"a\":["), "{},", "{}]}")),
        ("brackets", format!("{open}\"a\":{}{}}}", "[".repeat(half), "]".repeat(half))),
        ("a text in arrays", nested(95, "[", "]")),
        ("a text in objects", nested(60, r#"[{"z":1,"a":"#, "}]")),
        ("text that no target stores", repeated(&format!("{open}\"\u{1f600}\":\"\\u0000"), r"\\", r#""}"#)),
        ("control characters", repeated(&format!("{open}\"Payload\":\""), r"\u0001", r#""}"#)),
        ("raw control characters", repeated(&format!("{open}\"a\":\""), "\u{1}", r#""}"#)),
        ("a name", repeated(&format!("{open}\""), "n", r#"":{"a":1,"b":2,"c":3}}"#)),
        ("no events", repeated("[", "0,", "0]")),
        ("elements that are never closed", repeated("[", r#"{"a":[{},"#, "")),
        ("events in what is never closed", repeated("[", r#"{"a"[[[{"event":1},"#, "")),
        ("quotation marks", repeated("[", r#""","#, r#"""]"#)),
    ]
}
