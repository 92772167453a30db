//! Every kind of token in every field that takes a token (`reliability.md` A29, A36, B064, B066): it is taken in the fields of its
//! own kind, and nowhere else; and cut off it is taken nowhere at all.
//!
//! The fields come from the descriptors: those that hold secrets, and page tokens. What each takes stands in the table.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, Value};
use serde_json::json;
use tidings_authn::Service;
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{Forge, Method, Shape, Suite, assert_contract, is_secret, reason_of};

use super::claim::sign;
use crate::{
    bad_inputs::{Field, Stage, public_methods},
    matrix::{
        cast::Cast,
        scene::{Needs, Scene},
    },
};

/// Fields that are played at once.
const AT_ONCE: usize = 8;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Access,
    AccessOfAKey,
    Refresh,
    ApiKey,
    Device,
    Reset,
    Verification,
    Page,
    RecoveryCode,
    ServiceIdentity,
    /// Signed with our own key, and of another type.
    OfAnotherType,
}

/// What a field does with a token that is not of its kind.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Refuses the call with one of these reasons.
    Refused(&'static [ErrorReason]),
    /// Says that it is not active.
    Inactive,
    /// Does as if it were not there, or as with any other text.
    NoMatter,
}

/// The table: what a field takes, and what becomes of everything else.
const FIELDS: &[(&str, &[Kind], Answer)] = {
    use Answer::{Inactive, NoMatter, Refused};
    use ErrorReason as R;
    const WRONG: Answer = Refused(&[R::CredentialsInvalid]);
    // A text that is too long for what it stands for is told so.
    const NO_PROOF: Answer = Refused(&[R::CredentialsInvalid, R::FieldInvalid, R::RateLimited]);
    &[
        ("RefreshTokenRequest.refresh_token", &[Kind::Refresh], WRONG),
        ("ResetPasswordRequest.token", &[Kind::Reset], WRONG),
        ("VerifyEmailRequest.token", &[Kind::Verification], WRONG),
        ("ExchangeApiKeyRequest.key", &[Kind::ApiKey], WRONG),
        (
            "IntrospectTokenRequest.token",
            &[Kind::Access, Kind::AccessOfAKey, Kind::Refresh, Kind::ApiKey],
            Inactive,
        ),
        (
            "ExchangeExternalTokenRequest.id_token",
            &[],
            Refused(&[R::FeatureDisabled]),
        ),
        // Not even a code of the same kind counts where the account asks for none.
        ("LoginRequest.device_token", &[], NoMatter),
        ("LoginRequest.totp_code", &[], NoMatter),
        ("LoginRequest.recovery_code", &[], NoMatter),
        ("RemoveTotpRequest.current_password", &[], NoMatter),
        ("RemoveTotpRequest.totp_code", &[], NoMatter),
        ("RemoveTotpRequest.recovery_code", &[], NoMatter),
        ("LoginRequest.password", &[], NO_PROOF),
        ("ChangePasswordRequest.current_password", &[], NO_PROOF),
        ("ChangeEmailRequest.current_password", &[], NO_PROOF),
        ("EnrollTotpRequest.current_password", &[], NO_PROOF),
        ("GenerateRecoveryCodesRequest.current_password", &[], NO_PROOF),
        ("GenerateRecoveryCodesRequest.totp_code", &[], NO_PROOF),
        ("ConfirmTotpRequest.totp_code", &[], NO_PROOF),
        // Whatever is long enough makes a password.
        ("RegisterRequest.password", &[], NoMatter),
        ("ResetPasswordRequest.new_password", &[], NoMatter),
        ("ChangePasswordRequest.new_password", &[], NoMatter),
        ("SetPasswordRequest.new_password", &[], NoMatter),
        (
            "ListUsersRequest.page_token",
            &[Kind::Page],
            Refused(&[R::PageTokenInvalid]),
        ),
        // A page token of another list; bad inputs have those of this one.
        ("*.page_token", &[], Refused(&[R::PageTokenInvalid])),
    ]
};

