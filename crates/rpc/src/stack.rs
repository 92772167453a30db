//! What every RPC goes through, in one place and one order.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use tidings_authn::{Caller, Refusal, Service};
use tidings_proto_common::v1::{Authentication, ErrorReason, Permission};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body, service::Routes};
use tonic_types::StatusExt as _;
use tracing::Instrument as _;

use crate::{
    Answers, CallEnd, Environment, Policies, Problem, Watch,
    admission::{Admission, Admissions},
    body::RequestBody,
    context::{CALL, CallContext, Certified, ClientAddress, Origin},
    deadline,
    denials::Denial,
    failures::Failures,
    normalise::{normalise, status_of},
    observe::CallLog,
    peer::{CLIENT_HEADER, SERVICE_HEADER},
    policy::Policy,
    rate::{RateKey, RateLimits},
};

/// One service with its middleware: an HTTP service that a port or an in-process [`Peer`](crate::Peer) hands requests to.
#[derive(Clone)]
pub struct Stack {
    routes: Routes,
    shared: Arc<Shared>,
}

struct Shared {
    environment: Environment,
    policies: Policies,
    rates: RateLimits,
    forgeries: Failures,
    admissions: Arc<Admissions>,
    answers: Answers,
}

/// Carries the release of a service in its answers to health checks, for the gateway, which asks all of them.
pub const RELEASE_HEADER: HeaderName = HeaderName::from_static("x-tidings-release");

const HEALTH_CHECK: &str = "grpc.health.v1.Health/Check";

/// Who calls, as far as the policy asked.
#[derive(Debug, Default)]
struct Identified {
    user: Option<Arc<Caller>>,
    service: Option<Service>,
    address: Option<ClientAddress>,
}

impl Stack {
    pub(crate) fn new(environment: &Environment, policies: Policies, routes: Routes) -> Self {
        let limits = environment.limits;
        Self {
            routes: routes.prepare(),
            shared: Arc::new(Shared {
                rates: RateLimits::new(limits.rate_factor),
                forgeries: Failures::new(limits.rate_factor),
                admissions: Arc::new(Admissions::new(environment)),
                answers: Answers::new(),
                environment: environment.clone(),
                policies,
            }),
        }
    }

    /// The policies of the RPCs that it serves.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.shared.policies
    }

    /// The service whose middleware this is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.shared.environment.service
    }

    /// Serves one call. It always answers; an error is a gRPC status.
    pub async fn handle(self, request: Request<Body>) -> Response<Body> {
        // 1. One span and one log line a call. The span continues the caller's trace.
        let mut log = CallLog::begin(self.shared.environment.service, &request);
        let (span, shared) = (log.span().clone(), Arc::clone(&self.shared));
        let outcome = self.guarded(request, &mut log).instrument(span).await;
        let response = outcome.unwrap_or_else(|problem| Status::from(problem).into_http());

        // 11. Statuses that tonic made are brought into the contract; a defect names the trace that tells of it.
        let response = match status_of(&response).map(|status| normalise(&status).unwrap_or(status)) {
            Some(status) if status.code() == Code::Internal => defect(log.span()).into_http(),
            Some(status) if status.code() != Code::Ok => {
                shared.tell_if_denied(&status, &log);
                status.into_http()
            }
            _ => response,
        };
        log.answered(response)
    }

    async fn guarded(self, request: Request<Body>, log: &mut CallLog) -> Result<Response<Body>, Problem> {
        let shared = Arc::clone(&self.shared);
        let (mut parts, body) = request.into_parts();

        // 2. The policy of exactly this path. What has none is refused.
        let policy = shared.policies.get(parts.uri.path()).cloned();
        let policy = policy.ok_or_else(|| Problem::new(ErrorReason::MethodUnknown))?;
        log.method(&policy);

        log.origin(Arc::new(Identified::default().origin(&policy)));

        // 3. Only gRPC is spoken here. tonic would take any content type for it.
        if !is_grpc(&parts.headers) {
            return Err(Problem::new(ErrorReason::ProtocolUnsupported));
        }

        // 4. The deadline: the caller's, bounded, or ours. Work whose time is over is not begun. A stream that has begun may
        //    last as long as its caller said.
        let named = deadline::read(&parts.headers, policy.server_streaming)?;
        let deadline = deadline::to_answer(named);
        // The deadline is kept here, so that tonic does not keep it a second time with another status.
        parts.headers.remove(deadline::HEADER);

        // 5. Who calls, as far as the policy asks. Nothing else in the request says who the caller is.
        let identified = shared.identify(
            &policy,
            &parts.headers,
            parts.extensions.get::<ClientAddress>().copied(),
            parts.extensions.get::<Certified>().map(|certified| certified.0),
        )?;
        log.identified(identified.user.as_deref(), identified.service);
        let origin = Arc::new(identified.origin(&policy));
        log.origin(Arc::clone(&origin));

        // 6. How often this caller calls, allowed or not, and whether they may call this at all.
        shared.rates.check(policy.rate_class, identified.rate_key())?;
        permit(&policy, &identified)?;

        // 7. How much this process does at once. Services have as many streams as they need.
        let holder = identified.service.is_none().then(|| identified.rate_key());
        let admission = shared.admissions.admit(&policy, holder)?;

        // 8. A request is not read beyond what its RPC takes, nor after its deadline.
        let body = RequestBody::new(body, policy.request_bytes_max, deadline);
        let body = Body::new(body.streamed(policy.client_streaming));

        let authorization = parts.headers.get(AUTHORIZATION).cloned();
        parts.headers.remove(SERVICE_HEADER);
        let end = parts.extensions.remove::<CallEnd>();
        identified.attach(&mut parts.extensions);
        let request = Request::from_parts(parts, body);

        // 9. The handler, in a task of its own: neither a client's cancel nor the deadline drops a transaction half way
        //    (`reliability.md` D2). A panic ends this call only.
        let context = CallContext {
            deadline,
            authorization,
            origin,
        };
        let handler = CALL
            .scope(context, self.routes.clone().call_infallible(request))
            .in_current_span();
        let (mut response, admission) = shared.run(handler, admission, deadline).await?;
        if &*policy.method == HEALTH_CHECK {
            let release = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
            response.headers_mut().insert(RELEASE_HEADER, release);
        }

        // 10. An answer that nobody takes is let go. Its call is done, and its place does not wait for that.
        let limits = shared.environment.limits;
        Ok(match admission {
            Admission::Call(place) => {
                drop(place);
                let watch = Watch {
                    patience: limits.untaken_after,
                    until: None,
                    caller: holder,
                    trailers: true,
                    on_let_go: end.map(CallEnd::on_let_go),
                };
                shared.answers.watch_response(response, watch)
            }
            Admission::Stream(place) => {
                let drain = shared.environment.drain.clone();
                log.follow_stream(response, named, &shared.answers, limits.stalled_after, drain, place)
            }
        })
    }
}

