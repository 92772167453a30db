//! Names that users change.

use std::time::Duration;

use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{
    ChangeUsernameRequest, LookupUserRequest, User, WatchUserStatesRequest, lookup_user_request::Key,
    watch_user_states_response::Frame,
};
use tonic::Status;

use crate::support::{Actor, World, detail, reason, wrong_fields};

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

async fn rename(world: &World, by: &Actor, whom: &Actor, username: &str) -> Result<User, Status> {
    let request = ChangeUsernameRequest {
        user_id: whom.user_id.to_string(),
        username: username.to_owned(),
        ..ChangeUsernameRequest::default()
    };
    let response = world.users().change_username(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn who_is(world: &World, by: &Actor, username: &str) -> Result<User, Status> {
    let request = LookupUserRequest {
        key: Some(Key::Username(username.to_owned())),
    };
    let response = world.users().lookup_user(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

#[tokio::test]
async fn one_changes_ones_own_name_and_the_feed_tells_it() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let before = world.state_of(ada.user_id).await;
    let request = WatchUserStatesRequest {
        after_number: before.number,
    };
    let mut feed = world.states().watch_user_states(request).await.unwrap().into_inner();
    let request = ChangeUsernameRequest {
        username: "Countess.Ada".to_owned(),
        ..ChangeUsernameRequest::default()
    };
    let response = world.users().change_username(ada.asks(request)).await.expect("renamed");
    let user = response.into_inner().user.expect("a user");
    assert_eq!(user.username, "countess.ada");
    assert_eq!(
        who_is(&world, &ada, "countess.ada").await.unwrap().user_id,
        ada.user_id.to_string()
    );
    assert_eq!(reason(who_is(&world, &ada, "ada").await), R::NotFound);
    let told = loop {
        let frame = tokio::time::timeout(Duration::from_secs(30), feed.message()).await;
        if let Some(Frame::States(mut batch)) = frame.expect("in time").unwrap().expect("a frame").frame {
            break batch.states.pop().expect("an entry");
        }
    };
    assert_eq!(
        (told.username.as_str(), told.number),
        ("countess.ada", before.number + 1)
    );
    assert_eq!(
        (told.token_epoch, told.login_epoch),
        (before.token_epoch, 0),
        "a name is in no token, and ends nothing"
    );
    rename(&world, &ada, &ada, "countess.ada")
        .await
        .expect("the same name changes nothing");
    assert_eq!(world.state_of(ada.user_id).await.number, told.number);
}

#[tokio::test]
async fn names_that_are_taken_reserved_or_malformed_are_refused() {
    let world = World::begin().await;
    let (ada, _bob, admin) = (
        world.register("ada", &[]).await,
        world.register("bob", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    for name in ["bob", "BOB", "everyone", "admin", "support"] {
        assert_eq!(
            reason(rename(&world, &ada, &ada, name).await),
            R::UsernameTaken,
            "{name}"
        );
    }
    assert_eq!(
        reason(rename(&world, &admin, &ada, "support").await),
        R::UsernameTaken,
        "not for somebody who is no operator's"
    );
    for name in ["", "a", "a b", "ä", "a..b", "--", "a\0b", &"a".repeat(33)] {
        assert_eq!(
            wrong_fields(rename(&world, &ada, &ada, name).await),
            ["username"],
            "{name:?}"
        );
    }
    let other = world.register("olga", &["admin"]).await;
    assert_eq!(
        reason(rename(&world, &other, &other, "support").await),
        R::UsernameTaken
    );
    rename(&world, &admin, &other, "support")
        .await
        .expect("the operator's doing");
}

#[tokio::test]
async fn others_are_renamed_by_who_manages_users_and_is_not_below_them() {
    let world = World::begin().await;
    let (ada, bob, admin) = (
        world.register("ada", &[]).await,
        world.register("bob", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    let refused = rename(&world, &bob, &ada, "adda").await;
    assert_eq!(detail(&refused, "permission"), "USERS_MANAGE");
    assert_eq!(reason(refused), R::PermissionMissing);
    world
        .role(&admin, "manager", &[tidings_proto_common::v1::Permission::UsersManage])
        .await;
    let manager = world.register("max", &["manager"]).await;
    assert_eq!(reason(rename(&world, &manager, &admin, "rut").await), R::RankTooLow);
    assert_eq!(
        rename(&world, &manager, &ada, "adda").await.expect("renamed").username,
        "adda"
    );
    let absent = ChangeUsernameRequest {
        user_id: world.absent(),
        username: "nobody1".to_owned(),
        ..ChangeUsernameRequest::default()
    };
    for caller in [&bob, &manager] {
        let refused = world.users().change_username(caller.asks(absent.clone())).await;
        assert_eq!(reason(refused), R::NotFound);
    }
}

#[tokio::test]
async fn a_name_that_was_given_up_is_held_back_for_its_owner() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    rename(&world, &ada, &ada, "countess").await.expect("renamed");
    assert_eq!(reason(rename(&world, &bob, &bob, "ada").await), R::UsernameTaken);
    let mut registration = world.registration("ada");
    registration.email = "new@example.org".to_owned();
    let refused = world.provisioning().create_user(registration.clone()).await;
    assert_eq!(reason(refused), R::UsernameTaken);
    let taken_address = world.provisioning().create_user(world.registration("ada")).await;
    assert_eq!(
        reason(taken_address),
        R::UsernameTaken,
        "told before the address is, which may be nobody's to know"
    );

    rename(&world, &ada, &ada, "ada")
        .await
        .expect("the owner takes it back");
    rename(&world, &ada, &ada, "countess")
        .await
        .expect("and gives it up again");
    world.source.advance(MONTH);
    let bob = world.log_in(bob.user_id).await;
    rename(&world, &bob, &bob, "ada").await.expect("free after 30 days");
    assert_eq!(
        who_is(&world, &bob, "ada").await.unwrap().user_id,
        bob.user_id.to_string()
    );
}

#[tokio::test]
async fn a_name_that_an_operator_took_away_is_the_operators_to_give_back() {
    let world = World::begin().await;
    let (ada, bob, admin) = (
        world.register("rude", &[]).await,
        world.register("bob", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    rename(&world, &admin, &ada, "polite").await.expect("renamed");
    assert_eq!(reason(rename(&world, &ada, &ada, "rude").await), R::UsernameTaken);
    assert_eq!(
        reason(rename(&world, &admin, &bob, "rude").await),
        R::UsernameTaken,
        "not to somebody else"
    );
    rename(&world, &admin, &ada, "rude").await.expect("given back");
}

#[tokio::test]
async fn nobody_hoards_names_by_giving_them_up() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    for name in ["ada1", "ada2", "ada3"] {
        rename(&world, &ada, &ada, name).await.expect("one of three");
    }
    let refused = rename(&world, &ada, &ada, "ada4").await;
    assert_eq!(detail(&refused, "quota"), "held_usernames");
    assert_eq!(reason(refused), R::QuotaExceeded);
    rename(&world, &ada, &ada, "ada1")
        .await
        .expect("back to one that is held: still three");
    world.source.advance(MONTH);
    let ada = world.log_in(ada.user_id).await;
    rename(&world, &ada, &ada, "ada4")
        .await
        .expect("the others are free again");
}

#[tokio::test]
async fn of_many_who_want_one_name_at_once_one_gets_it() {
    let world = World::begin().await;
    let mut actors = Vec::new();
    for index in 0..8 {
        actors.push(world.register(&format!("user{index}"), &[]).await);
    }
    let calls = actors.iter().map(|actor| rename(&world, actor, actor, "prize"));
    let outcomes = futures_util::future::join_all(calls).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(lost.into_iter().all(|outcome| reason(outcome) == R::UsernameTaken));
}

#[tokio::test]
async fn who_waits_for_a_name_that_is_just_given_up_does_not_get_it() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    for round in 0..10 {
        let away = format!("away{}", round % 2);
        let (_, taken) = tokio::join!(rename(&world, &ada, &ada, &away), rename(&world, &bob, &bob, "ada"));
        assert_eq!(reason(taken), R::UsernameTaken, "round {round}");
        rename(&world, &ada, &ada, "ada").await.expect("back");
    }
}

#[tokio::test]
async fn a_repeated_change_of_name_has_one_effect_and_asks_for_its_version() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let etag = who_is(&world, &ada, "ada").await.unwrap().etag;
    let request = ChangeUsernameRequest {
        username: "countess".to_owned(),
        etag: etag.clone(),
        request_id: world.request_id(),
        ..ChangeUsernameRequest::default()
    };
    let change = async |request| world.users().change_username(ada.asks(request)).await;
    let first = change(request.clone())
        .await
        .expect("renamed")
        .into_inner()
        .user
        .unwrap();
    assert_ne!(first.etag, etag);
    rename(&world, &ada, &ada, "ada").await.expect("back");
    let again = change(request.clone())
        .await
        .expect("a repetition")
        .into_inner()
        .user
        .unwrap();
    assert_eq!(again.username, "ada", "as it is now");
    let other = ChangeUsernameRequest {
        username: "duchess".to_owned(),
        ..request.clone()
    };
    assert_eq!(reason(change(other).await), R::RequestIdReused);
    let stale = ChangeUsernameRequest {
        request_id: String::new(),
        ..request
    };
    assert_eq!(reason(change(stale).await), R::EtagMismatch);
}
