use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use tidings_authn::{Caller, Service};
use tidings_proto_common::v1::AuditCategory;
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tracing::{Span, field};

use crate::{Answers, Drain, Origin, admission::Place, normalise::status_of, policy::Policy, streamed::StreamedBody};

/// The one line that a call leaves in the log, at its end: which RPC, how it ended, how long it took, who called. Nothing of the
/// request or the response stands in it.
pub(crate) struct CallLog {
    service: Service,
    span: Span,
    begun: Instant,
    method: Option<Arc<str>>,
    user: Option<String>,
    login_session: Option<String>,
    caller_service: Option<Service>,
    origin: Option<Arc<Origin>>,
    /// Set when the line is written, or is going to be at the end of a stream.
    told: bool,
}

impl CallLog {
    pub(crate) fn begin(service: Service, request: &Request<Body>) -> Self {
        let span = tracing::info_span!(
            "rpc",
            service = service.name(),
            method = field::Empty,
            user = field::Empty,
            otel.kind = "server",
        );
        tidings_telemetry::continue_trace(&span, request.headers());
        Self {
            service,
            span,
            begun: Instant::now(),
            method: None,
            user: None,
            login_session: None,
            caller_service: None,
            origin: None,
            told: false,
        }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn method(&mut self, policy: &Policy) {
        self.span.record("method", &*policy.method);
        self.method = Some(Arc::clone(&policy.method));
    }

    pub(crate) fn identified(&mut self, user: Option<&Caller>, service: Option<Service>) {
        self.caller_service = service;
        if let Some(user) = user {
            let id = user.user_id.to_string();
            self.span.record("user", &id);
            self.user = Some(id);
            self.login_session = Some(user.login_session_id.to_string());
        }
    }

    /// Which call it is and whose, as far as that is known by now.
    pub(crate) fn origin(&mut self, origin: Arc<Origin>) {
        self.origin = Some(origin);
    }

    /// Whose call was denied, if it was, and its RPC is one whose effects are recorded.
    pub(crate) fn denied(&self, status: &Status) -> Option<Arc<Origin>> {
        let recorded = |origin: &&Arc<Origin>| origin.audit_category != AuditCategory::None;
        let denied = status.code() == Code::PermissionDenied;
        self.origin.as_ref().filter(|_| denied).filter(recorded).cloned()
    }

    /// Follows a streamed response to its end, where the line is written and `guard` is let go.
    pub(crate) fn follow_stream(
        &mut self,
        response: Response<Body>,
        deadline: Option<Instant>,
        answers: &Answers,
        stalled_after: Duration,
        drain: Drain,
        guard: Place,
    ) -> Response<Body> {
        if status_of(&response).is_some_and(|status| status.code() != Code::Ok) {
            return response;
        }
        self.told = true;
        let line = self.line();
        response.map(|body| {
            Body::new(StreamedBody::new(
                body,
                deadline,
                answers,
                stalled_after,
                drain,
                move |status| {
                    line.write(&status.unwrap_or_else(gone));
                    drop(guard);
                },
            ))
        })
    }

    /// Writes the line of a call that is answered, unless its stream will.
    pub(crate) fn answered(mut self, response: Response<Body>) -> Response<Body> {
        if !self.told {
            self.told = true;
            let status = status_of(&response).unwrap_or_else(|| Status::ok(""));
            self.line().write(&status);
        }
        response
    }

    fn line(&self) -> Line {
        Line {
            service: self.service,
            span: self.span.clone(),
            begun: self.begun,
            method: self.method.clone(),
            user: self.user.clone(),
            login_session: self.login_session.clone(),
            caller_service: self.caller_service,
        }
    }
}

/// A call that nobody waits for any more is dropped here. What its handler has begun it goes on with.
impl Drop for CallLog {
    fn drop(&mut self) {
        if !self.told {
            self.line().write(&gone());
        }
    }
}

fn gone() -> Status {
    Status::cancelled("the client went away")
}

struct Line {
    service: Service,
    span: Span,
    begun: Instant,
    method: Option<Arc<str>>,
    user: Option<String>,
    login_session: Option<String>,
    caller_service: Option<Service>,
}

impl Line {
    fn write(&self, status: &Status) {
        let _entered = self.span.enter();
        let reason = status
            .get_details_error_info()
            .map(|info| info.reason)
            .unwrap_or_default();
        let method = self.method.as_deref().unwrap_or("unknown");
        if status.code() == Code::Ok && method.starts_with("grpc.health.") {
            // Every load balancer asks every few seconds, and the answer says nothing until it changes.
            tracing::debug!(target: "tidings::rpc", service = self.service.name(), method, "{method} Ok");
            return;
        }
        tracing::info!(
            target: "tidings::rpc",
            service = self.service.name(),
            method,
            code = ?status.code(),
            reason,
            duration_us = micros(self.begun.elapsed()),
            user = self.user.as_deref().unwrap_or_default(),
            login_session = self.login_session.as_deref().unwrap_or_default(),
            caller = self.caller_service.map_or("", Service::name),
            trace_id = tidings_telemetry::trace_id(&self.span).unwrap_or_default(),
            "{method} {:?}",
            status.code(),
        );
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
