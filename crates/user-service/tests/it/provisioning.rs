use std::time::Duration;

use tidings_ids::UserId;
use tidings_proto_common::v1::{ErrorReason as R, Permission};
use tidings_proto_user::v1::{
    ActivateUserRequest, CreateUserRequest, DiscardUserRequest, GetUserRequest, SetLoggedInRequest, UserStatus,
};
use tonic::Code;

use crate::support::{World, reason, wrong_fields};

/// A registration of somebody who must not learn whether the address is in use.
fn concealed(world: &World, username: &str, email: &str) -> CreateUserRequest {
    CreateUserRequest {
        email: email.to_owned(),
        may_lack_email: true,
        ..world.registration(username)
    }
}

/// The address of a user, whatever state they are in.
async fn email_of(world: &World, request: &CreateUserRequest) -> Option<String> {
    sqlx::query_scalar("select email from users.users where user_id = $1::uuid")
        .bind(&request.user_id)
        .fetch_one(&world.pool())
        .await
        .expect("the user is there")
}

async fn withdraw(world: &World, request: &CreateUserRequest) -> Result<(), tonic::Status> {
    let withdraw = DiscardUserRequest {
        user_id: request.user_id.clone(),
        email_only: true,
    };
    world.provisioning().discard_user(withdraw).await.map(drop)
}

#[tokio::test]
async fn a_new_user_is_pending_then_active_with_the_permissions_of_a_member() {
    let world = World::begin().await;
    let request = world.registration("ada");
    let created = world
        .provisioning()
        .create_user(request.clone())
        .await
        .unwrap()
        .into_inner()
        .state
        .unwrap();
    assert_eq!(created.status(), UserStatus::Pending);
    assert_eq!(
        (created.token_epoch, created.permissions.as_slice(), created.roles.len()),
        (1, &[][..], 1)
    );

    let activate = ActivateUserRequest {
        user_id: request.user_id.clone(),
        email_verified: true,
    };
    let active = world
        .provisioning()
        .activate_user(activate.clone())
        .await
        .unwrap()
        .into_inner()
        .state
        .unwrap();
    assert_eq!(
        (active.status(), active.roles.as_slice()),
        (UserStatus::Active, &["member".to_owned()][..])
    );
    assert!(active.permissions.contains(&(Permission::ChatsCreate as i32)));
    assert!(active.number > created.number);

    let again = world
        .provisioning()
        .activate_user(activate)
        .await
        .unwrap()
        .into_inner()
        .state
        .unwrap();
    assert_eq!(again, active);
    let created = world
        .provisioning()
        .create_user(request)
        .await
        .unwrap()
        .into_inner()
        .state
        .unwrap();
    assert_eq!(created, active);
}

#[tokio::test]
async fn only_auth_provides_accounts() {
    let world = World::begin().await;
    let discard = DiscardUserRequest {
        user_id: world.absent(),
        ..DiscardUserRequest::default()
    };
    for service in [tidings_authn::Service::Chat, tidings_authn::Service::Gateway] {
        let refused = world.provisioning_as(service).discard_user(discard.clone()).await;
        assert_eq!(reason(refused), R::PermissionMissing);
    }
}

#[tokio::test]
async fn a_pending_user_is_seen_by_nobody_but_holds_name_and_address() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    let pending = world.registration("ada");
    world.provisioning().create_user(pending.clone()).await.unwrap();

    let hidden = world
        .users()
        .get_user(admin.asks(GetUserRequest {
            user_id: pending.user_id.clone(),
        }))
        .await;
    let absent = world
        .users()
        .get_user(admin.asks(GetUserRequest {
            user_id: world.absent(),
        }))
        .await;
    let (hidden, absent) = (hidden.unwrap_err(), absent.unwrap_err());
    assert_eq!(
        (hidden.code(), hidden.message(), hidden.details()),
        (Code::NotFound, absent.message(), absent.details())
    );

    let same_name = CreateUserRequest {
        email: "other@example.org".to_owned(),
        ..world.registration("ada")
    };
    assert_eq!(
        reason(world.provisioning().create_user(same_name).await),
        R::UsernameTaken
    );
    let same_address = CreateUserRequest {
        email: "ADA@Example.org".to_owned(),
        ..world.registration("bob")
    };
    assert_eq!(
        reason(world.provisioning().create_user(same_address).await),
        R::EmailTaken
    );
}

