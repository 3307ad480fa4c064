//! The text around the values of a RECORD, put together once for all events with the same field names.
//!
//! A template is for events whose values all go unchanged into the columns of their own names, as most do.
//! Where one of them does not, the row is put together value by value ([`Table::place`]). Both follow the
//! same rules, which are the table's ([`Table::fit_unchanged`]).

use std::ops::Range;

use catalog::column::ColumnSource;
use catalog::members::Members;

use super::frame::{self, SystemValues};
use super::table::Table;

/// The longest text of a template that is kept. A table of two hundred columns has less.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// The templates for one field layout: one for each selected stream.
#[derive(Debug, Default)]
pub(super) struct Templates {
    by_stream: Vec<Option<CachedTemplate>>,
}

#[derive(Debug)]
struct CachedTemplate {
    /// How many columns the table had. Columns are only ever added.
    columns: usize,
    /// `None` if the rows depend on the values or have very many columns.
    template: Option<Template>,
}

impl Templates {
    /// Returns the template for rows in `table`, the selected stream at `stream_index`, of events with the
    /// names of `members`. There is none for the first such event, because many layouts never come again.
    pub(super) fn get(
        &mut self,
        stream_index: usize,
        table: &Table,
        members: Members<'_, '_>,
    ) -> Option<&Template> {
        if self.by_stream.len() <= stream_index {
            self.by_stream.resize_with(stream_index + 1, || None);
            return None;
        }
        let columns = table.columns.len();
        let cached = self.by_stream[stream_index].take().filter(|cached| cached.columns == columns);
        let cached =
            cached.unwrap_or_else(|| CachedTemplate { columns, template: Template::new(table, members) });
        self.by_stream[stream_index].insert(cached).template.as_ref()
    }
}

/// How the rows of events with the same field names are written.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
    /// The text around the values.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Part {
    /// Where the text before the value is.
    before: Range<usize>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// The value of a member of the event, in a column.
    Field { member: usize, column: usize },
    /// The value of a system column.
    System(ColumnSource),
}

impl Template {
    fn new(table: &Table, members: Members<'_, '_>) -> Option<Self> {
        let mut member_of_column = vec![None; table.columns.len()];
        for (number, member) in members.iter().enumerate() {
            let name = member.column_name();
            if !table.selection.selects_field(&name, 0) {
                continue;
            }
            // What happens to a field without a column depends on its value, and two values for one column
            // are rare.
            let member_of_column = &mut member_of_column[table.field_column(&name)?];
            if member_of_column.replace(number).is_some() {
                return None;
            }
        }
        let (mut parts, mut text, mut start) = (Vec::new(), Vec::new(), 0);
        frame::begin_record(table, &mut text);
        for (position, (index, column)) in table.selected_columns().enumerate() {
            frame::begin_value(position, column, &mut text);
            let value = match (column.source, member_of_column[index]) {
                (ColumnSource::Field, Some(member)) => Value::Field { member, column: index },
                (ColumnSource::Field | ColumnSource::Extra, _) => {
                    text.extend_from_slice(b"null");
                    continue;
                }
                (source, _) => Value::System(source),
            };
            parts.push(Part { before: start..text.len(), value });
            start = text.len();
        }
        text.shrink_to_fit();
        (text.len() <= MAX_TEXT_BYTES).then_some(Template { parts, text })
    }

    /// Appends the RECORD of an event to `out`. Returns `false`, and appends nothing, if a value does not go
    /// unchanged into the column of its name.
    pub(super) fn write(
        &self,
        table: &Table,
        members: Members<'_, '_>,
        system: &SystemValues<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        for part in &self.parts {
            out.extend_from_slice(&self.text[part.before.clone()]);
            match part.value {
                Value::Field { member, column } => {
                    let Some(json) = table.fit_unchanged(column, members.get(member)) else {
                        out.truncate(start);
                        return false;
                    };
                    out.extend_from_slice(json.as_bytes());
                }
                Value::System(source) => {
                    system.write(source, out);
                }
            }
        }
        let end = self.parts.last().map_or(0, |part| part.before.end);
        out.extend_from_slice(&self.text[end..]);
        frame::end_record(system, out);
        true
    }
}
