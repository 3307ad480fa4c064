//! What a log line looks like: plain for people, or the Meltano SDK's structured form for Meltano. One event
//! is one line, and foreign text cannot forge another.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{ChronoUtc, FormatTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::escape::{push_escaped, shorten};

/// Prefix of a message that is a measurement, as Singer defines it.
const METRIC: &str = "METRIC: ";
/// A longer message is cut, and so is a longer value of a field.
pub(super) const MAX_TEXT_BYTES: usize = 4096;
const RESET: &str = "\x1b[0m";

/// How the program `app_name` formats its log lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineFormat {
    pub(super) app_name: &'static str,
    pub(super) format: LogFormat,
    /// Whether a plain line shows its level in colour.
    pub(super) is_coloured: bool,
}

impl LineFormat {
    /// Formats a line with this message, line ending included.
    pub(super) fn line(self, level: Level, message: &str) -> String {
        let fields = Fields { message: message.to_owned(), extra: Map::new() };
        self.format(level, env!("CARGO_CRATE_NAME"), fields)
    }

    fn format(self, level: Level, target: &str, mut fields: Fields) -> String {
        shorten(&mut fields.message, MAX_TEXT_BYTES);
        let mut line = String::new();
        match self.format {
            LogFormat::Text => self.push_text(&mut line, level, &fields),
            LogFormat::Json => push_escaped(&mut line, &self.structured(level, target, fields)),
        }
        line.push('\n');
        line
    }

    fn push_text(self, line: &mut String, level: Level, fields: &Fields) {
        // Writing to a string does not fail.
        let _ = ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned()).format_time(&mut Writer::new(line));
        let colour = match level {
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            Level::INFO => "\x1b[32m",
            Level::DEBUG => "\x1b[34m",
            Level::TRACE => "\x1b[35m",
        };
        let (colour, reset) = if self.is_coloured { (colour, RESET) } else { ("", "") };
        let _ = write!(line, " {colour}{level:>5}{reset} ");
        push_escaped(line, &fields.message);
        for (name, value) in &fields.extra {
            push_escaped(line, &format!(" {name}={value}"));
        }
    }

    /// Formats a line as the SDK's structured formatter does.
    fn structured(self, level: Level, target: &str, mut fields: Fields) -> String {
        // Python's `logging` has no level below debug.
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let thread = std::thread::current();
        let metric_info =
            fields.message.strip_prefix(METRIC).and_then(|point| serde_json::from_str(point).ok());
        let line = StructuredLine {
            level,
            pid: std::process::id(),
            logger_name: target,
            ts: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            thread_name: thread.name().unwrap_or_default(),
            app_name: self.app_name,
            stream_name: fields.extra.remove("stream"),
            message: if metric_info.is_some() { "METRIC" } else { &fields.message },
            metric_info,
            extra: fields.extra,
        };
        serde_json::to_string(&line).expect("text and numbers are JSON")
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        writer.write_str(&self.format(*metadata.level(), metadata.target(), fields))
    }
}

/// One structured line. The order of the keys is the SDK's.
#[derive(Serialize)]
struct StructuredLine<'a> {
    level: &'static str,
    pid: u32,
    logger_name: &'a str,
    ts: f64,
    thread_name: &'a str,
    app_name: &'a str,
    stream_name: Option<Value>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_info: Option<&'a RawValue>,
    extra: Map<String, Value>,
}

/// The fields of a log event.
#[derive(Default)]
struct Fields {
    message: String,
    extra: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.extra.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.record_str(field, &text) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut value = value.to_owned();
        shorten(&mut value, MAX_TEXT_BYTES);
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use serde_json::json;
    use tracing::{info, warn};

    use super::*;

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let (reader, writer) = io::pipe().expect("a pipe");
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(writer))
            .event_format(LineFormat { app_name: "tap-x", format, is_coloured: false })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        io::read_to_string(reader).expect("UTF-8")
    }

    #[test]
    fn a_structured_line_has_the_keys_of_the_sdk() {
        let text = logged(LogFormat::Json, || {
            warn!(status = 503_u64, stream = "data", tag = "spool_full", "refused: \"full\"");
            info!("METRIC: {{\"type\":\"counter\",\"value\":1.50}}");
        });
        let lines: Vec<Map<String, Value>> =
            text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let keys: Vec<_> = lines[0].keys().map(String::as_str).collect();
        assert_eq!(keys.join(" "), "level pid logger_name ts thread_name app_name stream_name message extra");
        assert_eq!(
            ["level", "app_name", "stream_name", "message", "extra"].map(|key| &lines[0][key]),
            [
                &json!("warning"),
                &json!("tap-x"),
                &json!("data"),
                &json!("refused: \"full\""),
                &json!({"status": 503, "tag": "spool_full"})
            ]
        );
        assert!(lines[0]["ts"].as_f64().is_some_and(|ts| ts > 1.7e9));
        assert_eq!(lines[1]["message"], "METRIC");
        assert!(text.contains(r#""metric_info":{"type":"counter","value":1.50}"#), "{text}");
    }

    #[test]
    fn a_plain_line_has_the_time_the_level_the_message_and_the_fields() {
        let text = logged(LogFormat::Text, || warn!(status = 503_u64, tag = "full", "refused"));
        let (time, rest) = text.split_once(' ').expect("two words");
        assert!(time.len() == "2026-01-02T03:04:05.678Z".len() && time.ends_with('Z'), "{text}");
        assert_eq!(rest, " WARN refused status=503 tag=\"full\"\n");
    }

    #[test]
    fn one_event_is_one_line_whatever_it_quotes() {
        let foreign = "a\nb\u{2028}c\u{85}\u{1b}[2J\u{202e}d\0";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || warn!(agent = foreign, "wrong: {foreign}"));
            let line = text.strip_suffix('\n').expect("a line");
            assert!(!line.contains(|c: char| c.is_control() || "\u{2028}\u{202e}".contains(c)), "{line:?}");
            assert!(line.matches("\\u202ed").count() == 2, "{line}");
            if format == LogFormat::Json {
                let line: Value = serde_json::from_str(line).expect(line);
                assert_eq!(line["extra"]["agent"], foreign);
            }
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let long = "x".repeat(MAX_TEXT_BYTES + 9);
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || warn!("{long}"));
            assert!(text.contains("xx… (9 more bytes)") && text.len() < MAX_TEXT_BYTES + 500, "{text}");
        }
    }
}
