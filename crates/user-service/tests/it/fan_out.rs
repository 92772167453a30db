//! A change of a role and those who hold it, more of them than a batch has.

use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{DeleteRoleRequest, GetRoleRequest, UpdateRoleRequest};
use tidings_user_service::Config;

use crate::support::{Actor, World, reason, until};

/// Two and a half batches.
const HOLDERS: i32 = 1_250;

/// As many users as a test needs, without a call for each.
async fn crowd(world: &World, role_id: RoleId) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "insert into users.users (user_id, status, username, display_name, bio, is_bot, create_time, state_time,
                                  token_epoch, permissions, roles)
         select gen_random_uuid(), 'active', 'crowd' || n, 'crowd', '', false, now(), now(), 1, '{{4}}', '{{reader}}'
         from generate_series(1, {HOLDERS}) n;
         insert into users.role_assignments (user_id, role_id, create_time)
         select user_id, '{role_id}', now() from users.users where username like 'crowd%'",
    )))
    .execute(&world.pool())
    .await
    .expect("arranged");
}

async fn count(world: &World, condition: &str) -> i64 {
    let sql = format!("select count(*) from users.users where username like 'crowd%' and {condition}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(&world.pool())
        .await
        .expect("arranged")
}

async fn arrange() -> (World, Actor, RoleId) {
    arrange_with(Config::default()).await
}

async fn arrange_with(config: Config) -> (World, Actor, RoleId) {
    let world = World::begin_with(config).await;
    let admin = world.register("ruth", &["admin"]).await;
    let role = world.role(&admin, "reader", &[P::RolesRead]).await;
    crowd(&world, role).await;
    (world, admin, role)
}

fn update(role_id: RoleId, request_id: String) -> UpdateRoleRequest {
    UpdateRoleRequest {
        role_id: role_id.to_string(),
        permissions: vec![P::UsersList as i32],
        request_id,
        ..UpdateRoleRequest::default()
    }
}

#[tokio::test]
async fn a_changed_role_has_reached_every_holder_when_the_call_returns() {
    let (world, admin, role) = arrange().await;
    world
        .roles()
        .update_role(admin.asks(update(role, String::new())))
        .await
        .unwrap();
    assert_eq!(
        count(&world, "permissions = '{1}' and token_epoch = 2").await,
        i64::from(HOLDERS)
    );

    let (entries, head): (i64, i64) = sqlx::query_as(
        "select (select count(*) from users.user_states), (select last_number from users.feeds where feed = 'user_states')",
    )
    .fetch_one(&world.pool())
    .await
    .unwrap();
    assert_eq!(entries, head, "the feed has no hole");
}

#[tokio::test]
async fn a_deleted_role_is_taken_from_every_holder() {
    let (world, admin, role) = arrange().await;
    let delete = DeleteRoleRequest {
        role_id: role.to_string(),
        ..DeleteRoleRequest::default()
    };
    world.roles().delete_role(admin.asks(delete)).await.unwrap();
    assert_eq!(
        count(&world, "permissions = '{}' and roles = '{}' and token_epoch = 2").await,
        i64::from(HOLDERS)
    );
    let get = GetRoleRequest {
        role_id: role.to_string(),
    };
    assert_eq!(reason(world.roles().get_role(admin.asks(get)).await), R::NotFound);
}

/// The traces of a process that died after it had stored the change.
async fn interrupt(world: &World, role: RoleId, sql: &str) {
    let sql = format!("{sql}; insert into users.role_fan_outs (role_id) values ('{role}')");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&world.pool())
        .await
        .expect("arranged");
}

#[tokio::test]
async fn what_a_process_left_on_its_way_is_carried_on() {
    let (world, admin, role) = arrange().await;
    interrupt(
        &world,
        role,
        &format!("update users.roles set deleting = true where role_id = '{role}'"),
    )
    .await;
    let get = GetRoleRequest {
        role_id: role.to_string(),
    };
    assert_eq!(
        reason(world.roles().get_role(admin.asks(get)).await),
        R::NotFound,
        "nobody sees it any more"
    );

    for work in world.service.background() {
        world.environment.drain.spawn(work);
    }
    until("the rest of the holders", async || {
        count(&world, "roles <> '{}'").await == 0
    })
    .await;
    assert!(
        world.environment.drain.finish().await,
        "background work ends with the drain"
    );
}

