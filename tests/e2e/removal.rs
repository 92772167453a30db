//! Removal is immediate (`reliability.md` G14): from its return on the removed member's calls fail, and no stream of theirs carries
//! anything above its position; also when the message service was away, and when sends race with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tidings_proto_chat::v1::{
    Chat, GetChatRequest, GetGroupRequest, LeaveChatRequest, LeaveGroupRequest, ListChatMembersRequest,
    ListChatsRequest, ListMembersRequest, RemoveChatMemberRequest, RemoveMemberRequest,
};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    After, BatchGetMessagesRequest, ChatPosition, CompleteUploadRequest, CreateDownloadUrlRequest, CreateUploadRequest,
    DeleteMessageRequest, GetAttachmentRequest, GetMessageRequest, ListMessagesRequest, ListTurnsRequest,
    SendMessageRequest, StreamChangesRequest, StreamChangesResponse, SyncChangesRequest, UpdateMessageRequest,
    change::{Kind, Scope},
    stream_changes_response::Frame,
};
use tidings_testkit::{Actor, Process, Shape, Suite, assert_contract, reason_of, request_id};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Response, Status, Streaming};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(20);

/// Removals that race with sends.
const RACES: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_refused_at_once_in_one_process() {
    every_way_out(&Suite::start(Shape::One).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_refused_at_once_in_five_processes() {
    every_way_out(&Suite::start(Shape::Five).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_finds_the_message_service_down_holds_once_its_retry_has_returned() {
    let mut suite = Suite::start(Shape::Five).await;
    let stage = Stage::set(&suite, Kin::Group).await;
    suite.kill(Process::Message).await;

    let request_id = request_id();
    for attempt in 0..2 {
        let status = stage.remove(&request_id).await.expect_err("nobody can be told");
        assert_contract(&status);
        assert_eq!(status.code(), Code::Unavailable, "attempt {attempt}: {status:?}");
    }

    suite.spawn(Process::Message);
    let begun = Instant::now();
    // As a client does: the same request id, until it is answered.
    while let Err(status) = stage.remove(&request_id).await {
        let may_retry = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
        assert!(may_retry && begun.elapsed() < SOON, "the retry: {status:?}");
        sleep(Duration::from_millis(50)).await;
    }
    stage.nothing_goes().await;
    stage.nothing_streams().await;
    // The owner's side is whole: the removal stands in the log once, and the chat goes on.
    stage
        .owner
        .send(&stage.chat.chat_id, "after the removal")
        .await
        .expect("the owner sends");
    assert_eq!(removals_of(&stage).await, 1, "removals in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_that_race_with_sends_end_the_removed_members_view_exactly_there() {
    let suite = Suite::start(Shape::Five).await;
    let stage = Arc::new(Stage::set(&suite, Kin::Group).await);
    for round in 0..RACES {
        race(&stage, round).await;
    }
}

/// One removal while two members send as fast as they can, and the removed one listens.
async fn race(stage: &Arc<Stage>, round: usize) {
    let Stage {
        owner, member, second, ..
    } = &**stage;
    let chat = owner.group_chat(&[member, second]).await;
    let listener = Listener::open(member, None).await;
    listener.until(|heard| heard.caught_up).await;

    let (stop, stopped) = watch::channel(false);
    let senders = [member, second].map(|sender| {
        let (sender, chat_id, stopped) = (sender.clone(), chat.chat_id.clone(), stopped.clone());
        tokio::spawn(async move { send_until(&sender, &chat_id, &stopped).await })
    });
    // A different moment of the batches in each round.
    sleep(Duration::from_millis(5 + 3 * u64::try_from(round).expect("small"))).await;
    let removed = owner.remove(&chat.group_id, member).await;
    removed.unwrap_or_else(|status| panic!("round {round}: {status:?}"));
    let late = join_all((0..5).map(|_| member.send(&chat.chat_id, "too late"))).await;
    for late in late {
        assert_absent(late, "a send after the removal");
    }
    // Others go on for a while, so that there is something to leak.
    for number in 0..5 {
        owner
            .send(&chat.chat_id, &format!("secret {number}"))
            .await
            .expect("the owner sends");
    }
    stop.send_replace(true);
    let [own, others] = join_all(senders).await.try_into().expect("two senders");
    let (own, others) = (own.expect("sends"), others.expect("sends"));
    assert!(
        others.refused.is_none(),
        "round {round}: a member was refused: {:?}",
        others.refused
    );

    assert!(!own.sent.is_empty(), "round {round}: nothing raced");
    assert_absent(own.refused.map_or(Ok(()), Err), "the racing send after the removal");
    let heard = listener.until(|heard| heard.is_done_with(&chat.chat_id)).await;
    let last = heard.left[&chat.chat_id];
    let log = log_of(owner, &chat.chat_id).await;
    let removal = log
        .iter()
        .find(|entry| entry.removes.as_deref() == Some(member.user_id.as_str()));
    let removal = removal.expect("the removal stands in the log").position;
    assert_eq!(last, removal, "round {round}: the last visible position");
    let positions = &heard.positions[&chat.chat_id];
    assert_eq!(
        positions.last(),
        Some(&removal),
        "round {round}: where the removed member's stream ends"
    );
    let first = heard.snapshots.get(&chat.chat_id).map_or(1, |position| position + 1);
    let expected: Vec<i64> = (first..=removal).collect();
    assert_eq!(positions, &expected, "round {round}: what the stream carried");
    // What was answered with OK to the removed member stands before the removal.
    for message_id in &own.sent {
        let entry = log.iter().find(|entry| entry.creates.as_ref() == Some(message_id));
        assert!(
            entry.expect("what was acknowledged is there").position < removal,
            "round {round}"
        );
    }
    // Nothing comes later either: the stream has lived on past the chat's newest change.
    owner
        .send(&chat.chat_id, "the last secret")
        .await
        .expect("the owner sends");
    let other = owner.direct_chat(member).await;
    let marker = owner.send(&other.chat_id, "the end").await.expect("the owner sends");
    let heard = listener
        .until(|heard| heard.messages.contains(&marker.message_id))
        .await;
    assert_eq!(
        heard.positions[&chat.chat_id].last(),
        Some(&removal),
        "round {round}: something leaked later"
    );
    assert!(
        !heard.texts.iter().any(|text| text.contains("secret")),
        "round {round}: a secret leaked"
    );
}

/// What a sender of the race was told.
#[derive(Debug, Default)]
struct Told {
    sent: Vec<String>,
    refused: Option<Status>,
}

async fn send_until(sender: &Actor, chat_id: &str, stopped: &watch::Receiver<bool>) -> Told {
    let mut told = Told::default();
    while !*stopped.borrow() {
        match sender.send(chat_id, "in the race").await {
            Ok(message) => told.sent.push(message.message_id),
            Err(status) => {
                assert_contract(&status);
                told.refused = Some(status);
                break;
            }
        }
    }
    told
}

/// Each way in which a membership ends.
async fn every_way_out(suite: &Suite) {
    for (kin, itself) in [
        (Kin::Group, false),
        (Kin::Conversation, false),
        (Kin::Group, true),
        (Kin::Conversation, true),
    ] {
        let stage = Stage::set(suite, kin).await;
        let listener = Listener::open(&stage.member, None).await;
        listener
            .until(|heard| heard.caught_up && heard.snapshots.contains_key(&stage.chat.chat_id))
            .await;
        let before = stage
            .owner
            .send(&stage.chat.chat_id, "before")
            .await
            .expect("the owner sends");
        let ended = if itself {
            stage.leave().await
        } else {
            stage.remove(&request_id()).await
        };
        ended.unwrap_or_else(|status| panic!("{kin:?}, itself {itself}: {status:?}"));

        stage.nothing_goes().await;
        stage
            .owner
            .send(&stage.chat.chat_id, "a secret")
            .await
            .expect("the owner sends");
        stage.nothing_streams().await;
        let heard = listener.until(|heard| heard.is_done_with(&stage.chat.chat_id)).await;
        let last = heard.left[&stage.chat.chat_id];
        assert!(
            heard.messages.contains(&before.message_id),
            "{kin:?}: what came before is heard"
        );
        assert!(
            !heard.texts.iter().any(|text| text == "a secret"),
            "{kin:?}: what came after is not"
        );
        let positions = &heard.positions[&stage.chat.chat_id];
        assert_eq!(
            positions.last(),
            Some(&last),
            "{kin:?}, itself {itself}: where the stream ends"
        );
        let log = log_of(&stage.owner, &stage.chat.chat_id).await;
        let removal = log
            .iter()
            .find(|entry| entry.removes.as_deref() == Some(stage.member.user_id.as_str()));
        assert_eq!(
            removal.expect("it stands in the log").position,
            last,
            "{kin:?}, itself {itself}"
        );
    }
}

/// Where a chat's members come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    Group,
    Conversation,
}

/// A chat with an attachment and messages, and a member who will be removed.
struct Stage {
    kin: Kin,
    owner: Actor,
    member: Actor,
    second: Actor,
    chat: Chat,
    message_id: String,
    own_message_id: String,
    attachment_id: String,
    own_upload_id: String,
}

impl Stage {
    async fn set(suite: &Suite, kin: Kin) -> Self {
        let channel = suite.channel();
        let owner = Actor::register(&channel, "owner").await;
        let member = Actor::register(&channel, "member").await;
        let second = Actor::register(&channel, "second").await;
        let chat = match kin {
            Kin::Group => owner.group_chat(&[&member, &second]).await,
            Kin::Conversation => owner.conversation(&[&member, &second]).await,
        };
        let attachment_id = upload(&owner, &chat.chat_id).await;
        let complete = CompleteUploadRequest {
            chat_id: chat.chat_id.clone(),
            attachment_id: attachment_id.clone(),
            request_id: request_id(),
        };
        owner.attachments().complete_upload(complete).await.expect("completes");
        let send = SendMessageRequest {
            chat_id: chat.chat_id.clone(),
            text: "with a file".to_owned(),
            attachment_ids: vec![attachment_id.clone()],
            request_id: request_id(),
            ..SendMessageRequest::default()
        };
        let sent = owner.messages().send_message(send).await.expect("sends").into_inner();
        let own = member
            .send(&chat.chat_id, "the member's own")
            .await
            .expect("the member sends");
        let own_upload_id = upload(&member, &chat.chat_id).await;
        let stage = Self {
            kin,
            message_id: sent.message.expect("a message").message_id,
            own_message_id: own.message_id,
            attachment_id,
            own_upload_id,
            owner,
            member,
            second,
            chat,
        };
        stage.everything_goes().await;
        stage
    }

    /// Ends the membership as the owner.
    async fn remove(&self, request_id: &str) -> Result<(), Status> {
        let (user_id, request_id) = (self.member.user_id.clone(), request_id.to_owned());
        match self.kin {
            Kin::Group => {
                let request = RemoveMemberRequest {
                    group_id: self.chat.group_id.clone(),
                    user_id,
                    request_id,
                };
                self.owner.memberships().remove_member(request).await.map(drop)
            }
            Kin::Conversation => {
                let request = RemoveChatMemberRequest {
                    chat_id: self.chat.chat_id.clone(),
                    user_id,
                    request_id,
                };
                self.owner.chats().remove_chat_member(request).await.map(drop)
            }
        }
    }

    /// Ends it as the member.
    async fn leave(&self) -> Result<(), Status> {
        match self.kin {
            Kin::Group => {
                let request = LeaveGroupRequest {
                    group_id: self.chat.group_id.clone(),
                    request_id: request_id(),
                };
                self.member.memberships().leave_group(request).await.map(drop)
            }
            Kin::Conversation => {
                let request = LeaveChatRequest {
                    chat_id: self.chat.chat_id.clone(),
                    request_id: request_id(),
                };
                self.member.chats().leave_chat(request).await.map(drop)
            }
        }
    }

    /// The refusals below prove something only where the member could do all of it before.
    async fn everything_goes(&self) {
        for (what, outcome) in self.calls().await {
            if let Err(status) = outcome {
                panic!("{what} before the removal: {status:?}");
            }
        }
    }

    async fn nothing_goes(&self) {
        for (what, outcome) in self.calls().await {
            assert_absent(outcome, what);
        }
        let listed = self
            .member
            .chats()
            .list_chats(ListChatsRequest::default())
            .await
            .expect("lists chats")
            .into_inner();
        let ids = listed
            .chats
            .into_iter()
            .filter_map(|summary| summary.chat)
            .map(|chat| chat.chat_id);
        assert!(
            !ids.into_iter().any(|id| id == self.chat.chat_id),
            "the chat is still listed"
        );
    }

    /// What a member may do in the chat.
    async fn calls(&self) -> Vec<(&'static str, Result<(), Status>)> {
        let (chat_id, message_id) = (|| self.chat.chat_id.clone(), || self.message_id.clone());
        let member = &self.member;
        let mut messages = member.messages();
        let mut attachments = member.attachments();
        let mut chats = member.chats();
        let replay = SendMessageRequest {
            chat_id: chat_id(),
            text: "hello".to_owned(),
            request_id: request_id(),
            ..SendMessageRequest::default()
        };
        let list = ListMessagesRequest {
            chat_id: chat_id(),
            ..ListMessagesRequest::default()
        };
        let get = GetMessageRequest {
            chat_id: chat_id(),
            message_id: message_id(),
        };
        let batch = BatchGetMessagesRequest {
            chat_id: chat_id(),
            message_ids: vec![message_id()],
        };
        let turns = ListTurnsRequest {
            chat_id: chat_id(),
            ..ListTurnsRequest::default()
        };
        let edit = UpdateMessageRequest {
            chat_id: chat_id(),
            message_id: self.own_message_id.clone(),
            text: request_id(),
            request_id: request_id(),
            ..UpdateMessageRequest::default()
        };
        // With an etag that no message has, so that nothing is lost that is looked at later.
        let hide = DeleteMessageRequest {
            chat_id: chat_id(),
            message_id: self.own_message_id.clone(),
            etag: "999".to_owned(),
            request_id: request_id(),
            ..DeleteMessageRequest::default()
        };
        let known = GetAttachmentRequest {
            chat_id: chat_id(),
            attachment_id: self.attachment_id.clone(),
        };
        let url = CreateDownloadUrlRequest {
            chat_id: chat_id(),
            attachment_id: self.attachment_id.clone(),
        };
        let own = GetAttachmentRequest {
            chat_id: chat_id(),
            attachment_id: self.own_upload_id.clone(),
        };
        let chat = GetChatRequest { chat_id: chat_id() };
        let members = ListChatMembersRequest {
            chat_id: chat_id(),
            ..ListChatMembersRequest::default()
        };
        let hidden = messages.delete_message(hide).await;
        let mut calls = vec![
            ("SendMessage", done(messages.send_message(replay).await)),
            ("ListMessages", done(messages.list_messages(list).await)),
            ("GetMessage", done(messages.get_message(get).await)),
            ("BatchGetMessages", done(messages.batch_get_messages(batch).await)),
            ("ListTurns", done(messages.list_turns(turns).await)),
            ("UpdateMessage", done(messages.update_message(edit).await)),
            // To a member it says that the message has changed, to others nothing.
            ("DeleteMessage", stale_is_fine(hidden)),
            ("GetAttachment", done(attachments.get_attachment(known).await)),
            ("CreateDownloadUrl", done(attachments.create_download_url(url).await)),
            (
                "GetAttachment of one's own",
                done(attachments.get_attachment(own).await),
            ),
            ("CreateUpload", try_upload(member, &chat_id()).await.map(drop)),
            ("GetChat", done(chats.get_chat(chat).await)),
            ("ListChatMembers", done(chats.list_chat_members(members).await)),
        ];
        if self.kin == Kin::Group {
            let group_id = || self.chat.group_id.clone();
            let group = GetGroupRequest { group_id: group_id() };
            let members = ListMembersRequest {
                group_id: group_id(),
                ..ListMembersRequest::default()
            };
            calls.extend([
                ("GetGroup", done(member.groups().get_group(group).await)),
                ("ListMembers", done(member.memberships().list_members(members).await)),
            ]);
        }
        calls
    }

    /// New streams and pages tell that the chat is left, whatever position is presented, and nothing else of it.
    async fn nothing_streams(&self) {
        let chat_id = &self.chat.chat_id;
        for position in [None, Some(0), Some(1), Some(1_000)] {
            let chats: Vec<ChatPosition> = position
                .into_iter()
                .map(|position| ChatPosition {
                    chat_id: chat_id.clone(),
                    position,
                })
                .collect();
            let after = After {
                chats,
                ..After::default()
            };
            let listener = Listener::open(&self.member, Some(after.clone())).await;
            let heard = listener.until(|heard| heard.caught_up).await;
            assert!(
                !heard.snapshots.contains_key(chat_id),
                "a stream after {position:?} shows a snapshot"
            );
            let last = heard.left.get(chat_id).copied();
            assert!(
                position.is_none() || last.is_some(),
                "a stream after {position:?} does not say that the chat is left"
            );
            let beyond = heard
                .positions
                .get(chat_id)
                .into_iter()
                .flatten()
                .any(|position| Some(*position) > last);
            assert!(!beyond, "a stream after {position:?} goes beyond {last:?}");
            let page = SyncChangesRequest {
                after: Some(after),
                ..SyncChangesRequest::default()
            };
            let page = self
                .member
                .sync()
                .sync_changes(page)
                .await
                .expect("a page")
                .into_inner();
            let shown = page
                .snapshots
                .iter()
                .any(|snapshot| snapshot.chat.as_ref().is_some_and(|chat| chat.chat_id == *chat_id));
            let left = page.left.iter().any(|left| left.chat_id == *chat_id);
            assert!(!shown && (position.is_none() || left), "a page after {position:?}");
        }
    }
}

fn done<T>(outcome: Result<Response<T>, Status>) -> Result<(), Status> {
    outcome.map(drop)
}

fn stale_is_fine<T>(outcome: Result<Response<T>, Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if reason_of(&status) == ErrorReason::EtagMismatch => Ok(()),
        other => other.map(drop),
    }
}

fn assert_absent<T>(outcome: Result<T, Status>, what: &str) {
    match outcome {
        Ok(_) => panic!("{what} is answered with OK"),
        Err(status) => {
            assert_contract(&status);
            assert_eq!(reason_of(&status), ErrorReason::NotFound, "{what}: {status:?}");
        }
    }
}

async fn upload(user: &Actor, chat_id: &str) -> String {
    let upload = try_upload(user, chat_id).await.expect("begins an upload");
    let mut put = reqwest::Client::new().put(&upload.upload_url).body("hello");
    for (name, value) in &upload.headers {
        put = put.header(name, value);
    }
    let answer = put.send().await.expect("uploads");
    assert!(answer.status().is_success(), "the upload: {}", answer.status());
    upload.attachment_id
}

async fn try_upload(user: &Actor, chat_id: &str) -> Result<tidings_proto_message::v1::Upload, Status> {
    let create = CreateUploadRequest {
        chat_id: chat_id.to_owned(),
        media_type: "text/plain".to_owned(),
        size_bytes: 5,
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
        request_id: request_id(),
        ..CreateUploadRequest::default()
    };
    let created = user.attachments().create_upload(create).await?;
    Ok(created.into_inner().upload.expect("an upload"))
}

/// One entry of a chat's log, as far as it matters here.
struct Entry {
    position: i64,
    creates: Option<String>,
    removes: Option<String>,
}

/// A chat's whole log, as a member sees it.
async fn log_of(member: &Actor, chat_id: &str) -> Vec<Entry> {
    let after = After {
        chats: vec![ChatPosition {
            chat_id: chat_id.to_owned(),
            position: 0,
        }],
        ..After::default()
    };
    let mut request = SyncChangesRequest {
        after: Some(after),
        page_size: 200,
        ..SyncChangesRequest::default()
    };
    let mut entries = Vec::new();
    loop {
        let page = member
            .sync()
            .sync_changes(request.clone())
            .await
            .expect("a page")
            .into_inner();
        for change in page.changes {
            if change.scope != Some(Scope::ChatId(chat_id.to_owned())) {
                continue;
            }
            entries.push(Entry {
                position: change.position,
                creates: created(change.kind.as_ref()).map(|(id, _)| id),
                removes: match change.kind {
                    Some(Kind::MemberRemoved(removed)) => Some(removed.user_id),
                    _ => None,
                },
            });
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return entries;
        }
    }
}

async fn removals_of(stage: &Stage) -> usize {
    let log = log_of(&stage.owner, &stage.chat.chat_id).await;
    let removals = log
        .iter()
        .filter(|entry| entry.removes.as_deref() == Some(stage.member.user_id.as_str()));
    removals.count()
}

fn created(kind: Option<&Kind>) -> Option<(String, String)> {
    let Some(Kind::MessageCreated(created)) = kind else {
        return None;
    };
    let message = created.message.as_ref()?;
    Some((message.message_id.clone(), message.text.clone()))
}

/// What a stream has carried so far.
#[derive(Debug, Clone, Default)]
struct Heard {
    caught_up: bool,
    /// The positions of snapshots.
    snapshots: HashMap<String, i64>,
    /// The positions of changes, in the order in which they came.
    positions: HashMap<String, Vec<i64>>,
    /// The last visible positions of chats that are left.
    left: HashMap<String, i64>,
    messages: Vec<String>,
    texts: Vec<String>,
}

impl Heard {
    /// Whether the chat is left and all that is visible of it has come.
    fn is_done_with(&self, chat_id: &str) -> bool {
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
struct Listener {
    heard: watch::Receiver<Heard>,
    reading: JoinHandle<()>,
}

impl Listener {
    async fn open(user: &Actor, after: Option<After>) -> Self {
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
    async fn until(&self, enough: impl Fn(&Heard) -> bool) -> Heard {
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
