//! What a program says of itself with `--about`: the same keys, in the same order, as a plugin of the Meltano SDK.

use std::fmt::Write as _;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::schema::{properties_of, schema_of};

/// How `--about` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AboutFormat {
    /// For people
    #[default]
    Text,
    /// For programs, with the keys of the Meltano SDK
    Json,
    /// For a README
    Markdown,
}

/// A program that has something to say of itself.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What it does: a sentence without its full stop.
    pub description: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it can do, in the words of Singer's plugins.
    pub capabilities: &'static [&'static str],
}

impl Program {
    /// The answer, with a line ending. `T` are the program's settings.
    #[must_use]
    pub fn about<T: JsonSchema>(&self, format: AboutFormat) -> String {
        match format {
            AboutFormat::Json => self.as_json::<T>(),
            AboutFormat::Markdown => self.as_markdown::<T>(),
            AboutFormat::Text => self.as_text::<T>(),
        }
    }

    fn as_json<T: JsonSchema>(&self) -> String {
        let about = json!({
            "name": self.name,
            "description": self.description,
            "version": self.version,
            // Neither the SDK nor Python is in here.
            "sdk_version": null,
            "supported_python_versions": [],
            "capabilities": self.capabilities,
            "settings": schema_of::<T>(),
        });
        serde_json::to_string_pretty(&about).expect("JSON can be printed") + "\n"
    }

    fn as_markdown<T: JsonSchema>(&self) -> String {
        let Program { name, description, version, capabilities } = self;
        let mut out = format!("# `{name}`\n\n{description}.\n\nVersion {version}\n\n## Capabilities\n\n");
        for capability in *capabilities {
            let _ = writeln!(out, "* `{capability}`");
        }
        out.push_str("\n## Settings\n\n");
        out + &settings_table::<T>()
    }

    fn as_text<T: JsonSchema>(&self) -> String {
        let Program { name, description, version, capabilities } = self;
        let mut out = format!(
            "{name} {version}\n{description}.\n\nCapabilities: {}\n\nSettings:\n",
            capabilities.join(", ")
        );
        for (key, schema) in properties_of::<T>() {
            let default =
                default_of(&schema).map_or_else(|| "no default".to_owned(), |it| format!("default: {it}"));
            let _ =
                writeln!(out, "  {key} ({}; {default})\n      {}", type_of(&schema), description_of(&schema));
        }
        out
    }
}

/// The settings `T` as a table in Markdown, as `--about` and the README have it.
#[must_use]
pub fn settings_table<T: JsonSchema>() -> String {
    let mut out = "| Setting | Type | Default | Description |\n| --- | --- | --- | --- |\n".to_owned();
    for (key, schema) in properties_of::<T>() {
        let default = default_of(&schema).map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        // A bar would end the cell.
        let description = description_of(&schema).replace('|', "\\|");
        let _ = writeln!(out, "| `{key}` | {} | {default} | {description} |", type_of(&schema));
    }
    out
}

fn type_of(schema: &Value) -> String {
    let name = match &schema["type"] {
        Value::Array(names) => &names[0],
        name => name,
    };
    let secret = if schema["secret"] == true { ", secret" } else { "" };
    format!("{}{secret}", name.as_str().unwrap_or("string"))
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

    /// What a program takes.
    #[derive(JsonSchema, serde::Serialize)]
    #[serde(default)]
    struct Sample {
        /// A size that
        /// takes two lines.
        size: u64,
        /// This | that.
        name: Option<String>,
        /// Hush.
        #[schemars(extend("secret" = true))]
        tokens: Vec<String>,
    }

    impl Default for Sample {
        fn default() -> Self {
            Sample { size: 7, name: None, tokens: Vec::new() }
        }
    }

    const PROGRAM: Program =
        Program { name: "tap-x", description: "Taps x", version: "1.2.3", capabilities: &["about", "state"] };

    #[test]
    fn json_has_the_sdks_keys_in_the_sdks_order() {
        let about: Value = serde_json::from_str(&PROGRAM.about::<Sample>(AboutFormat::Json)).expect("JSON");
        let keys: Vec<_> = about.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = [
            "name",
            "description",
            "version",
            "sdk_version",
            "supported_python_versions",
            "capabilities",
            "settings",
        ];
        assert_eq!(keys, expected);
        assert_eq!(about["settings"]["properties"]["size"]["default"], 7);
        assert_eq!(about["settings"]["properties"]["tokens"]["secret"], true);
    }

    #[test]
    fn text_and_markdown_have_each_setting_in_a_line() {
        let text = PROGRAM.about::<Sample>(AboutFormat::Text);
        let expected = "tap-x 1.2.3\nTaps x.\n\nCapabilities: about, state\n\nSettings:\n  \
            size (integer; default: 7)\n      A size that takes two lines.\n  \
            name (string; no default)\n      This | that.\n  \
            tokens (array, secret; default: [])\n      Hush.\n";
        assert_eq!(text, expected);
        let markdown = PROGRAM.about::<Sample>(AboutFormat::Markdown);
        let expected = "| Setting | Type | Default | Description |\n| --- | --- | --- | --- |\n\
            | `size` | integer | `7` | A size that takes two lines. |\n\
            | `name` | string | none | This \\| that. |\n\
            | `tokens` | array, secret | `[]` | Hush. |\n";
        assert!(markdown.ends_with(expected), "{markdown}");
    }
}
