use prost_types::Timestamp;
use tidings_authn::Service;
use tidings_proto_gateway::v1::{
    GetLimitsRequest, GetLimitsResponse, GetServerInfoRequest, GetServerInfoResponse, Limits, RegistrationMode,
    ServiceInfo, gateway_service_server::GatewayService,
};
use tidings_rpc::Environment;
use tonic::{Request, Response, Status};

use crate::{Config, Upstreams, upstreams::Serving};

/// The release of the gateway.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the gateway says of itself and of the deployment.
#[derive(Debug)]
pub struct Info {
    environment: Environment,
    upstreams: Upstreams,
    serving: Serving,
    registration_mode: RegistrationMode,
    features: Vec<String>,
    limits: Limits,
}

impl Info {
    pub fn new(environment: &Environment, config: &Config, upstreams: Upstreams, serving: Serving) -> Self {
        let switched = [("reflection", config.reflection), ("web", config.web)];
        let on = switched
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| name.to_owned());
        let mut features: Vec<String> = config.features.iter().cloned().chain(on).collect();
        features.sort();
        features.dedup();
        Self {
            environment: environment.clone(),
            upstreams,
            serving,
            registration_mode: config.registration_mode,
            features,
            limits: config.limits,
        }
    }

    fn service(&self, service: Service) -> ServiceInfo {
        // A service of this process is of this release; others say so when they are asked whether they serve.
        let is_ours = self.upstreams.peer(service).is_none_or(tidings_rpc::Peer::is_local);
        ServiceInfo {
            name: service.name().to_owned(),
            version: if is_ours {
                VERSION.to_owned()
            } else {
                self.serving.release(service)
            },
            serving: self.serving.is(service),
        }
    }
}

#[tonic::async_trait]
impl GatewayService for Info {
    async fn get_server_info(
        &self,
        _: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        let now = self.environment.source.now();
        let mut services: Vec<ServiceInfo> = Service::ALL.into_iter().map(|service| self.service(service)).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::new(GetServerInfoResponse {
            version: VERSION.to_owned(),
            services,
            registration_mode: self.registration_mode.into(),
            server_time: Some(Timestamp {
                seconds: now.unix_timestamp(),
                nanos: i32::try_from(now.nanosecond()).expect("below a billion"),
            }),
            features: self.features.clone(),
        }))
    }

    async fn get_limits(&self, _: Request<GetLimitsRequest>) -> Result<Response<GetLimitsResponse>, Status> {
        Ok(Response::new(GetLimitsResponse {
            limits: Some(self.limits),
        }))
    }
}
