//! An event's values, each in its column.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use catalog::members;

use super::target_safe;

pub(super) struct Row<'a> {
    /// One for each column of the table, up to the last that has a value.
    values: Vec<Option<PlacedValue<'a>>>,
    /// Name and JSON text of each value in the extra column.
    pub(super) extra: Vec<(Cow<'a, str>, &'a str)>,
}

struct PlacedValue<'a> {
    /// What is written.
    json: Cow<'a, str>,
    /// The field and its value, in case a later value replaces this one.
    field: Cow<'a, str>,
    value: &'a str,
}

impl<'a> Row<'a> {
    pub(super) fn with_capacity(columns: usize) -> Self {
        Row { values: Vec::with_capacity(columns), extra: Vec::new() }
    }

    /// Puts `json` into a column, for `value` of `field`. A value that was there goes into the extra column.
    pub(super) fn set(&mut self, column: usize, json: Cow<'a, str>, field: Cow<'a, str>, value: &'a str) {
        let json = if target_safe::is_target_safe_text(&json) {
            json
        } else {
            Cow::Owned(members::json_string(&json))
        };
        if self.values.len() <= column {
            self.values.resize_with(column + 1, || None);
        }
        if let Some(earlier) = self.values[column].replace(PlacedValue { json, field, value }) {
            self.extra.push((earlier.field, earlier.value));
        }
    }

    pub(super) fn json(&self, column: usize) -> &str {
        self.values.get(column).and_then(Option::as_ref).map_or("null", |placed| &placed.json)
    }

    /// Appends the values without a column, as JSON text in a string.
    pub(super) fn write_extra_as_text(&self, out: &mut Vec<u8>) {
        let mut object = Vec::new();
        self.write_extra(&mut object);
        if self.extra.is_empty() {
            out.extend_from_slice(&object);
        } else {
            let text = members::json_string(&String::from_utf8_lossy(&object));
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Appends the values without a column, as an object.
    pub(super) fn write_extra(&self, out: &mut Vec<u8>) {
        if self.extra.is_empty() {
            out.extend_from_slice(b"null");
            return;
        }
        let mut taken: HashSet<Cow<'_, str>> = HashSet::with_capacity(self.extra.len());
        // The last number tried for each name, so that 10 000 values of one name do not each try all numbers.
        let mut repeats: HashMap<&str, usize> = HashMap::new();
        for (position, (name, value)) in self.extra.iter().enumerate() {
            let mut free = Cow::Borrowed(name.as_ref());
            while !taken.insert(free.clone()) {
                let repeat = repeats.entry(name).and_modify(|repeat| *repeat += 1).or_insert(2);
                free = Cow::Owned(format!("{name}__{repeat}"));
            }
            out.push(if position == 0 { b'{' } else { b',' });
            serde_json::to_writer(&mut *out, &free).expect("text is JSON and memory takes every write");
            out.push(b':');
            let value = if target_safe::is_target_safe(value) {
                target_safe::one_line(value)
            } else {
                Cow::Owned(members::json_string(value))
            };
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    }
}
