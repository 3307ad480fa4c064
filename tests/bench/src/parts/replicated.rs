//! A spool in a replicated PostgreSQL: three servers on this machine, of which two store each event before
//! its
//! 200. Measured against plain inserts of the same number of rows in each transaction.

use std::fs;
use std::path::Path;
use std::process::Command;

use end_to_end::database::{Replicated, command};
use end_to_end::program;

use super::single;
use crate::benchmark::{Benchmark, count};
use crate::event_generator::EventGenerator;
use crate::measurement::{Requirement, ResultRow, Unit, float, median};
use crate::spool::{GROUP, Spool};

const PART: &str = "replicated";

/// The connections that post single events.
const CONNECTIONS: u32 = 64;

/// How events are posted, and what is required of that.
struct Load {
    what: String,
    requirement: Requirement,
    is_grouped: bool,
}

pub(super) fn run(benchmark: &mut Benchmark) {
    let servers = Replicated::start();
    let loads = [
        Load {
            what: format!("replicated: single posts, {CONNECTIONS} connections"),
            requirement: Requirement::at_least(5_000.0).stretch(8_000.0),
            is_grouped: false,
        },
        Load {
            what: format!("replicated: events in posts of {GROUP}"),
            requirement: Requirement::at_least(25_000.0).stretch(50_000.0),
            is_grouped: true,
        },
    ];
    let (mut peak, mut schemas) = (0.0_f64, 0);
    for load in loads {
        let (mut posted, mut inserted) = (Vec::new(), Vec::new());
        for _ in benchmark.rounds() {
            schemas += 1;
            let spool = spool_in(benchmark, &servers, schemas);
            let listener = spool.set("admin_address", "127.0.0.1:0").listen();
            let (stored, rate) = if load.is_grouped {
                let events = benchmark.options.size(300_000, 10_000);
                let report = listener.post_groups(&mut benchmark.generator, events);
                (report.events, report.rate())
            } else {
                let script = single::write_script(&benchmark.folder);
                let report = single::wrk(benchmark, &listener.endpoint, &script, CONNECTIONS);
                (report.posts, report.rate)
            };
            let rows = listener.rows_per_transaction();
            peak = peak.max(listener.peak());
            listener.stop();
            let found = servers.servers[0].query(&format!("SELECT count(*) FROM bench_{schemas}.event"));
            assert!(
                found.trim().parse::<u64>().expect("a number") >= stored,
                "{stored} events were answered with 200, {found} are stored"
            );
            posted.push(benchmark.results.round(PART, &load.what, Unit::PerSecond, rate));
            let rate = insert(benchmark, &servers, rows);
            inserted.push(benchmark.results.round(PART, "plain inserts", Unit::PerSecond, rate));
        }
        benchmark.results.row(ResultRow {
            part: PART,
            what: load.what.clone(),
            measured: median(&posted),
            unit: Unit::PerSecond,
            against: None,
            requirement: Some(load.requirement),
        });
        benchmark.results.row(ResultRow {
            part: PART,
            what: format!("{}, against plain inserts", load.what),
            measured: median(&posted),
            unit: Unit::PerSecond,
            against: Some(("plain inserts, same transactions".to_owned(), median(&inserted))),
            // Single posts leave the database idle between two groups, while their senders are answered.
            requirement: load.is_grouped.then(|| Requirement::ratio_at_least(0.8)),
        });
    }
    drain(benchmark, &servers, schemas);
    benchmark.results.row(ResultRow {
        part: PART,
        what: "replicated: listener, peak memory".to_owned(),
        measured: peak,
        unit: Unit::Megabytes,
        against: None,
        requirement: Some(Requirement::at_most(64.0)),
    });
}

/// A spool in a schema of its own.
fn spool_in(benchmark: &Benchmark, servers: &Replicated, number: u32) -> Spool {
    Spool::new(&benchmark.folder, PART).in_postgres(&servers.url(), &format!("bench_{number}"))
}

/// Drains the last spool, which holds grouped events.
fn drain(benchmark: &mut Benchmark, servers: &Replicated, number: u32) {
    let spool = spool_in(benchmark, servers, number);
    let events = servers.servers[0].query(&format!("SELECT count(*) FROM bench_{number}.event"));
    let events: u64 = events.trim().parse().expect("a number");
    let mut drained = Vec::new();
    for _ in benchmark.rounds() {
        let usage = spool.drain_to_null();
        let rate = float(events) / usage.seconds;
        drained.push(benchmark.results.round(PART, "drain", Unit::PerSecond, rate));
    }
    spool.remove();
    benchmark.results.row(ResultRow {
        part: PART,
        what: format!("replicated: drain of {}", count(events)),
        measured: median(&drained),
        unit: Unit::PerSecond,
        against: None,
        requirement: Some(Requirement::at_least(150_000.0)),
    });
}

/// Inserts rows like events over one connection, with `rows` of them in each transaction. Returns the rate.
fn insert(benchmark: &mut Benchmark, servers: &Replicated, rows: u64) -> f64 {
    let server = &servers.servers[0];
    let _ = server.query(
        "DROP TABLE IF EXISTS plain; CREATE TABLE plain (sequence bigserial PRIMARY KEY, \
         received_at bigint NOT NULL, body text NOT NULL)",
    );
    let script = benchmark.folder.join("insert.sql");
    fs::write(&script, statement(&mut benchmark.generator, rows)).expect("a script can be written");
    let report = program::run(&mut pgbench(server.host().as_path(), &script, benchmark));
    let transactions = report.lines().find_map(|line| line.strip_prefix("tps = ")).expect("a rate");
    let rate: f64 = transactions.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    rate * float(rows)
}

fn pgbench(host: &Path, script: &Path, benchmark: &Benchmark) -> Command {
    let seconds = benchmark.options.load_time.as_secs().max(1).to_string();
    let mut pgbench = command("pgbench");
    pgbench.arg("-h").arg(host).args(["-U", "tester", "-n", "-c", "1", "-T", &seconds, "-f"]);
    pgbench.arg(script).arg("postgres");
    pgbench
}

/// A statement that inserts `rows` events.
fn statement(generator: &mut EventGenerator, rows: u64) -> String {
    let row = |_| {
        let mut body = Vec::new();
        generator.push_event(&mut body);
        // A colon would begin a variable of pgbench.
        let body = String::from_utf8(body).expect("events are text").replace('\'', "''").replace(':', ";");
        format!("(1700000000000, '{body}')")
    };
    let values: Vec<_> = (0..rows).map(row).collect();
    format!("INSERT INTO plain (received_at, body) VALUES {};\n", values.join(", "))
}
