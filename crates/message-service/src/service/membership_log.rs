use tidings_ids::{AudienceId, UserId, kind};
use tidings_proto_common::v1::{ChatHistory, ChatKind, ChatRole, RemovalReason};
use tidings_proto_message::v1::{
    self as proto, ApplyMembershipChangesRequest, ApplyMembershipChangesResponse, ListChatActivityRequest,
    ListChatActivityResponse, audience_change::Kind, membership_log_service_server::MembershipLogService,
};
use tidings_rpc::{Problem, Violations};
use tonic::{Request, Response, Status};

use super::Rpcs;
use crate::{
    Error, convert,
    membership::{self, AudienceChange, Change, ChatFacts, Cursor, MemberPut},
};

/// Changes in one call.
const CHANGES_MAX: usize = 1_000;

#[tonic::async_trait]
impl MembershipLogService for Rpcs {
    async fn apply_membership_changes(
        &self,
        request: Request<ApplyMembershipChangesRequest>,
    ) -> Result<Response<ApplyMembershipChangesResponse>, Status> {
        let (audience_id, changes) = parse_changes(&request.into_inner())?;
        let applied_number = membership::apply(
            &self.shared.pool,
            &self.shared.bus,
            &self.shared.env.source,
            audience_id,
            &changes,
        )
        .await?;
        Ok(Response::new(ApplyMembershipChangesResponse { applied_number }))
    }

    async fn list_chat_activity(
        &self,
        request: Request<ListChatActivityRequest>,
    ) -> Result<Response<ListChatActivityResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id::<kind::User>("user_id", &request.user_id);
        let after = request.after.as_ref().and_then(|after| {
            let chat_id = violations.id::<kind::Chat>("after.chat_id", &after.chat_id)?;
            Some(Cursor {
                activity: after.activity,
                chat_id,
            })
        });
        let size = self.shared.page_size(request.page_size);
        if size.is_err() {
            violations.add("page_size", "must not be negative");
        }
        violations.finish()?;
        let user_id = user_id.expect("it had no violation");
        let (activities, more) = membership::list_chat_activity(&self.shared.pool, user_id, size?, after)
            .await
            .map_err(Error::from)?;
        let activities = activities.into_iter().map(activity).collect();
        Ok(Response::new(ListChatActivityResponse { activities, more }))
    }
}

fn activity(activity: membership::ChatActivity) -> proto::ChatActivity {
    proto::ChatActivity {
        chat_id: activity.chat_id.to_string(),
        activity: activity.activity,
        last_sequence: activity.last_sequence,
        last_position: activity.last_position,
        last_message: activity.last_message.as_ref().map(convert::message),
        unread_count: activity.unread_count,
        unread_count_capped: activity.unread_capped,
    }
}

fn parse_changes(request: &ApplyMembershipChangesRequest) -> Result<(AudienceId, Vec<AudienceChange>), Problem> {
    let mut violations = Violations::new();
    let audience_id = violations.id::<kind::Audience>("audience_id", &request.audience_id);
    if !(1..=CHANGES_MAX).contains(&request.changes.len()) {
        violations.add("changes", format!("must have 1 to {CHANGES_MAX} entries"));
        violations.finish()?;
        unreachable!("a violation was added");
    }
    let mut changes = Vec::with_capacity(request.changes.len());
    for (index, change) in request.changes.iter().enumerate() {
        let mut field = Field {
            violations: &mut violations,
            path: format!("changes[{index}]"),
        };
        let follows = match changes.last() {
            None => change.number >= 1,
            Some(AudienceChange { number, .. }) => change.number == number + 1,
        };
        if !follows {
            field.add("number", "must follow the number before it, from 1");
        }
        if let Some(parsed) = field.change(audience_id, change) {
            changes.push(parsed);
        } else {
            // What follows cannot be checked against it.
            break;
        }
    }
    violations.finish()?;
    Ok((audience_id.expect("it had no violation"), changes))
}

/// A part of a request that is being checked.
struct Field<'a> {
    violations: &'a mut Violations,
    path: String,
}

