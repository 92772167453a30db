use tidings_audit::{Actor, Event, ListRequest};
use tidings_ids::{LoginSessionId, RequestId, RoleId, UserId, kind};
use tidings_proto_common::v1::{
    AuditActorKind, AuditCategory, AuditEvent, AuditFilter, AuditOrder, AuditOutcome, ErrorReason,
};

use crate::world::World;

fn request(world: &World, filter: AuditFilter) -> ListRequest {
    ListRequest {
        caller: world.source().new_id(),
        method: "tidings.user.v1.UserAuditService/ListAuditEvents",
        filter: Some(filter),
        order: 0,
        page_size: 0,
        page_token: String::new(),
    }
}

async fn numbers(world: &World, filter: AuditFilter) -> Vec<i64> {
    let (events, next) = world.trail.list(request(world, filter)).await.expect("listed");
    assert_eq!(next, "");
    events.iter().map(|event| event.number).collect()
}

#[tokio::test]
async fn an_entry_shows_what_was_recorded_and_its_place() {
    let world = World::new().await;
    let (user_id, role_id): (UserId, RoleId) = (world.source().new_id(), world.source().new_id());
    let (session, request_id): (LoginSessionId, RequestId) = (world.source().new_id(), world.source().new_id());
    let event = world
        .event("user.assign_role")
        .actor(Actor::User(user_id, Some(session)))
        .subject(user_id)
        .subject(role_id)
        .request(Some(request_id))
        .detail("fields", "display_name,bio")
        .refused(ErrorReason::RankTooLow);
    world.record(&event).await;
    assert_eq!(
        numbers(&world, AuditFilter::default()).await,
        Vec::<i64>::new(),
        "it has no number yet"
    );
    world.trail.seal().await.expect("sealed");

    let (events, _) = world
        .trail
        .list(request(&world, AuditFilter::default()))
        .await
        .expect("listed");
    let [shown] = &events[..] else { panic!("{events:?}") };
    let actor = shown.actor.clone().expect("there is an actor");
    assert_eq!(actor.kind(), AuditActorKind::User);
    assert_eq!(actor.user_id, user_id.to_string());
    assert_eq!(actor.login_session_id, session.to_string());
    let subjects: Vec<_> = shown
        .subjects
        .iter()
        .map(|subject| (subject.kind.as_str(), &subject.id))
        .collect();
    assert_eq!(
        subjects,
        [("user", &user_id.to_string()), ("role", &role_id.to_string())]
    );
    let expected = AuditEvent {
        number: 1,
        action: "user.assign_role".to_owned(),
        category: AuditCategory::Administration.into(),
        outcome: AuditOutcome::Refused.into(),
        reason: "RANK_TOO_LOW".to_owned(),
        request_id: request_id.to_string(),
        details: [("fields".to_owned(), "display_name,bio".to_owned())].into(),
        ..shown.clone()
    };
    assert_eq!(*shown, expected);
    assert_eq!((shown.hash.len(), shown.previous_hash.len()), (32, 32));
    assert!(shown.event_time.is_some() && shown.seal_time.is_some());
}

#[tokio::test]
async fn filters_choose_and_together_choose_less() {
    let world = World::new().await;
    let source = world.source().clone();
    let (alice, bob): (UserId, UserId) = (source.new_id(), source.new_id());
    for (actor, category, action, subjects) in [
        (alice, AuditCategory::Membership, "user.one", vec![bob]),
        (bob, AuditCategory::Membership, "user.two", vec![alice]),
        (alice, AuditCategory::Administration, "user.two", vec![alice, bob]),
    ] {
        // Made after the one before was stored, so that no two have the same time.
        let event = Event::of_call(&source, category, action).actor(Actor::User(actor, None));
        world.record(&event.subjects(subjects)).await;
        world.trail.seal().await.expect("sealed");
    }
    let all = AuditFilter::default();
    assert_eq!(numbers(&world, all.clone()).await, [1, 2, 3]);
    let by = |user: UserId| AuditFilter {
        actor_user_id: user.to_string(),
        ..AuditFilter::default()
    };
    assert_eq!(numbers(&world, by(alice)).await, [1, 3]);
    assert_eq!(numbers(&world, by(source.new_id())).await, Vec::<i64>::new());
    let of = |user: UserId| AuditFilter {
        subject_id: user.to_string(),
        ..AuditFilter::default()
    };
    assert_eq!(numbers(&world, of(bob)).await, [1, 3]);
    let named = AuditFilter {
        action: "user.two".to_owned(),
        ..all.clone()
    };
    assert_eq!(numbers(&world, named.clone()).await, [2, 3]);
    let both = AuditFilter {
        category: AuditCategory::Membership.into(),
        ..named
    };
    assert_eq!(numbers(&world, both).await, [2]);

    let (events, _) = world.trail.list(request(&world, all.clone())).await.expect("listed");
    let second = events[1].event_time;
    let from = AuditFilter {
        start_time: second,
        ..all.clone()
    };
    assert_eq!(numbers(&world, from).await, [2, 3]);
    let before = AuditFilter {
        end_time: second,
        ..all
    };
    assert_eq!(numbers(&world, before).await, [1]);
}

