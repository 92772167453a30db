//! How often a network is told that a name is taken.

use std::net::IpAddr;

use tidings_db::transaction;

use super::{Throttle, counts::Counted};
use crate::{Error, auth::Auth, store::throttles};

/// Whether this network may still be told that a name is taken, whatever name it asks for.
pub(crate) async fn permit_names(auth: &Auth, address: Option<IpAddr>) -> Result<(), Error> {
    let (limits, now) = (auth.throttle.limits, auth.now());
    let taken = throttles::get(&auth.pool, &auth.throttle.taken(address)).await?;
    let Some(mut row) = taken else { return Ok(()) };
    let limits = Throttle {
        window_max: limits.taken_max,
        ..limits
    };
    let counted = Counted {
        bucket: auth.throttle.taken(address),
        window: true,
        streak: false,
    };
    row.refuses(counted, limits, now)
        .map_or(Ok(()), |wait| Err(Error::RateLimited(wait)))
}

/// Counts the answer that a name is taken.
pub(crate) async fn count_taken(auth: &Auth, address: Option<IpAddr>) -> Result<(), Error> {
    let (bucket, now) = (auth.throttle.taken(address), auth.now());
    let counted = Counted {
        bucket,
        window: true,
        streak: false,
    };
    let limits = Throttle {
        window_max: auth.throttle.limits.taken_max,
        ..auth.throttle.limits
    };
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let mut row = throttles::lock(&mut *tx, &bucket, now).await?;
        // Of many at once some are beyond the limit: the row does not grow for them.
        if row.refuses(counted, limits, now).is_none() {
            row.add(counted, now);
            throttles::save(&mut *tx, &bucket, &row).await?;
        }
        Ok(())
    })
}
