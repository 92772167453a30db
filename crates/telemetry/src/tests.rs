use std::{io, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tracing::{
    Level, Metadata,
    callsite::{DefaultCallsite, Identifier},
    field::FieldSet,
    info, info_span,
    metadata::Kind,
};

use super::*;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

/// Runs `act` with telemetry of its own and returns what it logged.
fn logged(settings: &Settings, act: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let guard = Guard::new(settings).unwrap();
    let subscriber = subscriber(settings, &guard, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, act);
    log.text()
}

fn settings(format: Format) -> Settings {
    Settings {
        format,
        ..Settings::new("tidings-test")
    }
}

const FORGED: &str = "a\r\n2026-01-01 INFO tidings: all is well\u{1b}[2J\u{85}\u{2028}\u{202e}\0\u{7f}b";

#[test]
fn a_value_cannot_forge_a_line_for_humans() {
    let text = logged(&settings(Format::Human), || {
        info!(display = %FORGED, debug = ?FORGED, "message {FORGED}");
        info_span!("span", value = %FORGED).in_scope(|| info!("inside"));
    });
    assert_eq!(text.lines().count(), 2, "{text}");
    let is_clean = |character: char| {
        character == '\n' || !(character.is_control() || ['\u{2028}', '\u{202e}'].contains(&character))
    };
    assert!(text.chars().all(is_clean), "{text:?}");
    assert!(text.contains(r"a\r\n2026"));
}

#[test]
fn a_json_line_is_one_object_whatever_it_holds() {
    let text = logged(&settings(Format::Json), || info!(display = %FORGED, "grüße"));
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["display"], FORGED);
    assert_eq!(line["message"], "grüße");
    assert_eq!(line["level"], "INFO");
}

#[test]
fn notices_of_postgres_are_logged_where_they_warn_or_are_asked_for() {
    let told = |filter: &str| {
        let settings = Settings {
            filter: filter.to_owned(),
            ..settings(Format::Human)
        };
        logged(&settings, || {
            tracing::event!(target: "sqlx::postgres::notice", Level::INFO, "already exists, skipping");
            tracing::event!(target: "sqlx::postgres::notice", Level::WARN, "worth a look");
        })
    };
    let text = told("info");
    assert!(!text.contains("skipping") && text.contains("worth a look"), "{text}");
    let text = told("info,sqlx=info");
    assert!(text.contains("skipping"), "{text}");
    assert_eq!(told("error"), "");
}

#[test]
fn the_filter_decides_what_is_logged_but_never_shows_frames() {
    let settings = Settings {
        filter: "warn,chosen=debug,h2=trace".to_owned(),
        ..settings(Format::Human)
    };
    let text = logged(&settings, || {
        tracing::event!(target: "other", Level::INFO, "hidden");
        tracing::event!(target: "chosen", Level::DEBUG, "shown");
        tracing::event!(target: "h2::codec", Level::TRACE, "authorization: Bearer secret");
    });
    assert!(text.contains("shown"));
    assert!(!text.contains("hidden") && !text.contains("secret"), "{text}");
}

/// The place of a query in sqlx, as far as it is asked whether that is to be logged.
static QUERY: Metadata<'static> = Metadata::new(
    "query",
    "sqlx::query",
    Level::DEBUG,
    None,
    None,
    None,
    FieldSet::new(&[], Identifier(&QUERY_CALLSITE)),
    Kind::EVENT,
);
static QUERY_CALLSITE: DefaultCallsite = DefaultCallsite::new(&QUERY);

