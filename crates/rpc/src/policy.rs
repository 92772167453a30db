//! What each RPC declares in its proto, read from the descriptors.

use std::{collections::HashMap, sync::Arc};

use prost_reflect::{DescriptorPool, MethodDescriptor};
use tidings_authn::Service;
use tidings_proto_common::v1::{AuditCategory, Authentication, Permission, RateClass};

/// What the middleware knows of one RPC: its options in the proto, and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The RPC's name, as `tidings.auth.v1.AuthService/Login`.
    pub method: Arc<str>,
    /// Whom the caller must prove to be.
    pub authentication: Authentication,
    /// What a user must hold to call it.
    pub permission: Permission,
    /// Which limit its calls count against.
    pub rate_class: RateClass,
    /// The heading under which its effect is recorded.
    pub audit_category: AuditCategory,
    /// The services that may call it, where services may; all of them when empty.
    pub callers: Vec<Service>,
    /// The largest request in bytes.
    pub request_bytes_max: usize,
    /// Whether it takes a stream of requests.
    pub client_streaming: bool,
    /// Whether it answers with a stream.
    pub server_streaming: bool,
}

/// A descriptor that cannot be used: an error in the build, not in the deployment.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// The descriptor set does not parse.
    #[error("the descriptor set is not valid")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The RPC declares no policy, or names a service that does not exist.
    #[error("{0} declares no valid policy")]
    Rpc(String),
}

/// The policies of all RPCs of a process, by path. What has no policy is refused.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    by_path: HashMap<String, Arc<Policy>>,
}

impl Policies {
    /// A request is at most this large where its RPC says nothing.
    pub const REQUEST_BYTES_DEFAULT: usize = 64 * 1024;

    /// Reads the policies of every RPC of the suite in these descriptor sets.
    ///
    /// # Errors
    ///
    /// When a set does not parse or an RPC has no policy.
    pub fn from_descriptors(sets: &[&[u8]]) -> Result<Self, InvalidPolicy> {
        let mut pool = DescriptorPool::new();
        for set in sets {
            pool.decode_file_descriptor_set(*set)?;
        }
        let mut policies = Self::default();
        let services: Vec<_> = pool
            .services()
            .filter(|service| service.full_name().starts_with("tidings."))
            .collect();
        for method in services.iter().flat_map(|service| service.methods()) {
            let policy = policy_of(&pool, &method).ok_or_else(|| InvalidPolicy::Rpc(method.full_name().to_owned()))?;
            policies.insert(policy);
        }
        Ok(policies)
    }

    /// Adds the standard health and reflection services, which everybody may call.
    #[must_use]
    pub fn with_standard_services(mut self) -> Self {
        let methods = [
            ("grpc.health.v1.Health/Check", false),
            ("grpc.health.v1.Health/Watch", true),
            ("grpc.health.v1.Health/List", false),
            ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true),
            ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", true),
        ];
        for (method, server_streaming) in methods {
            self.insert(Policy {
                method: method.into(),
                authentication: Authentication::None,
                permission: Permission::Unspecified,
                rate_class: RateClass::Read,
                audit_category: AuditCategory::None,
                callers: Vec::new(),
                request_bytes_max: Self::REQUEST_BYTES_DEFAULT,
                // Reflection is bidirectional.
                client_streaming: method.starts_with("grpc.reflection."),
                server_streaming,
            });
        }
        self
    }

    /// The policy of the RPC with this path, exactly as it stands in the proto.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Arc<Policy>> {
        self.by_path.get(path)
    }

    /// All policies.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.by_path.values()
    }

    fn insert(&mut self, policy: Policy) {
        self.by_path.insert(format!("/{}", policy.method), Arc::new(policy));
    }
}

/// The policy that an RPC declares, or `None` when it declares none or a wrong one.
fn policy_of(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<Policy> {
    let extension = pool.get_extension_by_name("tidings.common.v1.rpc")?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return None;
    }
    let value = options.get_extension(&extension);
    let declared = value.as_message()?;
    let number = |field: &str| {
        declared
            .get_field_by_name(field)
            .and_then(|value| value.as_enum_number())
    };
    let authentication = Authentication::try_from(number("authentication")?).ok()?;
    let rate_class = RateClass::try_from(number("rate_class")?).ok()?;
    if authentication == Authentication::Unspecified || rate_class == RateClass::Unspecified {
        return None;
    }
    let callers = declared.get_field_by_name("callers")?;
    let callers = callers
        .as_list()?
        .iter()
        .map(|name| name.as_str().and_then(Service::from_name))
        .collect::<Option<Vec<_>>>()?;
    let bytes_max = declared
        .get_field_by_name("request_bytes_max")
        .and_then(|value| value.as_u32())?;
    Some(Policy {
        method: format!("{}/{}", method.parent_service().full_name(), method.name()).into(),
        authentication,
        permission: Permission::try_from(number("permission")?).ok()?,
        rate_class,
        audit_category: AuditCategory::try_from(number("audit_category")?).ok()?,
        callers,
        request_bytes_max: match bytes_max {
            0 => Policies::REQUEST_BYTES_DEFAULT,
            bytes => usize::try_from(bytes).ok()?,
        },
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
    })
}
