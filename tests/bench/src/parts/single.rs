//! Single events: the listener against the same listener with a spool that stores nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, net::TcpStream};

use end_to_end::http::{Endpoint, free_address};
use end_to_end::program::{self, ChildProcess, program_path};
use end_to_end::tap::TOKEN;
use end_to_end::wait;

use crate::benchmark::Benchmark;
use crate::measurement::{Requirement, ResultRow, Unit, median};
use crate::process::{command_without_io, sync_disk};
use crate::spool::Spool;

/// The event that is posted. It is always the same one: wrk is faster than what it measures only as long as
/// it need not make events.
const EVENT: &str = concat!(
    r#"{"event":"open","time":1433103519,"MessageID":576460779645409236,"#,
    r#""Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","#,
    r#""mj_campaign_id":7657476082,"mj_contact_id":5754145803,"customcampaign":"","#,
    r#""CustomID":"welcome","Payload":"","ip":"192.0.2.1","geo":"FR","#,
    r#""agent":"Mozilla/5.0 (Windows NT 10.0; rv:109.0) Gecko/20100101 Firefox/115.0"}"#
);

const PART: &str = "single";

/// The results that wrk prints.
pub(super) struct WrkReport {
    pub(super) posts: u64,
    pub(super) rate: f64,
    /// The 99th percentile, in milliseconds.
    p99: f64,
}

/// Writes what wrk has to post.
pub(super) fn write_script(folder: &Path) -> PathBuf {
    let script = folder.join("post.lua");
    let lua = format!(
        "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n\
         wrk.body = [[{EVENT}]]\n"
    );
    fs::write(&script, lua).expect("a script can be written");
    script
}

pub(super) fn run(benchmark: &mut Benchmark) {
    let script = write_script(&benchmark.folder);
    for connections in [64, 256] {
        let (mut bare, mut durable) = (Vec::new(), Vec::new());
        for _ in benchmark.rounds() {
            let address = free_address();
            let nothing = without_spooling(address);
            let report = wrk(benchmark, &Endpoint::webhook_at(address), &script, connections);
            drop(nothing);
            record_round(benchmark, connections, "answered without storing", &report);
            bare.push(report);

            let spool = Spool::new(&benchmark.folder, PART);
            let listener = spool.listen();
            let report = wrk(benchmark, &listener.endpoint, &script, connections);
            benchmark.listener_peak = benchmark.listener_peak.max(listener.peak());
            listener.stop();
            let stored = spool.event_count();
            assert!(
                stored >= report.posts,
                "{} posts were answered with 200, {stored} events are stored",
                report.posts
            );
            record_round(benchmark, connections, "on disk, then answered", &report);
            durable.push(report);
            spool.remove();
            sync_disk();
        }
        let rate =
            |reports: &[WrkReport]| median(&reports.iter().map(|report| report.rate).collect::<Vec<_>>());
        let p99 =
            |reports: &[WrkReport]| median(&reports.iter().map(|report| report.p99).collect::<Vec<_>>());
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("single posts, {connections} connections"),
            measured: rate(&durable),
            unit: Unit::PerSecond,
            against: Some(("the same listener, storing nothing".to_owned(), rate(&bare))),
            requirement: Some(Requirement::ratio_at_least(0.60).stretch(0.75)),
        });
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("their p99, {connections} connections"),
            measured: p99(&durable),
            unit: Unit::Millis,
            against: Some(("the same listener, storing nothing".to_owned(), p99(&bare))),
            requirement: (connections == 64).then_some(Requirement::ratio_at_most(3.0)),
        });
    }
}

/// Starts the listener that stores nothing.
fn without_spooling(address: SocketAddr) -> ChildProcess {
    let mut command = command_without_io(program_path("answer_without_spooling"));
    command.args([&address.to_string(), TOKEN]);
    let program = ChildProcess::spawn("answer_without_spooling", &mut command);
    wait::until("the listener accepts connections", || TcpStream::connect(address).ok());
    program
}

/// Posts single events.
pub(super) fn wrk(benchmark: &Benchmark, endpoint: &Endpoint, script: &Path, connections: u32) -> WrkReport {
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", &format!("-c{connections}")]);
    command
        .arg(format!("-d{}s", benchmark.options.load_time.as_secs()))
        .arg("-s")
        .arg(script)
        .arg(endpoint.url());
    let report = program::run(&mut command);
    for trouble in ["Non-2xx", "Socket errors"] {
        assert!(!report.contains(trouble), "not every post was answered with 200:\n{report}");
    }
    let before =
        |mark: &str| report.lines().find_map(|line| line.split_once(mark)).map(|(text, _)| text.trim());
    // Only at the beginning of a line: "91.99%" elsewhere is a share of something else.
    let after = |mark: &str| report.lines().find_map(|line| line.trim().strip_prefix(mark)).map(str::trim);
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let parts = (
        before(" requests in ").and_then(|text| text.parse().ok()),
        number(after("Requests/sec:")),
        after("99%").and_then(duration_in_millis),
    );
    let (Some(posts), Some(rate), Some(p99)) = parts else { panic!("unexpected output of wrk:\n{report}") };
    WrkReport { posts, rate, p99 }
}

/// Parses `1.23ms`, `812.00us` or `1.02s`.
fn duration_in_millis(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    text[..unit].parse::<f64>().ok().map(|number| number * factor)
}

/// Records the results of one run of wrk.
fn record_round(benchmark: &mut Benchmark, connections: u32, how: &str, report: &WrkReport) {
    let rate = format!("{connections} connections, {how}");
    benchmark.results.round(PART, &rate, Unit::PerSecond, report.rate);
    benchmark.results.round(PART, &format!("{rate}, p99"), Unit::Millis, report.p99);
}
