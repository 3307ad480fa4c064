//! What `--about` prints: in JSON the keys of the Meltano SDK's plugins, in their order.

use std::fmt::Write as _;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde_json::json;

use crate::schema::{properties_of, schema_of, type_of};

/// Columns that a line of the list of settings may take.
const MAX_WIDTH: usize = 100;

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

/// A program, as it describes itself.
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
    /// Returns what `--about` prints, with a final line ending. `T` is the struct of the configuration keys.
    pub fn about<T: JsonSchema>(&self, format: AboutFormat) -> String {
        let Program { name, description, version, capabilities } = self;
        match format {
            AboutFormat::Text => {
                let capabilities = capabilities.join(", ");
                format!("{name} {version}\n{description}.\n\nCapabilities: {capabilities}\n\nSettings:\n")
                    + &list_settings::<T>()
            }
            AboutFormat::Json => {
                let about = json!({
                    "name": name,
                    "description": description,
                    "version": version,
                    // This plugin is not built on the SDK, and not in Python.
                    "sdk_version": null,
                    "supported_python_versions": [],
                    "capabilities": capabilities,
                    "settings": schema_of::<T>(),
                });
                serde_json::to_string_pretty(&about).expect("JSON can be printed") + "\n"
            }
            AboutFormat::Markdown => {
                let head =
                    format!("# `{name}`\n\n{description}.\n\nVersion {version}\n\n## Capabilities\n\n");
                let capabilities = capabilities.join("`\n- `");
                format!("{head}- `{capabilities}`\n\n## Settings\n\n") + &list_settings::<T>()
            }
        }
    }
}

/// Lists the keys of `T`, as a Markdown list that is also readable as text.
fn list_settings<T: JsonSchema>() -> String {
    let mut out = String::new();
    for (key, schema) in properties_of::<T>() {
        let mut item = format!("- `{key}` ({}", type_of(&schema));
        if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
            let _ = write!(item, ", default `{default}`");
        }
        if schema["secret"] == true {
            item.push_str(", secret");
        }
        let _ = write!(item, "): {}", schema["description"].as_str().unwrap_or_default());
        push_wrapped(&mut out, &item);
    }
    out
}

/// Appends a list item, broken between words. Lines after the first are indented.
fn push_wrapped(out: &mut String, item: &str) {
    let mut width = 0;
    for word in item.split_whitespace() {
        let word_width = word.chars().count();
        if width > 0 && width + 1 + word_width > MAX_WIDTH {
            out.push_str("\n ");
            width = 1;
        }
        if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word_width;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(JsonSchema, serde::Serialize)]
    #[serde(default)]
    struct Sample {
        /// A size whose description is so long
        /// that it takes two lines, both in its doc comment and here.
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
        assert_eq!(
            keys.join(" "),
            "name description version sdk_version supported_python_versions capabilities settings"
        );
        assert_eq!(about["settings"]["properties"]["size"]["default"], 7);
        assert_eq!(about["settings"]["properties"]["tokens"]["secret"], true);
    }

    #[test]
    fn text_and_markdown_list_each_setting_in_lines_that_fit_a_terminal() {
        let settings = "- `size` (integer, default `7`): A size whose description is so long that it takes \
            two lines, both\n  in its doc comment and here.\n\
            - `name` (string): This | that.\n\
            - `tokens` (array, default `[]`, secret): Hush.\n";
        let text = PROGRAM.about::<Sample>(AboutFormat::Text);
        let head = "tap-x 1.2.3\nTaps x.\n\nCapabilities: about, state\n\nSettings:\n";
        assert_eq!(text, format!("{head}{settings}"));
        let markdown = PROGRAM.about::<Sample>(AboutFormat::Markdown);
        let head = "# `tap-x`\n\nTaps x.\n\nVersion 1.2.3\n\n\
            ## Capabilities\n\n- `about`\n- `state`\n\n## Settings\n\n";
        assert_eq!(markdown, format!("{head}{settings}"));
    }
}
