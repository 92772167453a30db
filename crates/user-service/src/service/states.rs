use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tidings_ids::UserId;
use tidings_proto_user::v1::{
    ListBlocksRequest, ListBlocksResponse, ListDeletedUsersRequest, ListDeletedUsersResponse, WatchUserStatesRequest,
    WatchUserStatesResponse, user_state_service_server::UserStateService,
};
use tidings_rpc::Problem;
use tonic::{Request, Response, Status};

use super::Rpcs;
use crate::feed;

const LIST_DELETED_USERS: &str = "tidings.user.v1.UserStateService/ListDeletedUsers";
const LIST_BLOCKS: &str = "tidings.user.v1.UserStateService/ListBlocks";

#[tonic::async_trait]
impl UserStateService for Rpcs {
    type WatchUserStatesStream = Pin<Box<dyn Stream<Item = Result<WatchUserStatesResponse, Status>> + Send>>;

    async fn watch_user_states(
        &self,
        request: Request<WatchUserStatesRequest>,
    ) -> Result<Response<Self::WatchUserStatesStream>, Status> {
        let after_number = request.into_inner().after_number;
        if after_number < 0 {
            return Err(Problem::field("after_number", "must not be negative").into());
        }
        let drain = self.environment.drain.clone();
        let frames = feed::follow(&self.directory, drain, after_number).await?;
        Ok(Response::new(
            frames.map(|frame| frame.map(Into::into).map_err(Status::from)).boxed(),
        ))
    }

    async fn list_deleted_users(
        &self,
        request: Request<ListDeletedUsersRequest>,
    ) -> Result<Response<ListDeletedUsersResponse>, Status> {
        let request = request.into_inner();
        let nobody = UserId::from_uuid(uuid::Uuid::nil());
        let page = self.page(nobody, LIST_DELETED_USERS, b"", request.page_size, &request.page_token)?;
        let after = page.after().map(UserId::from_uuid);
        let mut user_ids = self.directory.deleted_after(after, page.limit()).await?;
        let next_page_token = self.next_page_token(&page, &mut user_ids, |last| last.uuid().as_bytes().to_vec());
        Ok(Response::new(ListDeletedUsersResponse {
            user_ids: user_ids.iter().map(ToString::to_string).collect(),
            next_page_token,
        }))
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Result<Response<ListBlocksResponse>, Status> {
        let request = request.into_inner();
        // One service may ask, which the policy says, so its pages need no other owner.
        let nobody = UserId::from_uuid(uuid::Uuid::nil());
        let page = self.page(nobody, LIST_BLOCKS, b"", request.page_size, &request.page_token)?;
        let (head_number, mut blocks) = self.directory.blocks_after(page.after_pair(), page.limit()).await?;
        let next_page_token = self.next_page_token(&page, &mut blocks, |last| {
            let (blocker, blocked) = (last.blocker_user_id.uuid(), last.blocked_user_id.uuid());
            [*blocker.as_bytes(), *blocked.as_bytes()].concat()
        });
        Ok(Response::new(ListBlocksResponse {
            blocks: blocks.into_iter().map(Into::into).collect(),
            next_page_token,
            head_number,
        }))
    }
}
