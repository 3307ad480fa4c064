//! What `--about` prints: the same keys, in the same order, as a target of the Meltano SDK.

use std::fmt::Write as _;

use catalog::settings::properties_of;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::cli::Format;
use crate::config::Settings;

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const DESCRIPTION: &str = env!("CARGO_PKG_DESCRIPTION");
const CAPABILITIES: [&str; 2] = ["about", "validate-records"];

/// The answer, with a line ending.
#[must_use]
pub fn about(format: Format) -> String {
    match format {
        Format::Json => as_json(),
        Format::Markdown => as_markdown(),
        Format::Text => as_text(),
    }
}

fn as_json() -> String {
    let generator =
        SchemaSettings::default().with(|settings| settings.inline_subschemas = true).into_generator();
    let about = json!({
        "name": NAME,
        "description": DESCRIPTION,
        "version": VERSION,
        // Neither the SDK nor Python is in here.
        "sdk_version": null,
        "supported_python_versions": [],
        "capabilities": CAPABILITIES,
        "settings": generator.into_root_schema_for::<Settings>(),
    });
    serde_json::to_string_pretty(&about).expect("JSON can be printed") + "\n"
}

fn as_markdown() -> String {
    let mut out = format!("# `{NAME}`\n\n{DESCRIPTION}.\n\nVersion {VERSION}\n\n## Capabilities\n\n");
    for capability in CAPABILITIES {
        let _ = writeln!(out, "* `{capability}`");
    }
    out.push_str("\n## Settings\n\n| Setting | Type | Default | Description |\n| --- | --- | --- | --- |\n");
    for (key, schema) in properties_of::<Settings>() {
        let _ = writeln!(
            out,
            "| `{key}` | {} | {} | {} |",
            type_of(&schema),
            default_of(&schema).unwrap_or_else(|| "none".to_owned()),
            description_of(&schema)
        );
    }
    out
}

fn as_text() -> String {
    let mut out = format!(
        "{NAME} {VERSION}\n{DESCRIPTION}.\n\nCapabilities: {}\n\nSettings:\n",
        CAPABILITIES.join(", ")
    );
    for (key, schema) in properties_of::<Settings>() {
        let default =
            default_of(&schema).map_or_else(|| "no default".to_owned(), |it| format!("default: {it}"));
        let _ = writeln!(out, "  {key} ({}; {default})\n      {}", type_of(&schema), description_of(&schema));
    }
    out
}

fn type_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::Array(names) => names[0].as_str().unwrap_or_default(),
        name => name.as_str().unwrap_or_default(),
    }
}

fn default_of(schema: &Value) -> Option<String> {
    schema.get("default").filter(|default| !default.is_null()).map(Value::to_string)
}

/// A doc comment that is wrapped is still one line.
fn description_of(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_sdks_keys_in_the_sdks_order() {
        let about: Value = serde_json::from_str(&about(Format::Json)).expect("JSON");
        let keys: Vec<_> = about.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "name",
                "description",
                "version",
                "sdk_version",
                "supported_python_versions",
                "capabilities",
                "settings"
            ]
        );
        let settings: Vec<_> = about["settings"]["properties"]
            .as_object()
            .expect("properties")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            settings,
            [
                "destination_path",
                "custom_name",
                "do_timestamp_file",
                "validate_records",
                "state_interval_seconds",
                "log_level"
            ]
        );
    }

    #[test]
    fn each_setting_has_a_description_and_a_default_in_every_format() {
        let (text, markdown) = (about(Format::Text), about(Format::Markdown));
        assert!(
            text.contains("  destination_path (string; default: \".\")\n      Directory of the files"),
            "{text}"
        );
        assert!(text.contains("  custom_name (string; no default)\n"), "{text}");
        assert!(markdown.contains("| `validate_records` | boolean | true | Stop at a record"), "{markdown}");
        for (key, schema) in properties_of::<Settings>() {
            assert!(!description_of(&schema).is_empty(), "{key}");
        }
    }
}