impl Field<'_> {
    fn add(&mut self, field: &str, description: &str) {
        self.violations.add(format!("{}.{field}", self.path), description);
    }

    fn id<K: tidings_ids::Kind>(&mut self, field: &str, text: &str) -> Option<tidings_ids::Id<K>> {
        self.violations.id(format!("{}.{field}", self.path), text)
    }

    fn change(&mut self, audience_id: Option<AudienceId>, change: &proto::AudienceChange) -> Option<AudienceChange> {
        let actor_id: Option<UserId> = self.id("actor_id", &change.actor_id);
        let parsed = match &change.kind {
            Some(Kind::ChatAdded(facts)) => self.facts("chat_added", audience_id, facts).map(Change::ChatAdded),
            Some(Kind::ChatUpdated(facts)) => self.facts("chat_updated", audience_id, facts).map(Change::ChatUpdated),
            Some(Kind::ChatRemoved(removed)) => self
                .id("chat_removed.chat_id", &removed.chat_id)
                .map(Change::ChatRemoved),
            Some(Kind::MemberPut(put)) => self.member(put).map(Change::MemberPut),
            Some(Kind::MemberRemoved(removed)) => self.removal(removed),
            Some(Kind::AudienceRemoved(_)) => Some(Change::AudienceRemoved),
            Some(Kind::ChatBlocked(told)) => self.id("chat_blocked.chat_id", &told.chat_id).map(|chat_id| {
                let blocked = told.blocked;
                Change::ChatBlocked { chat_id, blocked }
            }),
            None => {
                self.add("kind", "must be a known kind");
                None
            }
        };
        let actor_id = actor_id?;
        let time = change.change_time.unwrap_or_default();
        Some(AudienceChange {
            number: change.number,
            actor_id,
            mark: membership::mark(actor_id, time.seconds, time.nanos),
            change: parsed?,
        })
    }

    fn facts(&mut self, name: &str, audience_id: Option<AudienceId>, facts: &proto::ChatFacts) -> Option<ChatFacts> {
        let chat_id = self.id(&format!("{name}.chat_id"), &facts.chat_id);
        let kind = self.one_of(
            &format!("{name}.kind"),
            ChatKind::try_from(facts.kind).ok(),
            ChatKind::Unspecified,
        );
        let history = match ChatHistory::try_from(facts.history) {
            Ok(ChatHistory::Unspecified) => Some(ChatHistory::Full),
            Ok(history) => Some(history),
            Err(_) => {
                self.add(&format!("{name}.history"), "must be a known setting");
                None
            }
        };
        // The group of a group's chat is its audience; every other chat is its own.
        let owner = if kind == Some(ChatKind::Group) {
            &facts.group_id
        } else {
            &facts.chat_id
        };
        if audience_id.is_some_and(|audience_id| audience_id.to_string() != *owner) {
            self.add(
                &format!("{name}.group_id"),
                "must be the audience, or empty where the chat is the audience itself",
            );
        }
        let assistant_user_id = match facts.assistant_user_id.as_str() {
            "" => None,
            text => self.id(&format!("{name}.assistant_user_id"), text),
        };
        let slow_mode_interval_secs = i32::try_from(facts.slow_mode_interval_secs).ok();
        if slow_mode_interval_secs.is_none() {
            self.add(&format!("{name}.slow_mode_interval_secs"), "must be below 2^31");
        }
        let create_time = facts.create_time.as_ref().and_then(convert::time);
        if create_time.is_none() {
            self.add(&format!("{name}.create_time"), "must be a time");
        }
        Some(ChatFacts {
            chat_id: chat_id?,
            kind: number(kind?.into()),
            title: facts.title.clone(),
            archived: facts.archived,
            metadata: facts.metadata.clone(),
            history: number(history?.into()),
            slow_mode_interval_secs: slow_mode_interval_secs?,
            create_time: create_time?,
            assistant_user_id,
            session_number: (facts.session_number > 0).then_some(facts.session_number),
        })
    }

    fn member(&mut self, put: &proto::MemberPut) -> Option<MemberPut> {
        let user_id = self.id("member_put.user_id", &put.user_id);
        let role = self.one_of(
            "member_put.role",
            ChatRole::try_from(put.role).ok(),
            ChatRole::Unspecified,
        );
        let create_time = put.create_time.as_ref().and_then(convert::time);
        if create_time.is_none() {
            self.add("member_put.create_time", "must be a time");
        }
        let mute_end_time = put.mute_end_time.as_ref().map(convert::time);
        if mute_end_time == Some(None) {
            self.add("member_put.mute_end_time", "must be a time, or not set");
        }
        Some(MemberPut {
            user_id: user_id?,
            role: number(role?.into()),
            mute_end_time: mute_end_time.flatten(),
            create_time: create_time?,
        })
    }

    fn removal(&mut self, removed: &proto::AudienceMemberRemoved) -> Option<Change> {
        let user_id = self.id("member_removed.user_id", &removed.user_id);
        let reason = RemovalReason::try_from(removed.reason).ok();
        let reason = self.one_of("member_removed.reason", reason, RemovalReason::Unspecified);
        Some(Change::MemberRemoved {
            user_id: user_id?,
            reason: number(reason?.into()),
        })
    }

    /// A value of an enum that must be said.
    fn one_of<T: PartialEq>(&mut self, field: &str, value: Option<T>, unspecified: T) -> Option<T> {
        let known = value.filter(|value| *value != unspecified);
        if known.is_none() {
            self.add(field, "must be a known value");
        }
        known
    }
}

/// The number of an enum's value, as the tables keep it.
fn number(value: i32) -> i16 {
    i16::try_from(value).expect("the enums of the protos have small numbers")
}
