//! Logs and measurements: how tracing is set up, and the name of every metric.

use crate::config::{LogConfig, LogFormat};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// The names of all metrics. Labels are few and have few values: route templates, never ids.
pub mod metric {
    /// Requests answered, by `method`, `route`, `status`.
    pub const HTTP_REQUESTS: &str = "muster_http_requests_total";
    /// How long answers took to begin, in seconds, by `method`, `route`.
    pub const HTTP_SECONDS: &str = "muster_http_request_seconds";
    /// Requests that are being answered.
    pub const HTTP_IN_FLIGHT: &str = "muster_http_requests_in_flight";
    /// Batches of writes, by `outcome`.
    pub const STORE_BATCHES: &str = "muster_store_batches_total";
    /// Writes in a batch.
    pub const STORE_BATCH_WRITES: &str = "muster_store_batch_writes";
    /// From a write's queueing to its commit, in seconds, by `write`.
    pub const STORE_WRITE_SECONDS: &str = "muster_store_write_seconds";
    /// Writes that wait.
    pub const STORE_QUEUE: &str = "muster_store_queue_length";
    /// Writes that were turned away because the queue was full.
    pub const STORE_REFUSALS: &str = "muster_store_refusals_total";
    /// Tasks submitted.
    pub const TASKS_SUBMITTED: &str = "muster_tasks_submitted_total";
    /// Tasks that ended, by `state`.
    pub const TASKS_ENDED: &str = "muster_tasks_ended_total";
    /// Entries of task streams accepted.
    pub const STREAM_ENTRIES: &str = "muster_stream_entries_total";
    /// Events written, by `type`.
    pub const EVENTS: &str = "muster_events_total";
    /// Requests to webhooks, by `outcome`.
    pub const WEBHOOK_REQUESTS: &str = "muster_webhook_requests_total";
    /// Runs of background duties, by `duty` and `outcome`.
    pub const BACKGROUND_RUNS: &str = "muster_background_runs_total";
    /// How long a run of a background duty took, in seconds, by `duty`.
    pub const BACKGROUND_SECONDS: &str = "muster_background_seconds";
}

/// Upper bounds of the histograms of durations, in seconds: from a local read to a long poll.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];
/// Upper bounds of the histogram of batch sizes.
const WRITES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What `--log-http` logs is logged whatever the filter says.
const HTTP_LOG: &str = "muster::http=info";

/// What can go wrong with the set-up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("`log.filter` is no filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else logs already.
    #[error("logging is set up twice: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// The recorder of metrics cannot be made.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(#[from] BuildError),
}

/// Sets up logging to standard error, once in a process.
///
/// # Errors
/// A wrong filter, or a second call.
pub fn init_log(config: &LogConfig) -> Result<(), TelemetryError> {
    let mut filter = EnvFilter::try_new(&config.filter)?;
    if config.http {
        filter = filter.add_directive(HTTP_LOG.parse()?);
    }
    let is_for_eyes = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_for_eyes);
    match config.format {
        LogFormat::Human => log.with_target(false).finish().try_init()?,
        LogFormat::Json => log.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// The recorder of metrics of this process; made at the first call.
///
/// # Errors
/// If another recorder is installed.
pub fn metrics() -> Result<PrometheusHandle, TelemetryError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(metric::STORE_BATCH_WRITES.to_owned()), &WRITES)?
        .install_recorder()?;
    describe();
    Ok(HANDLE.get_or_init(|| handle).clone())
}

fn describe() {
    describe_counter!(metric::HTTP_REQUESTS, "Requests answered");
    describe_histogram!(metric::HTTP_SECONDS, Unit::Seconds, "How long answers took to begin");
    describe_gauge!(metric::HTTP_IN_FLIGHT, "Requests that are being answered");
    describe_counter!(metric::STORE_BATCHES, "Batches of writes");
    describe_histogram!(metric::STORE_BATCH_WRITES, "Writes in a batch");
    describe_histogram!(metric::STORE_WRITE_SECONDS, Unit::Seconds, "From a write's queueing to its commit");
    describe_gauge!(metric::STORE_QUEUE, "Writes that wait");
    describe_counter!(metric::STORE_REFUSALS, "Writes turned away because the queue was full");
    describe_counter!(metric::TASKS_SUBMITTED, "Tasks submitted");
    describe_counter!(metric::TASKS_ENDED, "Tasks that ended");
    describe_counter!(metric::STREAM_ENTRIES, "Entries of task streams accepted");
    describe_counter!(metric::EVENTS, "Events written");
    describe_counter!(metric::WEBHOOK_REQUESTS, "Requests to webhooks");
    describe_counter!(metric::BACKGROUND_RUNS, "Runs of background duties");
    describe_histogram!(metric::BACKGROUND_SECONDS, Unit::Seconds, "How long a run of a background duty took");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_description_and_can_be_asked_for_twice() {
        let handle = metrics().unwrap();
        metrics::counter!(metric::TASKS_SUBMITTED).increment(2);
        assert!(metrics().unwrap().render().contains("# HELP muster_tasks_submitted_total Tasks submitted"), "{}", handle.render());
    }
}
