use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tidings_proto_user::v1::{
    WatchUserStatesRequest, WatchUserStatesResponse, user_state_service_server::UserStateService,
};
use tidings_rpc::Problem;
use tonic::{Request, Response, Status};

use super::Rpcs;
use crate::feed;

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
}