#[tokio::test]
async fn a_repeated_call_finishes_what_the_first_began() {
    let (world, admin, role) = arrange().await;
    let request = update(role, world.request_id());
    world.roles().update_role(admin.asks(request.clone())).await.unwrap();
    interrupt(
        &world,
        role,
        "update users.users set permissions = '{4}' where username like 'crowd%'",
    )
    .await;
    world.roles().update_role(admin.asks(request)).await.unwrap();
    assert_eq!(count(&world, "permissions = '{1}'").await, i64::from(HOLDERS));
}

#[tokio::test]
async fn whoever_gets_a_role_while_it_changes_has_it_as_it_is_after() {
    let (world, admin, role) = arrange().await;
    let mut users: Vec<UserId> = Vec::new();
    for number in 0..10 {
        users.push(world.register(&format!("late{number}"), &[]).await.user_id);
    }
    let assigning = async {
        for user_id in &users {
            let request = tidings_proto_user::v1::AssignRoleRequest {
                user_id: user_id.to_string(),
                role_id: role.to_string(),
                request_id: String::new(),
            };
            world.roles().assign_role(admin.asks(request)).await.expect("assigned");
        }
    };
    let changing = async {
        world
            .roles()
            .update_role(admin.asks(update(role, String::new())))
            .await
            .expect("updated");
    };
    tokio::join!(assigning, changing);
    for user_id in users {
        let state = world.state_of(user_id).await;
        assert!(!state.permissions.contains(&(P::RolesRead as i32)), "{state:?}");
    }
}

/// As if what was told so far had been told half an hour ago.
async fn age(world: &World) {
    sqlx::query("update users.user_states set store_time = store_time - interval '30 minutes'")
        .execute(&world.pool())
        .await
        .expect("aged");
}

#[tokio::test]
async fn readers_are_never_told_more_than_they_can_hold() {
    // Room for one batch, and for what it takes to arrange.
    let config = Config {
        held_states_max: 600,
        ..Config::default()
    };
    let (world, admin, role) = arrange_with(config).await;
    let request = update(role, world.request_id());
    let call = async || world.roles().update_role(admin.asks(request.clone())).await;
    for reached in [500, 1_000] {
        for _ in 0..2 {
            assert_eq!(reason(call().await), R::DependencyUnavailable);
            assert_eq!(count(&world, "permissions = '{1}' and token_epoch = 2").await, reached);
        }
        age(&world).await;
    }
    call().await.expect("all have it");
    assert_eq!(
        count(&world, "permissions = '{1}' and token_epoch = 2").await,
        i64::from(HOLDERS)
    );

    // What is done to one user never waits.
    let assign = tidings_proto_user::v1::AssignRoleRequest {
        user_id: world.register("late", &[]).await.user_id.to_string(),
        role_id: role.to_string(),
        request_id: String::new(),
    };
    world.roles().assign_role(admin.asks(assign)).await.expect("assigned");
}

#[tokio::test]
async fn what_waits_for_room_is_carried_on_when_there_is_some() {
    let config = Config {
        held_states_max: 600,
        ..Config::default()
    };
    let (world, admin, role) = arrange_with(config).await;
    let delete = DeleteRoleRequest {
        role_id: role.to_string(),
        ..DeleteRoleRequest::default()
    };
    let deleted = world.roles().delete_role(admin.asks(delete)).await;
    assert_eq!(reason(deleted), R::DependencyUnavailable);
    for work in world.service.background() {
        world.environment.drain.spawn(work);
    }
    until("the holders, a portion after the other", async || {
        age(&world).await;
        count(&world, "roles <> '{}'").await == 0
    })
    .await;
    assert!(
        world.environment.drain.finish().await,
        "waiting is no work that holds the drain up"
    );
}
