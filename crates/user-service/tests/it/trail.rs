//! What the audit trail has of roles, and who may read it.

use std::time::Duration;

use tidings_ids::RoleId;
use tidings_proto_common::v1::{
    AuditActorKind, AuditEvent, AuditFilter, AuditOutcome, ErrorReason as R, Permission as P,
};
use tidings_proto_user::v1::{
    ActivateUserRequest, AssignRoleRequest, ChangeUserEmailRequest, CreateRoleRequest, CreateUserRequest,
    DiscardUserRequest, ListAuditEventsRequest, ListRoleAssignmentsRequest, UpdateUserRequest, VerifyAuditChainRequest,
};

use crate::support::{Actor, World, reason};

async fn list(world: &World, caller: &Actor) -> Vec<AuditEvent> {
    let request = ListAuditEventsRequest {
        page_size: 200,
        ..ListAuditEventsRequest::default()
    };
    let response = world.audit().list_audit_events(caller.asks(request)).await;
    response.expect("listed").into_inner().events
}

/// The entries that follow `before`, once there are so many.
async fn after(world: &World, caller: &Actor, before: usize, count: usize) -> Vec<AuditEvent> {
    let sealed = tidings_testkit::until_some("the sealed entries", Duration::from_secs(60), async || {
        let events = list(world, caller).await;
        (events.len() >= before + count).then_some(events)
    });
    sealed.await.split_off(before)
}

async fn create_role(world: &World, caller: &Actor, request_id: &str) -> Result<RoleId, tonic::Status> {
    let request = CreateRoleRequest {
        display_name: "a name that is nobody's business".to_owned(),
        name: "clerk".to_owned(),
        permissions: vec![P::UsersList.into()],
        request_id: request_id.to_owned(),
        ..CreateRoleRequest::default()
    };
    let response = world.roles().create_role(caller.asks(request)).await?;
    Ok(response
        .into_inner()
        .role
        .expect("a role")
        .role_id
        .parse()
        .expect("an id"))
}

#[tokio::test]
async fn changes_and_denials_are_in_the_trail_with_their_actors_and_subjects() {
    let world = World::begin().await;
    for work in world.service.background() {
        world.environment.drain.spawn(work);
    }
    let (admin, ada) = (
        world.register("ruth", &["admin"]).await,
        world.register("ada", &[]).await,
    );
    // Both were created and made active.
    let before = after(&world, &admin, 0, 4).await;
    let creations = before.iter().filter(|event| event.action.ends_with("/CreateUser"));
    for creation in creations {
        let actor = creation.actor.clone().expect("an actor");
        assert_eq!(
            (actor.kind(), actor.service.as_str()),
            (AuditActorKind::Service, "auth")
        );
    }

    let request_id = world.request_id();
    let role_id = create_role(&world, &admin, &request_id).await.expect("created");
    create_role(&world, &admin, &request_id).await.expect("repeated");
    let assign = AssignRoleRequest {
        user_id: ada.user_id.to_string(),
        role_id: role_id.to_string(),
        request_id: String::new(),
    };
    for _ in 0..2 {
        world
            .roles()
            .assign_role(admin.asks(assign.clone()))
            .await
            .expect("assigned, or was");
    }
    assert_eq!(reason(create_role(&world, &ada, "").await), R::PermissionMissing);
    let nothing = UpdateUserRequest {
        user_id: ada.user_id.to_string(),
        ..UpdateUserRequest::default()
    };
    // Refused or not, it changes nothing.
    let _ = world.users().update_user(ada.asks(nothing)).await;

    let events = after(&world, &admin, before.len(), 3).await;
    // The clock of the tests stands still, so that events of one moment are sealed in any order.
    let find = |action: &str, outcome: AuditOutcome| {
        let mut found = events
            .iter()
            .filter(|event| event.action.ends_with(action) && event.outcome() == outcome);
        let first = found
            .next()
            .unwrap_or_else(|| panic!("{action} {outcome:?}: {events:?}"));
        assert!(found.next().is_none(), "{action} {outcome:?} twice");
        (first, first.actor.clone().expect("an actor").user_id)
    };
    assert_eq!(events.len(), 3, "{events:?}");
    let (ruth, ada) = (admin.user_id.to_string(), ada.user_id.to_string());
    let (created, creator) = find("/CreateRole", AuditOutcome::Done);
    assert_eq!((&created.request_id, &creator), (&request_id, &ruth));
    let (assigned, assigner) = find("/AssignRole", AuditOutcome::Done);
    assert_eq!(assigner, ruth);
    let subjects: Vec<(&str, &str)> = assigned
        .subjects
        .iter()
        .map(|subject| (subject.kind.as_str(), subject.id.as_str()))
        .collect();
    assert_eq!(
        subjects,
        [("user", ada.as_str()), ("role", role_id.to_string().as_str())]
    );
    let (denied, who) = find("/CreateRole", AuditOutcome::Refused);
    assert_eq!((denied.reason.as_str(), who), ("PERMISSION_MISSING", ada));
    assert!(!format!("{events:?}").contains("nobody's business"));

    let verify = VerifyAuditChainRequest::default();
    let verified = world
        .audit()
        .verify_audit_chain(admin.asks(verify))
        .await
        .expect("verified")
        .into_inner();
    assert_eq!(verified.findings, []);
    assert!(events.iter().all(|event| event.number <= verified.last_number));
}

