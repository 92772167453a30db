//! A user service that keeps its users in memory, and can be told to be away.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use tidings_proto_common::v1::{ErrorReason, FeedHeartbeat, Permission};
use tidings_proto_user::v1::{
    ActivateUserRequest, ActivateUserResponse, BatchGetUserStatesRequest, BatchGetUserStatesResponse,
    ChangeUserEmailRequest, ChangeUserEmailResponse, CheckAuthorityRequest, CheckAuthorityResponse, CreateUserRequest,
    CreateUserResponse, DeleteBotRequest, DeleteBotResponse, DiscardUserRequest, DiscardUserResponse,
    GetExternalUserRequest, GetExternalUserResponse, ListBlocksRequest, ListBlocksResponse, ListDeletedUsersRequest,
    ListDeletedUsersResponse, SetLoggedInRequest, SetLoggedInResponse, UserState, UserStateBatch, UserStatus,
    WatchUserStatesRequest, WatchUserStatesResponse, provisioning_service_server::ProvisioningService,
    user_state_service_server::UserStateService, watch_user_states_response::Frame,
};
use tidings_rpc::{Problem, Violations};
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

/// No role is called so.
pub const UNKNOWN_ROLE: &str = "nobodys";

/// The feed is not silent for longer.
const BEAT: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub struct FakeUser {
    pub username: String,
    pub email: String,
    pub roles: Vec<String>,
    pub is_bot: bool,
    pub status: UserStatus,
    pub token_epoch: i64,
    pub login_epoch: i64,
    pub deletion_final: bool,
    pub permissions: Vec<i32>,
    pub email_verified: bool,
    pub logged_in_until: Option<prost_types::Timestamp>,
    pub revision: i64,
    /// Of auth's last statement about the address.
    pub email_revision: i64,
    pub external_id: String,
    /// Of the newest entry about the user.
    pub number: i64,
}

#[derive(Debug, Clone, Default)]
pub struct FakeUsers {
    users: Arc<Mutex<HashMap<String, FakeUser>>>,
    discarded: Arc<Mutex<HashSet<String>>>,
    away: Arc<AtomicBool>,
    feed: Arc<Mutex<Feed>>,
    /// Wakes the streams of the feed.
    changed: Arc<watch::Sender<()>>,
    /// Users whom a user is not to act on.
    pub above: Arc<Mutex<HashSet<(String, String)>>>,
}

/// What has been told of users.
#[derive(Debug, Default)]
struct Feed {
    entries: Vec<UserState>,
    /// Entries up to this number are no longer kept.
    forgotten: i64,
    /// Ends open streams where it rises.
    generation: u64,
}

impl FakeUser {
    /// A user whose registration is not complete.
    pub fn new(username: &str, email: &str) -> Self {
        Self {
            username: username.to_owned(),
            email: email.to_owned(),
            roles: Vec::new(),
            is_bot: false,
            status: UserStatus::Pending,
            token_epoch: 1,
            login_epoch: 0,
            deletion_final: false,
            number: 0,
            permissions: vec![1],
            email_verified: false,
            logged_in_until: None,
            revision: 0,
            email_revision: 0,
            external_id: String::new(),
        }
    }
}

impl FakeUsers {
    pub fn insert(&self, user_id: &str, user: FakeUser) {
        self.users.lock().insert(user_id.to_owned(), user);
    }

