use tidings_proto_chat::v1::{
    Chat, GetChatRequest, GetGroupRequest, LeaveChatRequest, LeaveGroupRequest, ListChatMembersRequest,
    ListChatsRequest, ListMembersRequest, RemoveChatMemberRequest, RemoveMemberRequest,
};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    After, BatchGetMessagesRequest, ChatPosition, CompleteUploadRequest, CreateDownloadUrlRequest, CreateUploadRequest,
    DeleteMessageRequest, GetAttachmentRequest, GetMessageRequest, ListMessagesRequest, ListTurnsRequest,
    SendMessageRequest, SyncChangesRequest, UpdateMessageRequest, Upload,
};
use tidings_testkit::{Actor, Suite, assert_contract, reason_of, request_id};
use tonic::{Response, Status};

use super::listener::Listener;

/// Where a chat's members come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kin {
    Group,
    Conversation,
}

/// A chat with an attachment and messages, and a member who will be removed.
pub struct Stage {
    pub kin: Kin,
    pub owner: Actor,
    pub member: Actor,
    pub second: Actor,
    pub chat: Chat,
    pub message_id: String,
    pub own_message_id: String,
    pub attachment_id: String,
    pub own_upload_id: String,
}

impl Stage {
    pub async fn set(suite: &Suite, kin: Kin) -> Self {
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
    pub async fn remove(&self, request_id: &str) -> Result<(), Status> {
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
    pub async fn leave(&self) -> Result<(), Status> {
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

    pub async fn nothing_goes(&self) {
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
    pub async fn nothing_streams(&self) {
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

pub fn assert_absent<T>(outcome: Result<T, Status>, what: &str) {
    match outcome {
        Ok(_) => panic!("{what} is answered with OK"),
        Err(status) => {
            assert_contract(&status);
            assert_eq!(reason_of(&status), ErrorReason::NotFound, "{what}: {status:?}");
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

async fn try_upload(user: &Actor, chat_id: &str) -> Result<Upload, Status> {
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
