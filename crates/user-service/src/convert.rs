//! Between the domain's words and those of the protos.

use std::time::Duration;

use prost_types::{FieldMask, Timestamp};
use tidings_authn::Caller;
use tidings_ids::UserId;
use tidings_proto_common::v1::{FeedHeartbeat, Permission};
use tidings_proto_user::v1 as proto;
use tidings_rpc::Violations;
use time::OffsetDateTime;

use crate::{
    block::{Block, BlockChange, UserBlock},
    feed::Frame,
    role::{Assignment, Role},
    user::{Status, User, UserState},
};

/// The time as the wire has it.
pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    let nanos = i32::try_from(time.nanosecond()).expect("a nanosecond is below 10^9");
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos,
    }
}

/// The time in a request: from the year 1 to 9999, as the proto has it.
pub(crate) fn time(field: &str, value: Timestamp, violations: &mut Violations) -> Option<OffsetDateTime> {
    /// 0001-01-01 and the end of 9999.
    const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let valid = SECONDS.contains(&value.seconds) && (0..1_000_000_000).contains(&value.nanos);
    let time = valid
        .then(|| OffsetDateTime::from_unix_timestamp(value.seconds).ok())
        .flatten();
    let nanos = u64::try_from(value.nanos).unwrap_or(0);
    match time {
        // To the microsecond, as Postgres keeps it.
        Some(time) => Some(time + Duration::from_micros(nanos / 1_000)),
        None => {
            violations.add(field, "must be a time from the year 1 to 9999");
            None
        }
    }
}

/// What a caller may see of users.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// Who looks.
    pub caller: &'a Caller,
    /// Against what `logged_in` is measured.
    pub now: OffsetDateTime,
}

impl View<'_> {
    /// Whether the caller may see which roles the user holds, and so how high the user stands.
    pub fn roles_of(self, user_id: UserId) -> bool {
        self.private(user_id) || self.caller.holds(Permission::RolesRead)
    }

    fn private(self, user_id: UserId) -> bool {
        self.caller.user_id == user_id || self.caller.holds(Permission::UsersReadPrivate)
    }

    /// The user as the caller may see it.
    pub fn user(self, user: User) -> proto::User {
        if user.status == Status::Deleted {
            return proto::User {
                user_id: user.user_id.to_string(),
                deleted: true,
                ..proto::User::default()
            };
        }
        let private = self.private(user.user_id);
        let roles = self.roles_of(user.user_id);
        proto::User {
            etag: user.etag(),
            user_id: user.user_id.to_string(),
            username: user.username.unwrap_or_default(),
            email: user.email.filter(|_| private).unwrap_or_default(),
            display_name: user.display_name,
            bio: user.bio,
            logged_in: user.logged_in_until.is_some_and(|until| until > self.now),
            roles: if roles { user.roles } else { Vec::new() },
            metadata: user.metadata.0,
            external_id: user.external_id.unwrap_or_default(),
            create_time: Some(timestamp(user.create_time)),
            deleted: false,
            is_bot: user.is_bot,
            email_verified: private && user.email_verified,
            avatar_url: user.avatar_url,
            suspended: user.status == Status::Suspended && self.caller.holds(Permission::UsersManage),
        }
    }
}

impl From<Status> for proto::UserStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Active => Self::Active,
            Status::Suspended => Self::Suspended,
            // To others a registration that was given up is an account that is gone.
            Status::Deleted | Status::Discarded => Self::Deleted,
        }
    }
}

impl From<UserState> for proto::UserState {
    fn from(state: UserState) -> Self {
        Self {
            number: state.number,
            user_id: state.user_id.to_string(),
            token_epoch: state.token_epoch,
            status: proto::UserStatus::from(state.status).into(),
            username: state
                .username
                .filter(|_| state.status != Status::Deleted)
                .unwrap_or_default(),
            permissions: state.permissions,
            roles: state.roles,
            is_bot: state.is_bot,
            change_time: Some(timestamp(state.change_time)),
            login_epoch: state.login_epoch,
            deletion_final: state.deletion_final,
        }
    }
}

impl From<Frame> for proto::WatchUserStatesResponse {
    fn from(frame: Frame) -> Self {
        use proto::watch_user_states_response::Frame as Wire;
        let frame = match frame {
            Frame::States(states) => Wire::States(proto::UserStateBatch {
                states: states.into_iter().map(Into::into).collect(),
            }),
            Frame::Blocks(changes) => Wire::Blocks(proto::BlockChangeBatch {
                changes: changes.into_iter().map(Into::into).collect(),
            }),
            Frame::Heartbeat {
                head_number,
                sent_number,
            } => Wire::Heartbeat(FeedHeartbeat {
                head_number,
                sent_number,
            }),
        };
        Self { frame: Some(frame) }
    }
}

