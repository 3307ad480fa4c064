//! Single events: the listener against the very same one that answers without keeping anything.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::{fs, net::TcpStream};

use end_to_end::database;
use end_to_end::http::{Endpoint, free_address};
use end_to_end::program::{Program, path_of};
use end_to_end::tap::TOKEN;
use end_to_end::wait;

use crate::bench::Bench;
use crate::figures::{Demand, Row, Unit, median};
use crate::process::{quiet, settle};
use crate::site::Site;

/// What is posted: an event as Mailjet sends it. wrk is faster than anything that it measures as long as it has nothing to
/// think about, so it is the same one each time.
const EVENT: &str = r#"{"event":"open","time":1433103519,"MessageID":576460779645409236,"Message_GUID":"1ab23cd4-e567-8901-2345-6789f0ab1c2d","email":"mia@example.com","mj_campaign_id":7657476082,"mj_contact_id":5754145803,"customcampaign":"","CustomID":"welcome","Payload":"","ip":"192.0.2.1","geo":"FR","agent":"Mozilla/5.0 (Windows NT 10.0; rv:109.0) Gecko/20100101 Firefox/115.0"}"#;

const PART: &str = "single";

/// What wrk tells.
struct Report {
    posts: u64,
    rate: f64,
    /// Milliseconds.
    p99: f64,
}

pub(super) fn run(bench: &mut Bench) {
    let script = bench.folder.join("post.lua");
    let lua = format!(
        "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = [[{EVENT}]]\n"
    );
    fs::write(&script, lua).expect("a script can be written");
    for connections in [64, 256] {
        let (mut bare, mut durable) = (Vec::new(), Vec::new());
        for _ in bench.rounds() {
            let address = free_address();
            let nothing = without_spooling(address);
            let report = wrk(bench, &Endpoint::at(address), &script, connections);
            drop(nothing);
            note(bench, connections, "answered without keeping", &report);
            bare.push(report);

            let site = Site::new(&bench.folder, PART);
            let listener = site.listen();
            let report = wrk(bench, &listener.endpoint, &script, connections);
            bench.listener_peak = bench.listener_peak.max(listener.peak());
            listener.stop();
            let kept = site.events();
            assert!(
                kept >= report.posts,
                "{} posts were answered with 200, {kept} events are kept",
                report.posts
            );
            note(bench, connections, "on disk, then answered", &report);
            durable.push(report);
            site.remove();
            settle();
        }
        let rate = |reports: &[Report]| median(&reports.iter().map(|report| report.rate).collect::<Vec<_>>());
        let p99 = |reports: &[Report]| median(&reports.iter().map(|report| report.p99).collect::<Vec<_>>());
        bench.results.row(Row {
            part: PART,
            what: format!("single posts, {connections} connections"),
            measured: rate(&durable),
            unit: Unit::PerSecond,
            against: Some(("the same listener, keeping nothing".to_owned(), rate(&bare))),
            demand: Some(Demand::ratio_at_least(0.60).stretch(0.75)),
        });
        bench.results.row(Row {
            part: PART,
            what: format!("their p99, {connections} connections"),
            measured: p99(&durable),
            unit: Unit::Millis,
            against: Some(("the same listener, keeping nothing".to_owned(), p99(&bare))),
            demand: (connections == 64).then_some(Demand::ratio_at_most(3.0)),
        });
    }
}

/// Starts the listener that keeps nothing.
fn without_spooling(address: SocketAddr) -> Program {
    let mut command = quiet(path_of("answer_without_spooling"));
    command.args([&address.to_string(), TOKEN]);
    let program = Program::spawn("answer_without_spooling", &mut command);
    wait::until("it listens", || TcpStream::connect(address).ok());
    program
}

fn wrk(bench: &Bench, endpoint: &Endpoint, script: &Path, connections: u32) -> Report {
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", &format!("-c{connections}")]);
    command
        .arg(format!("-d{}s", bench.options.load_time.as_secs()))
        .arg("-s")
        .arg(script)
        .arg(endpoint.url());
    let report = database::run(&mut command);
    for trouble in ["Non-2xx", "Socket errors"] {
        assert!(!report.contains(trouble), "not every post was answered with 200:\n{report}");
    }
    let before =
        |mark: &str| report.lines().find_map(|line| line.split_once(mark)).map(|(text, _)| text.trim());
    // At the line's beginning: "91.99%" is a share of something else.
    let after = |mark: &str| report.lines().find_map(|line| line.trim().strip_prefix(mark)).map(str::trim);
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let parts = (
        before(" requests in ").and_then(|text| text.parse().ok()),
        number(after("Requests/sec:")),
        after("99%").and_then(duration_in_millis),
    );
    let (Some(posts), Some(rate), Some(p99)) = parts else { panic!("wrk says something else:\n{report}") };
    Report { posts, rate, p99 }
}

/// Reads `1.23ms`, `812.00us` or `1.02s`.
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

/// Notes what one run of wrk has measured.
fn note(bench: &mut Bench, connections: u32, how: &str, report: &Report) {
    let rate = format!("{connections} connections, {how}");
    bench.results.round(PART, &rate, Unit::PerSecond, report.rate);
    bench.results.round(PART, &format!("{rate}, p99"), Unit::Millis, report.p99);
}
