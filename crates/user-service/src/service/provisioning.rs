use tidings_proto_user::v1::{
    ActivateUserRequest, ActivateUserResponse, BatchGetUserStatesRequest, BatchGetUserStatesResponse,
    ChangeUserEmailRequest, ChangeUserEmailResponse, CheckAuthorityRequest, CheckAuthorityResponse, CreateUserRequest,
    CreateUserResponse, DeleteBotRequest, DeleteBotResponse, DiscardUserRequest, DiscardUserResponse,
    GetExternalUserRequest, GetExternalUserResponse, SetLoggedInRequest, SetLoggedInResponse,
    provisioning_service_server::ProvisioningService,
};
use tidings_rpc::{Violations, calling_service, text::TextRule};
use tonic::{Request, Response, Status};

use super::{Rpcs, take_request_id, valid};
use crate::{
    convert,
    email::Email,
    error::Error,
    permissions::Permissions,
    profile::EXTERNAL_ID,
    requests,
    role::{BOT_NAME, MEMBER_NAME},
    user::NewUser,
    username::{Username, is_name},
};

const CREATE_USER: &str = "tidings.user.v1.ProvisioningService/CreateUser";

/// Roles that an account can be created with.
const ROLE_NAMES_MAX: usize = 50;

/// Users in one `BatchGetUserStates`.
const STATES_MAX: usize = 500;

#[tonic::async_trait]
impl ProvisioningService for Rpcs {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let service = calling_service(&request).map_or("", |service| service.name());
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let request_id = take_request_id(&mut request.request_id, &mut violations);
        // The same user with it and without it.
        let may_lack_email = std::mem::take(&mut request.may_lack_email);
        let hash = self.environment.hasher.hash(CREATE_USER, &request);
        let new = NewUser {
            may_lack_email,
            ..parse_new_user(request, hash, violations)?
        };
        let id = request_id.unwrap_or_else(|| new.user_id.uuid());
        let repeatable = requests::Request {
            method: CREATE_USER,
            caller: service.to_owned(),
            id: Some(id),
            hash,
        };
        let created = self.directory.create_user(&repeatable, &new).await?;
        Ok(Response::new(CreateUserResponse {
            state: Some(created.state.into()),
            email_taken: created.email_taken,
        }))
    }

    async fn activate_user(
        &self,
        request: Request<ActivateUserRequest>,
    ) -> Result<Response<ActivateUserResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let user_id = valid(violations, user_id)?;
        let state = self.directory.activate_user(user_id, request.email_verified).await?;
        Ok(Response::new(ActivateUserResponse {
            state: Some(state.into()),
        }))
    }

    async fn discard_user(
        &self,
        request: Request<DiscardUserRequest>,
    ) -> Result<Response<DiscardUserResponse>, Status> {
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.get_ref().user_id);
        let user_id = valid(violations, user_id)?;
        if request.get_ref().email_only {
            self.directory.withdraw_email(user_id).await?;
        } else {
            self.directory.discard_user(user_id).await?;
        }
        Ok(Response::new(DiscardUserResponse {}))
    }

    async fn set_logged_in(
        &self,
        request: Request<SetLoggedInRequest>,
    ) -> Result<Response<SetLoggedInResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let until = request
            .logged_in_until
            .and_then(|until| convert::time("logged_in_until", until, &mut violations));
        if request.revision < 0 {
            violations.add("revision", "must not be negative");
        }
        let user_id = valid(violations, user_id)?;
        let state = self.directory.set_logged_in(user_id, until, request.revision).await?;
        Ok(Response::new(SetLoggedInResponse {
            state: Some(state.into()),
        }))
    }

    async fn check_authority(
        &self,
        request: Request<CheckAuthorityRequest>,
    ) -> Result<Response<CheckAuthorityResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let actor = violations.id("actor_user_id", &request.actor_user_id);
        let target = violations.id("target_user_id", &request.target_user_id);
        let reach = Permissions::parse("actor_permissions", &request.actor_permissions, &mut violations);
        if !request.takes_over && !request.actor_permissions.is_empty() {
            violations.add("actor_permissions", "must be empty unless takes_over is set");
        }
        Error::if_any(violations)?;
        let (actor, target) = actor.zip(target).ok_or(Error::NotFound)?;
        let reach = request.takes_over.then_some(reach);
        self.directory.check_authority(actor, target, reach).await?;
        Ok(Response::new(CheckAuthorityResponse {}))
    }

    async fn batch_get_user_states(
        &self,
        request: Request<BatchGetUserStatesRequest>,
    ) -> Result<Response<BatchGetUserStatesResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_ids = violations.ids("user_ids", &request.user_ids, STATES_MAX);
        if request.user_ids.is_empty() {
            violations.add("user_ids", "must have at least one entry");
        }
        Error::if_any(violations)?;
        let states = self.directory.states(&user_ids).await?;
        Ok(Response::new(BatchGetUserStatesResponse {
            states: states.into_iter().map(Into::into).collect(),
        }))
    }

    async fn change_user_email(
        &self,
        request: Request<ChangeUserEmailRequest>,
    ) -> Result<Response<ChangeUserEmailResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let email = violations.check("email", Email::parse(&request.email));
        if request.revision < 1 {
            violations.add("revision", "must be at least 1");
        }
        Error::if_any(violations)?;
        let (user_id, email) = user_id.zip(email).ok_or(Error::NotFound)?;
        let state = self
            .directory
            .change_user_email(user_id, &email, request.revision)
            .await?;
        Ok(Response::new(ChangeUserEmailResponse {
            state: Some(state.into()),
        }))
    }

    async fn get_external_user(
        &self,
        request: Request<GetExternalUserRequest>,
    ) -> Result<Response<GetExternalUserResponse>, Status> {
        let external_id = request.into_inner().external_id;
        let mut violations = Violations::new();
        violations.check("external_id", EXTERNAL_ID.check(&external_id));
        Error::if_any(violations)?;
        let state = self.directory.external_user(&external_id).await?;
        Ok(Response::new(GetExternalUserResponse {
            state: Some(state.into()),
        }))
    }

    async fn delete_bot(&self, request: Request<DeleteBotRequest>) -> Result<Response<DeleteBotResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let actor = violations.id("actor_user_id", &request.actor_user_id);
        Error::if_any(violations)?;
        let (user_id, actor) = user_id.zip(actor).ok_or(Error::NotFound)?;
        let state = self.directory.delete_bot(user_id, actor).await?;
        Ok(Response::new(DeleteBotResponse {
            state: Some(state.into()),
        }))
    }
}

