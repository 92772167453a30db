//! The second negative control: a handler on nothing but sqlx, behind our middleware with the protection and without it.
//!
//! A future that is dropped while `BEGIN` is on its way gives its connection back to the pool with the transaction open
//! (launchbadge/sqlx 4385). Without the protection a client's cancel does that, and the next call falls into a transaction that is
//! not its own. Our `transaction!` would close the connection; here it is not used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{PgPool, postgres::PgPoolOptions};
use tidings_authn::{Revocations, Service, SuiteSecret, Verifier};
use tidings_db::testing::Database;
use tidings_ids::Source;
use tidings_proto_gateway::v1::{
    GetLimitsRequest, GetLimitsResponse, GetServerInfoRequest, GetServerInfoResponse,
    gateway_service_client::GatewayServiceClient,
    gateway_service_server::{GatewayService, GatewayServiceServer},
};
use tidings_rpc::{App, Drain, Environment, Limits, PortLimits};
use tidings_testkit::until;
use tokio::{net::TcpListener, time::Instant};
use tonic::{Request, Response, Status, transport::Channel};

use super::effects::left_in_a_transaction;
use crate::chance::Chance;

/// With the protection so many cancels must leave no connection in its transaction. Without it, one in twenty was measured to
/// (`reliability.md` D2).
const CANCELS: usize = 300;

/// Without it, the first that is left is looked for in so many cancels.
const CANCELS_MAX: usize = 3_000;

/// Cancels between two looks.
const A_FEW: usize = 20;

/// Calls that are made before, to know how long one takes.
const WARM_UP: u32 = 20;

/// A handler that nobody waits for ends within this.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Answers from within a transaction, as any service might that does not use ours. Counts the handlers that are at work.
struct Plain {
    pool: PgPool,
    at_work: Arc<AtomicUsize>,
}

/// A handler that is at work, until it is dropped.
struct AtWork(Arc<AtomicUsize>);

impl AtWork {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Plain {
    async fn work(&self) -> Result<(), sqlx::Error> {
        let _at_work = AtWork::begin(&self.at_work);
        let mut tx = self.pool.begin().await?;
        sqlx::query("select 1").execute(&mut *tx).await?;
        tx.commit().await
    }
}

#[tonic::async_trait]
impl GatewayService for Plain {
    async fn get_server_info(
        &self,
        _: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        Ok(Response::new(GetServerInfoResponse::default()))
    }

    async fn get_limits(&self, _: Request<GetLimitsRequest>) -> Result<Response<GetLimitsResponse>, Status> {
        let worked = self.work().await;
        worked.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(GetLimitsResponse::default()))
    }
}

/// A service on plain sqlx, at a port.
struct Port {
    channel: Channel,
    drain: Drain,
    at_work: Arc<AtomicUsize>,
}

impl Port {
    async fn open(database: &Database, detach_handlers: bool) -> Self {
        let source = Source::system();
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
        let verifier = Arc::new(Verifier::new(Revocations::new(), source.clone()));
        let limits = Limits {
            detach_handlers,
            rate_factor: 1_000_000.try_into().expect("not zero"),
            ..Limits::default()
        };
        let environment = Environment::new(Service::Gateway, secret, verifier, source, Drain::new(), limits);
        let options = PgPoolOptions::new().max_connections(4);
        let pool = options
            .connect_lazy(&database.url())
            .expect("the URL has been used before");
        let app = App::new(&environment).descriptors(tidings_proto_gateway::FILE_DESCRIPTOR_SET);
        let at_work = Arc::default();
        let plain = Plain {
            pool,
            at_work: Arc::clone(&at_work),
        };
        let built = app.add(GatewayServiceServer::new(plain)).build();
        let (stack, _) = built.expect("every RPC has a policy");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let Environment { drain, source, .. } = environment;
        tokio::spawn(tidings_rpc::serve(
            listener,
            stack,
            PortLimits::PUBLIC,
            drain.clone(),
            source,
        ));
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address makes a URL");
        Self {
            channel: endpoint.connect().await.expect("connects"),
            drain,
            at_work,
        }
    }

    async fn call(&self) -> Result<(), Status> {
        let mut client = GatewayServiceClient::new(self.channel.clone());
        client.get_limits(GetLimitsRequest {}).await.map(drop)
    }

    /// How long a call takes.
    async fn usual_time(&self) -> Duration {
        let begun = Instant::now();
        for _ in 0..WARM_UP {
            self.call().await.expect("nothing is wrong yet");
        }
        begun.elapsed() / WARM_UP
    }
}

/// Gives calls up at random moments, until a connection is left in its transaction, or the cancels are used up. Returns how many
/// there were, and how many connections were left.
async fn storm(database: &Database, detach_handlers: bool, cancels_max: usize) -> (usize, i64) {
    let mut chance = Chance::of("cancel on plain sqlx");
    let port = Port::open(database, detach_handlers).await;
    let usual = port.usual_time().await;
    let pool = database.pool();
    let mut cancels = 0;
    while cancels < cancels_max {
        for _ in 0..A_FEW {
            let given_up = tokio::time::timeout(chance.moment(usual), port.call()).await.is_err();
            cancels += usize::from(given_up);
        }
        let left = left_at_rest(&port, &pool).await;
        if left > 0 {
            port.drain.finish().await;
            return (cancels, left);
        }
    }
    port.drain.finish().await;
    (cancels, 0)
}

/// How many connections are left in a transaction where nobody works. Looked for twice: a call that was given up may arrive late.
async fn left_at_rest(port: &Port, pool: &tidings_db::Pool) -> i64 {
    let mut left = 0;
    for _ in 0..2 {
        until("nobody works", REST_LIMIT, || async {
            port.at_work.load(Ordering::SeqCst) == 0 && all_stand_still(pool).await
        })
        .await;
        left = left_in_a_transaction(pool, "0 seconds").await;
        if left == 0 {
            break;
        }
    }
    left
}

/// Whether all connections of the service, which do not name themselves, stand still, each where it was left: what goes on changes within a moment.
async fn all_stand_still(pool: &tidings_db::Pool) -> bool {
    sqlx::query_scalar(
        "select not exists (select from pg_stat_activity where datname = current_database() \
         and application_name = '' and backend_type = 'client backend' \
         and (state = 'active' or state_change > clock_timestamp() - interval '50 milliseconds'))",
    )
    .fetch_one(pool)
    .await
    .expect("the activity can be read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_plain_sqlx_only_the_protection_keeps_connections_out_of_transactions() {
    let database = Database::create(&[]).await;
    let (cancels, left) = storm(&database, false, CANCELS_MAX).await;
    eprintln!("without the protection {left} connections were left in a transaction by {cancels} cancels");
    assert!(left > 0, "{cancels} cancels, and the control finds nothing");

    let database = Database::create(&[]).await;
    let (cancels, left) = storm(&database, true, CANCELS).await;
    assert_eq!(
        left, 0,
        "with the protection connections are left in a transaction by {cancels} cancels"
    );
}
