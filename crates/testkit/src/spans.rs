//! What of an export of traces tests look at: the fields of OTLP's protobuf that say which span it is, and of which trace.

use bytes::Bytes;
use prost::Message;

/// A span that a process has exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedSpan {
    /// The process, by the name that it gives itself: `tidings-chat`.
    pub process: String,
    /// What it covers: `gateway`, `rpc`, `db.transaction`.
    pub name: String,
    /// Its trace, in 32 hexadecimal digits.
    pub trace_id: String,
    /// Itself, in 16.
    pub span_id: String,
    /// The span that it is a part of, in 16; empty where it is the first of its trace.
    pub parent_span_id: String,
}

/// The spans of an export.
///
/// # Panics
///
/// When it is none.
pub(crate) fn spans_of(export: Bytes) -> Vec<ExportedSpan> {
    let export = Export::decode(export).expect("an export of traces");
    let mut spans = Vec::new();
    for resource in export.resource_spans {
        let process = resource.resource.map(Resource::service_name).unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(ExportedSpan {
                process: process.clone(),
                name: span.name,
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_span_id: hex(&span.parent_span_id),
            });
        }
    }
    spans
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

impl Resource {
    fn service_name(self) -> String {
        let mut attributes = self.attributes.into_iter();
        let named = attributes.find(|attribute| attribute.key == "service.name");
        named.and_then(|named| named.value?.string_value).unwrap_or_default()
    }
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
}
