//! What a handler can ask about the call that it serves.

use std::{net::IpAddr, sync::Arc};

use http::HeaderValue;
use tidings_authn::{Caller, Service};
use tidings_proto_common::v1::{AuditCategory, ErrorReason};
use tokio::time::Instant;

use crate::Problem;

tokio::task_local! {
    pub(crate) static CALL: CallContext;
}

/// What calls to peers inherit from the call that they are made for.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    /// When the caller's patience ends.
    pub deadline: Instant,
    /// The user's own access token, so that a peer decides on the user and not on us.
    pub authorization: Option<HeaderValue>,
    /// What the audit trail tells of it.
    pub origin: Arc<Origin>,
}

/// Which call it is and who makes it, as the audit trail tells it.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The RPC's name, as `tidings.auth.v1.AuthService/Login`.
    pub method: Arc<str>,
    /// The heading under which its effect is recorded.
    pub audit_category: AuditCategory,
    /// The user, where the policy asks for one.
    pub caller: Option<Arc<Caller>>,
    /// The service, where the policy asks for one.
    pub service: Option<Service>,
    /// The client's address, where the transport has one.
    pub address: Option<IpAddr>,
}

/// The address that a call came from: the client's, also where a gateway of the suite forwarded it.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

/// The service that the certificate of the call's connection names, where services speak TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Certified(pub Service);

/// The user that the call acts for.
///
/// # Errors
///
/// `TOKEN_MISSING`; never for an RPC whose policy asks for a user, since the middleware has checked it.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<Caller>, Problem> {
    let caller = request.extensions().get::<Arc<Caller>>();
    caller.cloned().ok_or_else(|| Problem::new(ErrorReason::TokenMissing))
}

/// The service that calls, for RPCs whose policy asks for one.
#[must_use]
pub fn calling_service<T>(request: &tonic::Request<T>) -> Option<Service> {
    request.extensions().get::<Service>().copied()
}

/// The address of the client, where the transport has one.
#[must_use]
pub fn client_address<T>(request: &tonic::Request<T>) -> Option<IpAddr> {
    request.extensions().get::<ClientAddress>().map(|address| address.0)
}

/// Which call is being served, and whose; `None` outside of calls.
#[must_use]
pub fn origin() -> Option<Arc<Origin>> {
    CALL.try_with(|call| Arc::clone(&call.origin)).ok()
}

/// When the time of the current call is over; `None` outside of calls.
#[must_use]
pub fn deadline() -> Option<Instant> {
    CALL.try_with(|call| call.deadline).ok()
}