#[tokio::test]
async fn pages_follow_each_other_in_both_orders() {
    let world = World::new().await;
    world.entries(7).await;
    for (order, expected) in [
        (AuditOrder::Unspecified, [1, 2, 3, 4, 5, 6, 7]),
        (AuditOrder::OldestFirst, [1, 2, 3, 4, 5, 6, 7]),
        (AuditOrder::NewestFirst, [7, 6, 5, 4, 3, 2, 1]),
    ] {
        let mut request = request(&world, AuditFilter::default());
        (request.order, request.page_size) = (order.into(), 3);
        let mut seen = Vec::new();
        for page in [3, 3, 1] {
            let (events, next) = world.trail.list(request.clone()).await.expect("listed");
            assert_eq!(events.len(), page);
            seen.extend(events.iter().map(|event| event.number));
            request.page_token = next;
        }
        assert_eq!(request.page_token, "");
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_page_looks_through_a_bounded_part_and_goes_on_from_there() {
    let world = World::new().await;
    // Entries that nobody made, since only their number matters here.
    world
        .tamper(
            "with made as (
                 insert into users.audit_events
                 select gen_random_uuid(), now(), 3, case when n = 10500 then 'user.rare' else 'user.test' end,
                     4, null, '', null, '{}', '{}', 1, '', '', null, '', '{}', '{}'
                 from generate_series(1, 10500) as n
                 returning event_id, action
             )
             insert into users.audit_chain
             select row_number() over (order by action desc), event_id, now(), sha256(''), sha256('')
             from made",
        )
        .await;
    let rare = AuditFilter {
        action: "user.rare".to_owned(),
        ..AuditFilter::default()
    };
    let mut request = request(&world, rare);
    let (events, next) = world.trail.list(request.clone()).await.expect("listed");
    assert!(events.is_empty() && !next.is_empty());
    request.page_token = next;
    let (events, next) = world.trail.list(request).await.expect("listed");
    assert_eq!((events.len(), next.as_str()), (1, ""));
    assert_eq!(events[0].number, 10_500);
}

#[tokio::test]
async fn a_page_token_is_for_its_caller_and_question_only() {
    let world = World::new().await;
    world.entries(3).await;
    let mut first = request(&world, AuditFilter::default());
    first.page_size = 1;
    let (_, token) = world.trail.list(first.clone()).await.expect("listed");
    let mut others = [first.clone(), first.clone(), first.clone(), first.clone()];
    others[0].caller = world.source().new_id();
    others[1].order = AuditOrder::NewestFirst.into();
    others[2].filter = Some(AuditFilter {
        subject_id: world.source().new_id::<kind::User>().to_string(),
        ..AuditFilter::default()
    });
    others[3].method = "tidings.auth.v1.AuthAuditService/ListAuditEvents";
    for mut other in others {
        other.page_token = token.clone();
        let refused = world
            .trail
            .list(other)
            .await
            .expect_err("the token is for something else");
        assert_eq!(refused.reason(), ErrorReason::PageTokenInvalid);
    }
    first.page_size = -1;
    let refused = world.trail.list(first).await.expect_err("a negative size");
    assert_eq!(refused.reason(), ErrorReason::FieldInvalid);
}
