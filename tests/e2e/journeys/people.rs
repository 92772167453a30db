//! Roles, and the users whom they let see each other.

use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_proto_user::v1::{AssignRoleRequest, CreateRoleRequest, ListRolesRequest, ListUsersRequest};
use tidings_testkit::{Actor, Suite, reason_of, request_id};

pub async fn roles_and_users(suite: &Suite, admin: &Actor) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let roles = admin
        .roles()
        .list_roles(ListRolesRequest::default())
        .await
        .expect("lists")
        .into_inner()
        .roles;
    let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
    for built_in in ["admin", "member", "bot"] {
        assert!(names.contains(&built_in), "{built_in} is missing from {names:?}");
    }
    let refused = ada
        .roles()
        .list_roles(ListRolesRequest::default())
        .await
        .expect_err("a member may not");
    assert_eq!(reason_of(&refused), ErrorReason::PermissionMissing);

    let create = CreateRoleRequest {
        name: "reader".to_owned(),
        permissions: vec![Permission::RolesRead.into()],
        request_id: request_id(),
        ..CreateRoleRequest::default()
    };
    let role = admin
        .roles()
        .create_role(create)
        .await
        .expect("creates")
        .into_inner()
        .role
        .expect("a role");
    let assign = AssignRoleRequest {
        user_id: ada.user_id.clone(),
        role_id: role.role_id,
        request_id: request_id(),
    };
    admin.roles().assign_role(assign).await.expect("assigns");
    // The old token ends, and the next one knows the new right.
    let ada = ada.login_again().await.expect("logs in");
    ada.roles()
        .list_roles(ListRolesRequest::default())
        .await
        .expect("a reader may");

    let page = ListUsersRequest {
        page_size: 2,
        ..ListUsersRequest::default()
    };
    let page = ada.users().list_users(page).await.expect("lists").into_inner();
    assert_eq!(page.users.len(), 2);
    let next = ListUsersRequest {
        page_size: 2,
        page_token: page.next_page_token.clone(),
    };
    let next_page = ada
        .users()
        .list_users(next.clone())
        .await
        .expect("the next page")
        .into_inner();
    assert_ne!(
        next_page.users.first().map(|user| &user.user_id),
        page.users.first().map(|user| &user.user_id)
    );
    let foreign = admin
        .users()
        .list_users(next)
        .await
        .expect_err("the token is bound to its caller");
    assert_eq!(reason_of(&foreign), ErrorReason::PageTokenInvalid);
}
