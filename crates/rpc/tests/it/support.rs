//! A service with one quick, one slow, one panicking and one endless call, behind the real middleware and a real port.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidings_authn::{Revocations, Service, SuiteSecret, Verifier};
use tidings_ids::Source;
use tidings_proto_gateway::v1::{
    GetLimitsRequest, GetLimitsResponse, GetServerInfoRequest, GetServerInfoResponse,
    gateway_service_server::{GatewayService, GatewayServiceServer},
};
use tidings_rpc::{App, Drain, Environment, Limits, PortLimits, Stack};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

/// What a test steers the service with.
#[derive(Clone, Default)]
pub struct Handle {
    /// `GetLimits` waits for this.
    pub go_on: Arc<Notify>,
    /// Calls of `GetLimits` that have begun.
    pub begun: Arc<AtomicUsize>,
    /// Calls of `GetLimits` that have ended.
    pub ended: Arc<AtomicUsize>,
    /// Calls of `GetLimits` that are over, whether they have ended or were dropped.
    pub over: Arc<AtomicUsize>,
}

struct Fake(Handle);

/// Counts when it is dropped.
struct Over(Arc<AtomicUsize>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl GatewayService for Fake {
    async fn get_server_info(
        &self,
        request: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        assert!(!request.metadata().contains_key("x-panic"), "asked to panic");
        Ok(Response::new(GetServerInfoResponse::default()))
    }

    async fn get_limits(&self, _: Request<GetLimitsRequest>) -> Result<Response<GetLimitsResponse>, Status> {
        let _over = Over(Arc::clone(&self.0.over));
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.go_on.notified().await;
        self.0.ended.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(GetLimitsResponse::default()))
    }
}

pub fn environment(limits: Limits) -> Environment {
    let source = Source::system();
    let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
    let verifier = Arc::new(Verifier::new(Revocations::new(), source.clone()));
    Environment::new(Service::Gateway, secret, verifier, source, Drain::new(), limits)
}

pub fn stack(environment: &Environment, handle: &Handle) -> Stack {
    let app = App::new(environment).descriptors(tidings_proto_gateway::FILE_DESCRIPTOR_SET);
    app.add(GatewayServiceServer::new(Fake(handle.clone())))
        .build()
        .expect("every RPC has a policy")
        .0
}

/// A port that serves the fake.
pub struct Port {
    pub address: SocketAddr,
    pub drain: Drain,
    pub handle: Handle,
    pub served: JoinHandle<std::io::Result<()>>,
}

impl Port {
    pub async fn open(limits: Limits) -> Self {
        Self::with(limits, PortLimits::PUBLIC).await
    }

    pub async fn with(limits: Limits, port_limits: PortLimits) -> Self {
        let environment = environment(limits);
        let handle = Handle::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stack = stack(&environment, &handle);
        let drain = environment.drain.clone();
        let served = tokio::spawn(tidings_rpc::serve(
            listener,
            stack,
            port_limits,
            drain.clone(),
            environment.source.clone(),
        ));
        Self {
            address,
            drain,
            handle,
            served,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A connection to it.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.url()).expect("a URL");
        endpoint.connect().await.expect("connects")
    }
}

/// Waits for a condition, longer than anything takes on a busy machine.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen in time"));
}
