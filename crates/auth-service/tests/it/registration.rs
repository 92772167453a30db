use std::sync::Arc;

use parking_lot::Mutex;
use tidings_auth_service::{
    CrashPoints, NameHolder, NewAccount, Registration, Step, create_admin, ensure_bot, name_holder,
};
use tidings_proto_auth::v1::RegisterRequest;
use tidings_proto_user::v1::UserStatus;
use tonic_types::StatusExt as _;

use crate::world::{PASSWORD, World, refusal, registration};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_registers_openly_logs_in_at_once() {
    let world = World::open().await;
    let user_id = world
        .register_as(RegisterRequest {
            username: "Ada".to_owned(),
            ..registration("ada")
        })
        .await
        .expect("registered");
    let user = world.users.get(&user_id).expect("created");
    assert_eq!((user.username.as_str(), user.status), ("ada", UserStatus::Active));
    for identifier in ["ada", "ADA", "ada@example.org", "Ada@Example.ORG"] {
        assert_eq!(world.login(identifier).await.expect("logged in").user_id, user_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_registration_tells_what_is_taken() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let same_name = RegisterRequest {
        email: "other@example.org".to_owned(),
        ..registration("ADA")
    };
    assert_eq!(refusal(world.register_as(same_name).await), "USERNAME_TAKEN");
    let same_address = RegisterRequest {
        email: "ADA@example.org".to_owned(),
        ..registration("eve")
    };
    assert_eq!(refusal(world.register_as(same_address).await), "EMAIL_TAKEN");
    assert_eq!(refusal(world.register("root").await), "USERNAME_TAKEN");
    // The refused name is free for the next who wants it.
    world.register("eve").await.expect("registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_told_all_that_is_wrong() {
    let world = World::open().await;
    let request = RegisterRequest {
        username: "a b".to_owned(),
        email: "nowhere".to_owned(),
        password: "short".to_owned(),
        display_name: "a\0b".to_owned(),
        bio: "x".repeat(1_001),
        request_id: "not a uuid".to_owned(),
    };
    let status = world.register_as(request).await.expect_err("refused");
    let details = status.get_details_bad_request().expect("fields");
    let fields: Vec<_> = details
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(
        fields,
        ["username", "email", "password", "display_name", "bio", "request_id"]
    );
    for password in ["1234567", "password\0", &"a".repeat(257), &"a".repeat(60_000)] {
        let request = RegisterRequest {
            password: password.to_owned(),
            ..registration("ada")
        };
        assert_eq!(refusal(world.register_as(request).await), "FIELD_INVALID");
    }
    assert_eq!(
        world.service.password_hash_runs(),
        0,
        "nothing is hashed before it is checked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_where_registration_is_closed_but_the_operator_makes_admins() {
    let world = World::with(|config| tidings_auth_service::Config {
        registration: Registration::Closed,
        ..config
    })
    .await;
    assert_eq!(refusal(world.register("ada").await), "FEATURE_DISABLED");
    let admin = || NewAccount {
        username: "Boss".to_owned(),
        email: "boss@example.org".to_owned(),
        password: PASSWORD.into(),
        display_name: String::new(),
    };
    let user_id = create_admin(&world.service, admin()).await.expect("created");
    assert_eq!(
        world.login("boss").await.expect("logged in").user_id,
        user_id.to_string()
    );
    let user = world.users.get(&user_id.to_string()).expect("created");
    assert!(user.roles.contains(&"admin".to_owned()) && user.email_verified);
    assert!(create_admin(&world.service, admin()).await.is_err());
    let holder = async |name: &str| name_holder(&world.service, name).await.expect("looked up");
    assert_eq!(holder("boss").await, NameHolder::Admin);
    assert_eq!(holder("nobody").await, NameHolder::Other);
    let bad = NewAccount {
        password: "short".into(),
        ..admin()
    };
    assert!(create_admin(&world.service, bad).await.is_err());
}

fn bot() -> NewAccount {
    NewAccount {
        username: "echo".to_owned(),
        email: "echo@localhost.localdomain".to_owned(),
        password: PASSWORD.into(),
        display_name: "Echo".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_is_made_by_the_first_start_and_found_by_the_others() {
    let world = World::open().await;
    let user_id = ensure_bot(&world.service, bot()).await.expect("made");
    let user = world.users.get(&user_id.to_string()).expect("created");
    assert!(user.is_bot && user.email_verified && user.roles == ["bot"], "{user:?}");
    assert_eq!(
        world.login("echo").await.expect("logged in").user_id,
        user_id.to_string()
    );
    assert_eq!(ensure_bot(&world.service, bot()).await.expect("found"), user_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_whose_making_was_cut_off_is_made_by_the_next_start() {
    for step in [Step::IntentStored, Step::UserCreated, Step::CredentialStored] {
        let (world, crash) = World::crashing_at(step).await;
        assert!(ensure_bot(&world.service, bot()).await.is_err(), "{step:?}");
        *crash.lock() = false;
        let user_id = ensure_bot(&world.service, bot()).await.expect("made");
        let found = world.login("echo").await.expect("logged in").user_id;
        assert_eq!(found, user_id.to_string(), "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_another_password_is_not_taken_for_the_bot() {
    let world = World::open().await;
    world.register("echo").await.expect("registered");
    let other = NewAccount {
        password: "not what a person chose".into(),
        ..bot()
    };
    let refused = ensure_bot(&world.service, other).await.expect_err("somebody else's");
    assert_eq!(refused.reason(), tidings_proto_common::v1::ErrorReason::UsernameTaken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_register_has_the_first_outcome() {
    let world = World::open().await;
    let request = RegisterRequest {
        request_id: world.request_id(),
        ..registration("ada")
    };
    let user_id = world.register_as(request.clone()).await.expect("registered");
    assert_eq!(world.register_as(request.clone()).await.expect("repeated"), user_id);
    // The password is no part of what is compared, and stays what the first call made it.
    let other_password = RegisterRequest {
        password: "another password".to_owned(),
        ..request.clone()
    };
    assert_eq!(world.register_as(other_password).await.expect("repeated"), user_id);
    assert!(world.login("ada").await.is_ok());
    assert_eq!(
        refusal(world.login_with("ada", "another password").await),
        "CREDENTIALS_INVALID"
    );
    let other_content = RegisterRequest {
        bio: "new".to_owned(),
        ..request.clone()
    };
    assert_eq!(refusal(world.register_as(other_content).await), "REQUEST_ID_REUSED");
    // For another name it is another call.
    let other_name = RegisterRequest {
        request_id: request.request_id,
        ..registration("eve")
    };
    assert_ne!(world.register_as(other_name).await.expect("registered"), user_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_register_leaves_its_request_id_to_the_corrected_one() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let corrected = RegisterRequest {
        request_id: world.request_id(),
        ..registration("eve")
    };
    let wrong = RegisterRequest {
        email: "ada@example.org".to_owned(),
        ..corrected.clone()
    };
    for _ in 0..2 {
        assert_eq!(refusal(world.register_as(wrong.clone()).await), "EMAIL_TAKEN");
    }
    world.register_as(corrected).await.expect("registered");
    assert_eq!(refusal(world.register_as(wrong).await), "REQUEST_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_gets_the_name() {
    let world = World::open().await;
    let attempts = (0..50).map(|n| {
        let request = RegisterRequest {
            email: format!("ada{n}@example.org"),
            ..registration("ada")
        };
        world.register_as(request)
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        let reason = refusal(outcome);
        assert!(reason == "USERNAME_TAKEN" || reason == "OVERLOADED", "{reason}");
    }
    assert_eq!(world.count("accounts").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_gets_the_address() {
    let world = World::open().await;
    let attempts = (0..50).map(|n| {
        let request = RegisterRequest {
            email: "ada@example.org".to_owned(),
            ..registration(&format!("ada{n}"))
        };
        world.register_as(request)
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        let reason = refusal(outcome);
        assert!(reason == "EMAIL_TAKEN" || reason == "OVERLOADED", "{reason}");
    }
    assert_eq!(world.count("accounts").await, 1);
    world.login("ada@example.org").await.expect("logged in");
}

/// Whoever is first at the step dies there, while the others want the same name and address.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_of_whom_one_dies_at_each_step_none_or_one_gets_the_name_in_both_services() {
    for step in [Step::IntentStored, Step::UserCreated, Step::CredentialStored] {
        let died = Arc::new(Mutex::new(false));
        let asked = Arc::clone(&died);
        let points = CrashPoints::new(move |reached| {
            let dies = reached == step && !std::mem::replace(&mut *asked.lock(), true);
            async move { dies }
        });
        let world = World::with(|config| tidings_auth_service::Config {
            crash_points: Some(points),
            ..config
        })
        .await;
        let attempts = (0..50).map(|_| world.register("ada"));
        let outcomes = futures_util::future::join_all(attempts).await;
        assert!(*died.lock(), "{step:?} was reached");
        assert!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count() <= 1,
            "{step:?}"
        );
        recover(&world).await;
        let accounts = world.count("accounts").await;
        assert_eq!(
            i64::from(world.users.named("ada").is_some()),
            accounts,
            "{step:?}: both or none"
        );
        match accounts {
            0 => assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID"),
            _ => assert!(world.login("ada").await.is_ok(), "{step:?}"),
        }
        if accounts == 0 {
            world.register("ada").await.expect("name and address are free again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_equal_calls_at_once_one_registers_and_all_hear_of_it() {
    let world = World::open().await;
    let request = RegisterRequest {
        request_id: world.request_id(),
        ..registration("ada")
    };
    let outcomes = futures_util::future::join_all((0..20).map(|_| world.register_as(request.clone()))).await;
    let ids: std::collections::HashSet<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("all succeed"))
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.count("accounts").await, 1);
}

/// Lets the time pass after which what was left open is given up.
async fn recover(world: &World) {
    world.source.advance(std::time::Duration::from_secs(31));
    world.service.upkeep_once().await.expect("recovered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_credential_is_stored_leaves_neither() {
    for step in [Step::IntentStored, Step::UserCreated] {
        let (world, crash) = World::crashing_at(step).await;
        world.register("ada").await.expect_err("it crashed");
        let holder = async || name_holder(&world.service, "ada").await.expect("looked up");
        assert_eq!(holder().await, NameHolder::Registration, "{step:?}");
        recover(&world).await;
        assert_eq!(holder().await, NameHolder::Other, "{step:?}");
        assert!(world.users.named("ada").is_none(), "{step:?}");
        assert_eq!(world.count("accounts").await, 0, "{step:?}");
        assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
        // Name and address are free again.
        *crash.lock() = false;
        world.register("ada").await.expect("registered");
        world.login("ada").await.expect("logged in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_credential_is_stored_leaves_both() {
    let (world, _) = World::crashing_at(Step::CredentialStored).await;
    world.register("ada").await.expect_err("it crashed");
    recover(&world).await;
    let (_, user) = world.users.named("ada").expect("created");
    assert_eq!(user.status, UserStatus::Active);
    world.login("ada").await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_crashed_goes_on_when_it_is_repeated() {
    for step in [Step::IntentStored, Step::UserCreated, Step::CredentialStored] {
        let (world, crash) = World::crashing_at(step).await;
        let request = RegisterRequest {
            request_id: world.request_id(),
            ..registration("ada")
        };
        world.register_as(request.clone()).await.expect_err("it crashed");
        *crash.lock() = false;
        let user_id = world.register_as(request.clone()).await.expect("went on");
        assert_eq!(
            world.users.get(&user_id).expect("created").status,
            UserStatus::Active,
            "{step:?}"
        );
        assert_eq!(world.register_as(request).await.expect("repeated"), user_id);
        recover(&world).await;
        world.login("ada").await.expect("logged in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_given_up_can_be_made_again_with_its_request_id() {
    let (world, crash) = World::crashing_at(Step::UserCreated).await;
    let request = RegisterRequest {
        request_id: world.request_id(),
        ..registration("ada")
    };
    world.register_as(request.clone()).await.expect_err("it crashed");
    recover(&world).await;
    *crash.lock() = false;
    let user_id = world.register_as(request.clone()).await.expect("registered");
    assert_eq!(world.register_as(request).await.expect("repeated"), user_id);
    world.login("ada").await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_sleeps_and_wakes_after_it_was_given_up_is_refused() {
    for step in [Step::IntentStored, Step::UserCreated] {
        let (asleep, wake) = (
            Arc::new(tokio::sync::Notify::new()),
            Arc::new(tokio::sync::Notify::new()),
        );
        let (tell, wait) = (Arc::clone(&asleep), Arc::clone(&wake));
        let points = CrashPoints::new(move |reached| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                if reached == step {
                    tell.notify_one();
                    wait.notified().await;
                }
                false
            }
        });
        let world = World::with(|config| tidings_auth_service::Config {
            crash_points: Some(points),
            ..config
        })
        .await;
        let mut auth = world.auth();
        let call = tokio::spawn(async move { auth.register(registration("ada")).await });
        asleep.notified().await;
        recover(&world).await;
        wake.notify_one();
        assert_eq!(refusal(call.await.expect("it ends")), "CONFLICT", "{step:?}");
        world.service.upkeep_once().await.expect("recovered");
        assert!(world.users.named("ada").is_none(), "{step:?}");
        assert_eq!(world.count("accounts").await, 0, "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_user_service_is_away_nobody_registers_and_nothing_is_left() {
    let world = World::open().await;
    world.users.go_away(true);
    assert_eq!(refusal(world.register("ada").await), "DEPENDENCY_UNAVAILABLE");
    world.users.go_away(false);
    recover(&world).await;
    assert_eq!(world.count("accounts").await, 0);
    world.register("ada").await.expect("registered");
}
