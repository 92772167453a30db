//! The user service: whether the users that a call names exist.

use std::{collections::HashSet, future::Future, time::Duration};

use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{BatchGetUsersRequest, User, user_service_client::UserServiceClient};
use tidings_rpc::{Peer, Problem};

use crate::Error;

/// How long a peer may take: half of a call's time, so that there is an answer left to give.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What `BatchGetUsers` takes at once.
const BATCH_MAX: usize = 200;

/// The user service's `UserService`. It is asked with the caller's own token, which the peer takes from the call.
#[derive(Clone)]
pub(crate) struct Users {
    client: UserServiceClient<Peer>,
}

impl Users {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            client: UserServiceClient::new(peer),
        }
    }

    /// Fails with `NOT_FOUND` unless all of them exist and none is deleted. It is not asked within a transaction, so a user deleted a
    /// moment later may become a member; the deletion's own sweep of memberships ends that too.
    pub(crate) async fn require(&self, user_ids: &[UserId]) -> Result<(), Error> {
        for batch in user_ids.chunks(BATCH_MAX) {
            let users = self.find(batch).await?;
            let found: HashSet<String> = users.into_iter().map(|user| user.user_id).collect();
            if !batch.iter().all(|user_id| found.contains(&user_id.to_string())) {
                return Err(Error::NotFound);
            }
        }
        Ok(())
    }

    /// Whether a program acts through this user's account. Fails with `NOT_FOUND` as [`require`](Self::require) does.
    pub(crate) async fn is_bot(&self, user_id: UserId) -> Result<bool, Error> {
        let users = self.find(&[user_id]).await?;
        let user = users.into_iter().find(|user| user.user_id == user_id.to_string());
        Ok(user.ok_or(Error::NotFound)?.is_bot)
    }

    /// Those of a batch who exist and are not deleted.
    async fn find(&self, batch: &[UserId]) -> Result<Vec<User>, Problem> {
        let request = BatchGetUsersRequest {
            user_ids: batch.iter().map(ToString::to_string).collect(),
        };
        let mut client = self.client.clone();
        let response = in_time(client.batch_get_users(request)).await?;
        let mut users = response
            .map_err(|status| Problem::from_peer(&status))?
            .into_inner()
            .users;
        users.retain(|user| !user.deleted);
        Ok(users)
    }
}

/// Waits for a peer, but not for ever: one that is stopped keeps no deadline itself.
pub(crate) async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Problem> {
    let left = tidings_rpc::deadline().map_or(TIMEOUT, |deadline| {
        deadline
            .saturating_duration_since(tokio::time::Instant::now())
            .min(TIMEOUT)
    });
    tokio::time::timeout(left, answer)
        .await
        .map_err(|_| Problem::new(ErrorReason::DependencyUnavailable))
}
