//! What a tap tells on its admin address, in Prometheus's text format.

use std::collections::BTreeMap;
use std::io;

use crate::http::Endpoint;
use crate::wait;

/// What all names start with.
const PREFIX: &str = "tap_mailjet_webhooks_";

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// As it came.
    pub text: String,
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Asks for them.
    #[must_use]
    pub fn of(admin: &Endpoint) -> Self {
        Metrics::ask(admin).unwrap_or_else(|error| panic!("{}: {error}", admin.address))
    }

    /// Asks for them, or tells the error that came instead: there may be no tap.
    pub fn ask(admin: &Endpoint) -> io::Result<Self> {
        let reply = admin.with_path("/metrics").try_request("GET")?;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let samples = reply.body.lines().filter(|line| !line.starts_with('#'));
        let values = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let series = series.strip_prefix(PREFIX).unwrap_or_else(|| panic!("no prefix: {line}"));
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        });
        Ok(Metrics { values: values.collect(), text: reply.body })
    }

    /// Asks for them until `series` is what is wanted.
    pub fn wait(admin: &Endpoint, series: &str, is_wanted: impl Fn(f64) -> bool) -> Self {
        wait::until(&format!("the metric {series}"), || {
            let metrics = Metrics::of(admin);
            metrics.get(series).is_some_and(&is_wanted).then_some(metrics)
        })
    }

    /// The value of a series, named without the prefix: `requests_total{class="2xx",outcome="accepted"}`.
    #[must_use]
    pub fn get(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// The value of a series that has to be there, as a whole number.
    #[must_use]
    pub fn count(&self, series: &str) -> i64 {
        let value = self.get(series).unwrap_or_else(|| panic!("{series} is missing:\n{}", self.text));
        // Debug writes a whole number as `1.0`; Display writes its digits.
        format!("{value}").parse().unwrap_or_else(|_| panic!("{series} is {value}"))
    }

    /// All series.
    #[must_use]
    pub fn series(&self) -> Vec<&str> {
        self.values.keys().map(String::as_str).collect()
    }
}
