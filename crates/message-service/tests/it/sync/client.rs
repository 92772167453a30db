//! A client of SyncService that keeps what it has, and takes nothing that does not follow it.

use std::{collections::BTreeMap, time::Duration};

use tidings_proto_message::v1::{
    After, Change, ChatPosition, Closing, DeleteMessageRequest, DeleteScope, Message, Skipped, Snapshot,
    StreamChangesRequest, StreamChangesResponse, SyncChangesRequest, SyncChangesResponse, UpdateMessageRequest,
    change::{Kind, Scope},
    skipped,
    stream_changes_response::Frame,
    sync_service_client::SyncServiceClient,
};
use tidings_rpc::Peer;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::world::Actor;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open stream, and what its reader has.
pub struct Stream {
    frames: Streaming<StreamChangesResponse>,
    pub have: BTreeMap<String, i64>,
    pub user_position: i64,
    pub log_id: String,
}

pub fn sync(actor: &Actor) -> SyncServiceClient<Peer> {
    SyncServiceClient::new(actor.peer()).max_decoding_message_size(16 * 1024 * 1024)
}

/// What is presented of some chats, and of no user log.
pub fn after(chats: &[(&str, i64)]) -> After {
    let chats = chats.iter().map(|(chat_id, position)| ChatPosition {
        chat_id: (*chat_id).to_owned(),
        position: *position,
    });
    After {
        chats: chats.collect(),
        ..After::default()
    }
}

impl Stream {
    pub async fn open(actor: &Actor, after: Option<After>) -> Self {
        Self::try_open(actor, after).await.expect("opened")
    }

    pub async fn try_open(actor: &Actor, after: Option<After>) -> Result<Self, Status> {
        let presented = after.clone().unwrap_or_default();
        let frames = sync(actor)
            .stream_changes(actor.asks(StreamChangesRequest { after }))
            .await?
            .into_inner();
        let have = presented
            .chats
            .iter()
            .map(|chat| (chat.chat_id.clone(), chat.position))
            .collect();
        Ok(Self {
            frames,
            have,
            user_position: presented.user_position,
            log_id: presented.log_id,
        })
    }

    /// The next frame, checked to follow what is here; the status that ended the stream; `None` at its end.
    pub async fn try_next(&mut self) -> Result<Option<Frame>, Status> {
        let message = timeout(PATIENCE, self.frames.message())
            .await
            .expect("a frame in time")?;
        let Some(message) = message else { return Ok(None) };
        let frame = message.frame.expect("a frame that is known");
        self.take(&frame);
        Ok(Some(frame))
    }

    pub async fn next(&mut self) -> Frame {
        self.try_next()
            .await
            .expect("the stream goes on")
            .expect("the stream goes on")
    }

    /// The next frame that is no heartbeat.
    pub async fn next_news(&mut self) -> Frame {
        loop {
            let frame = self.next().await;
            if !matches!(frame, Frame::Heartbeat(_)) {
                return frame;
            }
        }
    }

    /// The frames up to `caught_up`, without it.
    pub async fn catch_up(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Frame::CaughtUp(caught_up) => {
                    assert_eq!(caught_up.user_position, self.user_position);
                    return frames;
                }
                frame => frames.push(frame),
            }
        }
    }

    /// The next change of a chat's log.
    pub async fn next_change(&mut self) -> Change {
        match self.next_news().await {
            Frame::Change(change) => change,
            frame => panic!("{frame:?} is no change"),
        }
    }

    /// The frames up to the change that creates a message with this text, which is the last.
    pub async fn until_text(&mut self, text: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next_news().await;
            let found = message_of(&frame).is_some_and(|message| message.text == text);
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    /// What ends the stream: its last frame, and the status.
    pub async fn end(&mut self) -> (Option<Closing>, Status) {
        let mut closing = None;
        loop {
            match self.try_next().await {
                Ok(Some(Frame::Closing(last))) => closing = Some(last),
                Ok(Some(_)) => assert!(closing.is_none(), "nothing comes after `closing`"),
                Ok(None) => panic!("a stream ends with a status"),
                Err(status) => return (closing, status),
            }
        }
    }

    /// What the next stream is opened with.
    pub fn after(&self) -> After {
        let chats = self.have.iter().map(|(chat_id, position)| ChatPosition {
            chat_id: chat_id.clone(),
            position: *position,
        });
        After {
            log_id: self.log_id.clone(),
            user_position: self.user_position,
            chats: chats.collect(),
        }
    }

    fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::Opened(opened) => {
                if opened.reset {
                    (self.have, self.user_position) = (BTreeMap::new(), 0);
                }
                self.log_id.clone_from(&opened.log_id);
            }
            Frame::Snapshot(snapshot) => {
                let before = self.have.insert(id_of(snapshot).to_owned(), snapshot.position);
                assert!(before.is_none() || snapshot.reset, "a snapshot begins a chat");
            }
            Frame::Change(change) => match change.scope.as_ref().expect("a scope") {
                Scope::UserLog(_) => {
                    assert_eq!(change.position, self.user_position + 1);
                    self.user_position = change.position;
                    if let Some(Kind::ChatLeft(left)) = &change.kind
                        && self
                            .have
                            .get(&left.chat_id)
                            .is_some_and(|position| *position <= left.last_visible_position)
                    {
                        self.have.remove(&left.chat_id);
                    }
                }
                Scope::ChatId(chat_id) => self.advance(chat_id, change.position, change.position),
            },
            Frame::Skipped(skipped) => match skipped.scope.as_ref().expect("a scope") {
                skipped::Scope::UserLog(_) => self.user_position = skipped.last_position,
                skipped::Scope::ChatId(chat_id) => {
                    self.advance(chat_id, skipped.first_position, skipped.last_position);
                }
            },
            Frame::Left(left) => {
                self.have.remove(&left.chat_id);
            }
            Frame::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.user_position, self.user_position);
                for chat in &heartbeat.chats {
                    assert_eq!(self.have.get(&chat.chat_id), Some(&chat.position));
                }
            }
            Frame::CaughtUp(_) | Frame::Closing(_) => {}
        }
    }

    fn advance(&mut self, chat_id: &str, first: i64, last: i64) {
        let position = self.have.get_mut(chat_id).expect("a chat that was begun");
        assert_eq!(first, *position + 1, "no hole, and none twice");
        *position = last;
    }
}

