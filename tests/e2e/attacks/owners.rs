//! Owners who depose each other in the same moment, by the gateway and past it: one stays (A14, G17).

use futures_util::future::join_all;
use tidings_proto_chat::v1::{AddMemberRequest, LeaveGroupRequest, ListMembersRequest};
use tidings_proto_common::v1::{ChatRole, ErrorReason};
use tidings_testkit::{Actor, Process, Shape, Suite, reason_of, request_id};
use tonic::Status;

/// Pairs of owners who play at the same time, and how often each does.
const PAIRS: usize = 8;
const ROUNDS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_hundreds_of_pairs_of_owners_who_depose_each_other_one_stays() {
    let suite = Suite::start(Shape::Five).await;
    let played = (0..PAIRS).map(|_| pair(&suite));
    let contested: usize = join_all(played).await.into_iter().sum();
    // Where both came through one after the other, nothing was put to the test.
    assert_eq!(contested, PAIRS * ROUNDS, "in each round one is refused");
}

/// Plays the rounds of two users and returns in how many exactly one of them was refused.
async fn pair(suite: &Suite) -> usize {
    let channel = suite.channel();
    let (ada, bob) = tokio::join!(Actor::register(&channel, "ada"), Actor::register(&channel, "bob"));
    // Past the gateway, so that not even the ways are the same.
    let direct = bob.through(&suite.direct(Process::Chat));
    let mut contested = 0;
    for round in 0..ROUNDS {
        let group = ada.group_chat(&[]).await.group_id;
        let add = AddMemberRequest {
            group_id: group.clone(),
            user_id: bob.user_id.clone(),
            role: ChatRole::Owner.into(),
            request_id: request_id(),
        };
        ada.memberships().add_member(add).await.expect("a second owner");
        let (one, other) = match round % 3 {
            0 => tokio::join!(ada.remove(&group, &bob), direct.remove(&group, &ada)),
            1 => tokio::join!(leave(&ada, &group), leave(&direct, &group)),
            _ => tokio::join!(ada.remove(&group, &bob), leave(&bob, &group)),
        };
        let owners = [owners(&ada, &group).await, owners(&bob, &group).await];
        let left: usize = owners.iter().flatten().sum();
        assert_eq!(left, 1, "round {round}: {owners:?} after {one:?} and {other:?}");
        // Who leaves and is removed at once is gone, whoever was first.
        contested += usize::from(round % 3 == 2 || one.is_err() != other.is_err());
        for status in [one, other].into_iter().filter_map(Result::err) {
            let reason = reason_of(&status);
            assert!(
                matches!(reason, ErrorReason::NotFound | ErrorReason::LastOwner),
                "round {round}: {status:?}"
            );
        }
    }
    contested
}

async fn leave(actor: &Actor, group_id: &str) -> Result<(), Status> {
    let request = LeaveGroupRequest {
        group_id: group_id.to_owned(),
        request_id: request_id(),
    };
    actor.memberships().leave_group(request).await.map(drop)
}

/// How many owners somebody sees in the group; `None` for who is not in it.
async fn owners(actor: &Actor, group_id: &str) -> Option<usize> {
    let request = ListMembersRequest {
        group_id: group_id.to_owned(),
        ..ListMembersRequest::default()
    };
    let memberships = actor
        .memberships()
        .list_members(request)
        .await
        .ok()?
        .into_inner()
        .memberships;
    let owners = memberships
        .iter()
        .filter(|membership| membership.role() == ChatRole::Owner);
    Some(owners.count())
}