    pub fn go_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
        self.changed.send_replace(());
    }

    pub fn get(&self, user_id: &str) -> Option<FakeUser> {
        self.users.lock().get(user_id).cloned()
    }

    pub fn named(&self, username: &str) -> Option<(String, FakeUser)> {
        let users = self.users.lock();
        users
            .iter()
            .find(|(_, user)| user.username == username)
            .map(|(id, user)| (id.clone(), user.clone()))
    }

    pub fn change(&self, user_id: &str, change: impl FnOnce(&mut FakeUser)) {
        change(self.users.lock().get_mut(user_id).expect("the user is there"));
    }

    /// Changes a user and tells it, as the user service does.
    pub fn tell(&self, user_id: &str, change: impl FnOnce(&mut FakeUser)) {
        let mut users = self.users.lock();
        let user = users.get_mut(user_id).expect("the user is there");
        change(user);
        let entry = state(user_id, user).expect("a state");
        let mut feed = self.feed.lock();
        let number = feed.forgotten + i64::try_from(feed.entries.len()).expect("few") + 1;
        user.number = number;
        feed.entries.push(UserState { number, ..entry });
        self.changed.send_replace(());
    }

    /// Suspends a user, with all that follows for tokens.
    pub fn suspend(&self, user_id: &str) {
        self.tell(user_id, |user| {
            user.status = UserStatus::Suspended;
            user.token_epoch += 1;
            user.login_epoch = user.token_epoch;
        });
    }

    /// Permits a user to act again.
    pub fn reactivate(&self, user_id: &str) {
        self.tell(user_id, |user| {
            user.status = UserStatus::Active;
            user.token_epoch += 1;
        });
    }

    /// Forgets what has been told, and ends the streams.
    pub fn forget_feed(&self) {
        let mut feed = self.feed.lock();
        feed.forgotten += i64::try_from(feed.entries.len()).expect("few");
        feed.entries.clear();
        feed.generation += 1;
        self.changed.send_replace(());
    }

    /// Numbers what is told from here on, as a restored backup does, and ends the streams.
    pub fn restore_feed(&self, number: i64) {
        let mut feed = self.feed.lock();
        feed.forgotten = number;
        feed.entries.clear();
        feed.generation += 1;
        self.changed.send_replace(());
        for user in self.users.lock().values_mut() {
            user.number = user.number.min(number);
        }
    }

    fn there(&self) -> Result<(), Status> {
        if self.away.load(Ordering::SeqCst) {
            Err(problem(ErrorReason::DependencyUnavailable))
        } else {
            Ok(())
        }
    }
}

fn problem(reason: ErrorReason) -> Status {
    Problem::new(reason).into()
}

fn state(user_id: &str, user: &FakeUser) -> Option<UserState> {
    Some(UserState {
        number: user.number,
        user_id: user_id.to_owned(),
        token_epoch: user.token_epoch,
        status: user.status.into(),
        username: user.username.clone(),
        permissions: user.permissions.clone(),
        roles: user.roles.clone(),
        login_epoch: user.login_epoch,
        deletion_final: user.deletion_final,
        is_bot: user.is_bot,
        ..UserState::default()
    })
}

