//! Peers that would keep a process from stopping.

use std::{fs, net::SocketAddr, time::Duration};

use tidings_proto_message::v1::{
    After, ChatPosition, StreamChangesRequest, StreamChangesResponse, sync_service_client::SyncServiceClient,
};
use tidings_testkit::{Actor, until};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};
use tonic::{Request, Streaming, transport::Endpoint};

/// What a connection takes before it is stalled is sent within this.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// A receive buffer that is soon full, in bytes. The kernel takes a little more than it is told.
const RECEIVE_BUFFER: u32 = 4_096;

/// The smallest window of HTTP/2 that a message fits in nowhere.
const WINDOW: u32 = 1_024;

/// Peers on one port, who stay until they are dropped.
#[derive(Debug)]
pub struct Peers {
    _silent: TcpStream,
    _half: TcpStream,
}

impl Peers {
    /// One that connects and says nothing, and one in the middle of its preface.
    pub async fn sit_down(address: SocketAddr) -> Self {
        let silent = TcpStream::connect(address).await.expect("connects");
        let mut half = TcpStream::connect(address).await.expect("connects");
        half.write_all(b"PRI * HTTP/2.0\r\n\r\nS").await.expect("writes");
        Self {
            _silent: silent,
            _half: half,
        }
    }
}

fn from_the_first_change(chat_id: &str) -> StreamChangesRequest {
    let chats = vec![ChatPosition {
        chat_id: chat_id.to_owned(),
        ..ChatPosition::default()
    }];
    StreamChangesRequest {
        after: Some(After {
            chats,
            ..After::default()
        }),
    }
}

/// A stream of a chat's whole log over HTTP/2 that gives the server no room, and is not read.
pub async fn stall(address: SocketAddr, actor: &Actor, chat_id: &str) -> Streaming<StreamChangesResponse> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .expect("an address makes a URL")
        .initial_stream_window_size(WINDOW)
        .connect()
        .await
        .expect("connects");
    let mut request = Request::new(from_the_first_change(chat_id));
    let bearer = format!("Bearer {}", actor.access_token);
    request
        .metadata_mut()
        .insert("authorization", bearer.parse().expect("a token is ASCII"));
    let mut sync = SyncServiceClient::new(channel);
    sync.stream_changes(request).await.expect("opens a stream").into_inner()
}

/// The same as Server-Sent Events over a plain connection, whose buffers are full when this returns.
pub async fn stall_plainly(address: SocketAddr, actor: &Actor, chat_id: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(RECEIVE_BUFFER)
        .expect("its size can be set");
    let mut stream = socket.connect(address).await.expect("connects");
    let body = format!(r#"{{"after":{{"chats":[{{"chatId":"{chat_id}","position":"0"}}]}}}}"#);
    let request = format!(
        "POST /tidings.message.v1.SyncService/StreamChanges HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\
         authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        actor.access_token,
        body.len(),
    );
    stream.write_all(request.as_bytes()).await.expect("writes");
    let own = stream.local_addr().expect("connected");
    until("the connection is stalled", STALL_LIMIT, || async {
        waiting_to_be_sent(address, own) > RECEIVE_BUFFER.into()
    })
    .await;
    stream
}

/// The bytes that the kernel holds for a connection of the server, because its peer takes no more.
fn waiting_to_be_sent(server: SocketAddr, client: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has /proc");
    let end = |address: SocketAddr| format!(":{:04X}", address.port());
    let found = table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (words.next()?, words.next()?);
        let (_state, queues) = (words.next()?, words.next()?);
        let is_it = local.ends_with(&end(server)) && remote.ends_with(&end(client));
        is_it.then(|| {
            queues
                .split(':')
                .next()
                .and_then(|bytes| u64::from_str_radix(bytes, 16).ok())
        })?
    });
    found.unwrap_or(0)
}
