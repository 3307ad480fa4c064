//! The rows of events of one shape in one stream: the text around the values, put together once.
//!
//! What becomes of a value is the table's to say, here as elsewhere ([`Table::as_it_is`]). A template is for events whose values
//! all go into the columns of their own names as they are; it gives up at any other value, and the row is then put together
//! one value at a time ([`Table::place`]).

use std::ops::Range;

use catalog::column::ColumnSource;
use catalog::members::Members;

use super::row::{self, System};
use super::table::{Destination, Table};

/// The longest text of a template: bytes. A table of two hundred columns has less.
const TEXT_BYTES: usize = 16 << 10;

/// The templates for one shape of events, one for each selected stream that has had such an event.
#[derive(Debug, Default)]
pub(in crate::emitter) struct Templates {
    made: Vec<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    /// How many columns the table had. Columns are only ever added.
    columns: usize,
    /// None if rows depend on the values, or have very many columns.
    template: Option<Template>,
}

impl Templates {
    /// The template for the rows in `table`, the selected stream at `place`, of events with the names of `members`, from the
    /// second such event on. None if what they are depends on the values, or if they have very many columns.
    pub(in crate::emitter) fn of(
        &mut self,
        place: usize,
        table: &Table,
        members: Members<'_, '_>,
    ) -> Option<&Template> {
        if self.made.len() <= place {
            self.made.resize_with(place + 1, || None);
            // Many a shape never comes again.
            return None;
        }
        let columns = table.outputs().len();
        let made = self.made[place].take().filter(|made| made.columns == columns);
        let made = made.unwrap_or_else(|| Made { columns, template: Template::of(table, members) });
        self.made[place].insert(made).template.as_ref()
    }
}

/// How the rows of one shape are written.
#[derive(Debug)]
pub(in crate::emitter) struct Template {
    parts: Vec<Part>,
    /// The text that stands around the values.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Part {
    /// Where the text before the value stands.
    before: Range<usize>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// That of a member of the event, in the column at `place`.
    Field { member: usize, place: usize },
    /// One that every row has.
    System(ColumnSource),
}

impl Template {
    fn of(table: &Table, members: Members<'_, '_>) -> Option<Self> {
        let mut member_at = vec![None; table.outputs().len()];
        for (number, member) in members.iter().enumerate() {
            match table.destination(&member.column_name()) {
                Destination::Column(place) if member_at[place].is_none() => member_at[place] = Some(number),
                Destination::Nowhere => {}
                // Several values for one column are no common thing.
                Destination::Column(_) | Destination::Depends => return None,
            }
        }
        let (mut parts, mut text, mut start) = (Vec::new(), Vec::new(), 0);
        row::begin_record(table, &mut text);
        for (position, (place, output)) in table.selected().enumerate() {
            row::begin_value(position, output, &mut text);
            let value = match (output.source, member_at[place]) {
                (ColumnSource::Field, Some(member)) => Value::Field { member, place },
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
        (text.len() <= TEXT_BYTES).then_some(Template { parts, text })
    }

    /// Appends the RECORD of an event to `out`, or nothing if a value is not for the column of its name: says which.
    pub(in crate::emitter) fn write(
        &self,
        table: &Table,
        members: Members<'_, '_>,
        system: &System<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        for part in &self.parts {
            out.extend_from_slice(&self.text[part.before.clone()]);
            match part.value {
                Value::Field { member, place } => {
                    let Some(json) = table.as_it_is(place, members.get(member)) else {
                        out.truncate(start);
                        return false;
                    };
                    out.extend_from_slice(json.as_bytes());
                }
                Value::System(source) => system.write(source, out),
            }
        }
        let last = self.parts.last().map_or(0, |part| part.before.end);
        out.extend_from_slice(&self.text[last..]);
        row::end_record(system, out);
        true
    }
}
