//! What a process tells of itself.

use clap::{Args, ValueEnum};
use tidings_telemetry::{Format, Settings};

/// Logs and traces.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TelemetryArgs {
    /// What is logged, to standard error, in the words of `RUST_LOG`: `warn`, or `info,tidings_rpc=debug`
    #[arg(long, env = "TIDINGS_LOG", value_name = "FILTER", default_value = "info")]
    log: String,

    /// How log lines look
    #[arg(long, env = "TIDINGS_LOG_FORMAT", value_name = "FORMAT", default_value = "human")]
    log_format: LogFormat,

    /// Where an OpenTelemetry collector takes traces by OTLP over gRPC: `http://127.0.0.1:4317`
    ///
    /// Without it, nothing is sent anywhere.
    #[arg(long, env = "TIDINGS_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,

    /// The share of requests that are traced, from 0 to 1
    ///
    /// The gateway decides it for all that a request leads to, whatever the client asks for; the id that a client gives its trace
    /// is kept.
    #[arg(long, env = "TIDINGS_TRACE_RATIO", value_name = "SHARE", default_value_t = 1.0)]
    trace_ratio: f64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// A line for a person
    Human,
    /// A JSON object a line
    Json,
}

impl TelemetryArgs {
    /// The settings of a process that calls itself `name` in traces.
    pub fn settings(&self, name: &str) -> Settings {
        Settings {
            format: match self.log_format {
                LogFormat::Human => Format::Human,
                LogFormat::Json => Format::Json,
            },
            filter: self.log.clone(),
            otlp_endpoint: self.otlp_endpoint.clone(),
            sample_ratio: self.trace_ratio,
            ..Settings::new(name)
        }
    }
}
