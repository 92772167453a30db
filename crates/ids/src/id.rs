use std::{cmp, fmt, hash, marker::PhantomData, str::FromStr};

use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef},
};
use uuid::Uuid;

/// What an [`Id`] is the id of.
pub trait Kind: 'static + Send + Sync {
    /// The kind in words, with its article.
    const NAME: &'static str;
}

/// The id of one kind of thing.
///
/// Its text has one canonical form: 36 characters, lower case, with hyphens. Other spellings of a UUID are refused, so that
/// two texts are the same id exactly when they are the same bytes.
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

/// The text is not an id in its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an id: 36 characters, lower case, with hyphens")
    }
}

impl std::error::Error for InvalidId {}

impl<K: Kind> Id<K> {
    /// The length of an id's text in bytes.
    pub const TEXT_BYTES: usize = 36;

    /// The id with this value.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self {
            uuid,
            kind: PhantomData,
        }
    }

    /// The bare value, for where ids of several kinds meet.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }

    /// Reads an id in its canonical form.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] for any other text, also for other spellings of a UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let canonical = text.len() == Self::TEXT_BYTES && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if !canonical {
            return Err(InvalidId);
        }
        Uuid::try_parse(text).map(Self::from_uuid).map_err(|_| InvalidId)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}

impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::parse(text)
    }
}

impl<K> From<Id<K>> for Uuid {
    fn from(id: Id<K>) -> Self {
        id.uuid
    }
}

impl<K: Kind> From<Uuid> for Id<K> {
    fn from(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}

impl<K> serde::Serialize for Id<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.uuid)
    }
}

impl<'de, K: Kind> serde::Deserialize<'de> for Id<K> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl<K> Type<Postgres> for Id<K> {
    fn type_info() -> PgTypeInfo {
        <Uuid as Type<Postgres>>::type_info()
    }
}

impl<K> PgHasArrayType for Id<K> {
    fn array_type_info() -> PgTypeInfo {
        <Uuid as PgHasArrayType>::array_type_info()
    }
}

impl<'q, K> Encode<'q, Postgres> for Id<K> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <Uuid as Encode<'q, Postgres>>::encode_by_ref(&self.uuid, buffer)
    }
}

impl<'r, K: Kind> Decode<'r, Postgres> for Id<K> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <Uuid as Decode<'r, Postgres>>::decode(value).map(Self::from_uuid)
    }
}

#[cfg(test)]
mod tests {
    use crate::{ChatId, InvalidId, Source};

    #[test]
    fn an_id_reads_back_from_its_own_text() {
        let id: ChatId = Source::seeded(1).new_id();
        assert_eq!(ChatId::parse(&id.to_string()), Ok(id));
    }

    #[test]
    fn other_spellings_of_a_uuid_are_refused() {
        let id = "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e5f";
        assert!(ChatId::parse(id).is_ok());
        let spellings = [
            id.to_uppercase(),
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            format!(" {id}"),
            format!("{id}\0"),
            String::new(),
            "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e5g".to_owned(),
            "018f4c3e07b1a-7c3d-8e9f-0a1b2c3d4e5f".to_owned(),
        ];
        for spelling in spellings {
            assert_eq!(ChatId::parse(&spelling), Err(InvalidId), "{spelling:?}");
        }
    }
}
