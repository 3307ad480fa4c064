//! target-jsonl, against the one of the same name in Python, and against copying and syncing the same bytes.

use std::fs::{self, File};
use std::io::Read;
use std::process::Command;

use end_to_end::database::in_venv;
use end_to_end::program::path_of;
use serde_json::json;

use crate::bench::{Bench, size_of};
use crate::figures::{Demand, Row, Unit, float, median, megabytes};
use crate::process::{Taken, quiet, run as measure, settle};

const PART: &str = "target";

/// How `dd` is asked to copy: as it comes, by blocks of 512 bytes, and by those that are as fast as the disk.
const COPIES: [(&str, &[&str]); 2] = [("dd conv=fsync", &[]), ("dd bs=1M conv=fsync", &["bs=1M"])];

pub(super) fn run(bench: &mut Bench) {
    let (messages, records) = (bench.messages(), bench.message_records());
    let folder = bench.folder.join(PART);
    let table = folder.join("data.jsonl");
    let config = bench.folder.join("target.json");
    let settings = json!({"destination_path": folder, "do_timestamp_file": false});
    fs::write(&config, settings.to_string()).expect("a config file can be written");
    let log = bench.folder.join("target.log");
    let measure_into = |mut command: Command, reads: bool| -> Taken {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a new folder");
        if reads {
            command.stdin(File::open(&messages).expect("the messages are there"));
        }
        settle();
        measure(&mut command, &log)
    };
    let (mut ours, mut python, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut copied = COPIES.map(|_| Vec::new());
    for _ in bench.rounds() {
        let mut command = quiet(path_of("target-jsonl"));
        command.arg("--config").arg(&config);
        let taken = measure_into(command, true);
        assert_eq!(lines(&table), records, "each record is a line");
        ours.push(bench.results.round(PART, "target-jsonl", Unit::Seconds, taken.seconds));
        peaks.push(bench.results.round(PART, "target-jsonl, peak memory", Unit::Megabytes, taken.peak));

        for ((name, blocks), copied) in COPIES.iter().zip(&mut copied) {
            let mut command = quiet("dd");
            let files =
                [("if", &messages), ("of", &table)].map(|(name, path)| format!("{name}={}", path.display()));
            command.args(files).args(["conv=fsync", "status=none"]).args(*blocks);
            let taken = measure_into(command, false);
            assert_eq!(size_of(&table), size_of(&messages), "all of it was copied");
            copied.push(bench.results.round(PART, name, Unit::Seconds, taken.seconds));
        }

        let mut command = quiet(in_venv("target-jsonl", "target-jsonl"));
        command.arg("--config").arg(&config);
        let taken = measure_into(command, true);
        assert_eq!(lines(&table), records, "each record is a line");
        python.push(bench.results.round(PART, "target-jsonl 0.1.4 (Python)", Unit::Seconds, taken.seconds));
    }
    let _ = fs::remove_dir_all(&folder);
    let what = format!("target-jsonl, {records} records, {:.0} MB, synced", megabytes(size_of(&messages)));
    let rate = |seconds: &[f64]| float(records) / median(seconds);
    let [plain, large] = &copied;
    for (name, theirs, demand) in [
        ("target-jsonl 0.1.4 (Python)", &python, Some(Demand::ratio_at_least(40.0).stretch(50.0))),
        (COPIES[0].0, plain, Some(Demand::ratio_at_least(1.0))),
        (COPIES[1].0, large, None),
    ] {
        bench.results.row(Row {
            part: PART,
            what: what.clone(),
            measured: rate(&ours),
            unit: Unit::PerSecond,
            against: Some((name.to_owned(), rate(theirs))),
            demand,
        });
    }
    bench.results.row(Row {
        part: PART,
        what: "target-jsonl, peak memory".to_owned(),
        measured: median(&peaks),
        unit: Unit::Megabytes,
        against: None,
        demand: Some(Demand::at_most(48.0)),
    });
}

fn lines(path: &std::path::Path) -> u64 {
    let mut file = File::open(path).expect("the table is there");
    let (mut buffer, mut lines) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer).expect("the table can be read") {
            0 => return lines,
            read => lines += buffer[..read].iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>(),
        }
    }
}
