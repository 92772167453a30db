use tidings_ids::UserId;
use tidings_proto_user::v1::{
    BlockUserRequest, BlockUserResponse, ListBlockedUsersRequest, ListBlockedUsersResponse, UnblockUserRequest,
    UnblockUserResponse, block_service_server::BlockService,
};
use tidings_rpc::caller;
use tonic::{Request, Response, Status};

use super::{Rpcs, open, valid};

const BLOCK_USER: &str = "tidings.user.v1.BlockService/BlockUser";
const UNBLOCK_USER: &str = "tidings.user.v1.BlockService/UnblockUser";
const LIST_BLOCKED_USERS: &str = "tidings.user.v1.BlockService/ListBlockedUsers";

#[tonic::async_trait]
impl BlockService for Rpcs {
    async fn block_user(&self, request: Request<BlockUserRequest>) -> Result<Response<BlockUserResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_id = violations.id("user_id", &request.user_id);
        if user_id == Some(caller.user_id) {
            violations.add("user_id", "must not be the caller");
        }
        let user_id = valid(violations, user_id)?;
        let change = self.change(&caller, BLOCK_USER, request_id, &request);
        let block = self.directory.block_user(&change, user_id).await?;
        Ok(Response::new(BlockUserResponse {
            block: block.map(Into::into),
        }))
    }

    async fn unblock_user(
        &self,
        request: Request<UnblockUserRequest>,
    ) -> Result<Response<UnblockUserResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_id = violations.id("user_id", &request.user_id);
        let user_id = valid(violations, user_id)?;
        let change = self.change(&caller, UNBLOCK_USER, request_id, &request);
        self.directory.unblock_user(&change, user_id).await?;
        Ok(Response::new(UnblockUserResponse {}))
    }

    async fn list_blocked_users(
        &self,
        request: Request<ListBlockedUsersRequest>,
    ) -> Result<Response<ListBlockedUsersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = self.page(
            caller.user_id,
            LIST_BLOCKED_USERS,
            b"",
            request.page_size,
            &request.page_token,
        )?;
        let after = page.after().map(UserId::from_uuid);
        let mut blocks = self.directory.blocks_of(caller.user_id, after, page.limit()).await?;
        let next_page_token = self.next_page_token(&page, &mut blocks, |last| last.user_id.uuid().as_bytes().to_vec());
        Ok(Response::new(ListBlockedUsersResponse {
            blocks: blocks.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }
}
