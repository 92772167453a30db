//! A server in memory that knows the few RPCs of a replay, and can be told to do one thing wrong.

mod world;

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use parking_lot::Mutex;
use tidings_proto_gateway::v1::{GetServerInfoRequest, GetServerInfoResponse};
use tidings_proto_message::v1::{
    CaughtUp, Opened, StreamChangesRequest, StreamChangesResponse, stream_changes_response::Frame,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, server::Grpc, service::Routes, transport::Server};
use tonic_prost::ProstCodec;
use tower::service_fn;

use self::world::{Answer, World, problem};

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It shows one message with another text, by `ListMessages` only.
    ListsAnotherText,
    /// It leaves one message out of `SyncChanges`.
    SyncLeavesOut,
    /// It tells one reply without its target on streams.
    StreamsNoReply,
    /// It stores a repeated send a second time.
    StoresTwice,
    /// It takes blank texts.
    TakesBlank,
    /// It answers every third call with a status that asks for a repetition, half of them after the effect, and ends streams.
    Stumbles,
}

/// A running fake.
#[derive(Debug, Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
}

impl Fake {
    /// Starts one on a port of its own.
    pub async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            world: Arc::new(Mutex::new(World::new(fault))),
            address: listener.local_addr().unwrap(),
        };
        let serving = fake.clone();
        let router = Router::new().fallback_service(service_fn(move |request| {
            let fake = serving.clone();
            async move { Ok::<_, Infallible>(fake.route(request).await) }
        }));
        let server = Server::builder().add_routes(Routes::from(router));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        fake
    }

    /// Where it listens.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// How many messages it holds.
    pub fn stored(&self) -> usize {
        self.world.lock().stored()
    }

    /// Loses the last message of a chat, as a server that acknowledges too early may.
    pub fn lose_one(&self) {
        self.world.lock().lose_one();
    }

    async fn route(self, request: http::Request<Body>) -> http::Response<tonic::body::Body> {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        match method.as_str() {
            "GetServerInfo" => {
                self.unary(request, |_, _: GetServerInfoRequest, _| {
                    Ok(GetServerInfoResponse::default())
                })
                .await
            }
            "Register" => self.unary(request, World::register).await,
            "Login" => self.unary(request, World::login).await,
            "RefreshToken" => self.unary(request, World::refresh_token).await,
            "CreateGroup" => self.unary(request, World::create_group).await,
            "AddMember" => self.unary(request, World::add_member).await,
            "CreateChat" => self.unary(request, World::create_chat).await,
            "SendMessage" => self.unary(request, World::send_message).await,
            "ListMessages" => self.unary(request, World::list_messages).await,
            "SyncChanges" => self.unary(request, World::sync_changes).await,
            "StreamChanges" => {
                let codec = ProstCodec::<StreamChangesResponse, StreamChangesRequest>::default();
                let service = service_fn(move |request| {
                    Box::pin(self.clone().stream(request)) as Pin<Box<dyn Future<Output = _> + Send>>
                });
                Grpc::new(codec).server_streaming(service, request).await
            }
            other => panic!("the fake does not know {other}"),
        }
    }

    async fn unary<M, R>(
        self,
        request: http::Request<Body>,
        handle: fn(&mut World, M, &str) -> Answer<R>,
    ) -> http::Response<tonic::body::Body>
    where
        M: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        let service = service_fn(move |request: Request<M>| {
            let answer = self.world.lock().call(request, handle);
            async move { answer.map(Response::new) }
        });
        Grpc::new(ProstCodec::<R, M>::default()).unary(service, request).await
    }

    async fn stream(
        self,
        request: Request<StreamChangesRequest>,
    ) -> Answer<Response<ReceiverStream<Answer<StreamChangesResponse>>>> {
        self.world.lock().caller(&request)?;
        let (sender, receiver) = mpsc::channel(16);
        let after = request.into_inner().after.unwrap_or_default();
        let chat = after.chats[0].clone();
        tokio::spawn(async move {
            let send = |frame| sender.send(Ok(StreamChangesResponse { frame: Some(frame) }));
            let _ = send(Frame::Opened(Opened::default())).await;
            let mut position = chat.position;
            let mut caught_up = false;
            loop {
                let (changes, ends) = {
                    let world = self.world.lock();
                    (
                        world.changes(&chat.chat_id, position, Fault::StreamsNoReply),
                        world.fault() == Fault::Stumbles,
                    )
                };
                for change in changes {
                    position = change.position;
                    if send(Frame::Change(change)).await.is_err() {
                        return;
                    }
                    if ends && position % 20 == 0 {
                        let _ = sender.send(Err(problem(Code::Unavailable, "DRAINING", None))).await;
                        return;
                    }
                }
                if !std::mem::replace(&mut caught_up, true) && send(Frame::CaughtUp(CaughtUp::default())).await.is_err()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                if sender.is_closed() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
