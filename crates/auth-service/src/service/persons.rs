//! Calls that belong to a login session.
//!
//! An access token that an API key was exchanged for looks like any other. It serves most RPCs; those about a person's login sessions
//! and credentials it must not reach, since whoever finds a key would otherwise end or change what it was never given. [`Persons`]
//! stands around all services of auth and refuses it everywhere but where [`FOR_KEYS`] says otherwise, so that a new RPC is closed to
//! keys until somebody thinks of it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tidings_authn::Caller;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::{Error, auth::Shared, store::api_keys};

/// What an API key's access token may call here: the services that programs are made for, and what else is an operator's. RPCs that
/// ask for no user do not come into it.
const FOR_KEYS: [&str; 5] = [
    "/tidings.auth.v1.AuthService/CreateUserToken",
    "/tidings.auth.v1.AuthService/IntrospectToken",
    "/tidings.auth.v1.AuthService/RotateSigningKey",
    "/tidings.auth.v1.ServiceAccountService/",
    "/tidings.auth.v1.AuthAuditService/",
];

/// A service that API keys reach where they may.
#[derive(Debug, Clone)]
pub(crate) struct Persons<S> {
    inner: S,
    auth: Shared,
}

impl<S> Persons<S> {
    pub(crate) fn new(inner: S, auth: &Shared) -> Self {
        Self {
            inner,
            auth: Arc::clone(auth),
        }
    }
}

impl<S: NamedService> NamedService for Persons<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Persons<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The one that is ready is used, and a fresh one kept.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let caller = request.extensions().get::<Arc<Caller>>().cloned();
        // A person never has an API key, so that only bots are asked about.
        let Some(caller) = caller.filter(|caller| caller.is_bot && !is_for_keys(request.uri().path())) else {
            return Box::pin(inner.call(request));
        };
        let auth = Arc::clone(&self.auth);
        Box::pin(async move {
            let refused = match api_keys::exists(&auth.pool, caller.login_session_id).await {
                Ok(false) => return inner.call(request).await,
                Ok(true) => Error::KindUnsuitable,
                Err(error) => Error::Database(error),
            };
            Ok(Status::from(refused).into_http())
        })
    }
}

fn is_for_keys(path: &str) -> bool {
    FOR_KEYS
        .iter()
        .any(|permitted| path == *permitted || (permitted.ends_with('/') && path.starts_with(permitted)))
}

#[cfg(test)]
mod tests {
    use super::is_for_keys;

    #[test]
    fn keys_reach_what_is_named_and_nothing_that_only_begins_like_it() {
        for path in [
            "/tidings.auth.v1.AuthService/CreateUserToken",
            "/tidings.auth.v1.ServiceAccountService/CreateApiKey",
        ] {
            assert!(is_for_keys(path), "{path}");
        }
        for path in [
            "/tidings.auth.v1.AuthService/CreateUserTokens",
            "/tidings.auth.v1.AuthService/Logout",
            "/tidings.auth.v1.AuthService/LogoutAll",
            "/tidings.auth.v1.CredentialService/ChangePassword",
            "/tidings.auth.v1.LoginSessionService/ListLoginSessions",
            "/tidings.auth.v1.ServiceAccountServiceX/CreateApiKey",
            "",
        ] {
            assert!(!is_for_keys(path), "{path}");
        }
    }
}
