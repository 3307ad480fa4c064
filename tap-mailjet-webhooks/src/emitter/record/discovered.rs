//! Columns that appeared in events. The spool's registry remembers them, so that a column keeps its type in
//! any process.

use std::collections::HashSet;

use catalog::column::ColumnType;
use catalog::stream::{Stream, StreamId, discovered_column};

use crate::spool::DiscoveredColumn;

/// Returns a stream with its documented columns and those of `discovered` that appeared in it.
///
/// The system prefix may have been changed since they appeared, so that a system column now has the name of
/// one of them, or one that differs only by case. Many databases take the two for the same name: the system
/// column stays.
pub(crate) fn stream_with_discovered_columns(
    id: StreamId,
    system_prefix: &str,
    discovered: &[DiscoveredColumn],
) -> Stream {
    let mut stream = Stream::new(id, system_prefix);
    let taken: HashSet<_> = stream.columns.iter().map(|column| column.name.to_lowercase()).collect();
    let of_stream = discovered.iter().filter(|column| column.stream == id.name());
    let free = of_stream.filter(|column| !taken.contains(&column.name.to_lowercase()));
    stream.columns.extend(free.map(|column| {
        // A type that a later version has written is text here, which takes any value.
        let column_type = ColumnType::from_json_type(&column.json_type).unwrap_or(ColumnType::Text);
        discovered_column(column.name.clone(), column_type)
    }));
    stream
}
