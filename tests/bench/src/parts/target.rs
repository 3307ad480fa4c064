//! target-jsonl against its namesake in Python, and against copying and syncing the same bytes.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use end_to_end::program::program_path;
use end_to_end::program::venv_program;
use serde_json::json;

use crate::benchmark::{Benchmark, size_of};
use crate::measurement::{Requirement, ResultRow, Unit, float, median, megabytes};
use crate::process::{ProcessUsage, command_without_io, run as measure, sync_disk};

const PART: &str = "target";

/// How `dd` copies: by default in blocks of 512 bytes, and in blocks that are as fast as the disk.
const COPIES: [(&str, &[&str]); 2] = [("dd conv=fsync", &[]), ("dd bs=1M conv=fsync", &["bs=1M"])];

pub(super) fn run(benchmark: &mut Benchmark) {
    let (messages, records) = (benchmark.messages(), benchmark.message_records());
    let folder = benchmark.folder.join(PART);
    let table = folder.join("data.jsonl");
    let config = benchmark.folder.join("target.json");
    let settings = json!({"destination_path": folder, "do_timestamp_file": false});
    fs::write(&config, settings.to_string()).expect("a config file can be written");
    let log = benchmark.folder.join("target.log");
    let measure_into = |mut command: Command, stdin: Option<&Path>| -> ProcessUsage {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a new folder");
        if let Some(stdin) = stdin {
            command.stdin(File::open(stdin).expect("the input can be opened"));
        }
        sync_disk();
        measure(&mut command, &log)
    };
    let (mut ours, mut python, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut copied = COPIES.map(|_| Vec::new());
    for _ in benchmark.rounds() {
        let mut command = command_without_io(program_path("target-jsonl"));
        command.arg("--config").arg(&config);
        let usage = measure_into(command, Some(&messages));
        assert_eq!(lines(&table), records, "each record is a line");
        ours.push(benchmark.results.round(PART, "target-jsonl", Unit::Seconds, usage.seconds));
        peaks.push(benchmark.results.round(PART, "target-jsonl, peak memory", Unit::Megabytes, usage.peak));

        for ((name, blocks), copied) in COPIES.iter().zip(&mut copied) {
            let mut command = command_without_io("dd");
            let files =
                [("if", &messages), ("of", &table)].map(|(name, path)| format!("{name}={}", path.display()));
            command.args(files).args(["conv=fsync", "status=none"]).args(*blocks);
            let usage = measure_into(command, None);
            assert_eq!(size_of(&table), size_of(&messages), "every byte was copied");
            copied.push(benchmark.results.round(PART, name, Unit::Seconds, usage.seconds));
        }

        let mut command = command_without_io(venv_program("target-jsonl", "target-jsonl"));
        command.arg("--config").arg(&config);
        let usage = measure_into(command, Some(&messages));
        assert_eq!(lines(&table), records, "each record is a line");
        python.push(benchmark.results.round(
            PART,
            "target-jsonl 0.1.4 (Python)",
            Unit::Seconds,
            usage.seconds,
        ));
    }
    let _ = fs::remove_dir_all(&folder);
    let what = format!("target-jsonl, {records} records, {:.0} MB, synced", megabytes(size_of(&messages)));
    let rate = |seconds: &[f64]| float(records) / median(seconds);
    let [plain, large] = &copied;
    for (name, theirs, requirement) in [
        ("target-jsonl 0.1.4 (Python)", &python, Some(Requirement::ratio_at_least(40.0).stretch(50.0))),
        (COPIES[0].0, plain, Some(Requirement::ratio_at_least(1.0))),
        (COPIES[1].0, large, None),
    ] {
        benchmark.results.row(ResultRow {
            part: PART,
            what: what.clone(),
            measured: rate(&ours),
            unit: Unit::PerSecond,
            against: Some((name.to_owned(), rate(theirs))),
            requirement,
        });
    }
    benchmark.results.row(ResultRow {
        part: PART,
        what: "target-jsonl, peak memory".to_owned(),
        measured: median(&peaks),
        unit: Unit::Megabytes,
        against: None,
        requirement: Some(Requirement::at_most(48.0)),
    });
}

fn lines(path: &Path) -> u64 {
    let mut file = File::open(path).expect("the table is there");
    let (mut buffer, mut lines) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer).expect("the table can be read") {
            0 => return lines,
            read => lines += buffer[..read].iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>(),
        }
    }
}
