//! How high somebody stands: stored, told, changed and asked about.

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{CheckAuthorityRequest, UpdateRoleRequest};

use super::Stage;
use crate::support::{Actor, reason};

#[tokio::test]
async fn a_rank_is_stored_told_and_changed() {
    let stage = Stage::set().await;
    let ranks: Vec<_> = stage.roles().await.iter().map(|role| role.rank).collect();
    assert_eq!(ranks, [1_000, 500, 700, 100, 100, 0, 0, 0]);

    let world = &stage.world;
    let update = |rank, paths: &[&str]| UpdateRoleRequest {
        role_id: stage.trifle.to_string(),
        rank,
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..UpdateRoleRequest::default()
    };
    let chief = &stage.actors[1];
    let change = async |rank| {
        let changed = world.roles().update_role(chief.asks(update(rank, &["rank"]))).await?;
        Ok(changed.into_inner().role.expect("a role").rank)
    };
    assert_eq!(change(500).await.unwrap(), 500, "as high as oneself");
    assert_eq!(reason(change(501).await), R::RankTooLow);
    assert_eq!(change(0).await.unwrap(), 0);
}

#[tokio::test]
async fn the_highest_role_counts() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let both = world.register("both", &["low", "crown"]).await;
    let clerk = world.register("some-clerk", &["clerk"]).await;
    let check = async |actor: &Actor, target: &Actor| {
        let request = CheckAuthorityRequest {
            actor_user_id: actor.user_id.to_string(),
            target_user_id: target.user_id.to_string(),
            ..CheckAuthorityRequest::default()
        };
        world.provisioning().check_authority(request).await
    };
    check(&both, &clerk).await.expect("of higher rank");
    assert_eq!(reason(check(&clerk, &both).await), R::RankTooLow);
    check(&clerk, &clerk).await.expect("oneself");
}

#[tokio::test]
async fn authority_is_asked_about_people_who_are_there() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let pending = world.registration("pending");
    world.provisioning().create_user(pending.clone()).await.unwrap();
    let ask = async |actor: &str, target: &str| {
        let request = CheckAuthorityRequest {
            actor_user_id: actor.to_owned(),
            target_user_id: target.to_owned(),
            ..CheckAuthorityRequest::default()
        };
        world.provisioning().check_authority(request).await
    };
    let ruth = stage.ruth.user_id.to_string();
    for target in [world.absent(), pending.user_id.clone()] {
        assert_eq!(reason(ask(&ruth, &target).await), R::NotFound);
    }
    for actor in [world.absent(), pending.user_id] {
        assert_eq!(reason(ask(&actor, &ruth).await), R::LoginSessionRevoked);
    }
    assert_eq!(reason(ask("x", "").await), R::FieldInvalid);
    let request = CheckAuthorityRequest::default();
    let mut chat = world.provisioning_as(tidings_authn::Service::Chat);
    assert_eq!(reason(chat.check_authority(request).await), R::PermissionMissing);
}