impl From<BlockChange> for proto::BlockChange {
    fn from(change: BlockChange) -> Self {
        Self {
            number: change.number,
            blocker_user_id: change.blocker_user_id.to_string(),
            blocked_user_id: change.blocked_user_id.to_string(),
            blocked: change.blocked,
            change_time: Some(timestamp(change.change_time)),
        }
    }
}

impl From<Block> for proto::Block {
    fn from(block: Block) -> Self {
        Self {
            user_id: block.user_id.to_string(),
            create_time: Some(timestamp(block.create_time)),
        }
    }
}

impl From<UserBlock> for proto::UserBlock {
    fn from(block: UserBlock) -> Self {
        Self {
            blocker_user_id: block.blocker_user_id.to_string(),
            blocked_user_id: block.blocked_user_id.to_string(),
        }
    }
}

impl From<Role> for proto::Role {
    fn from(role: Role) -> Self {
        Self {
            etag: role.etag(),
            role_id: role.role_id.to_string(),
            name: role.name,
            display_name: role.display_name,
            description: role.description,
            permissions: role.permissions.numbers(),
            built_in: role.built_in,
            rank: role.rank,
            create_time: Some(timestamp(role.create_time)),
        }
    }
}

impl From<Assignment> for proto::RoleAssignment {
    fn from(assignment: Assignment) -> Self {
        Self {
            user_id: assignment.user_id.to_string(),
            role_id: assignment.role_id.to_string(),
            role_name: assignment.role_name,
            assigner_user_id: assignment.assigner_user_id.map(|id| id.to_string()).unwrap_or_default(),
            create_time: Some(timestamp(assignment.create_time)),
        }
    }
}

/// Which of its fields a request changes.
#[derive(Debug)]
pub(crate) struct Mask {
    /// `None` when the mask is empty, which means the fields that are set.
    paths: Option<Vec<String>>,
}

impl Mask {
    /// Reads a mask that may name these fields.
    pub fn parse(mask: Option<FieldMask>, fields: &[&str], violations: &mut Violations) -> Self {
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        for (index, path) in paths.iter().enumerate() {
            if !fields.contains(&path.as_str()) {
                violations.add(
                    format!("update_mask.paths[{index}]"),
                    format!("must be one of {}", fields.join(", ")),
                );
            }
        }
        Self {
            paths: (!paths.is_empty()).then_some(paths),
        }
    }

    /// The field's new value, if the request changes it.
    pub fn take<T: Default + PartialEq>(&self, field: &str, value: T) -> Option<T> {
        let named = match &self.paths {
            Some(paths) => paths.iter().any(|path| path == field),
            None => value != T::default(),
        };
        named.then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{FieldMask, Timestamp};
    use tidings_rpc::Violations;

    use super::{Mask, time, timestamp};

    #[test]
    fn times_come_back_as_they_went() {
        let value = Timestamp {
            seconds: -1,
            nanos: 999_999_000,
        };
        let mut violations = Violations::new();
        assert_eq!(time("t", value, &mut violations).map(timestamp), Some(value));
        assert!(violations.is_empty());
    }

    #[test]
    fn times_out_of_range_are_refused() {
        for (seconds, nanos) in [
            (-62_135_596_801, 0),
            (253_402_300_800, 0),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (0, -1),
            (0, 1_000_000_000),
            (0, i32::MIN),
        ] {
            let mut violations = Violations::new();
            assert_eq!(time("t", Timestamp { seconds, nanos }, &mut violations), None);
            assert!(!violations.is_empty(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn an_empty_mask_means_what_is_set() {
        let mut violations = Violations::new();
        let mask = Mask::parse(None, &["a", "b"], &mut violations);
        assert_eq!(mask.take("a", String::new()), None);
        assert_eq!(mask.take("b", "x".to_owned()), Some("x".to_owned()));

        let mask = Mask::parse(
            Some(FieldMask {
                paths: vec!["a".into()],
            }),
            &["a", "b"],
            &mut violations,
        );
        assert_eq!(mask.take("a", String::new()), Some(String::new()));
        assert_eq!(mask.take("b", "x".to_owned()), None);
        assert!(violations.is_empty());
    }

    #[test]
    fn paths_that_cannot_change_are_refused() {
        for path in ["*", "email", "userId", "a.b", ""] {
            let mut violations = Violations::new();
            Mask::parse(
                Some(FieldMask {
                    paths: vec!["a".into(), path.into()],
                }),
                &["a", "b"],
                &mut violations,
            );
            let fields: Vec<_> = violations.into_iter().map(|violation| violation.field).collect();
            assert_eq!(fields, ["update_mask.paths[1]"], "{path:?}");
        }
    }
}