#[tokio::test]
async fn of_fifty_who_ask_for_one_name_at_once_one_gets_it() {
    let world = World::begin().await;
    let mut calls = Vec::new();
    for number in 0..50 {
        let request = CreateUserRequest {
            email: format!("{number}@example.org"),
            ..world.registration("ada")
        };
        let mut client = world.provisioning();
        calls.push(tokio::spawn(async move {
            for _ in 0..1_000 {
                match client.create_user(request.clone()).await {
                    // The contract: later, it may.
                    Err(status) if status.code() == Code::ResourceExhausted => {
                        tokio::time::sleep(Duration::from_millis(50)).await
                    }
                    outcome => return outcome.map(drop),
                }
            }
            panic!("overloaded for good");
        }));
    }
    let mut created = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(()) => created += 1,
            refused => assert_eq!(reason(refused), R::UsernameTaken),
        }
    }
    assert_eq!(created, 1);
}

#[tokio::test]
async fn a_discarded_registration_frees_its_name_and_refuses_the_late_call() {
    let world = World::begin().await;
    let first = world.registration("ada");
    world.provisioning().create_user(first.clone()).await.unwrap();
    let discard = DiscardUserRequest {
        user_id: first.user_id.clone(),
        ..DiscardUserRequest::default()
    };
    world.provisioning().discard_user(discard.clone()).await.unwrap();
    world.provisioning().discard_user(discard).await.unwrap();

    world
        .provisioning()
        .create_user(world.registration("ada"))
        .await
        .expect("the name is free again");
    assert_eq!(
        reason(world.provisioning().create_user(first.clone()).await),
        R::StateUnsuitable
    );
    let activate = ActivateUserRequest {
        user_id: first.user_id.clone(),
        email_verified: false,
    };
    assert_eq!(
        reason(world.provisioning().activate_user(activate).await),
        R::StateUnsuitable
    );
    let log_in = SetLoggedInRequest {
        user_id: first.user_id,
        ..SetLoggedInRequest::default()
    };
    assert_eq!(reason(world.provisioning().set_logged_in(log_in).await), R::NotFound);

    let late = world.registration("bob");
    world
        .provisioning()
        .discard_user(DiscardUserRequest {
            user_id: late.user_id.clone(),
            ..DiscardUserRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(reason(world.provisioning().create_user(late).await), R::StateUnsuitable);
}

#[tokio::test]
async fn an_active_user_is_not_discarded() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let discard = DiscardUserRequest {
        user_id: ada.user_id.to_string(),
        ..DiscardUserRequest::default()
    };
    assert_eq!(
        reason(world.provisioning().discard_user(discard).await),
        R::StateUnsuitable
    );
    let activate = ActivateUserRequest {
        user_id: world.absent(),
        email_verified: false,
    };
    assert_eq!(reason(world.provisioning().activate_user(activate).await), R::NotFound);
}

#[tokio::test]
async fn another_registration_under_a_used_id_is_refused() {
    let world = World::begin().await;
    let request = CreateUserRequest {
        request_id: world.request_id(),
        ..world.registration("ada")
    };
    world.provisioning().create_user(request.clone()).await.unwrap();

    let other_content = CreateUserRequest {
        bio: "x".to_owned(),
        ..request.clone()
    };
    assert_eq!(
        reason(world.provisioning().create_user(other_content.clone()).await),
        R::RequestIdReused
    );
    let other_request = CreateUserRequest {
        request_id: world.request_id(),
        ..other_content
    };
    assert_eq!(
        reason(world.provisioning().create_user(other_request).await),
        R::RequestIdReused
    );
    let other_user = CreateUserRequest {
        request_id: request.request_id.clone(),
        ..world.registration("bob")
    };
    assert_eq!(
        reason(world.provisioning().create_user(other_user).await),
        R::RequestIdReused
    );
    let same = CreateUserRequest {
        request_id: world.request_id(),
        ..request
    };
    world
        .provisioning()
        .create_user(same)
        .await
        .expect("the same user with the same content");
}

#[tokio::test]
async fn everything_wrong_with_a_registration_is_told_at_once() {
    let world = World::begin().await;
    let request = CreateUserRequest {
        user_id: "nonsense".to_owned(),
        username: "Ada Lovelace".to_owned(),
        email: "ada".to_owned(),
        display_name: "a\u{202E}b".to_owned(),
        bio: "\0".to_owned(),
        role_names: vec!["member".to_owned(), "\0".to_owned()],
        request_id: "1".to_owned(),
        ..CreateUserRequest::default()
    };
    let fields = wrong_fields(world.provisioning().create_user(request).await);
    assert_eq!(
        fields,
        [
            "request_id",
            "user_id",
            "username",
            "email",
            "display_name",
            "bio",
            "role_names[1]"
        ]
    );

    let unknown = CreateUserRequest {
        role_names: vec!["member".into(), "wizard".into()],
        ..world.registration("ada")
    };
    assert_eq!(
        wrong_fields(world.provisioning().create_user(unknown).await),
        ["role_names[1]"]
    );
}

#[tokio::test]
async fn reserved_names_are_taken_but_for_the_operators_own_accounts() {
    let world = World::begin().await;
    assert_eq!(
        reason(world.provisioning().create_user(world.registration("everyone")).await),
        R::UsernameTaken
    );
    assert_eq!(
        reason(world.provisioning().create_user(world.registration("admin")).await),
        R::UsernameTaken
    );
    let admin = world.register("admin", &["admin"]).await;
    let state = world.state_of(admin.user_id).await;
    assert_eq!(state.roles, ["admin"]);
}

#[tokio::test]
async fn a_bot_needs_no_address_and_has_its_own_role() {
    let world = World::begin().await;
    let request = CreateUserRequest {
        is_bot: true,
        email: String::new(),
        ..world.registration("echo")
    };
    let user_id = request.user_id.clone();
    world.provisioning().create_user(request).await.unwrap();
    let activate = ActivateUserRequest {
        user_id,
        email_verified: true,
    };
    let state = world
        .provisioning()
        .activate_user(activate)
        .await
        .unwrap()
        .into_inner()
        .state
        .unwrap();
    assert!(state.is_bot);
    assert_eq!(state.roles, ["bot"]);

    let person = CreateUserRequest {
        email: String::new(),
        ..world.registration("ada")
    };
    assert_eq!(wrong_fields(world.provisioning().create_user(person).await), ["email"]);
}

#[tokio::test]
async fn logged_in_follows_what_auth_says_in_the_order_that_it_says_it() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let until = prost_types::Timestamp {
        seconds: world.source.now().unix_timestamp() + 60,
        nanos: 0,
    };
    let say = async |until: Option<prost_types::Timestamp>, revision: i64| {
        let request = SetLoggedInRequest {
            user_id: ada.user_id.to_string(),
            logged_in_until: until,
            revision,
        };
        world.provisioning().set_logged_in(request).await.unwrap();
        let user = world
            .users()
            .get_user(ada.asks(GetUserRequest {
                user_id: ada.user_id.to_string(),
            }))
            .await
            .unwrap();
        user.into_inner().user.unwrap().logged_in
    };
    assert!(say(Some(until), 2).await);
    assert!(say(None, 1).await, "an older statement comes late");
    assert!(say(None, 2).await, "the same statement number again");
    assert!(!say(None, 3).await);
    assert!(say(Some(until), 0).await, "without a number it is stored as it comes");
    world.source.advance(Duration::from_secs(61));
    let user_id = ada.user_id.to_string();
    let user = world
        .users()
        .get_user(ada.asks(GetUserRequest { user_id }))
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert!(!user.logged_in, "the time is over");
}

