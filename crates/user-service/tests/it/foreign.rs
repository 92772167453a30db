//! What auth asks for service accounts and for users of other systems.

use tidings_proto_common::v1::{ErrorReason as R, Permission};
use tidings_proto_user::v1::{
    ActivateUserRequest, CreateUserRequest, DeleteBotRequest, DiscardUserRequest, GetExternalUserRequest, UserState,
    UserStatus,
};
use tonic::Status;

use crate::support::{Actor, World, reason, wrong_fields};

impl World {
    async fn create(&self, request: CreateUserRequest) -> Result<UserState, Status> {
        let created = self.provisioning().create_user(request).await?.into_inner();
        Ok(created.state.expect("a state"))
    }

    async fn external(&self, external_id: &str) -> Result<UserState, Status> {
        let request = GetExternalUserRequest {
            external_id: external_id.to_owned(),
        };
        let found = self.provisioning().get_external_user(request).await?.into_inner();
        Ok(found.state.expect("a state"))
    }

    async fn delete_bot(&self, user_id: &str, actor: &Actor) -> Result<UserState, Status> {
        let request = DeleteBotRequest {
            user_id: user_id.to_owned(),
            actor_user_id: actor.user_id.to_string(),
        };
        let deleted = self.provisioning().delete_bot(request).await?.into_inner();
        Ok(deleted.state.expect("a state"))
    }

    /// A bot that somebody asks for, with a token that reaches this.
    fn bot(&self, name: &str, actor: &Actor, reach: &[Permission], roles: &[&str]) -> CreateUserRequest {
        CreateUserRequest {
            email: String::new(),
            is_bot: true,
            role_names: roles.iter().map(|role| (*role).to_owned()).collect(),
            actor_user_id: actor.user_id.to_string(),
            actor_permissions: reach.iter().copied().map(i32::from).collect(),
            ..self.registration(name)
        }
    }

    /// An active bot.
    async fn active_bot(&self, request: CreateUserRequest) -> String {
        let user_id = request.user_id.clone();
        self.create(request).await.expect("created");
        let activate = ActivateUserRequest {
            user_id: user_id.clone(),
            email_verified: false,
        };
        self.provisioning().activate_user(activate).await.expect("activated");
        user_id
    }
}

const RESPOND: Permission = Permission::ResponsesCreate;

#[tokio::test]
async fn nobody_gives_a_bot_what_they_do_not_hold() {
    let world = World::begin().await;
    let admin = world.register("root-of-all", &["admin"]).await;
    let ada = world.register("ada", &[]).await;
    // The usual role of a bot lets it answer, which a member cannot.
    let refused = world.create(world.bot("one", &ada, &[RESPOND], &[])).await;
    assert_eq!(reason(refused), R::PermissionMissing);
    let refused = world.create(world.bot("one", &ada, &[RESPOND], &["admin"])).await;
    assert_eq!(reason(refused), R::PermissionMissing);
    // Nor with a token that does not reach it.
    let refused = world
        .create(world.bot("one", &admin, &[Permission::ServiceAccountsManage], &[]))
        .await;
    assert_eq!(reason(refused), R::PermissionMissing);
    let created = world
        .create(world.bot("one", &admin, &[RESPOND], &[]))
        .await
        .expect("created");
    assert_eq!(
        (created.roles.as_slice(), created.is_bot),
        (&["bot".to_owned()][..], true)
    );
    // Names that only operators give are not given at anybody's request.
    let refused = world.create(world.bot("echo", &admin, &[RESPOND], &[])).await;
    assert_eq!(reason(refused), R::UsernameTaken);
}

#[tokio::test]
async fn nobody_gives_a_bot_a_role_above_their_own() {
    let world = World::begin().await;
    let admin = world.register("root-of-all", &["admin"]).await;
    world.ranked_role(&admin, "high", &[], 500).await;
    world
        .ranked_role(&admin, "low", &[Permission::ServiceAccountsManage], 100)
        .await;
    let manager = world.register("manager", &["low"]).await;
    let refused = world.create(world.bot("one", &manager, &[], &["high"])).await;
    assert_eq!(reason(refused), R::RankTooLow);
    let reach = [Permission::ServiceAccountsManage];
    world
        .create(world.bot("one", &manager, &reach, &["low"]))
        .await
        .expect("equal is allowed");
    // What auth itself answers for is not judged.
    let by_auth = CreateUserRequest {
        role_names: vec!["high".to_owned()],
        ..world.registration("two")
    };
    world.create(by_auth).await.expect("created");
}

