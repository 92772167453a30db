//! Addresses that auth has had proven.

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{
    ChangeUserEmailRequest, CreateUserRequest, DiscardUserRequest, GetUserRequest, SuspendUserRequest, UserState,
};
use tonic::Status;

use crate::support::{Actor, World, reason, wrong_fields};

impl World {
    async fn change_email(&self, user_id: &str, email: &str, revision: i64) -> Result<UserState, Status> {
        let request = ChangeUserEmailRequest {
            user_id: user_id.to_owned(),
            email: email.to_owned(),
            revision,
        };
        let answer = self.provisioning().change_user_email(request).await?;
        Ok(answer.into_inner().state.expect("a state"))
    }

    async fn email_of(&self, reader: &Actor) -> String {
        let request = GetUserRequest {
            user_id: reader.user_id.to_string(),
        };
        let answer = self.users().get_user(reader.asks(request)).await.expect("read");
        answer.into_inner().user.expect("a user").email
    }
}

#[tokio::test]
async fn an_address_changes_once_for_each_revision_and_late_statements_change_nothing() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let id = ada.user_id.to_string();
    let first = world.change_email(&id, "One@example.org", 1).await.unwrap();
    assert_eq!(first.user_id, id);
    assert_eq!(world.email_of(&ada).await, "One@example.org");
    world.change_email(&id, "three@example.org", 3).await.unwrap();
    for (late, revision) in [("two@example.org", 2), ("again@example.org", 3), ("one@example.org", 1)] {
        world.change_email(&id, late, revision).await.unwrap();
        assert_eq!(world.email_of(&ada).await, "three@example.org");
    }
    // What it was is free.
    let eve = CreateUserRequest {
        email: "one@example.org".to_owned(),
        ..world.registration("eve")
    };
    world.provisioning().create_user(eve).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_anothers_is_refused_and_of_two_who_want_it_one_gets_it() {
    let world = World::begin().await;
    let (ada, eve) = (world.register("ada", &[]).await, world.register("eve", &[]).await);
    let pending = world.registration("pending");
    world.provisioning().create_user(pending.clone()).await.unwrap();
    for taken in ["EVE@example.org", &pending.email] {
        let refused = world.change_email(&ada.user_id.to_string(), taken, 1).await;
        assert_eq!(reason(refused), R::EmailTaken);
    }
    let ids = [&ada, &eve].map(|user| user.user_id.to_string());
    let outcomes =
        futures_util::future::join_all(ids.iter().map(|id| world.change_email(id, "both@example.org", 1))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(reason(outcome), R::EmailTaken);
    }
}

#[tokio::test]
async fn only_who_is_there_gets_an_address_and_only_auth_gives_it() {
    let world = World::begin().await;
    let root = world.register("ruth", &["admin"]).await;
    let ada = world.register("ada", &[]).await;
    let id = ada.user_id.to_string();
    assert_eq!(
        reason(world.change_email(&world.absent(), "a@example.org", 1).await),
        R::NotFound
    );
    let pending = world.registration("pending");
    world.provisioning().create_user(pending.clone()).await.unwrap();
    let refused = world.change_email(&pending.user_id, "a@example.org", 1).await;
    assert_eq!(reason(refused), R::StateUnsuitable);
    let discard = DiscardUserRequest {
        user_id: pending.user_id.clone(),
        ..DiscardUserRequest::default()
    };
    world.provisioning().discard_user(discard).await.unwrap();
    let refused = world.change_email(&pending.user_id, "a@example.org", 1).await;
    assert_eq!(reason(refused), R::StateUnsuitable);

    let wrong = world.change_email("no id", "nowhere", 0).await;
    assert_eq!(wrong_fields(wrong), ["user_id", "email", "revision"]);
    let request = ChangeUserEmailRequest {
        user_id: id.clone(),
        email: "a@example.org".to_owned(),
        revision: 1,
    };
    for service in [tidings_authn::Service::Chat, tidings_authn::Service::Gateway] {
        let refused = world.provisioning_as(service).change_user_email(request.clone()).await;
        assert_eq!(reason(refused), R::PermissionMissing);
    }
    // A suspended user's change, which was proven before, holds.
    let suspend = SuspendUserRequest {
        user_id: id.clone(),
        ..Default::default()
    };
    world.users().suspend_user(root.asks(suspend)).await.unwrap();
    world.change_email(&id, "a@example.org", 1).await.unwrap();
}
