//! A user service that keeps its users in memory, and can be told to be away.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{
    ActivateUserRequest, ActivateUserResponse, CreateUserRequest, CreateUserResponse, DiscardUserRequest,
    DiscardUserResponse, SetLoggedInRequest, SetLoggedInResponse, UserState, UserStatus,
    provisioning_service_server::ProvisioningService,
};
use tidings_rpc::Problem;
use tonic::{Request, Response, Status};

#[derive(Debug, Clone)]
pub struct FakeUser {
    pub username: String,
    pub email: String,
    pub roles: Vec<String>,
    pub is_bot: bool,
    pub status: UserStatus,
    pub token_epoch: i64,
    pub permissions: Vec<i32>,
    pub email_verified: bool,
    pub logged_in_until: Option<prost_types::Timestamp>,
    pub revision: i64,
}

#[derive(Debug, Clone, Default)]
pub struct FakeUsers {
    users: Arc<Mutex<HashMap<String, FakeUser>>>,
    discarded: Arc<Mutex<HashSet<String>>>,
    away: Arc<AtomicBool>,
}

impl FakeUsers {
    pub fn go_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
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
        number: 1,
        user_id: user_id.to_owned(),
        token_epoch: user.token_epoch,
        status: user.status.into(),
        username: user.username.clone(),
        permissions: user.permissions.clone(),
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
        if others().any(|user| user.email.to_lowercase() == request.email.to_lowercase()) {
            return Err(problem(ErrorReason::EmailTaken));
        }
        let user = users.entry(request.user_id.clone()).or_insert_with(|| FakeUser {
            username: request.username,
            email: request.email,
            roles: request.role_names,
            is_bot: request.is_bot,
            status: UserStatus::Pending,
            token_epoch: 1,
            permissions: vec![1],
            email_verified: false,
            logged_in_until: None,
            revision: 0,
        });
        Ok(Response::new(CreateUserResponse {
            state: state(&request.user_id, user),
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
        let user_id = request.into_inner().user_id;
        let mut users = self.users.lock();
        if users
            .get(&user_id)
            .is_some_and(|user| user.status != UserStatus::Pending)
        {
            return Err(problem(ErrorReason::StateUnsuitable));
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
}
