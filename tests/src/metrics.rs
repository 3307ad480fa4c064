//! The metrics on a tap's admin address, in Prometheus's text format.

use std::collections::BTreeMap;
use std::io;

use crate::http::Endpoint;
use crate::wait;

/// The prefix of all names.
const PREFIX: &str = "tap_mailjet_webhooks_";

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The text of the answer.
    pub text: String,
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Fetches the metrics.
    #[must_use]
    pub fn fetch(admin: &Endpoint) -> Self {
        Metrics::try_fetch(admin).unwrap_or_else(|error| panic!("{}: {error}", admin.address))
    }

    /// Fetches the metrics, or returns the error if there is no tap.
    pub fn try_fetch(admin: &Endpoint) -> io::Result<Self> {
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

    /// Fetches the metrics until a series has the expected value.
    pub fn wait_until(admin: &Endpoint, series: &str, is_wanted: impl Fn(f64) -> bool) -> Self {
        wait::until(&format!("the metric {series}"), || {
            let metrics = Metrics::fetch(admin);
            metrics.get(series).is_some_and(&is_wanted).then_some(metrics)
        })
    }

    /// The value of a series, named without the prefix: `requests_total{class="2xx",outcome="accepted"}`.
    #[must_use]
    pub fn get(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// The value of a series that must exist, as an integer.
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
