//! The RPCs: each reads its request, does as it says, and answers. With `convert.rs` the only place that names messages of `auth.v1`.

pub(crate) mod audit;
mod auth;
mod authenticators;
mod credentials;
mod foreigners;
mod login_sessions;
mod persons;
mod service_accounts;

use tonic::{Response, Status};

pub(crate) use persons::Persons;

use crate::auth::Shared;

/// Serves all of `tidings.auth.v1`.
#[derive(Debug, Clone)]
pub(crate) struct Rpcs {
    pub auth: Shared,
}

type Answer<T> = Result<Response<T>, Status>;
