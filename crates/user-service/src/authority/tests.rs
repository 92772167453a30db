use tidings_ids::Source;
use tidings_proto_common::v1::Permission as P;

use super::{Actor, Deed, Rule, judge};
use crate::{
    error::Error,
    role::{Rank, Role},
    user::Status,
};

fn actor(rank: Rank, permissions: &[P]) -> Actor {
    Actor {
        status: Status::Active,
        permissions: permissions.into(),
        rank,
        reach: None,
    }
}

fn role(rank: Rank, permissions: &[P]) -> Role {
    let source = Source::stopped(1);
    Role {
        role_id: source.new_id(),
        name: "role".to_owned(),
        display_name: "Role".to_owned(),
        description: String::new(),
        permissions: permissions.into(),
        rank,
        built_in: false,
        revision: 1,
        create_time: source.now(),
    }
}

#[test]
fn the_rules_are_told_in_order_up_to_the_one_that_is_not_met() {
    let (manager, high) = (actor(10, &[P::RolesManage]), role(11, &[]));
    let verdict = judge(
        &manager,
        Deed::AssignRole {
            role: Some(&high),
            user: Some(0),
        },
    );
    assert!(matches!(verdict.outcome, Err(Error::RankTooLow)));
    assert_eq!(
        verdict.findings,
        [
            (Rule::AccountActive(Status::Active), true),
            (Rule::PermissionHeld(P::RolesManage), true),
            (Rule::RoleExists, true),
            (Rule::UserExists, true),
            (Rule::GrantHeld(None), true),
            (Rule::RankReachesRole { actor: 10, role: 11 }, false),
        ]
    );
}

#[test]
fn equal_ranks_reach_each_other_and_one_below_does_not() {
    for (own, other, reaches) in [
        (0, 0, true),
        (5, 5, true),
        (5, 4, true),
        (5, 6, false),
        (999, 1_000, false),
    ] {
        let manager = actor(own, &[P::RolesManage, P::UsersManage]);
        let (low, there) = (role(0, &[]), role(other, &[]));
        let raised = role(other, &[]);
        let deeds = [
            Deed::ActOnUser {
                permission: P::UsersManage,
                user: Some(other),
                last_admin: false,
            },
            Deed::CreateRole {
                permissions: &[].as_slice().into(),
                rank: other,
            },
            Deed::UpdateRole {
                before: Some(&there),
                after: Some(&low),
            },
            Deed::UpdateRole {
                before: Some(&low),
                after: Some(&raised),
            },
            Deed::DeleteRole(Some(&there)),
            Deed::AssignRole {
                role: Some(&there),
                user: Some(0),
            },
            Deed::AssignRole {
                role: Some(&low),
                user: Some(other),
            },
            Deed::UnassignRole {
                role: Some(&low),
                user: Some(other),
                last_admin: false,
            },
        ];
        for deed in deeds {
            let outcome = judge(&manager, deed).outcome;
            assert_eq!(outcome.is_ok(), reaches, "{own} {other} {deed:?}");
            assert!(outcome.is_ok() || matches!(outcome, Err(Error::RankTooLow)));
        }
    }
}

#[test]
fn a_token_that_reaches_less_gives_less() {
    let scoped = Actor {
        reach: Some([P::RolesManage].as_slice().into()),
        ..actor(0, &[P::RolesManage, P::UsersManage])
    };
    assert!(matches!(
        judge(&scoped, Deed::Use(P::UsersManage)).outcome,
        Err(Error::PermissionMissing(number)) if number == P::UsersManage as i32
    ));
    let strong = [P::UsersManage].as_slice().into();
    let deed = Deed::CreateRole {
        permissions: &strong,
        rank: 0,
    };
    assert!(matches!(judge(&scoped, deed).outcome, Err(Error::PermissionMissing(_))));
    assert!(judge(&scoped, Deed::Use(P::RolesManage)).outcome.is_ok());
}

#[test]
fn who_may_not_act_may_do_nothing() {
    for status in [Status::Pending, Status::Suspended, Status::Deleted, Status::Discarded] {
        let former = Actor {
            status,
            ..actor(1_000, &[P::RolesManage])
        };
        let verdict = judge(&former, Deed::Use(P::Unspecified));
        assert!(matches!(verdict.outcome, Err(Error::CallerInactive)), "{status:?}");
        assert_eq!(verdict.findings, [(Rule::AccountActive(status), false)]);
    }
}

#[test]
fn the_last_admin_stays_whoever_asks() {
    let admin = actor(1_000, &[P::RolesManage, P::UsersManage]);
    let deeds = [
        Deed::ActOnUser {
            permission: P::UsersManage,
            user: Some(1_000),
            last_admin: true,
        },
        Deed::UnassignRole {
            role: Some(&role(1_000, &[])),
            user: Some(1_000),
            last_admin: true,
        },
    ];
    for deed in deeds {
        assert!(matches!(judge(&admin, deed).outcome, Err(Error::LastAdmin)), "{deed:?}");
    }
}
