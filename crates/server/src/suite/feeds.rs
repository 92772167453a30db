//! What keeps the process' one verifier current: signing keys, ended login sessions, user's states.

use anyhow::Result;
use tidings_authn::{Service, feeds};

use super::{Base, Peers};

/// Follows the feeds until the process stops, as the service `reader`.
pub fn follow(base: &Base, peers: &Peers, reader: Service) -> Result<()> {
    let environment = base.environment(reader);
    let auth = peers.to(Service::Auth, &environment)?;
    let user = peers.to(Service::User, &environment)?;
    let revocations = base.verifier.revocations();
    let (source, stop) = (|| base.source.clone(), || base.drain.token());
    base.drain.spawn(feeds::follow_revocations(
        auth.clone(),
        revocations.clone(),
        source(),
        stop(),
    ));
    base.drain
        .spawn(feeds::follow_user_states(user, revocations.clone(), source(), stop()));
    base.drain.spawn(feeds::follow_signing_keys(
        auth,
        base.verifier.clone(),
        source(),
        stop(),
    ));
    Ok(())
}
