//! What requests that look for users ask for.

use tidings_authn::Caller;
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;
use tidings_proto_user::v1::{LookupUserRequest, lookup_user_request::Key};
use tidings_rpc::Violations;
use uuid::Uuid;

use crate::{
    error::Error,
    store::search::{LookupKey, Place},
    username::Username,
};

/// Longer ones are not stored.
const EXTERNAL_ID_BYTES_MAX: usize = 128;

/// The key of a request, if the caller may look by it.
pub(super) fn parse_key(request: LookupUserRequest, caller: &Caller) -> Result<LookupKey, Error> {
    let mut violations = Violations::new();
    let key = match request.key {
        None => {
            violations.add("key", "must be one of username, email, external_id");
            None
        }
        Some(Key::Username(text)) => {
            let username = violations.check("username", Username::parse(&text.to_ascii_lowercase()));
            username.map(|username| LookupKey::Username(username.as_str().to_owned()))
        }
        Some(Key::Email(text)) => {
            one_of(caller, &[Permission::UsersReadPrivate])?;
            let email = violations.check("email", crate::email::Email::parse(&text));
            email.map(|email| LookupKey::Email(email.canonical().to_owned()))
        }
        Some(Key::ExternalId(text)) => {
            one_of(caller, &[Permission::UsersReadPrivate, Permission::UserTokensCreate])?;
            if text.is_empty() || text.len() > EXTERNAL_ID_BYTES_MAX || text.contains('\0') {
                violations.add("external_id", "must have 1 to 128 bytes, none of them 0");
            }
            Some(LookupKey::ExternalId(text))
        }
    };
    Error::if_any(violations)?;
    key.ok_or(Error::NotFound)
}

/// Fails unless the caller holds one of the permissions, the first of which is named.
fn one_of(caller: &Caller, permissions: &[Permission]) -> Result<(), Error> {
    if permissions.iter().any(|permission| caller.holds(*permission)) {
        Ok(())
    } else {
        let named = permissions.first().copied().unwrap_or_default();
        Err(Error::PermissionMissing(named as i32))
    }
}

/// The place as a page token carries it: the user's 16 bytes, and the word.
pub(super) fn cursor(place: &Place) -> Vec<u8> {
    [place.user_id.uuid().as_bytes(), place.word.as_bytes()].concat()
}

/// The place of a page token, which nobody else has made.
pub(super) fn place(cursor: &[u8]) -> Option<Place> {
    let (user_id, word) = cursor.split_at_checked(16)?;
    Some(Place {
        word: String::from_utf8(word.to_vec()).ok()?,
        user_id: UserId::from_uuid(Uuid::from_slice(user_id).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::{Place, cursor, place};

    #[test]
    fn places_come_back_as_they_went() {
        let there = Place {
            word: "émile".to_owned(),
            user_id: Source::seeded(1).new_id(),
        };
        assert_eq!(place(&cursor(&there)), Some(there));
        assert_eq!(place(b"short"), None);
    }
}
