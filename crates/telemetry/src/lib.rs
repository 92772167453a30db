//! Logs and traces of a process: set up once in `main`, and flushed at its end.
//!
//! Logs go to stderr, a line an event, as JSON or for humans. Whatever a caller put into a value, it stays within its line: see
//! [`Escaping`]. Traces go to an OpenTelemetry collector where one is named; without one, spans still have their ids and pass
//! them on, so that the log lines of one request can be found in all services.
//!
//! The subscriber is made of two layers with a filter each: what is logged is the operator's choice, what is traced is not.
//! Spans that belong in a trace are `info`, or `debug` where they are of this suite.

mod escape;
mod propagation;
mod sampling;
mod traces;

use std::{io, str::FromStr};

use opentelemetry::trace::TracerProvider as _;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{DynFilterFn, FilterExt as _, Targets, dynamic_filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

pub use escape::Escaping;
pub use propagation::{continue_strangers_trace, continue_trace, inject, trace_id};
pub use traces::Guard;

/// How a process tells what it does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name under which traces arrive: `tidings-chat`.
    pub service_name: String,
    /// How log lines look.
    pub format: Format,
    /// What is logged, in the words of `RUST_LOG`: `info`, or `info,tidings_chat_service=debug`.
    pub filter: String,
    /// Where the OpenTelemetry collector listens for OTLP over gRPC, `http://127.0.0.1:4317`. The standard's further variables
    /// (`OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `OTEL_RESOURCE_ATTRIBUTES`) count too.
    pub otlp_endpoint: Option<String>,
    /// The share of requests that are traced, 0 to 1, where no service of the suite has decided it before. What a stranger asks for
    /// counts for nothing.
    pub sample_ratio: f64,
}

impl Settings {
    /// Logs for humans at `info`, and no collector.
    #[must_use]
    pub fn new(service_name: impl Into<String>) -> Self {
        Self {
            service_name: service_name.into(),
            format: Format::Human,
            filter: "info".to_owned(),
            otlp_endpoint: None,
            sample_ratio: 1.0,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line for a person: time, level, where, what, fields.
    #[default]
    Human,
    /// One JSON object a line, for log collectors.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(Error::Format),
        }
    }
}

/// Why telemetry could not be set up. A process had better not start than run unseen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither of the two formats.
    #[error("the log format is `human` or `json`")]
    Format,
    /// Not in the words of `RUST_LOG`.
    #[error("the log filter cannot be understood")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The endpoint is not one that OTLP over plain gRPC can be sent to.
    #[error("the OTLP endpoint must be http://host:port, of a collector beside this process")]
    Endpoint,
    /// The exporter could not be made.
    #[error("the OTLP exporter could not be set up")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// Exporting needs tokio.
    #[error("telemetry with an OTLP endpoint is set up inside a tokio runtime")]
    NoRuntime,
    /// It was called before.
    #[error("telemetry is set up already")]
    AlreadySet,
}

/// Sets up logs and traces for the whole process. Keep the guard to the end of `main`: dropping it sends what is left.
///
/// # Errors
/// When the settings make no sense, or when it was called before.
pub fn init(settings: &Settings) -> Result<Guard, Error> {
    let guard = Guard::new(settings)?;
    subscriber(settings, &guard, io::stderr)?
        .try_init()
        .map_err(|_| Error::AlreadySet)?;
    Ok(guard)
}

fn subscriber<W>(
    settings: &Settings,
    guard: &Guard,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + for<'a> LookupSpan<'a>, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&settings.filter).map_err(Error::Filter)?;
    let tracer = guard.provider().tracer("tidings");
    let traces = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false);
    Ok(tracing_subscriber::registry().with(traces.with_filter(traced())).with(
        log_layer(settings.format, Escaping::new(writer))
            .with_filter(filter.and(loggable(&settings.filter)).and(asked_anew())),
    ))
}

fn log_layer<S, W>(format: Format, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Colours are left to whoever reads: the writer escapes control characters, ours as well as a caller's.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        Format::Human => layer.boxed(),
        Format::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// What may be logged at all. Below `info`, these crates write whole frames and headers, and so the tokens of callers. Postgres'
/// notices, such as that a table is there already, are for who asks for sqlx' words.
fn loggable(asked: &str) -> Targets {
    let notices = if asked.contains("sqlx") {
        LevelFilter::TRACE
    } else {
        LevelFilter::WARN
    };
    let targets = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target("sqlx::postgres::notice", notices);
    ["h2", "hyper", "hyper_util", "tonic", "tower", "rustls", "reqwest"]
        .into_iter()
        .fold(targets, |targets, name| targets.with_target(name, LevelFilter::INFO))
}

/// Lets everything through, and has the filters asked about every event and span. Where all of them are sure to want a place in the
/// code they are not asked there, and what they said last counts: whether the last query should be logged, which sqlx asks at the
/// end of each without logging it. So the line after a query would be lost.
fn asked_anew<S>() -> DynFilterFn<S> {
    dynamic_filter_fn(|_, _| true)
}

/// What is traced. The transport is left out, as the exporter speaks through it too, and would trace itself.
fn traced() -> Targets {
    ["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry"]
        .into_iter()
        .fold(
            Targets::new()
                .with_default(LevelFilter::INFO)
                .with_target("tidings", LevelFilter::DEBUG),
            |targets, name| targets.with_target(name, LevelFilter::OFF),
        )
}

#[cfg(test)]
mod tests;
