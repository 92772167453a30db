//! One JSON text as a message. Everything that is wrong is told with the field's name in the proto, as services tell it, and with what
//! the field takes; never with the value, which may be a secret.

use std::collections::{HashMap, hash_map::Entry};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost_reflect::{
    DeserializeOptions, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use serde::de::{
    DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde_json::error::Category;
use tidings_rpc::Problem;

/// The name of a field in an answer is at most this long, whatever the client called it.
const FIELD_CHARS_MAX: usize = 128;

/// An answer lists at most so many names of an enum.
const ENUM_NAMES_MAX: usize = 32;

/// What the library reads, of protobuf's own types.
const KNOWN: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(true);

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the message.
///
/// # Errors
///
/// `FIELD_INVALID` for the first thing that is wrong.
pub fn read(descriptor: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, Problem> {
    let mut reader = Reader::default();
    let mut source = serde_json::Deserializer::from_slice(json);
    let whole = Seed {
        reader: &mut reader,
        shape: Shape::Message(descriptor.clone()),
        nullable: false,
    };
    let value = whole.deserialize(&mut source);
    let value = value.and_then(|value| source.end().map(|()| value));
    match value {
        Ok(Some(Value::Message(message))) => Ok(message),
        Ok(_) => Err(reader.refusal("must be an object")),
        Err(error) => Err(match reader.wrong.take() {
            Some(wrong) => reader.refusal(&wrong),
            None if error.classify() == Category::Data => reader.refusal("has a value that its type does not allow"),
            None => malformed(&error),
        }),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    Problem::field(
        "",
        format!("the body must be one JSON object; it is not well-formed at {place}"),
    )
}

/// Where the reading stands, and what was found to be wrong there.
#[derive(Default)]
struct Reader {
    path: Vec<Step>,
    wrong: Option<String>,
}

/// A step from a value to one in it.
enum Step {
    Field(FieldDescriptor),
    Item(usize),
    Key(String),
}

impl Reader {
    /// Ends the reading.
    fn fail<E: Error>(&mut self, wrong: impl Into<String>) -> E {
        self.wrong = Some(wrong.into());
        E::custom("refused")
    }

    fn refusal(&self, wrong: &str) -> Problem {
        if self.path.is_empty() {
            return Problem::field("", "the body must be one JSON object");
        }
        let mut path = String::new();
        for step in &self.path {
            let name = match step {
                Step::Field(field) => field.name(),
                Step::Key(key) => key,
                Step::Item(index) => {
                    path += &format!("[{index}]");
                    continue;
                }
            };
            if !path.is_empty() {
                path.push('.');
            }
            path += name;
        }
        let path: String = path.chars().take(FIELD_CHARS_MAX).collect();
        Problem::field(path, wrong)
    }
}

/// What a value is to become.
enum Shape {
    Message(MessageDescriptor),
    /// A message of protobuf's own with a form of its own in JSON.
    Known(MessageDescriptor),
    Mask(MessageDescriptor),
    List(Kind),
    /// The message of an entry.
    Map(MessageDescriptor),
    Scalar(Kind),
}

impl Shape {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Message(message) if message.full_name() == "google.protobuf.FieldMask" => Self::Mask(message),
            Kind::Message(message) if message.package_name() == "google.protobuf" => Self::Known(message),
            Kind::Message(message) => Self::Message(message),
            kind => Self::Scalar(kind),
        }
    }

    fn of_field(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => Self::Map(entry),
            kind if field.is_list() => Self::List(kind),
            kind => Self::of(kind),
        }
    }

    /// What is told where something else was given.
    fn wanted(&self) -> String {
        let wanted = match self {
            Self::Message(_) | Self::Map(_) => "must be an object",
            Self::List(_) => "must be a list",
            Self::Mask(_) => "must be a string with names of fields, separated by commas",
            Self::Known(message) => match message.name() {
                "Timestamp" => "must be a string with a time in RFC 3339, such as 2026-11-21T09:05:00Z",
                "Duration" => "must be a string with seconds, such as 1.5s",
                name => return format!("must be a {name} in the JSON of protobuf"),
            },
            Self::Scalar(kind) => match kind {
                Kind::Bool => "must be true or false",
                Kind::String => "must be a string",
                Kind::Bytes => "must be a string in base64",
                Kind::Double | Kind::Float => "must be a number",
                Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "must be an integer of 32 bits",
                Kind::Uint32 | Kind::Fixed32 => "must be an integer of 32 bits, not negative",
                Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "must be an integer of 64 bits",
                Kind::Uint64 | Kind::Fixed64 => "must be an integer of 64 bits, not negative",
                Kind::Enum(names) => return one_of(names),
                Kind::Message(_) => "must be an object",
            },
        };
        wanted.to_owned()
    }
}

fn one_of(descriptor: &EnumDescriptor) -> String {
    let values: Vec<_> = descriptor.values().filter(|value| value.number() != 0).collect();
    let names: Vec<&str> = values.iter().take(ENUM_NAMES_MAX).map(|value| value.name()).collect();
    let others = values.len().saturating_sub(ENUM_NAMES_MAX);
    let others = if others == 0 {
        String::new()
    } else {
        format!(" and {others} others")
    };
    format!("must be one of {}{others}", names.join(", "))
}

/// One value, on its way.
struct Seed<'r> {
    reader: &'r mut Reader,
    shape: Shape,
    /// Whether `null` stands for nothing.
    nullable: bool,
}

