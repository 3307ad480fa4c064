//! The tools that check Singer taps and targets: singer-check-tap, and the Meltano SDK's standard tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use end_to_end::events::{DOCUMENTED_EVENTS, ODD_EVENTS, grouped};
use end_to_end::message::{Message, Record, value};
use end_to_end::program;
use end_to_end::schema::{assert_valid, columns_of};
use end_to_end::tap::Tap;
use end_to_end::target::Target;
use serde_json::{Value, json};

/// A tap whose spool holds one event of each type, every odd event, no duplicates, and one item that is not
/// an event.
fn tap_with_events() -> (Tap, usize) {
    let tap = Tap::new();
    let documented = grouped(&DOCUMENTED_EVENTS);
    tap.spool_bodies([documented.as_str(), "[5]"].into_iter().chain(ODD_EVENTS.iter().map(|odd| odd.event)));
    (tap, DOCUMENTED_EVENTS.len() + ODD_EVENTS.len())
}

/// singer-check-tap is strict about dates and times, and refuses a record that breaks its schema or precedes
/// it. It can also run the tap itself, but then it reads its own result too early if the tap is fast.
#[test]
fn singer_check_tap_accepts_drains() {
    let (tap, events) = tap_with_events();
    for records in [events + 1, 0] {
        let drained = tap.drain().state().finish();
        drained.assert_code(0);
        let input = tap.folder().join("messages.jsonl");
        fs::write(&input, drained.stdout.join("\n") + "\n").expect("messages can be written");
        let mut check = Command::new(program::venv_program("singer-tools", "singer-check-tap"));
        check.current_dir(tap.folder()).stdin(File::open(&input).expect("the messages are there"));
        let report = program::run(&mut check);
        assert!(report.contains("The output is valid."), "{report}");
        assert!(report.contains(&format!(" {records} record messages")), "{report}");
        let Some(Message::State(state)) = drained.messages().pop() else { panic!("a STATE comes last") };
        tap.append_to_state(&format!("{state}\n"));
    }
}

/// The Meltano SDK's tests of a tap (`singer_sdk.testing.tap_tests`) cannot run against a program. These are
/// the same tests, with every stream selected.
#[test]
fn the_meltano_sdks_standard_tap_tests_pass() {
    let (tap, _) = tap_with_events();
    let path = tap.folder().join("catalog.json");
    let discover = || {
        let discovered = tap.command(&["--discover"]).finish();
        discovered.assert_code(0);
        let catalog = with_all_selected(value(&discovered.stdout.join("\n")));
        fs::write(&path, catalog.to_string()).expect("a catalog can be written");
        catalog
    };
    let run = || {
        let finished = tap.drain().state().args(&["--catalog", path.to_str().expect("a path")]).finish();
        finished.assert_code(0);
        finished
    };
    // After a first run, the catalog has the new columns.
    discover();
    run();
    let catalog = discover();

    // schema_is_valid, record_matches_stream_schema and the tests of single attributes.
    let first = run();
    let messages = first.messages();
    assert!(assert_valid(&messages) > 0);
    for stream in catalog["streams"].as_array().expect("streams") {
        let name = stream["tap_stream_id"].as_str().expect("a name");
        // returns_record
        let records = first.records_of(name);
        assert!(!records.is_empty(), "{name}");
        // record_schema_matches_transformed_catalog and transformed_catalog_schema_matches_record
        let in_catalog: BTreeSet<&str> = stream["schema"]["properties"]
            .as_object()
            .expect("properties")
            .keys()
            .map(String::as_str)
            .collect();
        let in_schema = columns_of(&messages, name);
        assert_eq!(in_schema.len(), 1, "{name}: one SCHEMA, since discovery knew every column");
        assert_eq!(in_schema[0].iter().map(String::as_str).collect::<BTreeSet<_>>(), in_catalog, "{name}");
        for record in &records {
            assert_eq!(record.column_names().collect::<BTreeSet<_>>(), in_catalog, "{name}");
        }
        // primary_keys
        let keys = stream["key_properties"].as_array().expect("keys");
        let key = |record: &Record| {
            keys.iter().map(|key| record.raw(key.as_str().expect("a name")).to_owned()).collect::<Vec<_>>()
        };
        let values: Vec<_> = records.iter().map(key).collect();
        assert!(
            !keys.is_empty() && values.iter().flatten().all(|value| value != "null"),
            "{name}: {values:?}"
        );
        assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), records.len(), "{name}: {values:?}");
    }
    // valid_final_state
    let Some(Message::State(state)) = messages.last() else { panic!("the last message is a STATE") };
    assert_eq!(state.as_object().expect("an object").keys().collect::<Vec<_>>(), ["bookmarks"]);
    tap.append_to_state(&format!("{state}\n"));
    let second = run().messages();
    assert!(
        second.iter().all(|message| !matches!(message, Message::Record(_))),
        "the state covers everything"
    );
    assert!(matches!(second.last(), Some(Message::State(again)) if again == state));
}

