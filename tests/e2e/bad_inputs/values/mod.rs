//! What is sent for each kind of field, and what must come back. The numbers of `reliability.md` 3.2 stand beside what they ask for.

mod content;
mod credentials;
mod files;
mod identity;
mod ids;
mod known;
mod places;
mod text;
mod trail;

use bytes::Bytes;
use prost_reflect::{FieldDescriptor, Kind as Type, Value};
use tidings_proto_common::v1::ErrorReason;

use self::{
    content::{etags, external_ids, masks, metadata, texts, urls},
    credentials::{emails, identifiers, names, new_passwords, passwords, secrets},
    files::{digests, file_names, media_types, sizes},
    identity::{
        any_tokens, codes, device_tokens, key_permissions, method_names, proofs, questions, required, role_names,
        second_proofs, unasked,
    },
    ids::{ids, lists_of_ids, log_ids, request_ids},
    known::{known_emails, known_external_ids, known_names, new_names, owners_ids, queries, switched_off},
    places::{
        enums, lists_of_positions, page_sizes, page_tokens, permissions, positions, ranks, sequences, session_numbers,
    },
    trail::{actions, expiries, head_bytes, head_numbers, moments},
};
use super::{
    fields::Field,
    kinds::Kind,
    world::{Pages, World},
};

/// What a value must be answered with. Everything else is a finding, and so is a status that breaks the error contract.
#[derive(Debug, Clone, Copy)]
pub enum Wants {
    /// `FIELD_INVALID`, naming the field.
    Invalid,
    /// The same, but that somebody tried is kept.
    InvalidAndKept,
    /// `PAGE_TOKEN_INVALID`, naming the field.
    InvalidPageToken,
    /// `NOT_FOUND`, and all such answers to one RPC's field alike to the byte.
    Absent,
    /// One of these reasons.
    Refused(&'static [ErrorReason]),
    /// `USERNAME_TAKEN` or `NAME_TAKEN`. That somebody tried is kept.
    Taken,
    /// OK.
    Accepted,
    /// OK, and every reader sees exactly this.
    Shown,
    /// OK or a documented refusal.
    Either,
}

impl Wants {
    /// Whether nothing may have changed afterwards.
    pub fn is_refusal(self) -> bool {
        !matches!(
            self,
            Self::Accepted | Self::Shown | Self::Either | Self::Taken | Self::InvalidAndKept
        )
    }
}

/// One value for one field.
#[derive(Debug)]
pub struct Case {
    /// What it is, in words.
    pub what: String,
    pub value: Value,
    pub wants: Wants,
}

fn case(what: impl Into<String>, value: impl IntoValue, wants: Wants) -> Case {
    Case {
        what: what.into(),
        value: value.into_value(),
        wants,
    }
}

/// What a field can be set to, in the types of Rust.
trait IntoValue {
    fn into_value(self) -> Value;
}

/// The variant of [`Value`] that each type is.
macro_rules! values {
    ($($type:ty: $variant:ident,)+) => {$(
        impl IntoValue for $type {
            fn into_value(self) -> Value {
                Value::$variant(self)
            }
        }
    )+};
}

values! {
    String: String,
    bool: Bool,
    i32: I32,
    i64: I64,
    Bytes: Bytes,
    u32: U32,
}

impl IntoValue for Value {
    fn into_value(self) -> Value {
        self
    }
}

/// Cases of texts, each with what it is.
fn each<'a>(wants: Wants, texts: impl IntoIterator<Item = (&'a str, String)>) -> Vec<Case> {
    texts.into_iter().map(|(what, text)| case(what, text, wants)).collect()
}

/// Cases of short texts that say themselves what they are.
fn plain(wants: Wants, texts: &[&str]) -> Vec<Case> {
    texts
        .iter()
        .map(|text| case(format!("{text:?}"), (*text).to_owned(), wants))
        .collect()
}

/// All that is sent for a field.
pub fn cases(field: &Field, kind: Kind, base: &Value, world: &World, pages: Option<&Pages>) -> Vec<Case> {
    let mut cases = match kind {
        Kind::Id(id) => ids(id, world),
        Kind::Ids(id, min, max) => lists_of_ids(id, min, max, base, world),
        Kind::Text(rule) => texts(rule),
        Kind::Name => names(),
        Kind::KnownName => known_names(),
        Kind::KnownEmail => known_emails(),
        Kind::KnownExternalId => known_external_ids(),
        Kind::Query => queries(),
        Kind::Rank => ranks(),
        Kind::NewName => new_names(),
        Kind::OwnersId => owners_ids(),
        Kind::SwitchedOff(_) => switched_off(),
        Kind::RoleNames => role_names(),
        Kind::Unasked => unasked(),
        Kind::Proof => proofs(),
        Kind::SecondProof => second_proofs(),
        Kind::Code => codes(),
        Kind::DeviceToken => device_tokens(),
        Kind::AnyToken => any_tokens(),
        Kind::KeyPermissions => key_permissions(),
        Kind::Expiry => expiries(field.descriptor()),
        Kind::Required => required(),
        Kind::MethodName => method_names(),
        Kind::Questions => questions(base),
        Kind::Action => actions(),
        Kind::Moment => moments(field.descriptor()),
        Kind::HeadNumber => head_numbers(),
        Kind::HeadBytes => head_bytes(),
        Kind::Email => emails(),
        Kind::Identifier => identifiers(),
        Kind::NewPassword => new_passwords(),
        Kind::Password => passwords(),
        Kind::Secret => secrets(base),
        Kind::Metadata => metadata(),
        Kind::ExternalId => external_ids(),
        Kind::Url => urls(),
        Kind::Etag => etags(),
        Kind::RequestId => request_ids(),
        Kind::UpdateMask(paths) => masks(field.descriptor(), paths),
        Kind::PageSize => page_sizes(),
        Kind::PageToken => page_tokens(pages.expect("an RPC with page tokens has pages")),
        Kind::Sequence => sequences(),
        Kind::SessionNumber => session_numbers(),
        Kind::Position => positions(),
        Kind::Positions => lists_of_positions(field.descriptor()),
        Kind::LogId => log_ids(),
        Kind::Enum(unsuitable) => enums(unsuitable),
        Kind::Permissions => permissions(),
        Kind::Flag => Vec::new(),
        Kind::FlagOff => vec![case("true", true, Wants::Refused(&[ErrorReason::FeatureDisabled]))],
        Kind::MediaType => media_types(),
        Kind::Size => sizes(),
        Kind::Sha256 => digests(),
        Kind::FileName => file_names(),
    };
    cases.extend(huge(field.descriptor()));
    cases
}

/// More than any RPC takes (B001, and the megabytes of B026, B033, B069).
fn huge(field: &FieldDescriptor) -> Option<Case> {
    let text = "a".repeat(1_100_000);
    let value = match field.kind() {
        Type::String if field.is_list() => Value::List(vec![Value::String(text)]),
        Type::String => Value::String(text),
        _ => return None,
    };
    let wants = Wants::Refused(&[ErrorReason::MessageTooLarge]);
    Some(case("1.1 MB", value, wants))
}
