use prost::Message as _;
use tidings_ids::{RoleId, UserId};
use tidings_proto_user::v1::{
    AssignRoleRequest, AssignRoleResponse, CreateRoleRequest, CreateRoleResponse, DeleteRoleRequest,
    DeleteRoleResponse, GetRoleRequest, GetRoleResponse, ListPermissionsRequest, ListPermissionsResponse,
    ListRoleAssignmentsRequest, ListRoleAssignmentsResponse, ListRolesRequest, ListRolesResponse, PermissionInfo,
    UnassignRoleRequest, UnassignRoleResponse, UpdateRoleRequest, UpdateRoleResponse, role_service_server::RoleService,
};
use tidings_rpc::{Violations, caller};
use tonic::{Request, Response, Status};

use super::{Rpcs, given, open, valid};
use crate::{
    convert::Mask,
    error::Error,
    permissions::{self, Permissions},
    role::{NewRole, RoleChange},
};

const CREATE_ROLE: &str = "tidings.user.v1.RoleService/CreateRole";
const LIST_ROLES: &str = "tidings.user.v1.RoleService/ListRoles";
const UPDATE_ROLE: &str = "tidings.user.v1.RoleService/UpdateRole";
const DELETE_ROLE: &str = "tidings.user.v1.RoleService/DeleteRole";
const ASSIGN_ROLE: &str = "tidings.user.v1.RoleService/AssignRole";
const UNASSIGN_ROLE: &str = "tidings.user.v1.RoleService/UnassignRole";
const LIST_PERMISSIONS: &str = "tidings.user.v1.RoleService/ListPermissions";
const LIST_ROLE_ASSIGNMENTS: &str = "tidings.user.v1.RoleService/ListRoleAssignments";

const ROLE_FIELDS: [&str; 4] = ["display_name", "description", "permissions", "rank"];

