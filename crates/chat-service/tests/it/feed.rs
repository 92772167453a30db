//! User's feed, as far as the chat service follows it.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{Stream, stream};
use tidings_proto_common::v1::{ErrorReason, FeedHeartbeat};
use tidings_proto_user::v1::{
    BlockChange, BlockChangeBatch, ListBlocksRequest, ListBlocksResponse, ListDeletedUsersRequest,
    ListDeletedUsersResponse, UserBlock, UserState, UserStateBatch, UserStatus, WatchUserStatesRequest,
    WatchUserStatesResponse, user_state_service_server::UserStateService, watch_user_states_response::Frame,
};
use tidings_rpc::Problem;
use tonic::{Request, Response, Status};

use crate::world::{Actor, World, until};

/// An entry; its number is its place, from 1.
#[derive(Debug, Clone)]
enum Entry {
    Block {
        blocker: String,
        blocked: String,
        stands: bool,
    },
    State {
        user_id: String,
        gone: bool,
    },
}

#[derive(Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    /// How many of the first are no longer kept.
    forgotten: usize,
}

/// The user service's feed.
#[derive(Clone, Default)]
pub struct FakeFeed {
    log: Arc<Mutex<Log>>,
}

impl FakeFeed {
    fn push(&self, entry: Entry) {
        self.log.lock().expect("not poisoned").entries.push(entry);
    }

    /// One user blocks another.
    pub fn block(&self, blocker: &Actor, blocked: &Actor) {
        self.push(Entry::Block {
            blocker: blocker.id.clone(),
            blocked: blocked.id.clone(),
            stands: true,
        });
    }

    /// And no longer.
    pub fn unblock(&self, blocker: &Actor, blocked: &Actor) {
        self.push(Entry::Block {
            blocker: blocker.id.clone(),
            blocked: blocked.id.clone(),
            stands: false,
        });
    }

    /// A user's state changes in a way that matters to nobody here.
    pub fn touch(&self, user: &Actor) {
        self.push(Entry::State {
            user_id: user.id.clone(),
            gone: false,
        });
    }

    /// A user's deletion becomes final.
    pub fn delete(&self, user: &Actor) {
        self.push(Entry::State {
            user_id: user.id.clone(),
            gone: true,
        });
    }

    /// Keeps no entry any more.
    pub fn forget(&self) {
        let mut log = self.log.lock().expect("not poisoned");
        log.forgotten = log.entries.len();
    }

    /// A backup is restored, in which nothing but this has happened.
    pub fn restore(&self, blocker: &Actor, blocked: &Actor) {
        *self.log.lock().expect("not poisoned") = Log::default();
        self.block(blocker, blocked);
    }

    fn head(&self) -> usize {
        self.log.lock().expect("not poisoned").entries.len()
    }

    /// Waits until the chat service has applied everything, and the message service knows it.
    pub async fn is_applied(&self, world: &World) {
        let head = i64::try_from(self.head()).expect("small");
        until("the end of the feed", async || {
            let position: Option<i64> = sqlx::query_scalar("select position from chats.user_feed")
                .fetch_one(&world.pool())
                .await
                .expect("readable");
            position == Some(head)
        })
        .await;
        world.outbox_is_tidied_up().await;
    }

    /// What follows `sent`, as frames, or a heartbeat.
    fn frames_after(&self, sent: usize) -> (usize, Vec<Frame>) {
        let log = self.log.lock().expect("not poisoned");
        let head = log.entries.len();
        let mut frames = vec![Frame::Heartbeat(FeedHeartbeat {
            head_number: head as i64,
            sent_number: sent as i64,
        })];
        for (index, entry) in log.entries.iter().enumerate().skip(sent) {
            let number = index as i64 + 1;
            frames.push(match entry.clone() {
                Entry::Block {
                    blocker,
                    blocked,
                    stands,
                } => Frame::Blocks(BlockChangeBatch {
                    changes: vec![BlockChange {
                        number,
                        blocker_user_id: blocker,
                        blocked_user_id: blocked,
                        blocked: stands,
                        change_time: None,
                    }],
                }),
                Entry::State { user_id, gone } => Frame::States(UserStateBatch {
                    states: vec![UserState {
                        number,
                        user_id,
                        status: if gone { UserStatus::Deleted } else { UserStatus::Active }.into(),
                        deletion_final: gone,
                        ..UserState::default()
                    }],
                }),
            });
        }
        (head, frames)
    }
}

#[tonic::async_trait]
impl UserStateService for FakeFeed {
    type WatchUserStatesStream = Pin<Box<dyn Stream<Item = Result<WatchUserStatesResponse, Status>> + Send>>;

    async fn watch_user_states(
        &self,
        request: Request<WatchUserStatesRequest>,
    ) -> Result<Response<Self::WatchUserStatesStream>, Status> {
        let after = usize::try_from(request.into_inner().after_number).expect("not negative");
        let begin = {
            let log = self.log.lock().expect("not poisoned");
            if after > log.entries.len() {
                let problem = Problem::new(ErrorReason::CursorInvalid);
                return Err(problem.with_field("after_number", "is beyond the head").into());
            } else if after == 0 {
                log.forgotten
            } else if after < log.forgotten {
                let problem = Problem::new(ErrorReason::CursorExpired);
                return Err(problem.with("first_position", log.forgotten + 1).into());
            } else {
                after
            }
        };
        let feed = self.clone();
        let looks = stream::unfold(begin, move |sent| {
            let feed = feed.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let (sent, frames) = feed.frames_after(sent);
                let frames = frames
                    .into_iter()
                    .map(|frame| Ok(WatchUserStatesResponse { frame: Some(frame) }));
                Some((stream::iter(frames.collect::<Vec<_>>()), sent))
            }
        });
        Ok(Response::new(Box::pin(futures_util::StreamExt::flatten(looks))))
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Result<Response<ListBlocksResponse>, Status> {
        let request = request.into_inner();
        let log = self.log.lock().expect("not poisoned");
        let mut blocks = BTreeSet::new();
        for entry in &log.entries {
            match entry.clone() {
                Entry::Block {
                    blocker,
                    blocked,
                    stands: true,
                } => {
                    blocks.insert((blocker, blocked));
                }
                Entry::Block { blocker, blocked, .. } => {
                    blocks.remove(&(blocker, blocked));
                }
                Entry::State { .. } => {}
            }
        }
        // Pages of two, so that there are several.
        let skipped: usize = request.page_token.parse().unwrap_or(0);
        let page = blocks.iter().skip(skipped).take(2);
        let more = blocks.len() > skipped + 2;
        Ok(Response::new(ListBlocksResponse {
            blocks: page
                .map(|(blocker, blocked)| UserBlock {
                    blocker_user_id: blocker.clone(),
                    blocked_user_id: blocked.clone(),
                })
                .collect(),
            next_page_token: if more { (skipped + 2).to_string() } else { String::new() },
            head_number: log.entries.len() as i64,
        }))
    }

    async fn list_deleted_users(
        &self,
        _: Request<ListDeletedUsersRequest>,
    ) -> Result<Response<ListDeletedUsersResponse>, Status> {
        let log = self.log.lock().expect("not poisoned");
        let gone = log.entries.iter().filter_map(|entry| match entry {
            Entry::State { user_id, gone: true } => Some(user_id.clone()),
            _ => None,
        });
        Ok(Response::new(ListDeletedUsersResponse {
            user_ids: gone.collect(),
            next_page_token: String::new(),
        }))
    }
}