fn with_all_selected(mut catalog: Value) -> Value {
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        let metadata = stream["metadata"].as_array_mut().expect("metadata");
        let of_stream = metadata.iter_mut().find(|entry| entry["breadcrumb"] == json!([])).expect("its own");
        of_stream["metadata"]["selected"] = json!(true);
    }
    catalog
}

/// The streams with which the Meltano SDK tests targets, as its package ships them. The SDK's `target_tests`
/// say which ones a target must refuse; of the others, the target must store all records.
#[test]
fn target_jsonl_passes_the_meltano_sdks_test_streams() {
    let refused = [
        "invalid_schema",
        "record_before_schema",
        "record_missing_key_property",
        "record_missing_required_property",
    ];
    let find = "import pathlib, singer_sdk
print(pathlib.Path(singer_sdk.__file__).parent / 'testing/target_test_streams')";
    let python = program::venv_program("meltanolabs-target-csv", "python");
    let streams = program::run(Command::new(python).args(["-c", find]));
    let mut verdicts = BTreeMap::new();
    for entry in fs::read_dir(streams.trim_end()).expect("the SDK has its test streams") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "singer") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            verdicts.insert(name, verdict(&path));
        }
    }
    assert_eq!(verdicts.len(), 20, "{:?}", verdicts.keys());
    for (name, verdict) in &verdicts {
        assert_eq!(verdict.is_err(), refused.contains(&name.as_str()), "{name}: {verdict:?}");
    }
}

/// The error with which target-jsonl refuses a stream. If it accepts it, all records are stored and the last
/// STATE is printed.
fn verdict(path: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let states = folder.path().join("state.jsonl");
    let input = File::open(path).expect("the stream is there");
    let mut target = Target::in_folder(folder.path()).start(input, &states);
    if target.wait() != Some(0) {
        return Err(target.stderr().wait_for_end().pop().unwrap_or_default());
    }
    let text = fs::read_to_string(path).expect("the stream is text");
    let messages: Vec<Value> = text.lines().filter(|line| !line.trim().is_empty()).map(value).collect();
    let of_type = |kind: &'static str| messages.iter().filter(move |message| message["type"] == kind);
    let mut stored = BTreeMap::<String, Vec<Value>>::new();
    for message in of_type("RECORD") {
        let stream = message["stream"].as_str().expect("a name").to_owned();
        stored.entry(stream).or_default().push(message["record"].clone());
    }
    for (stream, records) in stored {
        let table = folder.path().join("destination").join(stream).with_extension("jsonl");
        let rows: Vec<Value> = fs::read_to_string(&table).expect("a table").lines().map(value).collect();
        assert_eq!(rows, records, "{}", path.display());
    }
    let printed = fs::read_to_string(states).expect("states").lines().last().map(value);
    assert_eq!(
        printed,
        of_type("STATE").next_back().map(|message| message["value"].clone()),
        "{}",
        path.display()
    );
    Ok(())
}
