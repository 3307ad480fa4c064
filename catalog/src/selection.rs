//! The Singer catalog: what `--discover` prints, and what it says can be selected.

use serde::Serialize;
use serde_json::{Value, json};

use crate::column::Column;
use crate::stream::{SEQUENCE, Stream};

/// A Singer catalog.
#[derive(Debug, Serialize)]
pub struct Catalog {
    /// One entry for each stream that the tap offers.
    pub streams: Vec<CatalogEntry>,
}

/// A stream in the catalog.
#[derive(Debug, Serialize)]
pub struct CatalogEntry {
    /// Id of the stream within the tap.
    pub tap_stream_id: &'static str,
    /// Name of the stream in messages.
    pub stream: &'static str,
    /// Columns that together identify a row.
    pub key_properties: Vec<&'static str>,
    /// How the stream is replicated. Always INCREMENTAL: a bookmark says where to go on.
    pub replication_method: &'static str,
    /// Column whose largest value is the bookmark.
    pub replication_key: &'static str,
    /// JSON Schema of a row.
    pub schema: Value,
    /// What can be selected: one entry for the stream and one for each of its columns.
    pub metadata: Vec<Metadata>,
}

/// What the catalog says about a stream or about one of its columns.
#[derive(Debug, Serialize)]
pub struct Metadata {
    /// Path into the schema; empty for the stream itself.
    pub breadcrumb: Vec<String>,
    /// The properties that the Singer specification names.
    pub metadata: Value,
}

impl Catalog {
    /// The catalog of everything that the tap offers.
    #[must_use]
    pub fn discover() -> Self {
        Catalog { streams: vec![CatalogEntry::of(&Stream::data())] }
    }
}

impl CatalogEntry {
    fn of(stream: &Stream) -> Self {
        let of_stream = Metadata {
            breadcrumb: Vec::new(),
            metadata: json!({
                "inclusion": "available",
                "selected-by-default": true,
                "table-key-properties": stream.key_properties(),
                "forced-replication-method": "INCREMENTAL",
                "valid-replication-keys": [SEQUENCE],
            }),
        };
        // Every column has metadata of its own: Meltano takes one without as "automatic", never to be deselected.
        let of_columns = stream.columns().map(|column| Metadata {
            breadcrumb: vec!["properties".to_owned(), column.name.clone()],
            metadata: column_metadata(column),
        });
        CatalogEntry {
            tap_stream_id: stream.name,
            stream: stream.name,
            key_properties: stream.key_properties().to_vec(),
            replication_method: "INCREMENTAL",
            replication_key: SEQUENCE,
            schema: stream.json_schema(),
            metadata: std::iter::once(of_stream).chain(of_columns).collect(),
        }
    }
}

/// A column that a row can't do without is automatic, any other may be deselected.
fn column_metadata(column: &Column) -> Value {
    if column.nullable {
        json!({ "inclusion": "available", "selected-by-default": true })
    } else {
        json!({ "inclusion": "automatic" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `catalog.json` is what `--discover` prints by default: a reader can see it without building anything.
    #[test]
    fn catalog_json_is_what_discovery_prints() {
        let printed = serde_json::to_string_pretty(&Catalog::discover()).expect("a catalog is JSON") + "\n";
        let kept = include_str!("../catalog.json");
        assert!(
            kept == printed,
            "catalog/catalog.json is out of date; write it anew with\n    \
             cargo run --bin tap-mailjet-webhooks -- --discover > catalog/catalog.json"
        );
    }
}
