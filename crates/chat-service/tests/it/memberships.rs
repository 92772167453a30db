use tidings_proto_chat::v1::{Group, LeaveGroupRequest};
use tidings_proto_common::v1::{ChatRole, ErrorReason, RemovalReason};
use tidings_proto_message::v1::audience_change::Kind;
use tonic::Status;

use crate::world::{ADMIN, Actor, MEMBER, OWNER, World, reason};

async fn leave(actor: &Actor, group: &Group) -> Result<(), Status> {
    let request = LeaveGroupRequest {
        group_id: group.group_id.clone(),
        request_id: actor.request_id(),
    };
    actor.memberships().leave_group(actor.asks(request)).await.map(drop)
}

/// A group with one of each role.
struct Crew {
    world: World,
    group: Group,
    owner: Actor,
    admin: Actor,
    member: Actor,
}

impl Crew {
    async fn begin() -> Self {
        let world = World::begin().await;
        let [owner, admin, member] = [world.user().await, world.user().await, world.user().await];
        let group = owner.group().await;
        owner.add(&group, &admin, ADMIN).await.expect("added");
        owner.add(&group, &member, MEMBER).await.expect("added");
        Self {
            world,
            group,
            owner,
            admin,
            member,
        }
    }
}

#[tokio::test]
async fn a_member_is_told_to_the_message_service_before_the_answer() {
    let Crew {
        world, group, owner, ..
    } = Crew::begin().await;
    let dave = world.user().await;
    let membership = owner
        .add(&group, &dave, MEMBER)
        .await
        .expect("added")
        .expect("a membership");
    assert_eq!(
        (membership.user_id.as_str(), membership.role()),
        (dave.id.as_str(), MEMBER)
    );
    assert!(world.log.members(&group.group_id).await.contains_key(&dave.id));
    assert_eq!(dave.members(&group).await.expect("seen").len(), 4);
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn unspecified_means_a_plain_member() {
    let Crew {
        world, group, owner, ..
    } = Crew::begin().await;
    let dave = world.user().await;
    let membership = owner
        .add(&group, &dave, ChatRole::Unspecified)
        .await
        .expect("added")
        .expect("a membership");
    assert_eq!(membership.role(), MEMBER);
}

#[tokio::test]
async fn who_may_add_whom() {
    let Crew {
        world,
        group,
        owner,
        admin,
        member,
    } = Crew::begin().await;
    let cases = [
        (&member, MEMBER, Some(ErrorReason::PermissionMissing)),
        (&member, OWNER, Some(ErrorReason::PermissionMissing)),
        (&admin, MEMBER, None),
        (&admin, ADMIN, Some(ErrorReason::RankTooLow)),
        (&admin, OWNER, Some(ErrorReason::RankTooLow)),
        (&owner, MEMBER, None),
        (&owner, ADMIN, None),
        (&owner, OWNER, None),
    ];
    for (actor, role, refusal) in cases {
        let newcomer = world.user().await;
        let outcome = actor.add(&group, &newcomer, role).await;
        match refusal {
            None => assert_eq!(outcome.expect("added").expect("a membership").role(), role),
            Some(refusal) => {
                assert_eq!(reason(outcome), refusal, "{role:?}");
                assert_eq!(reason(newcomer.members(&group).await), ErrorReason::NotFound);
            }
        }
    }
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn who_may_remove_whom() {
    for (actor, target, refusal) in [
        (MEMBER, MEMBER, Some(ErrorReason::PermissionMissing)),
        (MEMBER, OWNER, Some(ErrorReason::PermissionMissing)),
        (ADMIN, MEMBER, None),
        (ADMIN, ADMIN, Some(ErrorReason::RankTooLow)),
        (ADMIN, OWNER, Some(ErrorReason::RankTooLow)),
        (OWNER, MEMBER, None),
        (OWNER, ADMIN, None),
        (OWNER, OWNER, None),
    ] {
        let Crew {
            world,
            group,
            owner,
            admin,
            member,
        } = Crew::begin().await;
        let other = world.user().await;
        owner.add(&group, &other, target).await.expect("added");
        let actor = match actor {
            ChatRole::Owner => owner,
            ChatRole::Admin => admin,
            _ => member,
        };
        let outcome = actor.remove(&group, &other).await;
        match refusal {
            None => {
                outcome.expect("removed");
                assert_eq!(reason(other.members(&group).await), ErrorReason::NotFound);
                assert!(!world.log.members(&group.group_id).await.contains_key(&other.id));
            }
            Some(refusal) => {
                assert_eq!(reason(outcome), refusal);
                assert_eq!(other.members(&group).await.expect("still in").len(), 4);
            }
        }
        world.assert_told(&group.group_id).await;
    }
}

#[tokio::test]
async fn adding_a_member_again_changes_nothing_and_another_role_is_refused() {
    let Crew {
        world,
        group,
        owner,
        admin,
        member,
    } = Crew::begin().await;
    let before = world.log.changes(&group.group_id).await.len();
    let again = owner
        .add(&group, &member, MEMBER)
        .await
        .expect("still a member")
        .expect("a membership");
    assert_eq!(again.role(), MEMBER);
    assert_eq!(
        reason(owner.add(&group, &member, ADMIN).await),
        ErrorReason::AlreadyMember
    );
    assert_eq!(
        reason(owner.add(&group, &admin, MEMBER).await),
        ErrorReason::AlreadyMember
    );
    // Oneself is a member like any other.
    assert_eq!(
        reason(owner.add(&group, &owner, MEMBER).await),
        ErrorReason::AlreadyMember
    );
    owner.add(&group, &owner, OWNER).await.expect("still the owner");
    assert_eq!(world.log.changes(&group.group_id).await.len(), before);
}

#[tokio::test]
async fn absent_and_deleted_users_cannot_be_added() {
    let Crew {
        world, group, owner, ..
    } = Crew::begin().await;
    let [absent, deleted] = [world.user().await, world.user().await];
    world.users.users.lock().await.remove(&absent.id);
    world.users.users.lock().await.insert(deleted.id.clone(), true);
    for user in [&absent, &deleted] {
        assert_eq!(reason(owner.add(&group, user, MEMBER).await), ErrorReason::NotFound);
    }
}

#[tokio::test]
async fn nobody_is_added_while_the_user_service_is_away() {
    let Crew {
        world, group, owner, ..
    } = Crew::begin().await;
    let dave = world.user().await;
    world.users.down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        reason(owner.add(&group, &dave, MEMBER).await),
        ErrorReason::DependencyUnavailable
    );
    world.users.down.store(false, std::sync::atomic::Ordering::SeqCst);
    owner.add(&group, &dave, MEMBER).await.expect("added");
}

#[tokio::test]
async fn removing_who_is_no_member_is_ok() {
    let Crew {
        world,
        group,
        owner,
        member,
        ..
    } = Crew::begin().await;
    let stranger = world.user().await;
    owner.remove(&group, &stranger).await.expect("nothing to do");
    owner.remove(&group, &member).await.expect("removed");
    owner.remove(&group, &member).await.expect("nothing to do");
    // Access comes before effect: who may not remove learns nothing.
    let plain = world.user().await;
    owner.add(&group, &plain, MEMBER).await.expect("added");
    assert_eq!(
        reason(plain.remove(&group, &stranger).await),
        ErrorReason::PermissionMissing
    );
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn removing_oneself_is_leaving() {
    let Crew {
        world,
        group,
        owner,
        admin,
        member,
    } = Crew::begin().await;
    member.remove(&group, &member).await.expect("left");
    leave(&admin, &group).await.expect("left");
    for (who, at) in [(&member, 3), (&admin, 4)] {
        let change = world.log.changes(&group.group_id).await[at].clone();
        assert_eq!(change.actor_id, who.id);
        let Some(Kind::MemberRemoved(removed)) = change.kind else {
            panic!("{change:?}")
        };
        assert_eq!(
            (removed.user_id.as_str(), removed.reason()),
            (who.id.as_str(), RemovalReason::Left)
        );
    }
    assert_eq!(owner.members(&group).await.expect("seen").len(), 1);
    assert_eq!(reason(leave(&member, &group).await), ErrorReason::NotFound);
}

#[tokio::test]
async fn a_removal_names_who_did_it() {
    let Crew {
        world,
        group,
        admin,
        member,
        ..
    } = Crew::begin().await;
    admin.remove(&group, &member).await.expect("removed");
    let change = world.log.changes(&group.group_id).await.pop().expect("a change");
    assert_eq!(change.actor_id, admin.id);
    let Some(Kind::MemberRemoved(removed)) = change.kind else {
        panic!("{change:?}")
    };
    assert_eq!(removed.reason(), RemovalReason::Removed);
}

#[tokio::test]
async fn the_last_owner_cannot_go() {
    let Crew {
        world,
        group,
        owner,
        admin,
        ..
    } = Crew::begin().await;
    assert_eq!(reason(leave(&owner, &group).await), ErrorReason::LastOwner);
    assert_eq!(reason(owner.remove(&group, &owner).await), ErrorReason::LastOwner);
    let second = world.user().await;
    owner.add(&group, &second, OWNER).await.expect("added");
    leave(&owner, &group).await.expect("left");
    assert_eq!(reason(leave(&second, &group).await), ErrorReason::LastOwner);
    assert_eq!(admin.members(&group).await.expect("seen").len(), 3);
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn who_comes_back_joins_anew() {
    let Crew {
        world,
        group,
        owner,
        member,
        ..
    } = Crew::begin().await;
    owner.remove(&group, &member).await.expect("removed");
    let again = owner
        .add(&group, &member, ADMIN)
        .await
        .expect("added")
        .expect("a membership");
    assert_eq!(again.role(), ADMIN);
    assert_eq!(member.members(&group).await.expect("seen").len(), 3);
    world.assert_told(&group.group_id).await;
}
