use std::convert::Infallible;

use http::Request;
use prost_types::FileDescriptorSet;
use tonic::{
    body::Body,
    server::NamedService,
    service::{Routes, RoutesBuilder},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Service;

use crate::{Environment, Policies, Stack, policy::InvalidPolicy};

/// Puts a service of the suite together: its gRPC services, health, reflection, and the middleware around them.
#[must_use]
pub struct App {
    environment: Environment,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
    reflected: Option<FileDescriptorSet>,
    health: HealthReporter,
}

impl App {
    /// An app with the standard health service, which says `NOT_SERVING` until [`Health::serving`] is called.
    pub fn new(environment: &Environment) -> Self {
        let (health, service) = tonic_health::server::health_reporter();
        let mut routes = RoutesBuilder::default();
        routes.add_service(service);
        Self {
            environment: environment.clone(),
            routes,
            names: Vec::new(),
            descriptors: Vec::new(),
            reflected: None,
            health,
        }
    }

    /// Adds the descriptors of a package that is served here.
    pub fn descriptors(mut self, set: &'static [u8]) -> Self {
        self.descriptors.push(set);
        self
    }

    /// Lets reflection show `set` instead of what is served here, as at the gateway, which serves others' packages too.
    pub fn reflecting(mut self, set: FileDescriptorSet) -> Self {
        self.reflected = Some(set);
        self
    }

    /// Adds a gRPC service.
    #[expect(clippy::should_implement_trait, reason = "nobody adds apps with a plus")]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// The finished service, and the switch of its health.
    ///
    /// # Errors
    ///
    /// When an RPC of the packages declares no policy.
    pub fn build(mut self) -> Result<(Stack, Health), InvalidPolicy> {
        let policies = Policies::from_descriptors(&self.descriptors)?.with_standard_services();
        for reflection in [Reflection::V1, Reflection::V1Alpha] {
            self.routes = reflection.add(self.routes, &self.descriptors, self.reflected.clone())?;
        }
        let routes: Routes = self.routes.routes();
        let stack = Stack::new(&self.environment, policies, routes);
        Ok((
            stack,
            Health {
                reporter: self.health,
                names: self.names,
            },
        ))
    }
}

/// grpcurl and others speak one version or the other.
#[derive(Clone, Copy)]
enum Reflection {
    V1,
    V1Alpha,
}

impl Reflection {
    fn add(
        self,
        mut routes: RoutesBuilder,
        descriptors: &[&'static [u8]],
        reflected: Option<FileDescriptorSet>,
    ) -> Result<RoutesBuilder, InvalidPolicy> {
        // The details of errors travel as messages of any type: who prints them asks here what they are.
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
        let builder = match reflected {
            Some(set) => builder.register_file_descriptor_set(set),
            None => descriptors.iter().fold(builder, |builder, set| {
                builder.register_encoded_file_descriptor_set(set)
            }),
        };
        let invalid = |error: tonic_reflection::server::Error| InvalidPolicy::Rpc(error.to_string());
        match self {
            Self::V1 => routes.add_service(builder.build_v1().map_err(invalid)?),
            Self::V1Alpha => routes.add_service(builder.build_v1alpha().map_err(invalid)?),
        };
        Ok(routes)
    }
}

/// Says whether a service takes calls, to load balancers and to `tidings doctor`.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// The service takes calls.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// The service takes no calls: it starts, stops, or lacks what it needs.
    pub async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Whether another gRPC service takes calls, one that calls are passed on to from here, as at the gateway.
    pub async fn of(&self, name: &str, serves: bool) {
        let status = if serves {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.reporter.set_service_status(name, status).await;
    }

    async fn set(&self, status: ServingStatus) {
        self.reporter.set_service_status("", status).await;
        for name in &self.names {
            self.reporter.set_service_status(*name, status).await;
        }
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Health {{ {:?} }}", self.names)
    }
}
