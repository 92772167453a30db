//! Passwords that operators set.

use tidings_proto_auth::v1::RemoveTotpRequest;
use tidings_proto_common::v1::Permission;
use tonic_types::StatusExt as _;

use super::{NEW_PASSWORD, violation};
use crate::world::{World, bearing, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_a_password_and_all_login_sessions_end() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let (operator, _) = world.operator().await;
    let request_id = world.request_id();
    world
        .set_password(&operator, &ada, NEW_PASSWORD, &request_id)
        .await
        .expect("set");
    assert_eq!(
        refusal(world.logout(&session.access_token).await),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(
        refusal(world.refresh(&session.refresh_token, "").await.map(|_| ())),
        "LOGIN_SESSION_REVOKED"
    );
    assert_eq!(refusal(world.login("ada").await), "CREDENTIALS_INVALID");
    let later = world.login_with("ada", NEW_PASSWORD).await.expect("logged in");

    world
        .set_password(&operator, &ada, "yet another password", &request_id)
        .await
        .expect("repeated");
    world.refresh(&later.refresh_token, "").await.expect("not ended by it");
    let absent = world.source.new_id::<tidings_ids::kind::User>().to_string();
    let reused = world.set_password(&operator, &absent, NEW_PASSWORD, &request_id).await;
    assert_eq!(refusal(reused), "REQUEST_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sets_anothers_password_without_the_permission_or_above_their_rank() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    world.register("eve").await.expect("registered");
    let eve = world.login("eve").await.expect("logged in");
    let (operator, operator_id) = world.operator().await;
    let absent = world.source.new_id::<tidings_ids::kind::User>().to_string();

    for target in [&ada, &absent] {
        let refused = world.set_password(&eve.access_token, target, NEW_PASSWORD, "").await;
        assert_eq!(refusal(refused), "PERMISSION_MISSING");
    }
    let missing = world.set_password(&operator, &absent, NEW_PASSWORD, "").await;
    assert_eq!(refusal(missing), "NOT_FOUND");
    world.users.above.lock().insert((operator_id.clone(), ada.clone()));
    let above = world.set_password(&operator, &ada, NEW_PASSWORD, "").await;
    assert_eq!(refusal(above), "RANK_TOO_LOW");
    let own = world.set_password(&operator, &operator_id, NEW_PASSWORD, "").await;
    assert_eq!(violation(&own.expect_err("refused")).0, "user_id");
    world.users.go_away(true);
    let away = world.set_password(&operator, &ada, NEW_PASSWORD, "").await;
    assert_eq!(refusal(away), "DEPENDENCY_UNAVAILABLE");
    world.users.go_away(false);
    world
        .refresh(&session.refresh_token, "")
        .await
        .expect("nothing has ended");
    world.login("ada").await.expect("the old password works");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_into_an_account_that_may_do_more_than_they_may() {
    let world = World::open().await;
    let ada = world.register("ada").await.expect("registered");
    world
        .users
        .change(&ada, |user| user.permissions.push(Permission::RolesManage.into()));
    let (operator, _) = world.operator().await;
    let refused = world.set_password(&operator, &ada, NEW_PASSWORD, "").await;
    let info = refused.as_ref().expect_err("refused").get_details_error_info();
    assert_eq!(info.expect("a detail").metadata["permission"], "ROLES_MANAGE");
    assert_eq!(refusal(refused), "PERMISSION_MISSING");
    let request = RemoveTotpRequest {
        user_id: ada,
        ..RemoveTotpRequest::default()
    };
    let refused = world.credentials().remove_totp(bearing(request, &operator)).await;
    assert_eq!(refusal(refused.map(drop)), "PERMISSION_MISSING");
    world.login("ada").await.expect("the old password works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_gets_no_password() {
    let world = World::open().await;
    let manager = world.manager("grace", &[Permission::CredentialsManage]).await;
    let program = world.service_account(&manager, "program").await;
    let refused = world
        .set_password(&manager.access_token, &program.user_id, NEW_PASSWORD, "")
        .await;
    assert_eq!(refusal(refused), "KIND_UNSUITABLE");
    assert_eq!(
        refusal(world.login_with("program", NEW_PASSWORD).await),
        "CREDENTIALS_INVALID"
    );
}