#[tokio::test]
async fn wrong_times_and_numbers_of_logins_are_refused() {
    let world = World::begin().await;
    let request = SetLoggedInRequest {
        user_id: String::new(),
        logged_in_until: Some(prost_types::Timestamp {
            seconds: 253_402_300_800,
            nanos: -1,
        }),
        revision: -1,
    };
    let fields = wrong_fields(world.provisioning().set_logged_in(request).await);
    assert_eq!(fields, ["user_id", "logged_in_until", "revision"]);
    let absent = SetLoggedInRequest {
        user_id: world.absent(),
        ..SetLoggedInRequest::default()
    };
    assert_eq!(reason(world.provisioning().set_logged_in(absent).await), R::NotFound);
}

#[tokio::test]
async fn a_pending_user_is_not_logged_in() {
    let world = World::begin().await;
    let request = world.registration("ada");
    world.provisioning().create_user(request.clone()).await.unwrap();
    let state = world.state_of(UserId::parse(&request.user_id).unwrap()).await;
    assert_eq!(state.status(), UserStatus::Pending);
}

#[tokio::test]
async fn where_nobody_may_learn_of_an_address_a_user_is_created_without_the_one_of_another() {
    let world = World::begin().await;
    world.register("ada", &[]).await;
    let free = concealed(&world, "trudy", "trudy@example.org");
    let taken = concealed(&world, "mallory", "ADA@example.org");
    for (request, email) in [(&free, Some("trudy@example.org")), (&taken, None)] {
        // With its request_id again, and with another: the same outcome.
        let again = CreateUserRequest {
            request_id: world.request_id(),
            ..request.clone()
        };
        for request in [request.clone(), request.clone(), again] {
            let created = world
                .provisioning()
                .create_user(request.clone())
                .await
                .unwrap()
                .into_inner();
            assert_eq!(created.email_taken, email.is_none());
            assert_eq!(created.state.unwrap().status(), UserStatus::Pending);
            assert_eq!(email_of(&world, &request).await.as_deref(), email);
        }
    }
    // Both hold their names.
    for name in ["trudy", "mallory"] {
        let other = concealed(&world, name, "other@example.org");
        assert_eq!(reason(world.provisioning().create_user(other).await), R::UsernameTaken);
    }
    // A name and an address that both are another's: the name is told, as where the address is free.
    let both = concealed(&world, "ada", "trudy@example.org");
    assert_eq!(reason(world.provisioning().create_user(both).await), R::UsernameTaken);
    let other_content = CreateUserRequest {
        bio: "x".to_owned(),
        ..taken
    };
    assert_eq!(
        reason(world.provisioning().create_user(other_content).await),
        R::RequestIdReused
    );
}