pub fn id_of(snapshot: &Snapshot) -> &str {
    &snapshot.chat.as_ref().expect("a chat").chat_id
}

/// The message that a frame tells of, created, updated or deleted.
pub fn message_of(frame: &Frame) -> Option<&Message> {
    let Frame::Change(change) = frame else { return None };
    message_in(change)
}

pub fn message_in(change: &Change) -> Option<&Message> {
    match change.kind.as_ref()? {
        Kind::MessageCreated(created) => created.message.as_ref(),
        Kind::MessageUpdated(updated) => updated.message.as_ref(),
        Kind::MessageDeleted(deleted) => deleted.message.as_ref(),
        _ => None,
    }
}

/// The texts that the frames tell, in their order.
pub fn texts(frames: &[Frame]) -> Vec<&str> {
    frames
        .iter()
        .filter_map(message_of)
        .map(|message| message.text.as_str())
        .collect()
}

/// The skipped ranges of a chat's log: first, last, and the reason's number.
pub fn skipped(frames: &[Frame]) -> Vec<(i64, i64, i32)> {
    let ranges = frames.iter().filter_map(|frame| match frame {
        Frame::Skipped(Skipped {
            scope: Some(skipped::Scope::ChatId(_)),
            first_position,
            last_position,
            reason,
        }) => Some((*first_position, *last_position, *reason)),
        _ => None,
    });
    ranges.collect()
}

pub fn snapshots(frames: &[Frame]) -> Vec<&Snapshot> {
    let snapshots = frames.iter().filter_map(|frame| match frame {
        Frame::Snapshot(snapshot) => Some(snapshot),
        _ => None,
    });
    snapshots.collect()
}

pub async fn pull(
    actor: &Actor,
    after: Option<After>,
    page_size: i32,
    page_token: &str,
) -> Result<SyncChangesResponse, Status> {
    let request = SyncChangesRequest {
        after,
        page_size,
        page_token: page_token.to_owned(),
    };
    Ok(sync(actor).sync_changes(actor.asks(request)).await?.into_inner())
}

/// All pages of one pull.
pub async fn pull_all(actor: &Actor, after: Option<After>, page_size: i32) -> Vec<SyncChangesResponse> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let page = pull(actor, after.clone(), page_size, &token).await.expect("a page");
        assert_eq!(page.caught_up, page.next_page_token.is_empty());
        token.clone_from(&page.next_page_token);
        pages.push(page);
        if token.is_empty() {
            return pages;
        }
    }
}

pub async fn edit(actor: &Actor, message: &Message, text: &str) {
    let request = UpdateMessageRequest {
        chat_id: message.chat_id.clone(),
        message_id: message.message_id.clone(),
        text: text.to_owned(),
        ..UpdateMessageRequest::default()
    };
    actor
        .messages()
        .update_message(actor.asks(request))
        .await
        .expect("edited");
}

pub async fn delete(actor: &Actor, message: &Message, scope: DeleteScope) {
    let request = DeleteMessageRequest {
        chat_id: message.chat_id.clone(),
        message_id: message.message_id.clone(),
        scope: scope.into(),
        ..DeleteMessageRequest::default()
    };
    actor
        .messages()
        .delete_message(actor.asks(request))
        .await
        .expect("deleted");
}
