/// Why a caller was refused. Each variant is a reason of the error contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credential was sent.
    #[error("the call carries no access token")]
    TokenMissing,
    /// The credential is malformed, forged, of another kind, or older than a change of its user's rights.
    #[error("the access token is not valid")]
    TokenInvalid,
    /// The credential's time is over.
    #[error("the access token has expired")]
    TokenExpired,
    /// The login session has ended.
    #[error("the login session has ended")]
    SessionRevoked,
    /// What is known about revocations is too old to be trusted.
    #[error("revocations cannot be checked")]
    Untrusted,
    /// The service is not one that may call this.
    #[error("the service may not call this")]
    ServiceNotPermitted,
}
