//! Which RPCs are offered at the public port, from the descriptors.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};
use tidings_authn::Service;
use tidings_proto_common::v1::{Authentication, Idempotency};
use tidings_rpc::{Policies, Policy, policy::InvalidPolicy};

/// The descriptors of all packages that the gateway offers, its own among them.
pub const DESCRIPTORS: [&[u8]; 5] = [
    tidings_proto_auth::FILE_DESCRIPTOR_SET,
    tidings_proto_user::FILE_DESCRIPTOR_SET,
    tidings_proto_chat::FILE_DESCRIPTOR_SET,
    tidings_proto_message::FILE_DESCRIPTOR_SET,
    tidings_proto_gateway::FILE_DESCRIPTOR_SET,
];

/// Descriptors that cannot be offered: an error in the build, not in the deployment.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDescriptors {
    /// They do not parse.
    #[error("the descriptor set is not valid")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// An RPC has no valid policy.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A package belongs to no service of the suite.
    #[error("no service has the package {0}")]
    Package(String),
}

/// A public RPC.
#[derive(Debug)]
pub struct Method {
    /// The service that has it.
    pub service: Service,
    /// Its path.
    pub path: PathAndQuery,
    /// What it declares.
    pub policy: Arc<Policy>,
    /// Its shape and messages.
    pub descriptor: MethodDescriptor,
    /// Whether Connect may `GET` it: it changes nothing, and its request has no field for a secret, which would stand in the URL and
    /// so in the logs of whatever it passes.
    pub allows_get: bool,
}

impl Method {
    /// Whether a call of it is a stream in either direction, which has no deadline unless its caller names one.
    pub fn streams(&self) -> bool {
        self.descriptor.is_client_streaming() || self.descriptor.is_server_streaming()
    }
}

/// The public RPCs, by path. Internal ones, those for services, and those that are not in the descriptors do not stand here, and
/// so are not reachable.
#[derive(Debug)]
pub struct Catalogue {
    by_path: HashMap<String, Arc<Method>>,
    pool: DescriptorPool,
}

impl Catalogue {
    /// Reads the public RPCs in these descriptor sets.
    pub fn new(sets: &[&[u8]]) -> Result<Self, InvalidDescriptors> {
        let policies = Policies::from_descriptors(sets)?;
        let mut pool = DescriptorPool::new();
        for set in sets {
            pool.decode_file_descriptor_set(*set)?;
        }
        let methods: Vec<_> = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        let mut by_path = HashMap::new();
        for descriptor in methods {
            let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
            let Some(policy) = policies.get(&path).filter(|policy| is_public(policy)) else {
                continue;
            };
            let method = Method {
                service: owner(&descriptor)?,
                path: PathAndQuery::try_from(path.as_str()).expect("names of protobuf are fit for paths"),
                policy: Arc::clone(policy),
                allows_get: is_read(&pool, &descriptor) && !holds_secret(&descriptor.input(), &mut HashSet::new()),
                descriptor,
            };
            by_path.insert(path, Arc::new(method));
        }
        Ok(Self { by_path, pool })
    }

    /// The RPC with this path, exactly as it stands in the proto.
    pub fn get(&self, path: &str) -> Option<&Arc<Method>> {
        self.by_path.get(path)
    }

    /// The gRPC services that have public RPCs, each once, with the service of the suite that has it.
    pub fn grpc_services(&self) -> Vec<(Service, String)> {
        let names = self.by_path.values().map(|method| {
            let name = method.descriptor.parent_service().full_name().to_owned();
            (name, method.service)
        });
        let names: BTreeMap<String, Service> = names.collect();
        names.into_iter().map(|(name, service)| (service, name)).collect()
    }

    /// All descriptors, those of internal RPCs too.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }
}

fn is_public(policy: &Policy) -> bool {
    matches!(policy.authentication, Authentication::None | Authentication::User)
}

/// The service that has the package: `tidings.auth.v1` is auth's.
fn owner(method: &MethodDescriptor) -> Result<Service, InvalidDescriptors> {
    let service = method.parent_service();
    let package = service.package_name();
    let name = package.split('.').nth(1).unwrap_or_default();
    Service::from_name(name).ok_or_else(|| InvalidDescriptors::Package(package.to_owned()))
}

fn is_read(pool: &DescriptorPool, method: &MethodDescriptor) -> bool {
    let declared = pool
        .get_extension_by_name("tidings.common.v1.rpc")
        .and_then(|extension| {
            let options = method.options();
            let value = options.get_extension(&extension);
            let declared = value.as_message()?;
            declared.get_field_by_name("idempotency")?.as_enum_number()
        });
    declared == Some(Idempotency::Read as i32)
}

/// Whether a field of the message, however deep, is marked with `debug_redact`. Messages that were `seen` are not gone through again.
fn holds_secret(message: &MessageDescriptor, seen: &mut HashSet<String>) -> bool {
    seen.insert(message.full_name().to_owned())
        && message.fields().any(|field| {
            let options = field.options();
            let marked = options.get_field_by_name("debug_redact");
            marked.is_some_and(|value| value.as_bool() == Some(true))
                || matches!(field.kind(), Kind::Message(inner) if holds_secret(&inner, seen))
        })
}

#[cfg(test)]
mod tests {
    use super::{Catalogue, DESCRIPTORS};

    #[test]
    fn public_rpcs_are_listed_and_those_between_services_are_not() {
        let catalogue = Catalogue::new(&DESCRIPTORS).expect("our own descriptors");
        for path in [
            "/tidings.auth.v1.AuthService/Login",
            "/tidings.message.v1.SyncService/StreamChanges",
            "/tidings.gateway.v1.GatewayService/GetLimits",
        ] {
            assert!(catalogue.get(path).is_some(), "{path}");
        }
        for path in [
            "/tidings.auth.v1.AuthService/WatchRevocations",
            "/tidings.user.v1.ProvisioningService/CreateUser",
            "/tidings.user.v1.UserStateService/WatchUserStates",
            "/tidings.message.v1.MembershipLogService/ApplyMembershipChanges",
        ] {
            assert!(catalogue.get(path).is_none(), "{path}");
        }
    }

    #[test]
    fn what_changes_nothing_and_takes_no_secret_may_be_got() {
        let catalogue = Catalogue::new(&DESCRIPTORS).expect("our own descriptors");
        let allows_get = |path: &str| catalogue.get(path).expect("listed").allows_get;
        assert!(allows_get("/tidings.message.v1.MessageService/ListMessages"));
        assert!(!allows_get("/tidings.message.v1.MessageService/SendMessage"));
        assert!(!allows_get("/tidings.auth.v1.AuthService/Login"));
        assert!(!allows_get("/tidings.auth.v1.AuthService/IntrospectToken"));
    }
}
