//! The RPCs: each reads its request, does as it says, and answers. With `convert.rs` the only place that names messages of `auth.v1`.

mod auth;
mod credentials;

use tonic::{Response, Status};

use crate::auth::Shared;

/// Serves all of `tidings.auth.v1`.
#[derive(Debug, Clone)]
pub(crate) struct Rpcs {
    pub auth: Shared,
}

type Answer<T> = Result<Response<T>, Status>;
