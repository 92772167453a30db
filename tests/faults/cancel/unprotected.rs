//! The negative control: the user and the chat service of the same deployment, in this process and without the protection.
//!
//! What is lost with it: each transaction that a cancel meets is cut off. Our transactions close the connection that they were dropped
//! on, so that none is left open; but the connection is gone, and the work with it. That the repetition still does everything
//! once shows that the protection is not what keeps the tables whole: transactions and the `request_id` are.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tidings_authn::{Revocations, Service, SuiteSecret, Verifier, feeds};
use tidings_db::{Pool, Schema, Settings};
use tidings_ids::Source;
use tidings_rpc::{Drain, Environment, Limits, Peer, PortLimits, Stack};
use tidings_testkit::{Api, Process, Shape, Suite, until};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use super::{
    Stage,
    calls::{self, Call, suite_secret},
    inside::{End, News, cut, is_claim},
};

/// How the unprotected services name themselves to Postgres.
const NAME: &str = "tidings-unprotected";

/// A node beside the suite that drops what nobody waits for.
struct Node {
    drain: Drain,
    user: SocketAddr,
    chat: SocketAddr,
    pools: [Pool; 2],
}

/// What the services of the node share.
struct Base {
    source: Source,
    drain: Drain,
    secret: SuiteSecret,
    verifier: Arc<Verifier>,
}

impl Base {
    fn environment(&self, service: Service) -> Environment {
        let limits = Limits {
            detach_handlers: false,
            rate_factor: 100_000.try_into().expect("not zero"),
            ..Limits::default()
        };
        let (secret, verifier) = (self.secret.clone(), Arc::clone(&self.verifier));
        Environment::new(
            service,
            secret,
            verifier,
            self.source.clone(),
            self.drain.clone(),
            limits,
        )
    }

    async fn serve(&self, stack: Stack) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (drain, source) = (self.drain.clone(), self.source.clone());
        tokio::spawn(tidings_rpc::serve(listener, stack, PortLimits::INTERNAL, drain, source));
        address
    }
}

impl Node {
    async fn start(suite: &Suite) -> Self {
        let source = Source::system();
        let base = Base {
            verifier: Arc::new(Verifier::new(Revocations::new(), source.clone())),
            drain: Drain::new(),
            secret: suite_secret(suite),
            source,
        };
        let pool = |schema| {
            let settings = Settings {
                schema: Some(schema),
                application_name: NAME.to_owned(),
                ..suite.database().settings()
            };
            tidings_db::connect(&settings, &base.source).expect("the URL has been used before")
        };
        let pools = [pool(Schema::Users), pool(Schema::Chats)];
        let (user, chat) = (base.environment(Service::User), base.environment(Service::Chat));
        let peer = |process, service| {
            let address = format!("http://{}", suite.address_of(process));
            Peer::remote(service, &address, Arc::clone(&chat.identity)).expect("an address makes a URL")
        };
        follow(
            &base,
            peer(Process::Auth, Service::Auth),
            peer(Process::User, Service::User),
        );

        let config = tidings_user_service::Config::default();
        let users = tidings_user_service::build(&user, config, pools[0].clone()).expect("every RPC has a policy");
        let config = tidings_chat_service::Config::default();
        let (to_user, to_message) = (
            peer(Process::User, Service::User),
            peer(Process::Message, Service::Message),
        );
        let chats = tidings_chat_service::build(&chat, config, pools[1].clone(), to_user, to_message);
        let node = Self {
            user: base.serve(users.stack).await,
            chat: base.serve(chats.expect("every RPC has a policy").stack).await,
            drain: base.drain,
            pools,
        };
        until("tokens can be checked", super::stage::REPEAT_LIMIT, || async {
            base.verifier.has_keys() && base.verifier.revocations().is_trusted()
        })
        .await;
        node
    }

    /// The way to the service of a call, past the one that is protected.
    fn api(&self, call: &Call) -> Option<Api> {
        let address = match (call.is_internal(), call.process()) {
            (false, Process::User) => self.user,
            (false, Process::Chat) => self.chat,
            _ => return None,
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URL");
        Some(Api::new(endpoint.connect_lazy()))
    }
}

fn follow(base: &Base, auth: Peer, user: Peer) {
    let revocations = base.verifier.revocations();
    let (source, stop) = (|| base.source.clone(), || base.drain.token());
    tokio::spawn(feeds::follow_revocations(
        auth.clone(),
        revocations.clone(),
        source(),
        stop(),
    ));
    tokio::spawn(feeds::follow_user_states(user, revocations.clone(), source(), stop()));
    tokio::spawn(feeds::follow_signing_keys(
        auth,
        Arc::clone(&base.verifier),
        source(),
        stop(),
    ));
}

/// A service that drops its handler gives the connection up at once.
struct Dropped<'a> {
    node: &'a Node,
    connections: u32,
}

impl Dropped<'_> {
    fn open(&self) -> u32 {
        self.node.pools.iter().map(|pool| pool.size()).sum()
    }
}

impl News for Dropped<'_> {
    fn names(&self) -> &[&'static str] {
        &[NAME]
    }

    /// What was cut off does not come later.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn end_of_connection(&self) -> Duration {
        super::stage::REPEAT_LIMIT
    }

    fn count(&mut self) {
        self.connections = self.open();
    }

    fn has_come(&self, _: &Stage, _: &Call) -> Option<End> {
        (self.open() < self.connections).then_some(End::LetGo)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_it_is_cut_off() {
    let stage = Stage::set(Shape::Five).await;
    let node = Node::start(&stage.suite).await;
    let (mut cuts, mut cut_off, mut wrong) = (0, 0, Vec::new());
    for call in &calls::all() {
        let Some(api) = node.api(call) else { continue };
        let model = stage.model(call).await;
        let ready = call.prepare(&stage.suite, &stage.cast).await;
        let before = stage.tables.settled().await;
        let tables: Vec<String> = stage
            .tables
            .names()
            .iter()
            .filter(|table| !is_claim(table))
            .cloned()
            .collect();
        let mut news = Dropped {
            node: &node,
            connections: 0,
        };
        let unprotected = ready.clone().through(api);
        let Some(cut) = cut(&stage, call, &unprotected, &model, &tables, &mut news).await else {
            continue;
        };
        cuts += 1;
        if !cut.connection_lives && cut.effect != model.effect {
            cut_off += 1;
        } else {
            eprintln!("{} is not cut off: {cut:?}", call.path());
        }
        let found = stage.repeat(call, &ready, &before, &model).await;
        wrong.extend(found.map(|what| format!("{}: {what}", call.path())));
    }
    node.drain.finish().await;
    stage.tables.nobody_left_in_a_transaction().await;
    eprintln!("{cuts} calls were given up in a transaction, {cut_off} of which were cut off");
    assert!(
        cuts > 10 && cut_off == cuts,
        "of {cuts} calls only {cut_off} were cut off"
    );
    assert!(
        wrong.is_empty(),
        "{} calls are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