impl Seed<'_> {
    fn unfit<E: Error>(self) -> E {
        let wanted = self.shape.wanted();
        self.reader.fail(wanted)
    }

    /// A number in any form.
    fn number<E: Error>(self, text: &str) -> Result<Option<Value>, E> {
        let value = match &self.shape {
            Shape::Scalar(kind) => number(kind, text),
            _ => None,
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(self.unfit()),
        }
    }
}

/// A message of protobuf's own, which the library reads.
fn known<'de, D: Deserializer<'de>>(
    reader: &mut Reader,
    message: &MessageDescriptor,
    value: D,
) -> Result<Option<Value>, D::Error> {
    match DynamicMessage::deserialize_with_options(message.clone(), value, &KNOWN) {
        Ok(message) => Ok(Some(Value::Message(message))),
        Err(_) => Err(reader.fail(Shape::Known(message.clone()).wanted())),
    }
}

/// The text of a number as a value of this kind, if it is one.
fn number(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text.parse().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text.parse().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => text.parse().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => text.parse().ok().map(Value::U64),
        Kind::Float => text.parse().ok().map(Value::F32),
        Kind::Double => text.parse().ok().map(Value::F64),
        Kind::Enum(_) => text.parse().ok().map(Value::EnumNumber),
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}

/// The text of a string as a value of this kind, if it is one.
fn string(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::Bytes => {
            let standard = text.replace('-', "+").replace('_', "/");
            BASE64.decode(standard).ok().map(|bytes| Value::Bytes(bytes.into()))
        }
        Kind::Enum(names) => names
            .get_value_by_name(text)
            .map(|value| Value::EnumNumber(value.number())),
        kind => number(kind, text),
    }
}

/// The names in a mask, as protos spell them. Both spellings are read; what names nothing is for the service to tell.
fn mask(descriptor: &MessageDescriptor, text: &str) -> DynamicMessage {
    let paths = text.split(',').filter(|path| !path.is_empty()).map(|path| {
        let mut name = String::with_capacity(path.len());
        for letter in path.chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        Value::String(name)
    });
    let mut message = DynamicMessage::new(descriptor.clone());
    message.set_field_by_name("paths", Value::List(paths.collect()));
    message
}

