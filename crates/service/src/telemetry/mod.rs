//! Logs to standard error, metrics in Prometheus' text format, spans to an OpenTelemetry collector.
//!
//! Set up once, in `main`, before anything else starts. Nothing here opens a port: who serves HTTP serves
//! [`Metrics::render`] as well.

mod export;
mod process;
mod traces;

pub use self::traces::{CANCELLED, ERROR_TYPE, Span, SpanKind, Tracer, Traces, Value, init_traces};

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config;

/// Bounds of the buckets of every histogram in seconds: from a hop between two processors to a model call
/// of ten minutes.
const SECONDS: [f64; 17] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 180.0,
    600.0,
];

/// How often samples are sorted into their buckets when nobody scrapes. Without it they pile up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Why there are no logs or metrics.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be read. `config check` says so as well.
    #[error("telemetry.log-filter is not a filter")]
    Filter(#[source] ParseError),
    /// There is a subscriber already.
    #[error("failed to set up logs")]
    Logs(#[source] TryInitError),
    /// There is a recorder already.
    #[error("failed to set up metrics")]
    Metrics(#[source] Box<BuildError>),
    /// The upkeep's thread can't be started.
    #[error("failed to start the upkeep of metrics")]
    Upkeep(#[source] std::io::Error),
    /// There is a tracer already.
    #[error("failed to set up traces: there is a tracer already")]
    Traces,
    /// The exporter of spans can't be made.
    #[error("failed to set up the export of spans")]
    Exporter(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl config::Telemetry {
    /// The log filter.
    pub(crate) fn filter(&self) -> Result<EnvFilter, ParseError> {
        EnvFilter::builder().parse(&self.log_filter)
    }
}

/// Sends this process's log lines to standard error. Once a process.
///
/// # Errors
/// [`TelemetryError::Filter`], [`TelemetryError::Logs`].
pub fn init_logs(config: &config::Telemetry) -> Result<(), TelemetryError> {
    let filter = config.filter().map_err(TelemetryError::Filter)?;
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let as_text = match config.log_format {
        config::LogFormat::Auto => terminal,
        config::LogFormat::Text => true,
        config::LogFormat::Json => false,
    };
    if as_text {
        lines.with_ansi(terminal).finish().try_init().map_err(TelemetryError::Logs)
    } else {
        lines.json().flatten_event(true).finish().try_init().map_err(TelemetryError::Logs)
    }
}

/// The metrics of this process. A cheap handle.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The content type of what [`Metrics::render`] gives.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Makes this the recorder of the `metrics` crate. Once a process.
    ///
    /// Histograms whose names end in `_seconds` get buckets; what else is recorded as a histogram is
    /// rendered as a summary.
    ///
    /// # Errors
    /// [`TelemetryError::Metrics`], [`TelemetryError::Upkeep`].
    pub fn install() -> Result<Self, TelemetryError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|source| TelemetryError::Metrics(Box::new(source)))?;
        let upkeep = recorder.clone();
        thread::Builder::new()
            .name("metrics-upkeep".into())
            .spawn(move || {
                loop {
                    thread::sleep(UPKEEP_EVERY);
                    upkeep.run_upkeep();
                }
            })
            .map_err(TelemetryError::Upkeep)?;
        Ok(Self { recorder })
    }

    /// All metrics, those of the process included, as of now.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.recorder.render();
        process::render_into(&mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_set_up_once_and_need_a_filter() {
        let mut config = config::Telemetry { log_filter: "a=b=c".into(), ..Default::default() };
        assert!(matches!(init_logs(&config), Err(TelemetryError::Filter(_))));
        config.log_filter = "off".into();
        init_logs(&config).unwrap();
        config.log_format = config::LogFormat::Json;
        assert!(matches!(init_logs(&config), Err(TelemetryError::Logs(_))));
    }

    #[test]
    fn rendered_metrics_have_ours_and_the_process_own() {
        let metrics = Metrics::install().unwrap();
        metrics::histogram!("hop_seconds").record(0.003);
        let text = metrics.render();
        assert!(text.contains("hop_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        for name in [
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= 0.0 && (value > 0.0 || name.contains("cpu")), "{line}");
        }
        assert!(matches!(Metrics::install(), Err(TelemetryError::Metrics(_))));
    }
}
