//! Groups of events: the listener against `SQLite` alone, which is given the same events in transactions of the same size.

use std::time::Instant;

use end_to_end::http::Endpoint;
use end_to_end::metrics::Metrics;
use rusqlite::Connection;

use crate::bench::Bench;
use crate::figures::{Demand, Row, Unit, float, median};
use crate::mail::Mail;
use crate::process::settle;
use crate::site::{GROUP, Site};

const PART: &str = "grouped";

pub(super) fn run(bench: &mut Bench) {
    let events = bench.options.size(1_000_000, 20_000);
    let (mut posted, mut inserted) = (Vec::new(), Vec::new());
    for _ in bench.rounds() {
        let site = Site::new(&bench.folder, PART).set("admin_address", "127.0.0.1:0");
        let listener = site.listen();
        let admin = listener.program.stderr().wait_for("admin on http://");
        let (_, admin) = admin.split_once("admin on ").expect("the line says so");
        let admin = Endpoint::of(admin.split(": ").next().expect("an address"));
        let loaded = listener.take(&mut bench.mail, events);
        bench.listener_peak = bench.listener_peak.max(listener.peak());
        let metrics = Metrics::of(&admin);
        listener.stop();
        let kept = site.events();
        assert!(kept >= loaded.events, "{} events were answered with 200, {kept} are kept", loaded.events);
        let commits = metrics.count("commit_rows_count").max(1);
        let rows = (metrics.count("commit_rows_sum") / commits).max(1);
        eprintln!("  {commits} transactions of {rows} rows");
        posted.push(bench.results.round(PART, "on disk, then answered", Unit::PerSecond, loaded.rate()));
        site.remove();
        settle();

        let site = Site::new(&bench.folder, PART);
        let rate = insert(&site, &mut bench.mail, events, rows.unsigned_abs());
        inserted.push(bench.results.round(PART, "SQLite alone", Unit::PerSecond, rate));
        site.remove();
        settle();
    }
    bench.results.row(Row {
        part: PART,
        what: format!("events in posts of {GROUP}"),
        measured: median(&posted),
        unit: Unit::PerSecond,
        against: Some(("SQLite alone, same transactions".to_owned(), median(&inserted))),
        demand: Some(Demand::at_least(250_000.0).stretch(400_000.0)),
    });
}

/// Inserts events into a file like a spool's, and says how many a second.
fn insert(site: &Site, mail: &mut Mail, events: u64, rows: u64) -> f64 {
    let mut connection = Connection::open(site.file("spool.db")).expect("a new file");
    let settings = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        PRAGMA journal_size_limit = 67108864;
        CREATE TABLE event (sequence INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;";
    connection.execute_batch(settings).expect("the spool's own settings");
    let mut body = Vec::new();
    let (mut sequence, begin) = (1_700_000_000_000_i64, Instant::now());
    let mut left = events;
    while left > 0 {
        let transaction = connection.transaction().expect("a transaction");
        let mut insert =
            transaction.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3)").expect("a statement");
        for _ in 0..rows.min(left) {
            sequence += 1;
            body.clear();
            mail.push_event(&mut body);
            let text = str::from_utf8(&body).expect("events are text");
            insert.execute((sequence, sequence, text)).expect("a row");
        }
        drop(insert);
        transaction.commit().expect("a commit");
        left -= rows.min(left);
    }
    float(events) / begin.elapsed().as_secs_f64()
}