impl Shared {
    fn identify(
        &self,
        policy: &Policy,
        headers: &HeaderMap,
        socket: Option<ClientAddress>,
        certified: Option<Service>,
    ) -> Result<Identified, Problem> {
        let service = self.calling_service(headers)?;
        if certified.is_some() && service.is_some_and(|claimed| certified != Some(claimed)) {
            // A token that was stolen from another service (`reliability.md` A20).
            return Err(Refusal::ServiceNotPermitted.into());
        }
        let mut identified = Identified {
            address: socket,
            ..Identified::default()
        };
        if service == Some(Service::Gateway) {
            // The gateway has proven who it is, so its word on the client's address counts.
            identified.address = client_header(headers);
        }
        match policy.authentication {
            Authentication::None => {}
            Authentication::Service => {
                identified.service = Some(service.ok_or(Refusal::TokenMissing)?);
            }
            Authentication::User => {
                if certified.is_some_and(|caller| !caller.calls(self.environment.service)) {
                    // Users' calls come from where the call graph has them come from, whoever's token they carry (B104).
                    return Err(Refusal::ServiceNotPermitted.into());
                }
                identified.user = Some(self.verify(bearer(headers)?, identified.rate_key())?);
            }
            Authentication::Unspecified => return Err(Problem::new(ErrorReason::MethodUnknown)),
        }
        Ok(identified)
    }

    /// Tells the audit trail of a call that was denied, where its RPC is one whose effects are recorded (`reliability.md` A73).
    fn tell_if_denied(&self, status: &Status, log: &CallLog) {
        let Some(origin) = log.denied(status) else { return };
        self.environment.denials.tell(Denial {
            origin,
            trace_id: tidings_telemetry::trace_id(log.span()),
            reason: status
                .get_details_error_info()
                .map(|info| info.reason)
                .unwrap_or_default(),
            time: self.environment.source.now(),
        });
    }

    /// The user that an access token proves. Its signature is checked only if few from this network were forged of late.
    fn verify(&self, token: &str, origin: RateKey) -> Result<Arc<Caller>, Problem> {
        let mut checked = false;
        let verified = self.environment.verifier.verify_if(token, || {
            self.forgeries.check(origin, Instant::now())?;
            checked = true;
            Ok(())
        });
        if checked
            && verified
                .as_ref()
                .is_err_and(|problem: &Problem| problem.reason() == ErrorReason::TokenInvalid)
        {
            self.forgeries.count(origin, Instant::now());
        }
        verified
    }

