//! The user service and the message service, as far as the chat service speaks with them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    ApplyMembershipChangesRequest, ApplyMembershipChangesResponse, AudienceChange, ChatActivity,
    ListChatActivityRequest, ListChatActivityResponse, Message, audience_change::Kind,
    membership_log_service_server::MembershipLogService,
};
use tidings_proto_user::v1::{
    BatchGetUsersRequest, BatchGetUsersResponse, ChangeUsernameRequest, ChangeUsernameResponse, DeleteUserRequest,
    DeleteUserResponse, GetCurrentUserRequest, GetCurrentUserResponse, GetUserRequest, GetUserResponse,
    ListUsersRequest, ListUsersResponse, LookupUserRequest, LookupUserResponse, ReactivateUserRequest,
    ReactivateUserResponse, SearchUsersRequest, SearchUsersResponse, SuspendUserRequest, SuspendUserResponse,
    UndeleteUserRequest, UndeleteUserResponse, UpdateUserRequest, UpdateUserResponse, User,
    user_service_server::UserService,
};
use tidings_rpc::Problem;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

/// Users by id; true for those who are deleted.
#[derive(Clone, Default)]
pub struct FakeUsers {
    pub users: Arc<Mutex<HashMap<String, bool>>>,
    /// Those of them who are programs.
    pub bots: Arc<Mutex<HashSet<String>>>,
    /// Does not answer.
    pub down: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl UserService for FakeUsers {
    async fn batch_get_users(
        &self,
        request: Request<BatchGetUsersRequest>,
    ) -> Result<Response<BatchGetUsersResponse>, Status> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("down"));
        }
        let user_ids = request.into_inner().user_ids;
        assert!((1..=200).contains(&user_ids.len()), "one asks for 1 to 200 users");
        let known = self.users.lock().await;
        let bots = self.bots.lock().await;
        let found = user_ids.into_iter().filter_map(|user_id| {
            let deleted = *known.get(&user_id)?;
            Some(User {
                is_bot: bots.contains(&user_id),
                user_id,
                deleted,
                ..User::default()
            })
        });
        Ok(Response::new(BatchGetUsersResponse { users: found.collect() }))
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_current_user(
        &self,
        _: Request<GetCurrentUserRequest>,
    ) -> Result<Response<GetCurrentUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn update_user(&self, _: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn lookup_user(&self, _: Request<LookupUserRequest>) -> Result<Response<LookupUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn search_users(&self, _: Request<SearchUsersRequest>) -> Result<Response<SearchUsersResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn change_username(
        &self,
        _: Request<ChangeUsernameRequest>,
    ) -> Result<Response<ChangeUsernameResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn suspend_user(&self, _: Request<SuspendUserRequest>) -> Result<Response<SuspendUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn reactivate_user(
        &self,
        _: Request<ReactivateUserRequest>,
    ) -> Result<Response<ReactivateUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn delete_user(&self, _: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn undelete_user(&self, _: Request<UndeleteUserRequest>) -> Result<Response<UndeleteUserResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

/// What the message service has been told, and how it behaves.
#[derive(Clone, Default)]
pub struct FakeLog {
    audiences: Arc<Mutex<HashMap<String, Vec<AudienceChange>>>>,
    at_work: Arc<Mutex<HashSet<String>>>,
    /// Does not answer.
    pub down: Arc<AtomicBool>,
    /// Applies, but the answer is lost.
    pub loses_answers: Arc<AtomicBool>,
    /// Takes its time over each call.
    pub slow: Arc<AtomicBool>,
    /// Takes for each call as long as this is set.
    pub held: Arc<AtomicBool>,
    /// Refuses this audience, and no other.
    pub poisoned: Arc<Mutex<Option<String>>>,
    /// Calls of `ApplyMembershipChanges` so far.
    pub calls: Arc<AtomicUsize>,
    /// The text of each chat's last message.
    pub text: Arc<Mutex<String>>,
}

impl FakeLog {
    /// The changes of an audience, in the order in which they were applied.
    pub async fn changes(&self, audience_id: &str) -> Vec<AudienceChange> {
        self.audiences
            .lock()
            .await
            .get(audience_id)
            .cloned()
            .unwrap_or_default()
    }

    /// The kinds of the changes, for short.
    pub async fn kinds(&self, audience_id: &str) -> Vec<&'static str> {
        let changes = self.changes(audience_id).await;
        changes
            .iter()
            .map(|change| kind_name(change.kind.as_ref().expect("a kind")))
            .collect()
    }

    /// Who may send, as the message service decides it.
    pub async fn members(&self, audience_id: &str) -> BTreeMap<String, i32> {
        let mut members = BTreeMap::new();
        for change in self.changes(audience_id).await {
            match change.kind.expect("a kind") {
                Kind::MemberPut(member) => {
                    members.insert(member.user_id, member.role);
                }
                Kind::MemberRemoved(removed) => {
                    members.remove(&removed.user_id).expect("only a member is removed");
                }
                Kind::AudienceRemoved(_) => members.clear(),
                Kind::ChatAdded(_) | Kind::ChatUpdated(_) | Kind::ChatRemoved(_) | Kind::ChatBlocked(_) => {}
            }
        }
        members
    }

    /// Whether nothing can be sent in a direct chat.
    pub async fn blocked(&self, chat_id: &str) -> bool {
        let changes = self.changes(chat_id).await;
        let last = changes.into_iter().rev().find_map(|change| match change.kind {
            Some(Kind::ChatBlocked(told)) => Some(told.blocked),
            _ => None,
        });
        last.unwrap_or(false)
    }

    async fn chats(&self, audience_id: &str) -> Vec<String> {
        let mut chats = Vec::new();
        for change in self.changes(audience_id).await {
            match change.kind.expect("a kind") {
                Kind::ChatAdded(chat) => chats.push(chat.chat_id),
                Kind::ChatRemoved(removed) => chats.retain(|chat_id| *chat_id != removed.chat_id),
                Kind::AudienceRemoved(_) => chats.clear(),
                Kind::ChatUpdated(_) | Kind::MemberPut(_) | Kind::MemberRemoved(_) | Kind::ChatBlocked(_) => {}
            }
        }
        chats
    }

    /// How far the audience is then; `None` where a number comes again for another change.
    async fn apply(&self, request: ApplyMembershipChangesRequest) -> Option<i64> {
        let mut audiences = self.audiences.lock().await;
        let log = audiences.entry(request.audience_id).or_default();
        for change in request.changes {
            let due = log.len() as i64 + 1;
            match change.number.cmp(&due) {
                std::cmp::Ordering::Less if log[change.number as usize - 1] == change => {}
                std::cmp::Ordering::Less => return None,
                std::cmp::Ordering::Equal => {
                    let ended = matches!(
                        log.last(),
                        Some(AudienceChange {
                            kind: Some(Kind::AudienceRemoved(_)),
                            ..
                        })
                    );
                    assert!(!ended, "nothing follows the end of an audience");
                    log.push(change);
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        Some(log.len() as i64)
    }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::ChatAdded(_) => "chat_added",
        Kind::ChatUpdated(_) => "chat_updated",
        Kind::ChatRemoved(_) => "chat_removed",
        Kind::MemberPut(_) => "member_put",
        Kind::MemberRemoved(_) => "member_removed",
        Kind::AudienceRemoved(_) => "audience_removed",
        Kind::ChatBlocked(_) => "chat_blocked",
    }
}

#[tonic::async_trait]
impl MembershipLogService for FakeLog {
    async fn apply_membership_changes(
        &self,
        request: Request<ApplyMembershipChangesRequest>,
    ) -> Result<Response<ApplyMembershipChangesResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("down"));
        }
        assert!(
            request.metadata().get("authorization").is_none(),
            "a delivery acts for nobody"
        );
        let request = request.into_inner();
        assert!(
            (1..=1_000).contains(&request.changes.len()),
            "one hands 1 to 1,000 changes over"
        );
        if self.poisoned.lock().await.as_ref() == Some(&request.audience_id) {
            return Err(Status::invalid_argument("poisoned"));
        }
        let audience_id = request.audience_id.clone();
        assert!(
            self.at_work.lock().await.insert(audience_id.clone()),
            "an audience has one flight at a time"
        );
        if self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while self.held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let applied = self.apply(request).await;
        self.at_work.lock().await.remove(&audience_id);
        if self.loses_answers.load(Ordering::SeqCst) {
            return Err(Status::unavailable("the answer was lost"));
        }
        let applied_number = applied.ok_or_else(|| Problem::new(ErrorReason::RequestIdReused))?;
        Ok(Response::new(ApplyMembershipChangesResponse { applied_number }))
    }

    /// The latest chats first: those with the greatest ids, as nobody sends here.
    async fn list_chat_activity(
        &self,
        request: Request<ListChatActivityRequest>,
    ) -> Result<Response<ListChatActivityResponse>, Status> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("down"));
        }
        let request = request.into_inner();
        let audience_ids: Vec<String> = self.audiences.lock().await.keys().cloned().collect();
        let mut chat_ids = Vec::new();
        for audience_id in audience_ids {
            if self.members(&audience_id).await.contains_key(&request.user_id) {
                chat_ids.extend(self.chats(&audience_id).await);
            }
        }
        chat_ids.sort_by(|one, other| other.cmp(one));
        if let Some(after) = request.after {
            chat_ids.retain(|chat_id| *chat_id < after.chat_id);
        }
        let size = request.page_size as usize;
        let more = chat_ids.len() > size;
        let text = self.text.lock().await.clone();
        let activities = chat_ids.into_iter().take(size).map(|chat_id| ChatActivity {
            last_message: Some(Message {
                chat_id: chat_id.clone(),
                text: text.clone(),
                ..Message::default()
            }),
            chat_id,
            activity: 1,
            last_sequence: 7,
            unread_count: 3,
            ..ChatActivity::default()
        });
        Ok(Response::new(ListChatActivityResponse {
            activities: activities.collect(),
            more,
        }))
    }
}
