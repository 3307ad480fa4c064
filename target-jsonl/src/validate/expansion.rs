//! How large a schema is once its references are followed.
//!
//! A few kilobytes of references to references can stand for more parts than anybody can check: each of
//! thirty definitions may refer to the next one twice. Such a schema would never be compiled, or no record
//! checked.

use std::collections::HashMap;

use serde_json::Value;

/// The most parts that a schema may have, its references followed. A schema with a thousand columns has a few
/// thousand.
pub(super) const MAX_PARTS: u64 = 1_000_000;

/// How deep a schema may be, its references followed.
const MAX_DEPTH: usize = 1_000;

/// Keywords whose value refers to another part of the schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Keywords that name a part of the schema.
const NAMES: [&str; 4] = ["$id", "id", "$anchor", "$dynamicAnchor"];

/// Whether a schema has more than [`MAX_PARTS`] parts, its references followed.
pub(super) fn is_too_large(schema: &Value) -> bool {
    let mut named = HashMap::new();
    collect_names(schema, &mut named);
    let mut expansion = Expansion { schema, named, known: HashMap::new() };
    expansion.parts(schema, 0) > MAX_PARTS
}

/// Collects the parts that references can name, other than by their position.
fn collect_names<'s>(part: &'s Value, named: &mut HashMap<&'s str, &'s Value>) {
    match part {
        Value::Object(keywords) => {
            for name in NAMES.iter().filter_map(|keyword| keywords.get(*keyword)?.as_str()) {
                named.insert(name.trim_matches('#'), part);
            }
            keywords.values().for_each(|value| collect_names(value, named));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, named)),
        _ => {}
    }
}

struct Expansion<'s> {
    schema: &'s Value,
    named: HashMap<&'s str, &'s Value>,
    /// The number of parts of each object that was counted, by its address; 0 while it is being counted: a
    /// reference back to it adds nothing.
    known: HashMap<*const Value, u64>,
}

impl<'s> Expansion<'s> {
    fn parts(&mut self, part: &'s Value, depth: usize) -> u64 {
        match part {
            // A chain of references this long is as good as endless for whoever follows it by recursion.
            _ if depth > MAX_DEPTH => u64::MAX,
            Value::Object(keywords) => {
                if let Some(parts) = self.known.get(&std::ptr::from_ref(part)) {
                    return *parts;
                }
                self.known.insert(part, 0);
                let mut parts = 1_u64;
                for (keyword, value) in keywords {
                    let referred = value.as_str().filter(|_| REFERENCES.contains(&keyword.as_str()));
                    let target = referred.and_then(|reference| self.resolve(reference));
                    parts = parts.saturating_add(self.parts(target.unwrap_or(value), depth + 1));
                }
                self.known.insert(part, parts);
                parts
            }
            Value::Array(items) => {
                items.iter().fold(1, |parts: u64, item| parts.saturating_add(self.parts(item, depth + 1)))
            }
            _ => 1,
        }
    }

    /// Returns the part that a reference leads to, if it is in this schema.
    fn resolve(&self, reference: &str) -> Option<&'s Value> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let root = if document.is_empty() {
            self.schema
        } else {
            let ends_so = |(name, _): &(&&str, _)| name.ends_with(document) || document.ends_with(**name);
            self.named.get(document).or_else(|| self.named.iter().find(ends_so).map(|(_, part)| part))?
        };
        if fragment.is_empty() {
            return Some(root);
        }
        self.named.get(fragment).copied().or_else(|| root.pointer(&percent_decoded(fragment)))
    }
}

/// Decodes `%25` and the like in the fragment of a URI.
fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) if *byte == b'%' => {
                decoded.push(code);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each definition refers to the next one twice, in the way that `reference` makes.
    fn doubling(levels: usize, reference: impl Fn(usize) -> Value) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let next = reference(level + 1);
            definitions.insert(
                format!("d{level}"),
                json!({
                    "$id": format!("https://example.com/d{level}"),
                    "$anchor": format!("a{level}"),
                    "allOf": [next, next],
                }),
            );
        }
        definitions.insert(format!("d{levels}"), json!({"type": "object"}));
        json!({"properties": {"a": reference(0)}, "definitions": definitions})
    }

    #[test]
    fn references_that_multiply_are_noticed_and_others_are_not() {
        let by_position = |level| json!({"$ref": format!("#/definitions/d{level}")});
        let escaped = |level| json!({"$ref": format!("#/definitions/%64{level}")});
        let by_id = |level| json!({"$ref": format!("https://example.com/d{level}")});
        let relative = |level| json!({"$ref": format!("d{level}")});
        let by_anchor = |level| json!({"$dynamicRef": format!("#a{level}")});
        assert!(is_too_large(&doubling(30, by_position)));
        assert!(is_too_large(&doubling(30, escaped)));
        assert!(is_too_large(&doubling(30, by_id)));
        assert!(is_too_large(&doubling(30, relative)));
        assert!(is_too_large(&doubling(30, by_anchor)));
        assert!(!is_too_large(&doubling(10, by_position)));
        let chain = |level| {
            if level < 5_000 { json!({"$ref": format!("#/definitions/c{}", level + 1)}) } else { json!({}) }
        };
        let chain: serde_json::Map<_, _> =
            (0..=5_000).map(|level| (format!("c{level}"), chain(level))).collect();
        assert!(is_too_large(&json!({"properties": {}, "definitions": chain})));
        // A tree, which refers to itself.
        let node = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#/properties/left"}}});
        assert!(!is_too_large(&node));
        let columns = (0..5_000).map(|number| (format!("c{number}"), json!({"$ref": "#/definitions/text"})));
        let columns: serde_json::Map<_, _> = columns.collect();
        assert!(!is_too_large(&json!({"properties": columns, "definitions": {"text": {"type": "string"}}})));
    }
}