    /// The service that a call proves to come from, if it tries to prove any.
    fn calling_service(&self, headers: &HeaderMap) -> Result<Option<Service>, Problem> {
        let mut tokens = headers.get_all(SERVICE_HEADER).iter();
        let Some(token) = tokens.next() else { return Ok(None) };
        let token = token.to_str().map_err(|_| Refusal::TokenInvalid)?;
        if tokens.next().is_some() {
            return Err(Refusal::TokenInvalid.into());
        }
        Ok(Some(self.environment.services.verify(token)?))
    }

    /// Runs the handler. Its place goes with it: a caller who gives up while it works does not let a further one in.
    async fn run<F>(
        &self,
        handler: F,
        admission: Admission,
        deadline: Instant,
    ) -> Result<(Response<Body>, Admission), Problem>
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let over = || Problem::new(ErrorReason::DeadlineExceeded);
        let handler = AssertUnwindSafe(handler.map(|response| (response, admission))).catch_unwind();
        let outcome = if self.environment.limits.detach_handlers {
            let task = self.environment.drain.spawn(handler);
            let joined = tokio::time::timeout_at(deadline, task).await.map_err(|_| over())?;
            match joined {
                Ok(Some(outcome)) => outcome,
                Ok(None) | Err(_) => return Err(Problem::new(ErrorReason::Draining)),
            }
        } else {
            tokio::time::timeout_at(deadline, handler).await.map_err(|_| over())?
        };
        outcome.map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(panic = text, "a handler panicked");
            Problem::new(ErrorReason::Internal)
        })
    }
}

impl Identified {
    fn rate_key(&self) -> RateKey {
        match (&self.user, self.address) {
            (Some(user), _) => RateKey::User(user.user_id),
            (None, Some(address)) => RateKey::prefix(address.0),
            (None, None) => RateKey::Unknown,
        }
    }

    fn origin(&self, policy: &Policy) -> Origin {
        Origin {
            method: Arc::clone(&policy.method),
            audit_category: policy.audit_category,
            caller: self.user.clone(),
            service: self.service,
            address: self.address.map(|address| address.0),
        }
    }

    fn attach(self, extensions: &mut http::Extensions) {
        if let Some(user) = self.user {
            extensions.insert(user);
        }
        if let Some(service) = self.service {
            extensions.insert(service);
        }
        match self.address {
            Some(address) => {
                extensions.insert(address);
            }
            None => {
                extensions.remove::<ClientAddress>();
            }
        }
    }
}

/// Whether who calls may call the RPC at all.
fn permit(policy: &Policy, identified: &Identified) -> Result<(), Problem> {
    let listed = |service: Service| policy.callers.is_empty() || policy.callers.contains(&service);
    if !identified.service.is_none_or(listed) {
        return Err(Refusal::ServiceNotPermitted.into());
    }
    let may = |user: &Arc<Caller>| policy.permission == Permission::Unspecified || user.holds(policy.permission);
    if !identified.user.as_ref().is_none_or(may) {
        let name = policy.permission.as_str_name().trim_start_matches("PERMISSION_");
        return Err(Problem::new(ErrorReason::PermissionMissing).with("permission", name));
    }
    Ok(())
}

/// What a caller learns of a defect: where to find it in our logs.
fn defect(span: &tracing::Span) -> Status {
    let problem = Problem::new(ErrorReason::Internal);
    match tidings_telemetry::trace_id(span) {
        Some(trace_id) => problem.with("trace_id", trace_id).into(),
        None => problem.into(),
    }
}

/// The access token of a call: exactly one `authorization` header of the scheme `Bearer`.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::TokenMissing)?;
    if values.next().is_some() {
        return Err(Refusal::TokenInvalid);
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Refusal::TokenInvalid)?;
    let well_formed = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains([' ', '\t', ',']);
    if well_formed {
        Ok(token)
    } else {
        Err(Refusal::TokenInvalid)
    }
}

fn client_header(headers: &HeaderMap) -> Option<ClientAddress> {
    headers
        .get(CLIENT_HEADER)?
        .to_str()
        .ok()?
        .parse()
        .ok()
        .map(ClientAddress)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value == b"application/grpc"
            || value.starts_with(b"application/grpc+")
            || value.starts_with(b"application/grpc;")
    })
}

/// The call of a service that cannot fail.
trait CallInfallible {
    fn call_infallible(self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send + 'static;
}

impl CallInfallible for Routes {
    fn call_infallible(mut self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send + 'static {
        use tower::Service as _;
        let response = self.call(request);
        async move {
            match response.await {
                Ok(response) => response,
                Err(error) => match error {},
            }
        }
    }
}

impl tower::Service<Request<Body>> for Stack {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().handle(request).map(Ok))
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stack {{ {} }}", self.service())
    }
}
