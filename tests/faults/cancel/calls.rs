//! Every RPC that changes something, each with who calls it and a scene for it: the table of the matrix, and what that has no use
//! for.

use std::sync::Arc;

use prost_reflect::{DynamicMessage, MethodDescriptor};
use serde_json::Value;
use tidings_authn::{Service, ServiceIdentity, SuiteSecret};
use tidings_ids::Source;
use tidings_proto_common::v1::{Authentication, Idempotency, Permission};
use tidings_rpc::{Policies, Policy};
use tidings_testkit::{Actor, Api, Method, Process, Shape, Suite, idempotency, request_id};
use tonic::Status;

use crate::{
    cast::{Cast, Role},
    rows::{Relation, Row, row_of},
    scene::{Needs, Scene},
};

/// Requests where that of the matrix would change nothing, and those between services, which the matrix only refuses. `{address}` is
/// the address of somebody who has just registered, `{stranger}` the id of such a user, `{pending}` that of one who is half-way, and
/// `{new}` a new id.
const OTHERWISE: &[(&str, Needs, &str)] = &[
    (
        "auth.v1.CredentialService.RequestPasswordReset",
        Needs::Nothing,
        r#"{"email":"{address}","requestId":"{request}"}"#,
    ),
    (
        "auth.v1.CredentialService.RequestEmailVerification",
        Needs::Nothing,
        r#"{"email":"{address}","requestId":"{request}"}"#,
    ),
    (
        "chat.v1.ChatService.OpenDirectChat",
        Needs::Nothing,
        r#"{"userId":"{stranger}"}"#,
    ),
    (
        "message.v1.ResponseService.CreateResponse",
        Needs::Session,
        r#"{"chatId":"{session}","messageId":"{question}","type":"MESSAGE_TYPE_TEXT","text":"another","requestId":"{request}"}"#,
    ),
    (
        "user.v1.ProvisioningService.CreateUser",
        Needs::Nothing,
        r#"{"userId":"{new}","username":"{fresh}","email":"{fresh}@example.org","displayName":"new","requestId":"{request}"}"#,
    ),
    (
        "user.v1.ProvisioningService.ActivateUser",
        Needs::Nothing,
        r#"{"userId":"{pending}"}"#,
    ),
    (
        "user.v1.ProvisioningService.DiscardUser",
        Needs::Nothing,
        r#"{"userId":"{pending}"}"#,
    ),
    (
        "user.v1.ProvisioningService.SetLoggedIn",
        Needs::Nothing,
        r#"{"userId":"{pending}","loggedInUntil":"2100-01-01T00:00:00Z","revision":"7"}"#,
    ),
    (
        "user.v1.ProvisioningService.ChangeUserEmail",
        Needs::Nothing,
        r#"{"userId":"{stranger}","email":"{fresh}@example.org","revision":"7"}"#,
    ),
    (
        "user.v1.ProvisioningService.DeleteBot",
        Needs::ServiceAccount,
        r#"{"userId":"{bot}","actorUserId":"{admin}"}"#,
    ),
    (
        "message.v1.MembershipLogService.ApplyMembershipChanges",
        Needs::Nothing,
        r#"{"audienceId":"{new}","changes":[{"number":"1","actorId":"{owner}","changeTime":"2025-01-01T00:00:00Z","memberPut":{"userId":"{owner}","role":"CHAT_ROLE_OWNER","createTime":"2025-01-01T00:00:00Z"}},{"number":"2","actorId":"{owner}","changeTime":"2025-01-01T00:00:00Z","memberPut":{"userId":"{member}","role":"CHAT_ROLE_MEMBER","createTime":"2025-01-01T00:00:00Z"}}]}"#,
    ),
];

/// The only RPCs that are not given up here; whatever else changes something is. The tests of auth repeat these.
const LEFT_OUT: [&str; 4] = [
    // They issue something new with each call, and with the first call also make what the next ones find: their effects do not
    // add up.
    "auth.v1.AuthService.CreateUserToken",
    "auth.v1.CredentialService.EnrollTotp",
    // The suite has no issuer: the deployment has it switched off.
    "auth.v1.AuthService.ExchangeExternalToken",
    // Two rotations must lie apart in time, so that it can be called once in a suite, and not be compared with a second time.
    "auth.v1.AuthService.RotateSigningKey",
];

/// An RPC that changes something.
pub struct Call {
    pub method: Method,
    pub idempotency: Idempotency,
    policy: Arc<Policy>,
    relation: Relation,
    needs: Needs,
    template: &'static str,
}

/// A call that is ready to be made, again and again.
#[derive(Clone)]
pub struct Ready {
    api: Api,
    method: Method,
    message: DynamicMessage,
    header: Option<(&'static str, String)>,
}

/// All of them, by the descriptors.
pub fn all() -> Vec<Call> {
    let policies = policies();
    let mutating = Api::methods().into_iter().filter_map(|method| {
        let idempotency = idempotency(&method);
        (idempotency != Idempotency::Read).then_some((method, idempotency))
    });
    mutating
        .filter(|(method, _)| !LEFT_OUT.contains(&short(method)))
        .map(|(method, idempotency)| {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let policy = policies.get(&path).expect("every RPC declares its policy").clone();
            let name = short(&method);
            let Row {
                relation,
                needs,
                request,
                ..
            } = row_of(name);
            let otherwise = OTHERWISE.iter().find(|(rpc, ..)| *rpc == name);
            let (needs, template) = otherwise.map_or((*needs, *request), |(_, needs, request)| (*needs, *request));
            Call {
                relation: *relation,
                method,
                idempotency,
                policy,
                needs,
                template,
            }
        })
        .collect()
}

impl Call {
    /// Whether only services may make it, so that it cannot be made through the gateway.
    pub fn is_internal(&self) -> bool {
        self.policy.authentication == Authentication::Service
    }