#[tokio::test]
async fn whoever_may_not_act_any_more_gives_nothing() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let of_nobody = CreateUserRequest {
        actor_user_id: world.absent(),
        ..world.bot("one", &ada, &[RESPOND], &[])
    };
    assert_eq!(reason(world.create(of_nobody).await), R::LoginSessionRevoked);
    let without_actor = CreateUserRequest {
        actor_user_id: String::new(),
        ..world.bot("one", &ada, &[RESPOND], &[])
    };
    assert_eq!(wrong_fields(world.create(without_actor).await), ["actor_permissions"]);
}

#[tokio::test]
async fn a_user_of_another_system_is_found_by_its_id_and_has_it_alone() {
    let world = World::begin().await;
    let request = CreateUserRequest {
        email: String::new(),
        external_id: "shop:4711".to_owned(),
        ..world.registration("ada")
    };
    assert_eq!(reason(world.external("shop:4711").await), R::NotFound);
    let created = world.create(request.clone()).await.expect("created");
    assert_eq!(world.external("shop:4711").await.expect("found"), created);
    assert_eq!(created.status(), UserStatus::Pending);
    assert_eq!(reason(world.external("shop:471").await), R::NotFound);
    assert_eq!(wrong_fields(world.external("").await), ["external_id"]);

    let second = CreateUserRequest {
        user_id: world.absent(),
        username: "bob".to_owned(),
        ..request.clone()
    };
    assert_eq!(reason(world.create(second.clone()).await), R::NameTaken);
    let long = CreateUserRequest {
        external_id: "x".repeat(129),
        ..second.clone()
    };
    assert_eq!(wrong_fields(world.create(long).await), ["external_id"]);
    let nobody = CreateUserRequest {
        external_id: String::new(),
        ..second.clone()
    };
    assert_eq!(wrong_fields(world.create(nobody).await), ["email"]);

    // A registration that is given up frees the id.
    let discard = DiscardUserRequest {
        user_id: request.user_id,
        ..DiscardUserRequest::default()
    };
    world.provisioning().discard_user(discard).await.expect("discarded");
    assert_eq!(reason(world.external("shop:4711").await), R::NotFound);
    world.create(second).await.expect("created");
}

#[tokio::test]
async fn a_bot_is_deleted_by_who_does_not_stand_below_it() {
    let world = World::begin().await;
    let admin = world.register("root-of-all", &["admin"]).await;
    let ada = world.register("ada", &[]).await;
    world.ranked_role(&admin, "high", &[], 500).await;
    let bot = world.active_bot(world.bot("one", &admin, &[], &["high"])).await;
    assert_eq!(reason(world.delete_bot(&bot, &ada).await), R::RankTooLow);
    assert_eq!(reason(world.delete_bot(&world.absent(), &admin).await), R::NotFound);
    assert_eq!(
        reason(world.delete_bot(&ada.user_id.to_string(), &admin).await),
        R::KindUnsuitable
    );

    let before = world.state_of(tidings_ids::UserId::parse(&bot).expect("an id")).await;
    let deleted = world.delete_bot(&bot, &admin).await.expect("deleted");
    assert_eq!(deleted.status(), UserStatus::Deleted);
    assert!(deleted.token_epoch > before.token_epoch, "its tokens end");
    assert_eq!(world.delete_bot(&bot, &admin).await.expect("deleted already"), deleted);
    let events: i64 = sqlx::query_scalar(
        "select count(*) from users.audit_events where action like '%ProvisioningService/DeleteBot'",
    )
    .fetch_one(&world.pool())
    .await
    .expect("read");
    assert_eq!(events, 1, "one deletion, one entry");
}

#[tokio::test]
async fn only_auth_deletes_bots_and_looks_for_external_ids() {
    let world = World::begin().await;
    let admin = world.register("root-of-all", &["admin"]).await;
    for service in [tidings_authn::Service::Chat, tidings_authn::Service::Gateway] {
        let request = DeleteBotRequest {
            user_id: world.absent(),
            actor_user_id: admin.user_id.to_string(),
        };
        assert_eq!(
            reason(world.provisioning_as(service).delete_bot(request).await),
            R::PermissionMissing
        );
        let request = GetExternalUserRequest {
            external_id: "shop:4711".to_owned(),
        };
        assert_eq!(
            reason(world.provisioning_as(service).get_external_user(request).await),
            R::PermissionMissing
        );
    }
}
