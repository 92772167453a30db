//! W3C Trace Context over HTTP headers: `traceparent` and `tracestate`. Baggage is neither read nor sent: it would carry text of
//! strangers from service to service.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::sampling::NamedByStranger;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The length that the standard asks everybody to pass on at least; what is longer is dropped.
const TRACESTATE_LEN_MAX: usize = 512;

/// The length of a `traceparent` of version 00. Later versions may append to it.
const TRACEPARENT_LEN: usize = 55;
const TRACEPARENT_LEN_MAX: usize = 128;

/// Makes `span` a part of the trace that `headers` name, and holds to whether the caller records it. The caller is of the suite: for
/// others there is [`continue_strangers_trace`]. Headers that are missing or malformed are ignored: the span begins a trace.
///
/// Call it before the span is entered for the first time, as its ids are settled then.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    let context = extracted(headers);
    if context.has_active_span() {
        // It fails only when the span is disabled or begun, and then it keeps the ids it has.
        let _ = span.set_parent(context);
    }
}

/// Makes `span` a part of the trace that a caller from outside names, so that the caller finds it again, and takes nothing but the ids
/// from there: whether the trace is recorded is decided here, as for a trace that begins here, and `tracestate` is dropped.
///
/// Call it before the span is entered for the first time, as its ids are settled then.
pub fn continue_strangers_trace(span: &Span, headers: &HeaderMap) {
    let context = extracted(headers);
    if context.has_active_span() {
        let named = context.span().span_context().clone();
        let (trace_id, span_id) = (named.trace_id(), named.span_id());
        let ids = SpanContext::new(trace_id, span_id, TraceFlags::default(), true, TraceState::default());
        // As above.
        let _ = span.set_parent(Context::new().with_remote_span_context(ids).with_value(NamedByStranger));
    }
}

fn extracted(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

/// Writes the trace of the current span into the headers of an outgoing request, in place of any that are there. Outside of a
/// span there is nothing to write.
pub fn inject(headers: &mut HeaderMap) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut HeadersMut(headers));
}

/// The id of the trace that `span` belongs to, 32 digits, for log lines.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let span_context = span.span_context();
    span_context.is_valid().then(|| span_context.trace_id().to_string())
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => only(self.0, key).filter(|value| is_traceparent(value)),
            TRACESTATE => only(self.0, key).filter(|value| value.len() <= TRACESTATE_LEN_MAX),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

struct HeadersMut<'h>(&'h mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::try_from(value)) else {
            return;
        };
        if !value.is_empty() {
            self.0.insert(name, value);
        }
    }
}

/// The value of a header that stands there once: of two, neither can be trusted.
fn only<'h>(headers: &'h HeaderMap, key: &str) -> Option<&'h str> {
    let mut values = headers.get_all(key).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The form alone, which the propagator is lenient about; ids of zeros are its own to refuse.
fn is_traceparent(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_long_enough = match bytes.len() {
        TRACEPARENT_LEN => true,
        len => len <= TRACEPARENT_LEN_MAX && bytes.get(TRACEPARENT_LEN) == Some(&b'-') && !value.starts_with("00"),
    };
    let has_form = |(at, byte): (usize, &u8)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
    };
    is_long_enough && !value.starts_with("ff") && bytes.iter().take(TRACEPARENT_LEN).enumerate().all(has_form)
}