    /// Whether each call issues something new.
    pub fn issues(&self) -> bool {
        self.idempotency == Idempotency::Issues
    }

    /// The process of five that serves it.
    pub fn process(&self) -> Process {
        match package(&self.method) {
            "auth" => Process::Auth,
            "user" => Process::User,
            "chat" => Process::Chat,
            _ => Process::Message,
        }
    }

    /// Its path, as logs name it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.method.parent_service().full_name(), self.method.name())
    }

    /// Sets a scene for it, so that it can be made there.
    pub async fn prepare(&self, suite: &Suite, cast: &Cast) -> Ready {
        let (scene, own) = Scene::set_for(cast, self.needs, Role::Owner).await;
        let mut template = self.template.replace("{new}", &request_id());
        if template.contains("{address}") {
            template = template.replace("{address}", &Actor::register(&cast.channel, "newcomer").await.email);
        }
        if template.contains("{stranger}") {
            template = template.replace("{stranger}", &Actor::register(&cast.channel, "stranger").await.user_id);
        }
        if template.contains("{pending}") {
            template = template.replace("{pending}", &pending_user(suite).await);
        }
        let request = scene.fill(&template);
        Ready {
            api: if self.is_internal() {
                Api::new(suite.direct(self.process()))
            } else {
                cast.api.clone()
            },
            message: message(&self.method, &request),
            header: self.header(suite, cast, own),
            method: self.method.clone(),
        }
    }

    fn header(&self, suite: &Suite, cast: &Cast, own: Option<String>) -> Option<(&'static str, String)> {
        match self.policy.authentication {
            Authentication::Service => Some(service_header(suite, self.process())),
            Authentication::User => {
                let token = match (self.needs, self.relation) {
                    (needs, _) if needs.is_own() => own,
                    (_, Relation::Responder) => Some(cast.assistant.access_token.clone()),
                    (_, Relation::Leaver) => cast.token_of(Role::Member),
                    (_, Relation::Product) => cast.token_of(Role::Product),
                    (_, Relation::Operator) => cast.token_of(Role::Admin),
                    _ if self.is_for_admins() => cast.token_of(Role::Admin),
                    _ => cast.token_of(Role::Owner),
                };
                token.map(|token| ("authorization", format!("Bearer {token}")))
            }
            _ => None,
        }
    }

    /// What a member of the deployment may not do.
    fn is_for_admins(&self) -> bool {
        let of_members = [
            Permission::Unspecified,
            Permission::UsersList,
            Permission::GroupsCreate,
            Permission::ChatsCreate,
        ];
        !of_members.contains(&self.policy.permission)
    }
}

impl Ready {
    /// The same call by another way.
    pub fn through(self, api: Api) -> Self {
        Self { api, ..self }
    }

    /// Makes it.
    pub async fn make(&self) -> Result<DynamicMessage, Status> {
        let headers: Vec<(&'static str, &str)> = self
            .header
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.api.call(&self.method, self.message.clone(), &headers).await
    }
}

fn message(method: &MethodDescriptor, request: &Value) -> DynamicMessage {
    DynamicMessage::deserialize(method.input(), request)
        .unwrap_or_else(|error| panic!("{}: {error}", method.full_name()))
}

/// A user as a registration leaves it half-way.
async fn pending_user(suite: &Suite) -> String {
    let create = Api::method("tidings.user.v1.ProvisioningService.CreateUser");
    let (user_id, name) = (request_id(), format!("p{}", &request_id().replace('-', "")[16..]));
    let request = serde_json::json!({
        "userId": user_id, "username": name, "email": format!("{name}@example.org"), "displayName": "pending",
    });
    let (header, token) = service_header(suite, Process::User);
    let api = Api::new(suite.direct(Process::User));
    let created = api.call(&create, message(&create, &request), &[(header, &token)]).await;
    created.expect("a pending user");
    user_id
}

/// The proof of the service that may make internal calls to this one.
fn service_header(suite: &Suite, callee: Process) -> (&'static str, String) {
    assert_eq!(suite.shape(), Shape::Five, "services have no ports of their own");
    let (caller, callee) = match callee {
        Process::User => (Service::Auth, Service::User),
        _ => (Service::Chat, Service::Message),
    };
    let identity = ServiceIdentity::new(caller, &suite_secret(suite), Source::system());
    ("x-tidings-service", identity.token_for(callee).to_string())
}

/// The secret of the deployment.
pub fn suite_secret(suite: &Suite) -> SuiteSecret {
    let secret = std::fs::read_to_string(suite.folder().join("suite")).expect("the suite has a secret");
    SuiteSecret::new(&secret).expect("it is long enough")
}

/// Its name, as the tables have it.
fn short(method: &Method) -> &str {
    method.full_name().trim_start_matches("tidings.")
}

#[test]
fn what_is_left_out_is_there_and_changes_something() {
    for name in LEFT_OUT {
        let method = Api::method(&format!("tidings.{name}"));
        assert_ne!(idempotency(&method), Idempotency::Read, "{name} has no place here");
    }
}

fn package(method: &Method) -> &str {
    method.full_name().split('.').nth(1).expect("tidings.<package>.v1")
}

fn policies() -> Policies {
    Policies::from_descriptors(&[
        tidings_proto_auth::FILE_DESCRIPTOR_SET,
        tidings_proto_user::FILE_DESCRIPTOR_SET,
        tidings_proto_chat::FILE_DESCRIPTOR_SET,
        tidings_proto_message::FILE_DESCRIPTOR_SET,
        tidings_proto_gateway::FILE_DESCRIPTOR_SET,
    ])
    .expect("every RPC declares its policy")
}
