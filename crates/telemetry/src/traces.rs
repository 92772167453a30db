use std::{fmt, time::Duration};

use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

use crate::{Error, Settings, sampling::Sampling};

/// How long the process waits at its end for the last spans. The suite's drain is 20 s in all; a collector that is away must not
/// use it up.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Flushes traces when it is dropped, for up to 3 s, which blocks the thread: drop it at the end of `main`, while the runtime
/// still runs.
pub struct Guard {
    provider: SdkTracerProvider,
    is_exporting: bool,
}

impl Guard {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let builder = SdkTracerProvider::builder().with_resource(
            Resource::builder()
                .with_service_name(settings.service_name.clone())
                .build(),
        );
        let Some(endpoint) = &settings.otlp_endpoint else {
            // Nothing is recorded for nobody, but every span has its ids, and a decision of the caller is passed on.
            let provider = builder.with_sampler(Sampling::nothing()).build();
            return Ok(Self {
                provider,
                is_exporting: false,
            });
        };
        let provider = builder
            .with_sampler(Sampling::share(settings.sample_ratio))
            .with_batch_exporter(exporter(endpoint)?)
            .build();
        Ok(Self {
            provider,
            is_exporting: true,
        })
    }

    pub(crate) fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }
}

/// The exporter connects when it first has something to send: the process starts though the collector is away.
fn exporter(endpoint: &str) -> Result<SpanExporter, Error> {
    let is_plain = endpoint
        .parse::<http::Uri>()
        .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    if !is_plain {
        return Err(Error::Endpoint);
    }
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(Error::NoRuntime);
    }
    SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(FLUSH_TIMEOUT)
        .build()
        .map_err(Error::Exporter)
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT)
            && self.is_exporting
        {
            tracing::warn!(error = %error, "the last traces could not be sent");
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("is_exporting", &self.is_exporting)
            .finish()
    }
}
