use tidings_ids::{UserId, kind};
use tidings_proto_chat::v1::{
    AddMemberRequest, AddMemberResponse, LeaveGroupRequest, LeaveGroupResponse, ListMembersRequest,
    ListMembersResponse, RemoveMemberRequest, RemoveMemberResponse, membership_service_server::MembershipService,
};
use tidings_rpc::{PageScope, Violations, caller};
use tonic::{Request, Response, Status};

use super::{Api, open, valid};
use crate::{convert, membership::Circle};

#[tonic::async_trait]
impl MembershipService for Api {
    async fn add_member(&self, request: Request<AddMemberRequest>) -> Result<Response<AddMemberResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        let user_id = violations.id::<kind::User>("user_id", &request.user_id);
        let role = convert::new_role(&mut violations, request.role);
        let ((group_id, user_id), role) = valid(violations, group_id.zip(user_id).zip(role))?;

        let call = self.call(
            "tidings.chat.v1.MembershipService/AddMember",
            caller,
            None,
            request_id,
            &request,
        );
        let member = self
            .keeper
            .add_member(&call, Circle::Group(group_id), user_id, role)
            .await?;
        let membership = member.map(|member| convert::membership(group_id, member));
        Ok(Response::new(AddMemberResponse { membership }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        let user_id = violations.id::<kind::User>("user_id", &request.user_id);
        let (group_id, user_id) = valid(violations, group_id.zip(user_id))?;

        let call = self.call(
            "tidings.chat.v1.MembershipService/RemoveMember",
            caller,
            None,
            request_id,
            &request,
        );
        self.keeper
            .remove_member(&call, Circle::Group(group_id), user_id)
            .await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        let page_size = self.page_size(&mut violations, request.page_size);
        let group_id = valid(violations, group_id)?;
        let arguments = group_id.uuid();
        let method = "tidings.chat.v1.MembershipService/ListMembers";
        let scope = PageScope {
            caller,
            method,
            arguments: arguments.as_bytes(),
        };
        let after: Option<UserId> = self.read_id(scope, &request.page_token)?;

        let (members, more) = self.keeper.list_members(caller, group_id, after, page_size).await?;
        let next_page_token = self.issue_id(scope, more, members.last().map(|member| member.user_id));
        let memberships = members
            .into_iter()
            .map(|member| convert::membership(group_id, member))
            .collect();
        Ok(Response::new(ListMembersResponse {
            memberships,
            next_page_token,
        }))
    }

    async fn leave_group(&self, request: Request<LeaveGroupRequest>) -> Result<Response<LeaveGroupResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        let group_id = valid(violations, group_id)?;

        let call = self.call(
            "tidings.chat.v1.MembershipService/LeaveGroup",
            caller,
            None,
            request_id,
            &request,
        );
        self.keeper.leave(&call, Circle::Group(group_id)).await?;
        Ok(Response::new(LeaveGroupResponse {}))
    }
}
