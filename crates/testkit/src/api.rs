use std::sync::LazyLock;

use prost::{Message as _, bytes::Buf as _};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::Value;
use tidings_proto_common::v1::Idempotency;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// An RPC, as its descriptor has it.
pub type Method = MethodDescriptor;

/// The descriptors of the whole suite.
///
/// # Panics
///
/// When our own descriptors do not parse.
#[must_use]
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let sets = [
            tidings_proto_common::FILE_DESCRIPTOR_SET,
            tidings_proto_auth::FILE_DESCRIPTOR_SET,
            tidings_proto_user::FILE_DESCRIPTOR_SET,
            tidings_proto_chat::FILE_DESCRIPTOR_SET,
            tidings_proto_message::FILE_DESCRIPTOR_SET,
            tidings_proto_gateway::FILE_DESCRIPTOR_SET,
        ];
        let mut pool = DescriptorPool::new();
        for set in sets {
            pool.decode_file_descriptor_set(set).expect("our own descriptors");
        }
        pool
    });
    &POOL
}

/// How an RPC may be retried, as its descriptor says.
///
/// # Panics
///
/// When it does not say so.
#[must_use]
pub fn idempotency(method: &Method) -> Idempotency {
    let extension = method
        .parent_pool()
        .get_extension_by_name("tidings.common.v1.rpc")
        .expect("our own option");
    let options = method.options();
    let declared = options.get_extension(&extension);
    let number = declared
        .as_message()
        .and_then(|policy| policy.get_field_by_name("idempotency")?.as_enum_number());
    number
        .and_then(|number| Idempotency::try_from(number).ok())
        .filter(|idempotency| *idempotency != Idempotency::Unspecified)
        .unwrap_or_else(|| panic!("{} does not declare whether it can be repeated", method.full_name()))
}

/// Whether a field holds a secret, as its descriptor says by `debug_redact`.
#[must_use]
pub fn is_secret(field: &FieldDescriptor) -> bool {
    let redacted = field
        .options()
        .get_field_by_name("debug_redact")
        .map(|value| value.as_bool());
    redacted.flatten() == Some(true)
}

/// Calls any RPC by its descriptor.
#[derive(Debug, Clone)]
pub struct Api {
    channel: Channel,
}

impl Api {
    /// The API at the end of this channel.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// All RPCs of the suite, in the order of their names.
    #[must_use]
    pub fn methods() -> Vec<Method> {
        let services = descriptors()
            .services()
            .filter(|service| service.full_name().starts_with("tidings."));
        let mut methods: Vec<Method> = services
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        methods.sort_by(|one, other| one.full_name().cmp(other.full_name()));
        methods
    }

    /// The RPC with this full name, such as `tidings.auth.v1.AuthService.Login`.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn method(full_name: &str) -> Method {
        let found = Self::methods()
            .into_iter()
            .find(|method| method.full_name() == full_name);
        found.unwrap_or_else(|| panic!("there is no RPC {full_name}"))
    }

    /// Calls an RPC by its full name and in JSON, with an access token or without one.
    ///
    /// # Errors
    ///
    /// The status that it answered with.
    ///
    /// # Panics
    ///
    /// When the request is none of this RPC.
    pub async fn json(&self, full_name: &str, request: Value, token: Option<&str>) -> Result<Value, Status> {
        let method = Self::method(full_name);
        let message = DynamicMessage::deserialize(method.input(), request);
        let message = message.unwrap_or_else(|error| panic!("a request of {full_name}: {error}"));
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&'static str, &str)> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let answer = self.call(&method, message, &headers).await?;
        let json = answer.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
        json.map_err(|error| Status::internal(error.to_string()))
    }

    /// Calls an RPC and returns its response; of a stream the first message, after which it is given up.
    ///
    /// # Errors
    ///
    /// The status that it answered with.
    pub async fn call(
        &self,
        method: &Method,
        message: DynamicMessage,
        headers: &[(&'static str, &str)],
    ) -> Result<DynamicMessage, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(format!("the channel: {error}")))?;
        let mut request = Request::new(message);
        for (name, value) in headers {
            let value = value
                .parse()
                .map_err(|_| Status::internal("a header that cannot be sent"))?;
            request.metadata_mut().append(*name, value);
        }
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let path = path.parse().expect("names make a path");
        let codec = DynamicCodec(method.clone());
        if !method.is_server_streaming() {
            return Ok(grpc.unary(request, path, codec).await?.into_inner());
        }
        let mut stream = grpc.server_streaming(request, path, codec).await?.into_inner();
        stream
            .message()
            .await?
            .ok_or_else(|| Status::out_of_range("the stream ended without a message"))
    }
}

#[derive(Clone)]
struct DynamicCodec(Method);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let message =
            DynamicMessage::decode(self.0.output(), bytes).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(message))
    }
}