#[tonic::async_trait]
impl RoleService for Rpcs {
    async fn create_role(&self, request: Request<CreateRoleRequest>) -> Result<Response<CreateRoleResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let change = self.change(&caller, CREATE_ROLE, request_id, &request);
        let new = parse_new_role(request, &mut violations);
        Error::if_any(violations)?;
        let role = self.directory.create_role(&change, &new).await?;
        Ok(Response::new(CreateRoleResponse {
            role: Some(role.into()),
        }))
    }

    async fn get_role(&self, request: Request<GetRoleRequest>) -> Result<Response<GetRoleResponse>, Status> {
        let mut violations = Violations::new();
        let role_id = violations.id("role_id", &request.get_ref().role_id);
        Error::if_any(violations)?;
        let role = self.directory.role(role_id.ok_or(Error::NotFound)?).await?;
        Ok(Response::new(GetRoleResponse {
            role: Some(role.into()),
        }))
    }

    async fn list_roles(&self, request: Request<ListRolesRequest>) -> Result<Response<ListRolesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = self.page(caller.user_id, LIST_ROLES, b"", request.page_size, &request.page_token)?;
        let after = page.after().map(RoleId::from_uuid);
        let mut roles = self.directory.roles_after(after, page.limit()).await?;
        let next_page_token = self.next_page_token(&page, &mut roles, |last| last.role_id.uuid().as_bytes().to_vec());
        Ok(Response::new(ListRolesResponse {
            roles: roles.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }

    async fn update_role(&self, request: Request<UpdateRoleRequest>) -> Result<Response<UpdateRoleResponse>, Status> {
        let (caller, mut request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let role_id = violations.id("role_id", &request.role_id);
        let change = self.change(&caller, UPDATE_ROLE, request_id, &request);
        let etag = std::mem::take(&mut request.etag);
        let role_change = parse_role_change(request, &mut violations);
        let role_id = valid(violations, role_id)?;
        let role = self
            .directory
            .update_role(&change, role_id, &role_change, given(&etag))
            .await?;
        Ok(Response::new(UpdateRoleResponse {
            role: Some(role.into()),
        }))
    }

    async fn delete_role(&self, request: Request<DeleteRoleRequest>) -> Result<Response<DeleteRoleResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let role_id = violations.id("role_id", &request.role_id);
        let role_id = valid(violations, role_id)?;
        let change = self.change(&caller, DELETE_ROLE, request_id, &request);
        self.directory
            .delete_role(&change, role_id, given(&request.etag))
            .await?;
        Ok(Response::new(DeleteRoleResponse {}))
    }

    async fn assign_role(&self, request: Request<AssignRoleRequest>) -> Result<Response<AssignRoleResponse>, Status> {
        let (caller, request, request_id, violations) = open(request, |request| &mut request.request_id)?;
        let (user_id, role_id) = parse_pair(&request.user_id, &request.role_id, violations)?;
        let change = self.change(&caller, ASSIGN_ROLE, request_id, &request);
        let assignment = self.directory.assign_role(&change, user_id, role_id).await?;
        Ok(Response::new(AssignRoleResponse {
            assignment: assignment.map(Into::into),
        }))
    }

    async fn unassign_role(
        &self,
        request: Request<UnassignRoleRequest>,
    ) -> Result<Response<UnassignRoleResponse>, Status> {
        let (caller, request, request_id, violations) = open(request, |request| &mut request.request_id)?;
        let (user_id, role_id) = parse_pair(&request.user_id, &request.role_id, violations)?;
        let change = self.change(&caller, UNASSIGN_ROLE, request_id, &request);
        self.directory.unassign_role(&change, user_id, role_id).await?;
        Ok(Response::new(UnassignRoleResponse {}))
    }

    async fn list_permissions(
        &self,
        request: Request<ListPermissionsRequest>,
    ) -> Result<Response<ListPermissionsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = self.page(
            caller.user_id,
            LIST_PERMISSIONS,
            b"",
            request.page_size,
            &request.page_token,
        )?;
        let mut listed: Vec<_> = permissions::all()
            .filter(|permission| (*permission as i32).to_be_bytes().as_slice() > page.after_bytes())
            .take(page.limit() as usize)
            .collect();
        let next_page_token = self.next_page_token(&page, &mut listed, |last| (*last as i32).to_be_bytes().to_vec());
        let info = |permission| PermissionInfo {
            permission: permission as i32,
            name: permissions::name(permission as i32),
            description: permissions::description(permission).to_owned(),
            held: caller.holds(permission),
        };
        Ok(Response::new(ListPermissionsResponse {
            permissions: listed.into_iter().map(info).collect(),
            next_page_token,
        }))
    }

    async fn list_role_assignments(
        &self,
        request: Request<ListRoleAssignmentsRequest>,
    ) -> Result<Response<ListRoleAssignmentsResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.optional_id("user_id", &request.user_id);
        let role_id = violations.optional_id("role_id", &request.role_id);
        if request.page_size < 0 {
            violations.add("page_size", "must not be negative");
        }
        Error::if_any(violations)?;
        let (size, token) = (
            std::mem::take(&mut request.page_size),
            std::mem::take(&mut request.page_token),
        );
        let arguments = request.encode_to_vec();
        let page = self.page(caller.user_id, LIST_ROLE_ASSIGNMENTS, &arguments, size, &token)?;
        let mut found = self
            .directory
            .assignments_after(user_id, role_id, page.after_pair(), page.limit())
            .await?;
        let next_page_token = self.next_page_token(&page, &mut found, |last| {
            [*last.user_id.uuid().as_bytes(), *last.role_id.uuid().as_bytes()].concat()
        });
        let assignments = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListRoleAssignmentsResponse {
            assignments,
            next_page_token,
        }))
    }
}

fn parse_pair(user_id: &str, role_id: &str, mut violations: Violations) -> Result<(UserId, RoleId), Error> {
    let user_id = violations.id("user_id", user_id);
    let role_id = violations.id("role_id", role_id);
    valid(violations, user_id.zip(role_id))
}

fn parse_new_role(request: CreateRoleRequest, violations: &mut Violations) -> NewRole {
    let display_name = if request.display_name.is_empty() {
        request.name.clone()
    } else {
        request.display_name
    };
    let new = NewRole {
        name: request.name,
        display_name,
        description: request.description,
        permissions: Permissions::default(),
        rank: request.rank,
    };
    new.check(violations);
    NewRole {
        permissions: Permissions::parse("permissions", &request.permissions, violations),
        ..new
    }
}

fn parse_role_change(request: UpdateRoleRequest, violations: &mut Violations) -> RoleChange {
    let mask = Mask::parse(request.update_mask, &ROLE_FIELDS, violations);
    let permissions = mask.take("permissions", request.permissions);
    let change = RoleChange {
        display_name: mask.take("display_name", request.display_name),
        description: mask.take("description", request.description),
        rank: mask.take("rank", request.rank),
        permissions: permissions.map(|numbers| Permissions::parse("permissions", &numbers, violations)),
    };
    change.check(violations);
    change
}
