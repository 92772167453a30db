//! What is traced is the operator's to decide: not a client's, who would else fill memory, lines and the collector; and what the gateway
//! has decided holds for all that the request leads to, down to the database.

use serde_json::json;
use tidings_testkit::{Actor, Collector, ExportedSpan, Process, Shape, Suite};

use crate::protocols::Protocol;

const CREATE_GROUP: &str = "tidings.chat.v1.GroupService.CreateGroup";

/// The trace that a client names, one for each protocol.
fn trace_id(protocol: Protocol) -> String {
    // As low as ids get: a share of the traces that is found by the id would have it.
    format!("0000000000000000000000000000000{}", protocol as u8 + 1)
}

const SPAN_ID: &str = "00f067aa0ba902b7";

/// Creates a group in each protocol, as a part of a trace that the client says to record (`01`) or not to (`00`).
async fn call_all(suite: &Suite, ada: &Actor, flags: &str) {
    let bearer = format!("Bearer {}", ada.access_token);
    for protocol in Protocol::ALL {
        let traceparent = format!("00-{}-{SPAN_ID}-{flags}", trace_id(protocol));
        let headers = [
            ("authorization", bearer.as_bytes()),
            ("traceparent", traceparent.as_bytes()),
            ("tracestate", b"vendor=always".as_slice()),
        ];
        let group =
            json!({ "displayName": format!("traced in {protocol:?}"), "requestId": tidings_testkit::request_id() });
        let answer = protocol.call(suite, CREATE_GROUP, &group, &headers).await;
        answer.unwrap_or_else(|refusal| panic!("{protocol:?}: {refusal}"));
    }
}

/// What has been exported once all processes have ended, which send the last of it then.
async fn exported(mut suite: Suite, collector: &Collector) -> Vec<ExportedSpan> {
    for process in Process::of(suite.shape()) {
        suite.terminate(*process).await;
    }
    collector.spans()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_have_its_calls_recorded() {
    for shape in [Shape::One, Shape::Five] {
        let collector = Collector::start().await;
        let endpoint = collector.endpoint();
        let settings = [
            ("TIDINGS_OTLP_ENDPOINT", endpoint.as_str()),
            ("TIDINGS_TRACE_RATIO", "0"),
        ];
        let suite = Suite::start_with(shape, &settings).await;
        let ada = Actor::register(&suite.channel(), "ada").await;
        call_all(&suite, &ada, "01").await;
        let spans = exported(suite, &collector).await;
        assert!(spans.is_empty(), "{shape:?}: {spans:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gateway_decides_to_record_is_recorded_down_to_the_database() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    // The services record nothing of their own accord, so that all there is comes from the gateway's decision.
    let settings = [
        ("TIDINGS_OTLP_ENDPOINT", endpoint.as_str()),
        ("TIDINGS_TRACE_RATIO", "0"),
    ];
    let mut suite = Suite::start_with(Shape::Five, &settings).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    suite.terminate(Process::Gateway).await;
    suite.set("TIDINGS_TRACE_RATIO", "1");
    suite.spawn(Process::Gateway);
    suite.serving().await;
    call_all(&suite, &ada, "00").await;
    let spans = exported(suite, &collector).await;
    for protocol in Protocol::ALL {
        let trace_id = trace_id(protocol);
        let below = |process: &str, name: &str, parent: &str| {
            let is_it = |span: &&ExportedSpan| {
                (span.process.as_str(), span.name.as_str()) == (process, name)
                    && span.trace_id == trace_id
                    && span.parent_span_id == parent
            };
            let found = spans.iter().find(is_it);
            let found = found.unwrap_or_else(|| panic!("no {name} of {process} below {parent:?}: {spans:#?}"));
            found.span_id.clone()
        };
        let gateway = below("tidings-gateway", "gateway", SPAN_ID);
        let rpc = below("tidings-chat", "rpc", &gateway);
        below("tidings-chat", "db.transaction", &rpc);
    }
}
