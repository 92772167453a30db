//! The paths of changes: of every RPC with an `update_mask`, every path that its table does not allow is refused, whoever calls,
//! and nothing is changed (`reliability.md` A12, B037).
//!
//! The paths come from the descriptors of the resource and of the request. Which of them can be changed, and which only by whoever
//! manages users, stands in the tables of bad inputs and below.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value};
use tidings_testkit::{Api, Method, Suite, reason_of};
use tonic::Code;

use super::{
    Door,
    cast::{Cast, Role},
    expected::{Expected, expected},
    is_internal, message, policies,
    rows::row_of,
    scene::Scene,
};
use crate::bad_inputs::{State, changeable};

/// Paths that a request can name, and only those who manage users may: the RPC's comment says so.
const PRIVILEGED: &[(&str, &str)] = &[("UpdateUserRequest", "external_id")];

/// Those who try: who may change the thing, who may see it, and who may do neither.
const CALLERS: [Role; 5] = [Role::Owner, Role::Admin, Role::Moderator, Role::Member, Role::Stranger];

/// Plays them all and returns what is wrong.
pub async fn play(suite: &Suite, cast: &Cast) -> Vec<String> {
    let pool = suite.database().pool();
    let mut wrong = Vec::new();
    let methods: Vec<Method> = Api::methods()
        .into_iter()
        .filter(|method| !is_internal(method) && mask_of(&method.input()).is_some())
        .collect();
    assert!(methods.len() >= 5, "changes are found by their masks: {methods:?}");
    let mut tried = 0;
    for method in &methods {
        let row = row_of(method.full_name());
        let scene = Scene::set(cast, row.needs).await;
        let before = State::of(&pool).await;
        for role in CALLERS {
            for paths in refused_paths(method, role) {
                let mut scene = scene.clone();
                scene.renew();
                let request = with_paths(message(method, &scene.fill(row.request)), &paths);
                tried += 1;
                wrong.extend(refused(cast, method, role, request, &paths).await);
            }
        }
        let changes = State::of(&pool).await.changes(&before);
        wrong.extend(
            changes
                .into_iter()
                .map(|change| format!("{}: {change}", method.full_name())),
        );
    }
    // Fewer would mean that the paths are not found.
    assert!(tried > 500, "only {tried} masks");
    wrong
}

async fn refused(
    cast: &Cast,
    method: &Method,
    role: Role,
    request: DynamicMessage,
    paths: &[String],
) -> Option<String> {
    let relation = row_of(method.full_name()).relation;
    let may_change = matches!(
        expected(policies(), method, relation, role, Door::Gateway),
        Expected::Ok
    );
    let bearer = format!("Bearer {}", cast.actor(role).access_token);
    let outcome = cast.api.call(method, request, &[("authorization", &bearer)]).await;
    let told = match &outcome {
        Ok(_) => "OK".to_owned(),
        Err(status) => format!("{:?} {:?}", status.code(), reason_of(status)),
    };
    let right = outcome.err().is_some_and(|status| match status.code() {
        Code::InvalidArgument | Code::PermissionDenied => true,
        // Who may not know of the thing learns nothing of its fields either.
        Code::NotFound => !may_change,
        _ => false,
    });
    (!right).then(|| format!("{role:?} calls {} for {paths:?}: {told}", method.full_name()))
}

/// The lists of paths that must be refused: each path alone, and beside one that is good.
fn refused_paths(method: &Method, role: Role) -> Vec<Vec<String>> {
    let request = method.input();
    let allowed = changeable(&request);
    let privileged: Vec<&str> = PRIVILEGED
        .iter()
        .filter(|(name, _)| *name == request.name())
        .map(|(_, path)| *path)
        .collect();
    let good = allowed
        .iter()
        .find(|path| !privileged.contains(path))
        .expect("a change changes something");
    let mut bad: Vec<String> = paths(&resource(method), 2);
    bad.extend(paths(&request, 1));
    bad.extend(["*".to_owned(), String::new(), format!("{good}."), format!(".{good}")]);
    bad.sort();
    bad.dedup();
    bad.retain(|path| {
        !allowed.contains(&path.as_str()) || (privileged.contains(&path.as_str()) && role != Role::Admin)
    });
    let beside = bad.iter().map(|path| vec![(*good).to_owned(), path.clone()]);
    beside.chain(bad.iter().map(|path| vec![path.clone()])).collect()
}

/// The thing that is changed: the first message in the response.
fn resource(method: &Method) -> MessageDescriptor {
    let field = method.output().fields().find_map(|field| inner(&field));
    field.unwrap_or_else(|| panic!("{} answers no resource", method.full_name()))
}

/// The paths to a message's fields, so many levels deep.
fn paths(message: &MessageDescriptor, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for field in message.fields() {
        found.push(field.name().to_owned());
        if field.is_map() {
            found.push(format!("{}.key", field.name()));
        } else if let (Some(inner), true) = (inner(&field), depth > 1) {
            let deeper = paths(&inner, depth - 1);
            found.extend(deeper.into_iter().map(|path| format!("{}.{path}", field.name())));
        }
    }
    found
}

fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(inner) if !field.is_map() => Some(inner),
        _ => None,
    }
}

fn mask_of(request: &MessageDescriptor) -> Option<FieldDescriptor> {
    request.get_field_by_name("update_mask")
}

fn with_paths(mut request: DynamicMessage, paths: &[String]) -> DynamicMessage {
    let field = mask_of(&request.descriptor()).expect("the request has a mask");
    let mask = request.get_field_mut(&field);
    let paths = paths.iter().cloned().map(Value::String).collect();
    let mask = mask.as_message_mut().expect("a mask is a message");
    mask.set_field_by_name("paths", Value::List(paths));
    request
}
