use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{
    ListRoleAssignmentsRequest, ListRoleAssignmentsResponse, ListRolesRequest, ListUsersRequest, ListUsersResponse,
};
use tonic::Status;

use crate::support::{Actor, World, reason, wrong_fields};

async fn list(world: &World, caller: &Actor, page_size: i32, page_token: &str) -> Result<ListUsersResponse, Status> {
    let request = ListUsersRequest {
        page_size,
        page_token: page_token.to_owned(),
    };
    Ok(world.users().list_users(caller.asks(request)).await?.into_inner())
}

#[tokio::test]
async fn all_users_are_listed_page_by_page_each_once_in_order() {
    let world = World::begin().await;
    let mut expected = Vec::new();
    for name in ["ada", "bob", "cy", "dee", "eve"] {
        expected.push(world.register(name, &[]).await.user_id.to_string());
    }
    expected.sort();
    world
        .provisioning()
        .create_user(world.registration("pending"))
        .await
        .unwrap();
    let ada = world.log_in(tidings_ids::UserId::parse(&expected[0]).unwrap()).await;

    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&world, &ada, 2, &token).await.unwrap();
        assert!(page.users.len() <= 2);
        seen.extend(page.users.into_iter().map(|user| user.user_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, expected);
    let whole = list(&world, &ada, 5, "").await.unwrap();
    assert_eq!(
        (whole.users.len(), whole.next_page_token.as_str()),
        (5, ""),
        "no token after the last page"
    );
    assert!(list(&world, &ada, i32::MAX, "").await.is_ok() && list(&world, &ada, 0, "").await.is_ok());
    assert_eq!(wrong_fields(list(&world, &ada, -1, "").await), ["page_size"]);
}

#[tokio::test]
async fn page_tokens_are_worth_nothing_elsewhere() {
    let world = World::begin().await;
    let (ada, admin) = (
        world.register("ada", &[]).await,
        world.register("ruth", &["admin"]).await,
    );
    let token = list(&world, &ada, 1, "").await.unwrap().next_page_token;
    assert!(list(&world, &ada, 2, &token).await.is_ok(), "with another page size");
    assert_eq!(reason(list(&world, &admin, 1, &token).await), R::PageTokenInvalid);
    let own = list(&world, &admin, 1, "").await.unwrap().next_page_token;
    let roles = ListRolesRequest {
        page_size: 1,
        page_token: own.clone(),
    };
    assert_eq!(
        reason(world.roles().list_roles(admin.asks(roles)).await),
        R::PageTokenInvalid
    );
    for wrong in [&own[1..], "x", "' or 1=1 --", &"A".repeat(60_000)] {
        assert_eq!(reason(list(&world, &admin, 1, wrong).await), R::PageTokenInvalid);
    }
}

#[tokio::test]
async fn who_may_not_list_users_lists_none() {
    let world = World::begin().await;
    let bot = world.register("echo", &["bot"]).await;
    assert_eq!(reason(list(&world, &bot, 1, "").await), R::PermissionMissing);
}

#[tokio::test]
async fn roles_are_listed_the_built_in_ones_first() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin"]).await;
    world.role(&admin, "zebra", &[]).await;
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRolesRequest {
            page_size: 1,
            page_token,
        };
        let page = world
            .roles()
            .list_roles(admin.asks(request))
            .await
            .unwrap()
            .into_inner();
        names.extend(page.roles.into_iter().map(|role| role.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["admin", "member", "bot", "zebra"]);
}

async fn assignments(
    world: &World,
    caller: &Actor,
    request: ListRoleAssignmentsRequest,
) -> Result<ListRoleAssignmentsResponse, Status> {
    Ok(world
        .roles()
        .list_role_assignments(caller.asks(request))
        .await?
        .into_inner())
}

#[tokio::test]
async fn assignments_are_listed_of_all_of_a_user_or_of_a_role() {
    let world = World::begin().await;
    let admin = world.register("ruth", &["admin", "member"]).await;
    let role = world.role(&admin, "reader", &[P::RolesRead]).await.to_string();
    let mut readers = Vec::new();
    for name in ["ada", "bob", "cy"] {
        readers.push(world.register(name, &["member", "reader"]).await);
    }

    let all = ListRoleAssignmentsRequest {
        page_size: 3,
        ..ListRoleAssignmentsRequest::default()
    };
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = assignments(
            &world,
            &admin,
            ListRoleAssignmentsRequest {
                page_token,
                ..all.clone()
            },
        )
        .await
        .unwrap();
        seen.extend(page.assignments.into_iter().map(|found| (found.user_id, found.role_id)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.is_sorted());

    let of_role = ListRoleAssignmentsRequest {
        role_id: role.clone(),
        page_size: 2,
        ..ListRoleAssignmentsRequest::default()
    };
    let page = assignments(&world, &admin, of_role.clone()).await.unwrap();
    let rest = ListRoleAssignmentsRequest {
        page_token: page.next_page_token.clone(),
        ..of_role
    };
    let rest = assignments(&world, &admin, rest).await.unwrap();
    assert_eq!(
        (
            page.assignments.len(),
            rest.assignments.len(),
            rest.next_page_token.as_str()
        ),
        (2, 1, "")
    );

    let elsewhere = ListRoleAssignmentsRequest {
        page_token: page.next_page_token,
        ..ListRoleAssignmentsRequest::default()
    };
    assert_eq!(
        reason(assignments(&world, &admin, elsewhere).await),
        R::PageTokenInvalid
    );

    let user_id = readers[0].user_id.to_string();
    let of_user = ListRoleAssignmentsRequest {
        user_id: user_id.clone(),
        ..ListRoleAssignmentsRequest::default()
    };
    let names: Vec<_> = assignments(&world, &admin, of_user.clone())
        .await
        .unwrap()
        .assignments
        .into_iter()
        .map(|found| found.role_name)
        .collect();
    assert_eq!(names, ["member", "reader"]);
    let both = ListRoleAssignmentsRequest {
        role_id: role,
        ..of_user
    };
    assert_eq!(assignments(&world, &admin, both).await.unwrap().assignments.len(), 1);
    let absent = ListRoleAssignmentsRequest {
        user_id: world.absent(),
        ..ListRoleAssignmentsRequest::default()
    };
    assert!(
        assignments(&world, &admin, absent)
            .await
            .unwrap()
            .assignments
            .is_empty()
    );
    let wrong = ListRoleAssignmentsRequest {
        user_id: "x".to_owned(),
        role_id: "y".to_owned(),
        page_size: -1,
        page_token: String::new(),
    };
    assert_eq!(
        wrong_fields(assignments(&world, &admin, wrong).await),
        ["user_id", "role_id", "page_size"]
    );
}