#[tokio::test]
async fn only_who_may_read_the_trail_reads_it() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let mut audit = world.audit();
    let refused = audit
        .list_audit_events(ada.asks(ListAuditEventsRequest::default()))
        .await;
    assert_eq!(reason(refused), R::PermissionMissing);
    let refused = audit
        .verify_audit_chain(ada.asks(VerifyAuditChainRequest::default()))
        .await;
    assert_eq!(reason(refused), R::PermissionMissing);

    let auditor = world.log_in_with(ada.user_id, &[P::AuditRead]).await;
    list(&world, &auditor).await;
    for (from_number, to_number) in [(-1, 0), (0, -1), (5, 4)] {
        let request = VerifyAuditChainRequest {
            from_number,
            to_number,
            ..VerifyAuditChainRequest::default()
        };
        assert_eq!(
            reason(audit.verify_audit_chain(auditor.asks(request)).await),
            R::FieldInvalid
        );
    }
}

#[tokio::test]
async fn whoever_has_a_bot_created_is_in_the_trail_with_the_roles_it_got() {
    let world = World::begin().await;
    for work in world.service.background() {
        world.environment.drain.spawn(work);
    }
    let admin = world.register("ruth", &["admin"]).await;
    let clerk = world.role(&admin, "clerk", &[P::UsersList]).await;
    let bot = CreateUserRequest {
        email: String::new(),
        is_bot: true,
        role_names: vec!["clerk".to_owned(), "bot".to_owned()],
        actor_user_id: admin.user_id.to_string(),
        actor_permissions: vec![P::UsersList.into(), P::ResponsesCreate.into()],
        ..world.registration("helper")
    };
    let user_id = bot.user_id.clone();
    world.provisioning().create_user(bot).await.expect("created");
    let activate = ActivateUserRequest {
        user_id: user_id.clone(),
        email_verified: false,
    };
    world.provisioning().activate_user(activate).await.expect("activated");

    let of_role = ListAuditEventsRequest {
        filter: Some(AuditFilter {
            subject_id: clerk.to_string(),
            ..AuditFilter::default()
        }),
        ..ListAuditEventsRequest::default()
    };
    let found = tidings_testkit::until_some("the sealed entry", Duration::from_secs(60), async || {
        let listed = world.audit().list_audit_events(admin.asks(of_role.clone())).await;
        let events = listed.expect("listed").into_inner().events;
        events.into_iter().find(|event| event.action.ends_with("/CreateUser"))
    })
    .await;
    let mut subjects: Vec<_> = found.subjects.iter().map(|subject| subject.kind.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["role", "role", "user"]);
    let giver = found.details.get("actor_user_id");
    assert_eq!(giver, Some(&admin.user_id.to_string()));

    let of_bot = ListRoleAssignmentsRequest {
        user_id,
        ..ListRoleAssignmentsRequest::default()
    };
    let listed = world.roles().list_role_assignments(admin.asks(of_bot)).await;
    let assignments = listed.expect("listed").into_inner().assignments;
    assert_eq!(assignments.len(), 2);
    for assignment in assignments {
        assert_eq!(assignment.assigner_user_id, admin.user_id.to_string());
    }
    // Who registers gets a role from nobody.
    let ada = world.register("ada", &[]).await;
    let of_ada = ListRoleAssignmentsRequest {
        user_id: ada.user_id.to_string(),
        ..ListRoleAssignmentsRequest::default()
    };
    let listed = world.roles().list_role_assignments(admin.asks(of_ada)).await;
    let assignments = listed.expect("listed").into_inner().assignments;
    assert_eq!(assignments.len(), 1);
    assert_eq!(assignments[0].assigner_user_id, "");
}

/// What auth has provided, by RPC.
async fn provided(world: &World, rpc: &str) -> i64 {
    sqlx::query_scalar("select count(*) from users.audit_events where action like '%ProvisioningService/' || $1")
        .bind(rpc)
        .fetch_one(&world.pool())
        .await
        .expect("read")
}

#[tokio::test]
async fn what_auth_has_provided_is_in_the_trail_once() {
    let world = World::begin().await;
    let pending = world.registration("ada");
    for _ in 0..2 {
        world
            .provisioning()
            .create_user(pending.clone())
            .await
            .expect("created or repeated");
    }
    let discard = DiscardUserRequest {
        user_id: pending.user_id.clone(),
        ..DiscardUserRequest::default()
    };
    for _ in 0..2 {
        world
            .provisioning()
            .discard_user(discard.clone())
            .await
            .expect("discarded");
    }
    let eve = world.register("eve", &[]).await;
    let change = ChangeUserEmailRequest {
        user_id: eve.user_id.to_string(),
        email: "eve@example.com".to_owned(),
        revision: 7,
    };
    for _ in 0..2 {
        world
            .provisioning()
            .change_user_email(change.clone())
            .await
            .expect("changed");
    }
    for (rpc, count) in [
        ("CreateUser", 2),
        ("DiscardUser", 1),
        ("ActivateUser", 1),
        ("ChangeUserEmail", 1),
    ] {
        assert_eq!(provided(&world, rpc).await, count, "{rpc}");
    }
}
