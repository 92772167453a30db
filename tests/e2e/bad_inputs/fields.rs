use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Type, MessageDescriptor, ReflectMessage as _, Value};
use tidings_testkit::Method;

/// One field of a request, however deep it stands.
#[derive(Debug, Clone)]
pub struct Field {
    steps: Vec<FieldDescriptor>,
}

impl Field {
    /// All fields of an RPC's request: those of nested messages too, and lists of messages also as lists.
    pub fn all(method: &Method) -> Vec<Self> {
        let mut fields = Vec::new();
        collect(&method.input(), &[], &mut fields);
        fields
    }

    /// A message's own field of this name.
    pub fn top(message: &MessageDescriptor, name: &str) -> Option<Self> {
        let field = message.get_field_by_name(name)?;
        Some(Self { steps: vec![field] })
    }

    /// The name in the table of kinds: `after.chats.chat_id`.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.steps.iter().map(FieldDescriptor::name).collect();
        names.join(".")
    }

    /// Where the field stands in a violation: `after.chats[0].chat_id`.
    pub fn path(&self) -> String {
        let (last, parents) = self.steps.split_last().expect("a field has at least one step");
        let mut path = String::new();
        for parent in parents {
            path.push_str(parent.name());
            path.push_str(if parent.is_list() { "[0]." } else { "." });
        }
        path + last.name()
    }

    /// The field itself.
    pub fn descriptor(&self) -> &FieldDescriptor {
        self.steps.last().expect("a field has at least one step")
    }

    /// Puts a value into the request, and into the first entry of each list on the way.
    pub fn set(&self, message: &mut DynamicMessage, value: Value) {
        set(message, &self.steps, value);
    }

    /// What the request has there.
    pub fn get(&self, message: &DynamicMessage) -> Value {
        let mut message = message.clone();
        let (last, parents) = self.steps.split_last().expect("a field has at least one step");
        for parent in parents {
            let value = message.get_field(parent).into_owned();
            let value = match value {
                Value::List(list) => list.into_iter().next(),
                other => Some(other),
            };
            match value {
                Some(Value::Message(inner)) => message = inner,
                _ => return Value::default_value_for_field(last),
            }
        }
        message.get_field(last).into_owned()
    }
}

fn collect(message: &MessageDescriptor, parents: &[FieldDescriptor], fields: &mut Vec<Field>) {
    for field in message.fields() {
        let steps: Vec<FieldDescriptor> = parents.iter().cloned().chain([field.clone()]).collect();
        match nested(&field) {
            Some(inner) => {
                if field.is_list() {
                    fields.push(Field { steps: steps.clone() });
                }
                collect(&inner, &steps, fields);
            }
            None => fields.push(Field { steps }),
        }
    }
}

/// The message in a field whose own fields are looked at: ours, and neither maps nor what protobuf itself defines.
fn nested(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Type::Message(inner) if !field.is_map() && inner.full_name().starts_with("tidings.") => Some(inner),
        _ => None,
    }
}

fn set(message: &mut DynamicMessage, steps: &[FieldDescriptor], value: Value) {
    let (first, rest) = steps.split_first().expect("a field has at least one step");
    if rest.is_empty() {
        message.set_field(first, value);
        return;
    }
    let inner = nested(first).expect("only messages have fields");
    let slot = message.get_field_mut(first);
    let entry = if first.is_list() {
        let list = slot.as_list_mut().expect("a list");
        if list.is_empty() {
            list.push(Value::Message(DynamicMessage::new(inner)));
        }
        list[0].as_message_mut().expect("a list of messages")
    } else {
        slot.as_message_mut().expect("a message")
    };
    set(entry, rest, value);
}

/// The first value of a field with this name anywhere in a message, the message's own fields first.
pub fn find(message: &DynamicMessage, name: &str) -> Option<Value> {
    if let Some(field) = message.descriptor().get_field_by_name(name) {
        return Some(message.get_field(&field).into_owned());
    }
    let inner: Vec<DynamicMessage> = message
        .fields()
        .filter_map(|(_, value)| value.as_message().cloned())
        .collect();
    inner.iter().find_map(|inner| find(inner, name))
}
