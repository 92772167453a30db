//! Users and roles.

use super::{
    super::scene::Needs::{Nothing, Role, RoleHeld},
    Relation::{Anyone, Himself},
    Row, row,
};

pub const ROWS: &[Row] = &[
    row("user.v1.ProvisioningService.CreateUser", Anyone, Nothing, "{}"),
    row("user.v1.ProvisioningService.ActivateUser", Anyone, Nothing, "{}"),
    row("user.v1.ProvisioningService.DiscardUser", Anyone, Nothing, "{}"),
    row("user.v1.ProvisioningService.SetLoggedIn", Anyone, Nothing, "{}"),
    row("user.v1.UserStateService.WatchUserStates", Anyone, Nothing, "{}"),
    row(
        "user.v1.UserService.GetUser",
        Anyone,
        Nothing,
        r#"{"userId":"{owner}"}"#,
    ),
    row("user.v1.UserService.GetCurrentUser", Anyone, Nothing, "{}"),
    row(
        "user.v1.UserService.BatchGetUsers",
        Anyone,
        Nothing,
        r#"{"userIds":["{owner}","{member}"]}"#,
    ),
    row("user.v1.UserService.ListUsers", Anyone, Nothing, "{}"),
    row(
        "user.v1.UserService.UpdateUser",
        Himself,
        Nothing,
        r#"{"userId":"{owner}","bio":"about {fresh}","updateMask":"bio","requestId":"{request}"}"#,
    ),
    row(
        "user.v1.RoleService.CreateRole",
        Anyone,
        Nothing,
        r#"{"name":"{fresh}","displayName":"a role","requestId":"{request}"}"#,
    ),
    row("user.v1.RoleService.GetRole", Anyone, Role, r#"{"roleId":"{role}"}"#),
    row("user.v1.RoleService.ListRoles", Anyone, Nothing, "{}"),
    row(
        "user.v1.RoleService.UpdateRole",
        Anyone,
        Role,
        r#"{"roleId":"{role}","description":"changed","updateMask":"description","requestId":"{request}"}"#,
    ),
    row(
        "user.v1.RoleService.DeleteRole",
        Anyone,
        Role,
        r#"{"roleId":"{role}","requestId":"{request}"}"#,
    ),
    row(
        "user.v1.RoleService.AssignRole",
        Anyone,
        Role,
        r#"{"roleId":"{role}","userId":"{extra}","requestId":"{request}"}"#,
    ),
    row(
        "user.v1.RoleService.UnassignRole",
        Anyone,
        RoleHeld,
        r#"{"roleId":"{role}","userId":"{extra}","requestId":"{request}"}"#,
    ),
    row(
        "user.v1.RoleService.ListRoleAssignments",
        Anyone,
        Role,
        r#"{"roleId":"{role}"}"#,
    ),
];