#[tonic::async_trait]
impl ProvisioningService for FakeUsers {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        self.there()?;
        let request = request.into_inner();
        if self.discarded.lock().contains(&request.user_id) {
            return Err(problem(ErrorReason::StateUnsuitable));
        }
        if request.role_names.iter().any(|name| name == UNKNOWN_ROLE) {
            let mut violations = Violations::new();
            violations.add("role_names", "names a role that is not there");
            return Err(Problem::from(violations).into());
        }
        let mut users = self.users.lock();
        let others = || {
            users
                .iter()
                .filter(|(id, _)| **id != request.user_id)
                .map(|(_, user)| user)
        };
        if request.username == "root" || others().any(|user| user.username == request.username) {
            return Err(problem(ErrorReason::UsernameTaken));
        }
        let same_email = |user: &FakeUser| user.email.eq_ignore_ascii_case(&request.email);
        let taken = !request.email.is_empty() && others().any(same_email);
        let lacking = |user: &FakeUser| user.status == UserStatus::Pending && user.email.is_empty();
        let known = users.get(&request.user_id);
        if taken && !request.may_lack_email && known.is_none_or(lacking) {
            return Err(problem(ErrorReason::EmailTaken));
        }
        let same_external = |user: &FakeUser| user.external_id == request.external_id;
        if !request.external_id.is_empty() && others().any(same_external) {
            return Err(problem(ErrorReason::NameTaken));
        }
        if !request.actor_user_id.is_empty() && request.role_names.iter().any(|name| name == "admin") {
            // As for an actor whose token does not reach what the role allows.
            let manages = i32::from(Permission::UsersManage);
            if !request.actor_permissions.contains(&manages) {
                return Err(Problem::new(ErrorReason::PermissionMissing)
                    .with("permission", "USERS_MANAGE")
                    .into());
            }
        }
        let email = if taken { "" } else { &request.email };
        let user = users.entry(request.user_id.clone()).or_insert_with(|| FakeUser {
            roles: request.role_names,
            is_bot: request.is_bot,
            external_id: request.external_id,
            ..FakeUser::new(&request.username, email)
        });
        if !request.may_lack_email && lacking(user) {
            user.email = request.email;
        }
        Ok(Response::new(CreateUserResponse {
            state: state(&request.user_id, user),
            email_taken: request.may_lack_email && lacking(user),
        }))
    }

    async fn activate_user(
        &self,
        request: Request<ActivateUserRequest>,
    ) -> Result<Response<ActivateUserResponse>, Status> {
        self.there()?;
        let request = request.into_inner();
        let mut users = self.users.lock();
        let user = users
            .get_mut(&request.user_id)
            .ok_or_else(|| problem(ErrorReason::NotFound))?;
        if user.status == UserStatus::Pending {
            user.status = UserStatus::Active;
        }
        user.email_verified |= request.email_verified;
        Ok(Response::new(ActivateUserResponse {
            state: state(&request.user_id, user),
        }))
    }

    async fn discard_user(
        &self,
        request: Request<DiscardUserRequest>,
    ) -> Result<Response<DiscardUserResponse>, Status> {
        self.there()?;
        let DiscardUserRequest { user_id, email_only } = request.into_inner();
        let mut users = self.users.lock();
        if users
            .get(&user_id)
            .is_some_and(|user| user.status != UserStatus::Pending)
        {
            return Err(problem(ErrorReason::StateUnsuitable));
        }
        if email_only {
            if let Some(user) = users.get_mut(&user_id) {
                user.email.clear();
            }
            return Ok(Response::new(DiscardUserResponse {}));
        }
        users.remove(&user_id);
        self.discarded.lock().insert(user_id);
        Ok(Response::new(DiscardUserResponse {}))
    }

    async fn set_logged_in(
        &self,
        request: Request<SetLoggedInRequest>,
    ) -> Result<Response<SetLoggedInResponse>, Status> {
        self.there()?;
        let request = request.into_inner();
        let mut users = self.users.lock();
        let user = users
            .get_mut(&request.user_id)
            .ok_or_else(|| problem(ErrorReason::NotFound))?;
        if user.status == UserStatus::Active && (request.revision == 0 || request.revision > user.revision) {
            user.revision = request.revision;
            user.logged_in_until = request.logged_in_until;
        }
        Ok(Response::new(SetLoggedInResponse {
            state: state(&request.user_id, user),
        }))
    }

    async fn change_user_email(
        &self,
        request: Request<ChangeUserEmailRequest>,
    ) -> Result<Response<ChangeUserEmailResponse>, Status> {
        self.there()?;
        let request = request.into_inner();
        let mut users = self.users.lock();
        let status = users.get(&request.user_id).map(|user| user.status);
        if !matches!(
            status.ok_or_else(|| problem(ErrorReason::NotFound))?,
            UserStatus::Active | UserStatus::Suspended
        ) {
            return Err(problem(ErrorReason::StateUnsuitable));
        }
        let same = |user: &FakeUser| user.email.eq_ignore_ascii_case(&request.email);
        if users.iter().any(|(id, user)| *id != request.user_id && same(user)) {
            return Err(problem(ErrorReason::EmailTaken));
        }
        let user = users.get_mut(&request.user_id).expect("just seen");
        if request.revision > user.email_revision {
            (user.email, user.email_verified) = (request.email, true);
            user.email_revision = request.revision;
        }
        Ok(Response::new(ChangeUserEmailResponse {
            state: state(&request.user_id, user),
        }))
    }

    async fn check_authority(
        &self,
        request: Request<CheckAuthorityRequest>,
    ) -> Result<Response<CheckAuthorityResponse>, Status> {
        self.there()?;
        let request = request.into_inner();
        let held = self
            .users
            .lock()
            .get(&request.target_user_id)
            .map(|user| user.permissions.clone());
        let mut held = held.ok_or_else(|| problem(ErrorReason::NotFound))?.into_iter();
        let lacking = held.find(|number| !request.actor_permissions.contains(number));
        if let Some(number) = lacking.filter(|_| request.takes_over) {
            let lacking = Permission::try_from(number).expect("a permission");
            let name = lacking.as_str_name().trim_start_matches("PERMISSION_");
            return Err(Problem::new(ErrorReason::PermissionMissing)
                .with("permission", name)
                .into());
        }
        let pair = (request.actor_user_id, request.target_user_id);
        if self.above.lock().contains(&pair) {
            return Err(problem(ErrorReason::RankTooLow));
        }
        Ok(Response::new(CheckAuthorityResponse {}))
    }

    async fn batch_get_user_states(
        &self,
        request: Request<BatchGetUserStatesRequest>,
    ) -> Result<Response<BatchGetUserStatesResponse>, Status> {
        self.there()?;
        let users = self.users.lock();
        let states = request.get_ref().user_ids.iter();
        let states = states.filter_map(|user_id| state(user_id, users.get(user_id)?));
        Ok(Response::new(BatchGetUserStatesResponse {
            states: states.collect(),
        }))
    }

    async fn get_external_user(
        &self,
        request: Request<GetExternalUserRequest>,
    ) -> Result<Response<GetExternalUserResponse>, Status> {
        self.there()?;
        let external_id = request.into_inner().external_id;
        let users = self.users.lock();
        let found = users.iter().find(|(_, user)| user.external_id == external_id);
        let (user_id, user) = found.ok_or_else(|| problem(ErrorReason::NotFound))?;
        Ok(Response::new(GetExternalUserResponse {
            state: state(user_id, user),
        }))
    }

    async fn delete_bot(&self, request: Request<DeleteBotRequest>) -> Result<Response<DeleteBotResponse>, Status> {
        self.there()?;
        let request = request.into_inner();
        let user = self
            .get(&request.user_id)
            .ok_or_else(|| problem(ErrorReason::NotFound))?;
        if !user.is_bot {
            return Err(problem(ErrorReason::KindUnsuitable));
        }
        let pair = (request.actor_user_id, request.user_id.clone());
        if self.above.lock().contains(&pair) {
            return Err(problem(ErrorReason::RankTooLow));
        }
        if user.status != UserStatus::Deleted {
            self.tell(&request.user_id, |user| {
                user.status = UserStatus::Deleted;
                user.token_epoch += 1;
                user.login_epoch = user.token_epoch;
            });
        }
        let user = self.get(&request.user_id).expect("deleted users are known");
        Ok(Response::new(DeleteBotResponse {
            state: state(&request.user_id, &user),
        }))
    }
}