#[test]
fn every_field_for_a_token_says_what_it_takes() {
    let mut lines: BTreeSet<&str> = FIELDS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(lines.len(), FIELDS.len(), "a line stands twice");
    for (method, field) in fields() {
        let found = line_of(&method, &field);
        let (name, ..) = found.unwrap_or_else(|| panic!("{} of {} has no line", field.name(), method.full_name()));
        lines.remove(name);
    }
    assert!(lines.is_empty(), "lines for no field: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_kind_is_taken_for_no_other() {
    let suite = Suite::start(Shape::One).await;
    let cast = Cast::gather(&suite).await;
    let tokens = tokens(&suite, &cast).await;
    let fields = fields();
    let played = stream::iter(&fields).map(|(method, field)| one(&cast, method, field, &tokens));
    let played: Vec<(usize, Vec<String>)> = played.buffer_unordered(AT_ONCE).collect().await;
    let calls: usize = played.iter().map(|(calls, _)| calls).sum();
    let findings: Vec<String> = played.into_iter().flat_map(|(_, findings)| findings).collect();
    assert!(calls > 300, "only {calls} calls");
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// Plays all tokens in one field, and what its own kind leaves when it is cut off. Returns how many calls that were.
async fn one(cast: &Cast, method: &Method, field: &Field, tokens: &[(Kind, String)]) -> (usize, Vec<String>) {
    let (_, own, answer) = line_of(method, field).expect("every field has a line");
    let mut stage = Stage::set(cast, method).await;
    let mut tried: Vec<(String, String)> = tokens
        .iter()
        .filter(|(kind, _)| !own.contains(kind))
        .map(|(kind, token)| (format!("{kind:?}"), token.clone()))
        .collect();
    for kind in *own {
        let (_, whole) = tokens
            .iter()
            .find(|(other, _)| other == kind)
            .expect("one of each kind");
        let lengths = (1..whole.len()).filter(|length| length.is_multiple_of(7) || length + 3 > whole.len());
        tried.extend(lengths.map(|length| (format!("{length} of {kind:?}"), whole[..length].to_owned())));
        tried.push((format!("{kind:?} and more"), format!("{whole}A")));
    }
    let mut findings = Vec::new();
    for (what, token) in &tried {
        let mut request = stage.request();
        field.set(&mut request, Value::String(token.clone()));
        let outcome = stage.call(cast, request).await;
        let wrong = judge(*answer, &outcome);
        findings.extend(wrong.map(|wrong| format!("{} {} = {what}: {wrong}", method.full_name(), field.name())));
    }
    // The very token that was tried in pieces is as good as before.
    if !own.is_empty() && matches!(answer, Answer::Refused(_)) {
        let request = stage.request();
        if let Err(status) = stage.call(cast, request).await {
            findings.push(format!("{}: the good token is refused: {status:?}", method.full_name()));
        }
    }
    (tried.len(), findings)
}

fn judge(answer: Answer, outcome: &Result<DynamicMessage, tonic::Status>) -> Option<String> {
    match (answer, outcome) {
        (Answer::Refused(reasons), Err(status)) => {
            assert_contract(status);
            (!reasons.contains(&reason_of(status))).then(|| format!("must be one of {reasons:?}, got {status:?}"))
        }
        (Answer::Refused(reasons), Ok(_)) => Some(format!("must be one of {reasons:?}, got OK")),
        (Answer::Inactive, Ok(message)) => {
            let active = message.get_field_by_name("active");
            let active = active.is_none_or(|active| active.as_bool() != Some(false));
            (active || message.fields().count() > 0).then(|| format!("must be told of as inactive: {message:?}"))
        }
        (Answer::Inactive, Err(status)) => Some(format!("must be told of as inactive: {status:?}")),
        (Answer::NoMatter, Ok(_)) => None,
        (Answer::NoMatter, Err(status)) => {
            assert_contract(status);
            None
        }
    }
}

/// One genuine token of each kind.
async fn tokens(suite: &Suite, cast: &Cast) -> Vec<(Kind, String)> {
    let of = async |needs: Needs, name: &str| {
        let scene = Scene::set(cast, needs).await;
        scene.get(name).expect("the scene has it").to_owned()
    };
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let login = json!({ "identifier": cast.owner.username, "password": cast.owner.password });
    let login = cast.api.json("tidings.auth.v1.AuthService.Login", login, None);
    let login = login.await.expect("logs in");
    let page = json!({ "pageSize": 1 });
    let page = cast.call(&cast.owner, "user.v1.UserService.ListUsers", page).await;
    let (mut scene, newcomer) = (
        Scene::set(cast, Needs::Nothing).await,
        tidings_testkit::Actor::register(&cast.channel, "newcomer").await,
    );
    scene.own(cast, Needs::OwnConfirmedApp, &newcomer).await;
    let codes = json!({ "currentPassword": newcomer.password });
    let codes = cast
        .call(&newcomer, "auth.v1.CredentialService.GenerateRecoveryCodes", codes)
        .await;
    let forge = Forge::set_up(suite).await;
    let claims = serde_json::to_value(forge.claims(&cast.owner)).expect("claims are JSON");
    let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": forge.key_id() });
    vec![
        (Kind::Access, cast.owner.access_token.clone()),
        (Kind::AccessOfAKey, cast.bot_outside.access_token.clone()),
        (Kind::Refresh, of(Needs::RefreshToken, "refresh_token").await),
        (Kind::ApiKey, of(Needs::ServiceAccount, "key").await),
        (Kind::Device, text(&login["deviceToken"])),
        (Kind::Reset, of(Needs::ResetToken, "token").await),
        (Kind::Verification, of(Needs::VerificationToken, "token").await),
        (Kind::Page, text(&page["nextPageToken"])),
        (Kind::RecoveryCode, text(&codes["recoveryCodes"][0])),
        (Kind::ServiceIdentity, cast.identity_of(Service::Gateway, Service::Auth)),
        (Kind::OfAnotherType, sign(&forge, &header, &claims)),
    ]
}

/// The fields of all requests that hold secrets or page tokens.
fn fields() -> Vec<(Method, Field)> {
    let methods = public_methods().into_iter();
    let fields = methods.flat_map(|method| {
        let fields = Field::all(&method).into_iter();
        let fields = fields.filter(|field| is_secret(field.descriptor()) || field.name() == "page_token");
        fields.map(|field| (method.clone(), field)).collect::<Vec<_>>()
    });
    fields.collect()
}

type Line = (&'static str, &'static [Kind], Answer);

fn line_of(method: &Method, field: &Field) -> Option<&'static Line> {
    let named = |wanted: String| FIELDS.iter().find(|(name, ..)| *name == wanted);
    named(format!("{}.{}", method.input().name(), field.name())).or_else(|| named(format!("*.{}", field.name())))
}