#[test]
fn a_line_is_not_lost_where_somebody_has_only_asked_whether_to_log() {
    let text = logged(&settings(Format::Human), || {
        // As sqlx does at the end of every query, by way of the crate `log`.
        tracing::dispatcher::get_default(|dispatch| dispatch.enabled(&QUERY));
        info!("after it");
    });
    assert!(text.contains("after it"), "{text:?}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let filter = Settings {
        filter: "a=loud".to_owned(),
        ..Settings::new("test")
    };
    let guard = Guard::new(&filter).unwrap();
    assert!(matches!(
        subscriber(&filter, &guard, io::sink).err(),
        Some(Error::Filter(_))
    ));
    for endpoint in ["https://collector:4317", "collector", "http://"] {
        let settings = Settings {
            otlp_endpoint: Some(endpoint.to_owned()),
            ..Settings::new("test")
        };
        assert!(matches!(Guard::new(&settings), Err(Error::Endpoint)), "{endpoint}");
    }
    assert!(matches!("xml".parse::<Format>(), Err(Error::Format)));
    assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// What a request with these headers would send on.
fn passed_on(incoming: &HeaderMap) -> HeaderMap {
    passed_on_by(incoming, continue_trace)
}

fn passed_on_by(incoming: &HeaderMap, continued: fn(&tracing::Span, &HeaderMap)) -> HeaderMap {
    let mut outgoing = headers(&[("traceparent", "stale")]);
    logged(&settings(Format::Human), || {
        let span = info_span!("rpc");
        continued(&span, incoming);
        span.in_scope(|| {
            assert!(trace_id(&span).is_some());
            // Also from within, as SQL is.
            tracing::info_span!("within").in_scope(|| inject(&mut outgoing));
        });
    });
    outgoing
}

#[test]
fn a_trace_goes_on_without_an_exporter() {
    let incoming = headers(&[
        ("traceparent", PARENT),
        ("tracestate", "vendor=1"),
        ("baggage", "user=alice"),
    ]);
    let outgoing = passed_on(&incoming);
    let parent = outgoing["traceparent"].to_str().unwrap();
    assert_eq!(parent[..36], PARENT[..36], "the trace is the same");
    assert_ne!(parent[36..52], PARENT[36..52], "the span is another");
    assert_eq!(&parent[53..], "01", "and the caller's decision to sample holds");
    assert_eq!(outgoing["tracestate"], "vendor=1");
    assert!(!outgoing.contains_key("baggage"));
}

#[test]
fn a_stranger_names_a_trace_and_decides_nothing() {
    for named in [PARENT.to_owned(), format!("{}00", &PARENT[..53])] {
        let incoming = headers(&[("traceparent", &named), ("tracestate", "vendor=1")]);
        let outgoing = passed_on_by(&incoming, continue_strangers_trace);
        let parent = outgoing["traceparent"].to_str().unwrap();
        assert_eq!(parent[..36], PARENT[..36], "the trace is the same");
        // Nobody takes traces here, so none is recorded.
        assert_eq!(&parent[53..], "00", "{named}");
        assert!(!outgoing.contains_key("tracestate"));
    }
    let begun = passed_on_by(&headers(&[("traceparent", "nonsense")]), continue_strangers_trace);
    assert_eq!(begun["traceparent"].to_str().unwrap().len(), PARENT.len());
}

#[test]
fn a_request_without_a_trace_begins_one() {
    let outgoing = passed_on(&HeaderMap::new());
    let parent = outgoing["traceparent"].to_str().unwrap();
    assert_eq!(parent.len(), PARENT.len());
    assert_ne!(&parent[3..35], "00000000000000000000000000000000");
}

#[test]
fn a_malformed_trace_is_ignored() {
    let zeros = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
    let long = format!("01{}-{}", &PARENT[2..], "a".repeat(200));
    let appended = format!("{PARENT}-more");
    for bad in [
        "",
        "nonsense",
        "00-1-1-01",
        &zeros,
        &long,
        &appended,
        &PARENT.to_uppercase(),
        &PARENT.replace("00-", "ff-"),
        &PARENT.replace('4', "g"),
    ] {
        let outgoing = passed_on(&headers(&[("traceparent", bad)]));
        let parent = outgoing["traceparent"].to_str().unwrap();
        assert!(!parent.to_lowercase().contains(&PARENT[3..35]), "{bad}");
    }
    let twice = passed_on(&headers(&[("traceparent", PARENT), ("traceparent", PARENT)]));
    assert!(!twice["traceparent"].to_str().unwrap().contains(&PARENT[3..35]));

    let long_state = passed_on(&headers(&[
        ("traceparent", PARENT),
        ("tracestate", &format!("a={}", "b".repeat(600))),
    ]));
    assert!(long_state["traceparent"].to_str().unwrap().contains(&PARENT[3..35]));
    assert!(!long_state.contains_key("tracestate"));
}

#[test]
fn outside_of_a_span_nothing_is_sent() {
    let mut outgoing = headers(&[("traceparent", PARENT)]);
    logged(&settings(Format::Human), || inject(&mut outgoing));
    assert!(outgoing.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_that_is_away_delays_the_end_by_a_bounded_time() {
    // Port 1 refuses.
    let settings = Settings {
        otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..Settings::new("test")
    };
    let guard = Guard::new(&settings).unwrap();
    let subscriber = subscriber(&settings, &guard, io::sink).unwrap();
    tracing::subscriber::with_default(subscriber, || info_span!("rpc").in_scope(|| info!("inside")));
    let started = std::time::Instant::now();
    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn exporting_needs_a_runtime() {
    let settings = Settings {
        otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..Settings::new("test")
    };
    assert!(matches!(Guard::new(&settings), Err(Error::NoRuntime)));
}
