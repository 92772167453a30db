//! Users who are deleted for good leave their groups and conversations, one after the other, as if they had left them. Where one was
//! the only owner, the place goes to the admin who has been there longest, else to the member; where nobody is left, there is
//! nobody to see it any more, and it ends. Direct chats and sessions stay as they are: their members never change, and the other still
//! reads what was said.

use std::time::Duration;

use tidings_db::transaction;
use tidings_ids::{AudienceId, GroupId, UserId};
use tidings_rpc::Drain;
use uuid::Uuid;

use crate::{
    Error,
    call::{Call, Done},
    change::{Change, Removal},
    keeper::Keeper,
    membership::Member,
    role::Role,
    store::{audiences, chats, departures, groups, members},
};

/// Users looked up at once.
const PAGE_MAX: i64 = 100;

impl Keeper {
    /// Lets a user leave everything.
    pub(crate) async fn depart(&self, user_id: UserId) -> Result<(), Error> {
        while let Some((audience_id, in_group)) = departures::next_circle(&self.pool, user_id).await? {
            let done = transaction!(&self.pool, |tx| -> Result<Option<Done>, Error> {
                self.depart_from(tx, user_id, audience_id, in_group).await
            })?;
            if let Some(done) = done {
                self.deliver(&done).await?;
            }
        }
        departures::delete(&self.pool, user_id).await?;
        Ok(())
    }

    async fn depart_from(
        &self,
        tx: &mut sqlx::PgConnection,
        user_id: UserId,
        audience_id: AudienceId,
        in_group: bool,
    ) -> Result<Option<Done>, Error> {
        let audience = audiences::lock(tx, audience_id).await?;
        let Some(mut audience) = audience.filter(|audience| !audience.has_ended()) else {
            return Ok(None);
        };
        let Some(member) = members::find(tx, audience_id, user_id).await? else {
            return Ok(None);
        };
        let alone = member.role == Role::Owner && !members::has_other_owner(tx, audience_id, user_id).await?;
        let heir = if alone {
            departures::successor(tx, audience_id, user_id).await?
        } else {
            None
        };
        if alone && heir.is_none() {
            // Whoever else is in it is on the way out too.
            chats::delete_all(tx, audience_id).await?;
            if in_group {
                groups::delete(tx, GroupId::from_uuid(audience_id.uuid())).await?;
            }
            members::delete_all(tx, audience_id).await?;
            audience.end();
        } else {
            if let Some(heir) = heir {
                departures::make_owner(tx, audience_id, heir.user_id).await?;
                audience.log(Change::MemberPut(Member {
                    role: Role::Owner,
                    ..heir
                }));
            }
            members::delete(tx, audience_id, user_id).await?;
            audience.member_count -= 1;
            audience.log(Change::MemberRemoved {
                user_id,
                removal: Removal::Left,
            });
        }
        let call = Call::unrepeatable(user_id);
        self.finish(tx, &call, audience, Uuid::nil()).await.map(Some)
    }
}

/// Lets those leave who are noted, until the process stops. Every node does; what one has done the others find done.
pub(crate) async fn run(keeper: Keeper, drain: Drain, interval: Duration) {
    loop {
        tokio::select! {
            () = drain.begun() => return,
            () = tokio::time::sleep(keeper.source.jitter(interval)) => {}
        }
        tokio::select! {
            () = drain.begun() => return,
            () = depart_all(&keeper) => {}
        }
    }
}

/// Tries everybody who is noted, once. Who fails holds up nobody else.
async fn depart_all(keeper: &Keeper) {
    let mut after = None;
    loop {
        let page = match departures::page(&keeper.pool, after, PAGE_MAX).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = %error, "departures cannot be read");
                return;
            }
        };
        let Some(last) = page.last() else { return };
        after = Some(*last);
        for user_id in page {
            if let Err(error) = keeper.depart(user_id).await {
                tracing::warn!(%user_id, error = %error, "a deleted user cannot leave yet");
            }
        }
    }
}