fn map_key(kind: &Kind, text: &str) -> Option<MapKey> {
    match kind {
        Kind::Bool => text.parse().ok().map(MapKey::Bool),
        Kind::Enum(_) => None,
        kind => string(kind, text)?.into_map_key(),
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    /// `None` for a `null` that stands for nothing.
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        if self.nullable {
            return Ok(None);
        }
        Err(self.unfit())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        match &self.shape {
            Shape::Scalar(Kind::Bool) => Ok(Some(Value::Bool(value))),
            Shape::Known(message) => known(self.reader, message, value.into_deserializer()),
            _ => Err(self.unfit()),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        match &self.shape {
            Shape::Known(message) => known(self.reader, message, value.into_deserializer()),
            _ => self.number(&value.to_string()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        match &self.shape {
            Shape::Known(message) => known(self.reader, message, value.into_deserializer()),
            _ => self.number(&value.to_string()),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        match &self.shape {
            Shape::Known(message) => known(self.reader, message, value.into_deserializer()),
            // 1.0 and 1e3 are integers too. The sum is 0 for -0.
            _ => self.number(&(value + 0.0).to_string()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let value = match &self.shape {
            Shape::Scalar(kind) => string(kind, text),
            Shape::Mask(message) => Some(Value::Message(mask(message, text))),
            Shape::Known(message) => return known(self.reader, message, text.into_deserializer()),
            Shape::Message(_) | Shape::List(_) | Shape::Map(_) => None,
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(self.unfit()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let kind = match &self.shape {
            Shape::List(kind) => kind.clone(),
            Shape::Known(message) => return known(self.reader, message, SeqAccessDeserializer::new(items)),
            _ => return Err(self.unfit()),
        };
        let mut list = Vec::new();
        loop {
            self.reader.path.push(Step::Item(list.len()));
            let item = items.next_element_seed(Seed {
                reader: self.reader,
                shape: Shape::of(kind.clone()),
                nullable: false,
            })?;
            self.reader.path.pop();
            match item {
                Some(item) => list.extend(item),
                None => return Ok(Some(Value::List(list))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        match &self.shape {
            Shape::Message(message) => fields(self.reader, message, entries).map(Some),
            Shape::Map(entry) => map(self.reader, entry, entries).map(Some),
            Shape::Known(message) => known(self.reader, message, MapAccessDeserializer::new(entries)),
            _ => Err(self.unfit()),
        }
    }
}

fn fields<'de, A: MapAccess<'de>>(
    reader: &mut Reader,
    descriptor: &MessageDescriptor,
    mut entries: A,
) -> Result<Value, A::Error> {
    let mut message = DynamicMessage::new(descriptor.clone());
    // No longer than there are fields.
    let mut given: Vec<u32> = Vec::new();
    while let Some(name) = entries.next_key::<String>()? {
        let field = descriptor.get_field_by_json_name(&name);
        let Some(field) = field.or_else(|| descriptor.get_field_by_name(&name)) else {
            reader.path.push(Step::Key(name));
            return Err(reader.fail("there is no such field"));
        };
        reader.path.push(Step::Field(field.clone()));
        if given.contains(&field.number()) {
            return Err(reader.fail("is given twice"));
        }
        given.push(field.number());
        let value = entries.next_value_seed(Seed {
            reader,
            shape: Shape::of_field(&field),
            nullable: true,
        })?;
        if let Some(value) = value {
            let choice = field.containing_oneof();
            let other = choice.and_then(|choice| choice.fields().find(|field| message.has_field(field)));
            if let Some(other) = other {
                return Err(reader.fail(format!("excludes {}, which is given too", other.name())));
            }
            message.set_field(&field, value);
        }
        reader.path.pop();
    }
    Ok(Value::Message(message))
}

fn map<'de, A: MapAccess<'de>>(
    reader: &mut Reader,
    entry: &MessageDescriptor,
    mut entries: A,
) -> Result<Value, A::Error> {
    let key_kind = entry.map_entry_key_field().kind();
    let value_kind = entry.map_entry_value_field().kind();
    let mut map = HashMap::new();
    while let Some(name) = entries.next_key::<String>()? {
        let key = map_key(&key_kind, &name);
        reader.path.push(Step::Key(name));
        let Some(key) = key else {
            return Err(reader.fail(Shape::Scalar(key_kind).wanted()));
        };
        let Entry::Vacant(place) = map.entry(key) else {
            return Err(reader.fail("is given twice"));
        };
        let value = entries.next_value_seed(Seed {
            reader,
            shape: Shape::of(value_kind.clone()),
            nullable: false,
        })?;
        if let Some(value) = value {
            place.insert(value);
        }
        reader.path.pop();
    }
    Ok(Value::Map(map))
}
