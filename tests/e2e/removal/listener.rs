use std::{collections::HashMap, time::Duration};

use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    After, StreamChangesRequest, StreamChangesResponse,
    change::{Kind, Scope},
    stream_changes_response::Frame,
};
use tidings_testkit::{Actor, reason_of};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::Streaming;

use super::{SOON, log::created};

/// What a stream has carried so far.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub caught_up: bool,
    /// The positions of snapshots.
    pub snapshots: HashMap<String, i64>,
    /// The positions of changes, in the order in which they came.
    pub positions: HashMap<String, Vec<i64>>,
    /// The last visible positions of chats that are left.
    pub left: HashMap<String, i64>,
    pub messages: Vec<String>,
    pub texts: Vec<String>,
}

impl Heard {
    /// Whether the chat is left and all that is visible of it has come.
    pub fn is_done_with(&self, chat_id: &str) -> bool {
        let last = self.left.get(chat_id);
        last.is_some() && self.positions.get(chat_id).and_then(|positions| positions.last()) >= last
    }

    fn note(&mut self, frame: Frame) {
        match frame {
            Frame::CaughtUp(_) => self.caught_up = true,
            Frame::Snapshot(snapshot) => {
                let chat_id = snapshot.chat.map(|chat| chat.chat_id).unwrap_or_default();
                self.snapshots.insert(chat_id, snapshot.position);
                for message in snapshot.messages {
                    self.messages.push(message.message_id);
                    self.texts.push(message.text);
                }
            }
            Frame::Left(left) => {
                self.left.insert(left.chat_id, left.last_visible_position);
            }
            Frame::Change(change) => {
                if let Some((message_id, text)) = created(change.kind.as_ref()) {
                    self.messages.push(message_id);
                    self.texts.push(text);
                }
                if let Some(Kind::ChatLeft(left)) = change.kind {
                    self.left.insert(left.chat_id, left.last_visible_position);
                }
                if let Some(Scope::ChatId(chat_id)) = change.scope {
                    self.positions.entry(chat_id).or_default().push(change.position);
                }
            }
            _ => {}
        }
    }
}

/// Reads a stream all the time, as a client does.
pub struct Listener {
    heard: watch::Receiver<Heard>,
    reading: JoinHandle<()>,
}

impl Listener {
    pub async fn open(user: &Actor, after: Option<After>) -> Self {
        let request = StreamChangesRequest { after };
        // Streams of earlier listeners may still be counted for a moment.
        let begun = Instant::now();
        let mut stream: Streaming<StreamChangesResponse> = loop {
            match user.sync().stream_changes(request.clone()).await {
                Ok(stream) => break stream.into_inner(),
                Err(status) => {
                    let full = reason_of(&status) == ErrorReason::QuotaExceeded && begun.elapsed() < SOON;
                    assert!(full, "the stream: {status:?}");
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        let (telling, heard) = watch::channel(Heard::default());
        let reading = tokio::spawn(async move {
            while let Ok(Some(StreamChangesResponse { frame: Some(frame) })) = stream.message().await {
                telling.send_modify(|heard| heard.note(frame));
            }
        });
        Self { heard, reading }
    }

    /// Waits until what was heard is enough, and returns it.
    pub async fn until(&self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.clone();
        let outcome = timeout(SOON, heard.wait_for(|heard| enough(heard))).await;
        match outcome {
            Ok(Ok(heard)) => heard.clone(),
            Ok(Err(_)) => panic!("the stream ended; it carried {:?}", self.heard.borrow()),
            Err(_) => panic!("not in time; the stream carried {:?}", self.heard.borrow()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