#[tonic::async_trait]
impl UserStateService for FakeUsers {
    type WatchUserStatesStream = Pin<Box<dyn Stream<Item = Result<WatchUserStatesResponse, Status>> + Send>>;

    async fn watch_user_states(
        &self,
        request: Request<WatchUserStatesRequest>,
    ) -> Result<Response<Self::WatchUserStatesStream>, Status> {
        self.there()?;
        let after = request.into_inner().after_number;
        let (sent, generation) = {
            let feed = self.feed.lock();
            let head = feed.forgotten + i64::try_from(feed.entries.len()).expect("few");
            match after {
                0 => (feed.forgotten, feed.generation),
                after if after < feed.forgotten => return Err(problem(ErrorReason::CursorExpired)),
                after if after > head => return Err(problem(ErrorReason::CursorInvalid)),
                after => (after, feed.generation),
            }
        };
        let start = (self.clone(), self.changed.subscribe(), sent, true);
        let frames = futures_util::stream::unfold(start, move |(users, mut changed, sent, beat)| async move {
            if !beat {
                // What has changed is told at once; else there is a heartbeat.
                let _ = timeout(BEAT, changed.changed()).await;
            }
            let (frame, sent) = users.frame(sent, beat, generation)?;
            Some((
                frame.map(|frame| WatchUserStatesResponse { frame: Some(frame) }),
                (users, changed, sent, !beat),
            ))
        });
        Ok(Response::new(frames.boxed()))
    }

    async fn list_blocks(&self, _: Request<ListBlocksRequest>) -> Result<Response<ListBlocksResponse>, Status> {
        // Nobody blocks anybody here.
        Ok(Response::new(ListBlocksResponse::default()))
    }

    async fn list_deleted_users(
        &self,
        _: Request<ListDeletedUsersRequest>,
    ) -> Result<Response<ListDeletedUsersResponse>, Status> {
        Err(Status::unimplemented("auth does not ask"))
    }
}

impl FakeUsers {
    /// The next frame: a heartbeat, or what there is to tell. `None` ends the stream.
    fn frame(&self, sent: i64, beat: bool, generation: u64) -> Option<(Result<Frame, Status>, i64)> {
        let feed = self.feed.lock();
        if feed.generation != generation {
            return None;
        }
        if self.there().is_err() {
            return Some((Err(problem(ErrorReason::DependencyUnavailable)), sent));
        }
        let head_number = feed.forgotten + i64::try_from(feed.entries.len()).expect("few");
        let states: Vec<UserState> = feed
            .entries
            .iter()
            .filter(|entry| entry.number > sent)
            .cloned()
            .collect();
        let frame = if beat || states.is_empty() {
            let heartbeat = FeedHeartbeat {
                head_number,
                sent_number: sent,
            };
            (Frame::Heartbeat(heartbeat), sent)
        } else {
            (Frame::States(UserStateBatch { states }), head_number)
        };
        Some((Ok(frame.0), frame.1))
    }
}