#[tokio::test]
async fn a_user_without_the_address_gets_it_once_another_has_it_no_longer() {
    let world = World::begin().await;
    let first = concealed(&world, "mallory", "ada@example.org");
    let second = concealed(&world, "ada", "ada@example.org");
    for request in [&first, &second] {
        world.provisioning().create_user(request.clone()).await.unwrap();
    }
    let insists = CreateUserRequest {
        may_lack_email: false,
        ..second.clone()
    };
    assert_eq!(
        reason(world.provisioning().create_user(insists.clone()).await),
        R::EmailTaken
    );
    withdraw(&world, &first).await.unwrap();
    withdraw(&world, &first).await.expect("the same once more");
    assert_eq!(email_of(&world, &first).await, None);
    let state = world.state_of(UserId::parse(&first.user_id).unwrap()).await;
    assert_eq!(
        (state.status(), state.username.as_str()),
        (UserStatus::Pending, "mallory")
    );

    for _ in 0..2 {
        let given = world
            .provisioning()
            .create_user(insists.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(!given.email_taken);
        assert_eq!(email_of(&world, &second).await.as_deref(), Some("ada@example.org"));
    }
    let again = world
        .provisioning()
        .create_user(first.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(again.email_taken, "it stays without");
    let other = concealed(&world, "mallory", "free@example.org");
    assert_eq!(
        reason(world.provisioning().create_user(other).await),
        R::UsernameTaken,
        "and keeps its name"
    );
    let events =
        "select count(*) from users.audit_events where detail_names = '{fields}' and detail_values = '{email}'";
    let events: i64 = sqlx::query_scalar(events).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(events, 2, "taken and given once each");
}

#[tokio::test]
async fn an_address_is_withdrawn_from_pending_users_only() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let active = CreateUserRequest {
        user_id: ada.user_id.to_string(),
        ..world.registration("ada")
    };
    assert_eq!(reason(withdraw(&world, &active).await), R::StateUnsuitable);
    assert_eq!(email_of(&world, &active).await.as_deref(), Some("ada@example.org"));
    // Of whom nobody knows nothing is remembered.
    let late = world.registration("bob");
    withdraw(&world, &late).await.unwrap();
    world.provisioning().create_user(late).await.expect("created");
}

#[tokio::test]
async fn of_thirty_who_may_lack_an_address_at_once_all_are_created_and_one_has_it() {
    let world = World::begin().await;
    let mut calls = Vec::new();
    for number in 0..30 {
        let request = concealed(&world, &format!("ada{number}"), "ada@example.org");
        let mut client = world.provisioning();
        calls.push(tokio::spawn(async move {
            for _ in 0..1_000 {
                match client.create_user(request.clone()).await {
                    // The contract: later, it may.
                    Err(status) if status.code() == Code::ResourceExhausted => {
                        tokio::time::sleep(Duration::from_millis(50)).await
                    }
                    outcome => return outcome.map(|created| created.into_inner().email_taken),
                }
            }
            panic!("overloaded for good");
        }));
    }
    let mut holders = 0;
    for call in calls {
        let email_taken = call.await.unwrap().expect("never refused for the address");
        holders += i32::from(!email_taken);
    }
    assert_eq!(holders, 1);
}
