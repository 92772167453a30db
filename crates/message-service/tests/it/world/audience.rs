//! Audiences, and what the chat service tells of them.

use tidings_ids::ChatId;
use tidings_proto_common::v1::{ChatHistory, ChatKind, ChatRole, RemovalReason};
use tidings_proto_message::v1::{
    ApplyMembershipChangesRequest, AudienceChange, AudienceMemberRemoved, AudienceRemoved, ChatFacts, ChatRemoved,
    MemberPut, audience_change::Kind, membership_log_service_client::MembershipLogServiceClient,
};
use tidings_rpc::Peer;
use tonic::Status;

use super::{Actor, Audience};

impl Audience {
    pub fn now(&self) -> prost_types::Timestamp {
        prost_types::Timestamp {
            seconds: self.source.now().unix_timestamp(),
            nanos: 0,
        }
    }

    pub fn client(&self) -> MembershipLogServiceClient<Peer> {
        MembershipLogServiceClient::new(self.peer.clone())
    }

    /// A change with its number, not told yet.
    pub fn change(&self, number: i64, kind: Kind) -> AudienceChange {
        AudienceChange {
            number,
            actor_id: self.actor.clone(),
            change_time: Some(self.now()),
            kind: Some(kind),
        }
    }

    /// Hands changes over as they are, and returns how far the audience is.
    pub async fn deliver(&self, changes: Vec<AudienceChange>) -> Result<i64, Status> {
        let request = ApplyMembershipChangesRequest {
            audience_id: self.id.clone(),
            changes,
        };
        Ok(self
            .client()
            .apply_membership_changes(request)
            .await?
            .into_inner()
            .applied_number)
    }

    /// Makes the next change.
    pub async fn tell(&mut self, kind: Kind) {
        self.number += 1;
        let applied = self
            .deliver(vec![self.change(self.number, kind)])
            .await
            .expect("applied");
        assert_eq!(applied, self.number);
    }

    pub fn member(&self, actor: &Actor, role: ChatRole) -> Kind {
        Kind::MemberPut(MemberPut {
            user_id: actor.id.clone(),
            role: role.into(),
            mute_end_time: None,
            create_time: Some(self.now()),
        })
    }

    pub fn removal(&self, actor: &Actor) -> Kind {
        let reason = RemovalReason::Removed.into();
        Kind::MemberRemoved(AudienceMemberRemoved {
            user_id: actor.id.clone(),
            reason,
        })
    }

    pub async fn put(&mut self, actor: &Actor, role: ChatRole) {
        let member = self.member(actor, role);
        self.tell(member).await;
    }

    pub async fn remove(&mut self, actor: &Actor) {
        let removal = self.removal(actor);
        self.tell(removal).await;
    }

    pub async fn remove_chat(&mut self, chat_id: &str) {
        self.tell(Kind::ChatRemoved(ChatRemoved {
            chat_id: chat_id.to_owned(),
        }))
        .await;
    }

    pub async fn end(&mut self) {
        self.tell(Kind::AudienceRemoved(AudienceRemoved {})).await;
    }

    /// The facts of this audience's own chat, changed.
    pub async fn update(&mut self, change: impl FnOnce(&mut ChatFacts)) {
        let mut facts = ChatFacts {
            chat_id: self.id.clone(),
            kind: ChatKind::Conversation.into(),
            create_time: Some(self.now()),
            ..ChatFacts::default()
        };
        change(&mut facts);
        self.tell(Kind::ChatUpdated(facts)).await;
    }

    /// Adds a chat to a group.
    pub async fn add_chat(&mut self, history: ChatHistory) -> String {
        let chat_id = self.source.new_id::<tidings_ids::kind::Chat>().to_string();
        let facts = ChatFacts {
            chat_id: chat_id.clone(),
            kind: ChatKind::Group.into(),
            group_id: self.id.clone(),
            history: history.into(),
            create_time: Some(self.now()),
            ..ChatFacts::default()
        };
        self.tell(Kind::ChatAdded(facts)).await;
        chat_id
    }
}

/// The id of an audience's own chat, for SQL.
pub fn chat_id(audience: &Audience) -> ChatId {
    ChatId::parse(&audience.id).expect("an id")
}
