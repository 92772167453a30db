use tidings_ids::{GroupId, kind};
use tidings_proto_chat::v1::{
    CreateGroupRequest, CreateGroupResponse, DeleteGroupRequest, DeleteGroupResponse, GetGroupRequest,
    GetGroupResponse, ListGroupsRequest, ListGroupsResponse, UpdateGroupRequest, UpdateGroupResponse,
    group_service_server::GroupService,
};
use tidings_rpc::{PageScope, Violations, caller, text::TextRule};
use tonic::{Request, Response, Status};

use super::{Api, open, valid};
use crate::{
    convert::{self, Mask},
    group::{GroupAnswer, GroupPatch, NewGroup},
};

#[tonic::async_trait]
impl GroupService for Api {
    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        violations.check("display_name", TextRule::NAME.check(&request.display_name));
        violations.check("description", TextRule::DESCRIPTION.check(&request.description));
        convert::metadata(&mut violations, &request.metadata);
        violations.finish()?;

        let call = self.call(
            "tidings.chat.v1.GroupService/CreateGroup",
            caller,
            None,
            request_id,
            &request,
        );
        let CreateGroupRequest {
            display_name,
            description,
            metadata,
            ..
        } = request;
        let answer = self
            .keeper
            .create_group(
                &call,
                &NewGroup {
                    display_name,
                    description,
                    metadata,
                },
            )
            .await?;
        Ok(Response::new(CreateGroupResponse {
            group: Some(render(answer)),
        }))
    }

    async fn get_group(&self, request: Request<GetGroupRequest>) -> Result<Response<GetGroupResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        let group_id = valid(violations, group_id)?;

        let group = self.keeper.get_group(caller, group_id).await?;
        Ok(Response::new(GetGroupResponse {
            group: Some(convert::group(group)),
        }))
    }

    async fn list_groups(&self, request: Request<ListGroupsRequest>) -> Result<Response<ListGroupsResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let page_size = self.page_size(&mut violations, request.page_size);
        violations.finish()?;
        let scope = PageScope {
            caller,
            method: "tidings.chat.v1.GroupService/ListGroups",
            arguments: &[],
        };
        let after: Option<GroupId> = self.read_id(scope, &request.page_token)?;

        let (groups, more) = self.keeper.list_groups(caller, after, page_size).await?;
        let next_page_token = self.issue_id(scope, more, groups.last().map(|group| group.group_id));
        let groups = groups.into_iter().map(convert::group).collect();
        Ok(Response::new(ListGroupsResponse {
            groups,
            next_page_token,
        }))
    }

    async fn update_group(
        &self,
        request: Request<UpdateGroupRequest>,
    ) -> Result<Response<UpdateGroupResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let call = self.call(
            "tidings.chat.v1.GroupService/UpdateGroup",
            caller,
            None,
            request_id,
            &request,
        );
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        let known = ["display_name", "description", "metadata"];
        let mask = Mask::read(&mut violations, request.update_mask, &known);
        let patch = GroupPatch {
            display_name: mask.pick("display_name", request.display_name),
            description: mask.pick("description", request.description),
            metadata: mask.pick("metadata", request.metadata),
        };
        check_patch(&mut violations, &patch);
        let group_id = valid(violations, group_id)?;

        let answer = self.keeper.update_group(&call, group_id, &patch, &request.etag).await?;
        Ok(Response::new(UpdateGroupResponse {
            group: Some(render(answer)),
        }))
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        let group_id = valid(violations, group_id)?;

        let call = self.call(
            "tidings.chat.v1.GroupService/DeleteGroup",
            caller,
            None,
            request_id,
            &request,
        );
        self.keeper.delete_group(&call, group_id, &request.etag).await?;
        Ok(Response::new(DeleteGroupResponse {}))
    }
}

fn check_patch(violations: &mut Violations, patch: &GroupPatch) {
    if let Some(display_name) = &patch.display_name {
        violations.check("display_name", TextRule::NAME.check(display_name));
    }
    if let Some(description) = &patch.description {
        violations.check("description", TextRule::DESCRIPTION.check(description));
    }
    if let Some(metadata) = &patch.metadata {
        convert::metadata(violations, metadata);
    }
}

fn render((group_id, group): GroupAnswer) -> tidings_proto_chat::v1::Group {
    group.map_or_else(|| convert::unseen_group(group_id), convert::group)
}