fn parse_new_user(request: CreateUserRequest, hash: [u8; 32], mut violations: Violations) -> Result<NewUser, Error> {
    let user_id = violations.id("user_id", &request.user_id);
    let username = violations.check("username", Username::parse(&request.username));
    let email = match request.email.as_str() {
        "" if request.is_bot || !request.external_id.is_empty() => None,
        email => violations.check("email", Email::parse(email)),
    };
    let display_name = if request.display_name.is_empty() {
        request.username
    } else {
        request.display_name
    };
    violations.check("display_name", TextRule::NAME.check(&display_name));
    violations.check("bio", TextRule::DESCRIPTION.check(&request.bio));
    let role_names = parse_role_names(request.role_names, request.is_bot, &mut violations);
    let external_id = Some(request.external_id).filter(|id| !id.is_empty());
    if let Some(id) = &external_id {
        violations.check("external_id", EXTERNAL_ID.check(id));
    }
    let actor = violations.optional_id("actor_user_id", &request.actor_user_id);
    let reach = Permissions::parse("actor_permissions", &request.actor_permissions, &mut violations);
    if actor.is_none() && !request.actor_permissions.is_empty() {
        violations.add("actor_permissions", "must be empty without an actor_user_id");
    }
    Error::if_any(violations)?;
    let (Some(user_id), Some(username)) = (user_id, username) else {
        return Err(Error::NotFound);
    };
    Ok(NewUser {
        user_id,
        username,
        email,
        may_lack_email: request.may_lack_email,
        display_name,
        bio: request.bio,
        is_bot: request.is_bot,
        role_names,
        external_id,
        actor: actor.map(|actor| (actor, reach)),
        hash,
    })
}

fn parse_role_names(mut names: Vec<String>, is_bot: bool, violations: &mut Violations) -> Vec<String> {
    if names.len() > ROLE_NAMES_MAX {
        violations.add("role_names", format!("must have at most {ROLE_NAMES_MAX} entries"));
    }
    for (index, name) in names.iter().enumerate() {
        if !is_name(name) {
            violations.add(format!("role_names[{index}]"), "must be the name of a role");
        }
    }
    if names.is_empty() {
        names.push(if is_bot { BOT_NAME } else { MEMBER_NAME }.to_owned());
    }
    names
}
