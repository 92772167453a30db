use tidings_proto_common::v1::{ChatHistory, ChatKind, ErrorReason};
use tidings_proto_message::v1::{
    ApplyMembershipChangesRequest, AudienceChange, ChatFacts, ListMessagesRequest, MemberPut, SkipReason,
    audience_change::Kind,
};

use crate::world::{ADMIN, MEMBER, OWNER, World, reason, until, wrong_fields};

#[tokio::test]
async fn a_change_is_applied_after_its_predecessor_and_once() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice]).await;
    let next = chat.number + 1;
    let (early, due) = (
        chat.change(next + 1, chat.removal(&bob)),
        chat.change(next, chat.member(&bob, MEMBER)),
    );

    assert_eq!(
        chat.deliver(vec![early.clone()]).await.expect("answered"),
        chat.number,
        "its predecessor is missing"
    );
    assert_eq!(reason(bob.texts(&chat.id).await), ErrorReason::NotFound);
    assert_eq!(chat.deliver(vec![due.clone()]).await.expect("answered"), next);
    let log = world.changes(&chat.id).await;
    assert_eq!(chat.deliver(vec![due.clone()]).await.expect("answered"), next, "again");
    assert_eq!(world.changes(&chat.id).await, log, "nothing was written twice");
    assert_eq!(
        chat.deliver(vec![due, early]).await.expect("answered"),
        next + 1,
        "the first is passed over"
    );
    assert_eq!(reason(bob.texts(&chat.id).await), ErrorReason::NotFound);
    chat.number = next + 1;
    world.assert_dense().await;
}

#[tokio::test]
async fn a_number_that_comes_again_for_another_change_stops_the_audience() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user(), world.user(), world.user()];
    let chat = world.conversation(&[&alice]).await;
    let put = |number, actor| chat.change(number, chat.member(actor, MEMBER));
    let (first, next) = (chat.number + 1, chat.number + 2);
    // Kept as they are: each is handed over more than once.
    let (bobs, carols) = (put(first, &bob), put(next, &carol));
    assert_eq!(chat.deliver(vec![bobs.clone()]).await.expect("applied"), first);
    assert_eq!(chat.deliver(vec![bobs.clone()]).await.expect("the same"), first);

    let restored = AudienceChange {
        change_time: Some(prost_types::Timestamp {
            nanos: 1,
            ..bobs.change_time.expect("a time")
        }),
        ..put(first, &carol)
    };
    let others = AudienceChange {
        actor_id: carol.id.clone(),
        ..bobs.clone()
    };
    for refused in [vec![restored.clone()], vec![others], vec![restored, carols.clone()]] {
        assert_eq!(reason(chat.deliver(refused).await), ErrorReason::RequestIdReused);
    }
    let carols_send = carol.send(&chat.id, "hello").await;
    assert_eq!(reason(carols_send), ErrorReason::NotFound, "nothing was applied");

    let both = vec![bobs.clone(), carols];
    assert_eq!(chat.deliver(both).await.expect("the new one"), next);
    carol.send(&chat.id, "hello").await.expect("a member");

    // When it is long ago, it counts only together with what is not.
    let many: Vec<_> = (next + 1..=next + 100).map(|number| put(number, &bob)).collect();
    assert_eq!(chat.deliver(many.clone()).await.expect("applied"), next + 100);
    assert_eq!(chat.deliver(many).await.expect("the same"), next + 100);
    let old = chat.deliver(vec![bobs]).await;
    assert_eq!(reason(old), ErrorReason::RequestIdReused);
    world.assert_dense().await;
}

#[tokio::test]
async fn concurrent_deliveries_of_the_same_changes_apply_them_once() {
    let world = World::begin().await;
    let alice = world.user();
    let mut chat = world.conversation(&[&alice]).await;
    let users: Vec<_> = (0..40).map(|_| world.user()).collect();
    let changes: Vec<AudienceChange> = users
        .iter()
        .enumerate()
        .map(|(index, user)| chat.change(chat.number + 1 + index as i64, chat.member(user, MEMBER)))
        .collect();
    let deliveries = (0..6).map(|_| chat.deliver(changes.clone()));
    for applied in futures_util::future::join_all(deliveries).await {
        assert_eq!(applied.expect("answered"), chat.number + 40);
    }
    chat.number += 40;
    let joined = world
        .changes(&chat.id)
        .await
        .iter()
        .filter(|change| change.1 == 16)
        .count();
    assert_eq!(joined, 41);
    world.assert_dense().await;
}

#[tokio::test]
async fn both_logs_tell_of_joining_changing_and_leaving() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice]).await;
    chat.put(&bob, MEMBER).await;
    chat.put(&bob, ADMIN).await;
    chat.put(&bob, ADMIN).await;
    chat.remove(&bob).await;
    chat.remove(&bob).await;
    let bobs: Vec<(i64, i16)> = world
        .changes(&chat.id)
        .await
        .into_iter()
        .filter(|change| change.2.as_deref() == Some(bob.id.as_str()))
        .map(|(position, kind, _)| (position, kind))
        .collect();
    assert_eq!(bobs, [(3, 16), (4, 17), (5, 18)], "what changes nothing is not told");
    let own = world.user_changes(&bob).await;
    assert_eq!(
        own,
        [(1, 30, chat.id.clone(), Some(3)), (2, 31, chat.id.clone(), Some(5))]
    );
    world.assert_dense().await;
}

#[tokio::test]
async fn a_groups_members_are_in_all_its_chats_however_many() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user(), world.user(), world.user()];
    let mut group = world.audience(&alice);
    group.put(&alice, OWNER).await;
    group.put(&bob, MEMBER).await;
    // More than one transaction writes.
    let mut chats = Vec::new();
    for _ in 0..230 {
        chats.push(group.add_chat(ChatHistory::Full).await);
    }
    group.put(&carol, MEMBER).await;
    group.remove(&bob).await;
    for chat_id in [&chats[0], &chats[229]] {
        let log: Vec<i16> = world
            .changes(chat_id)
            .await
            .into_iter()
            .map(|change| change.1)
            .collect();
        assert_eq!(log, [13, 16, 18]);
        carol.send(chat_id, "hello").await.expect("sent");
        assert_eq!(reason(bob.send(chat_id, "hello").await), ErrorReason::NotFound);
    }
    let own = world.user_changes(&bob).await;
    assert_eq!(own.iter().filter(|entry| entry.1 == 30).count(), 230);
    assert_eq!(own.iter().filter(|entry| entry.1 == 31).count(), 230);
    world.assert_dense().await;
}

#[tokio::test]
async fn a_change_that_stopped_half_way_goes_on_where_it_stopped() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut group = world.audience(&alice);
    group.put(&alice, OWNER).await;
    group.put(&bob, MEMBER).await;
    let mut chats = Vec::new();
    for _ in 0..3 {
        chats.push(group.add_chat(ChatHistory::Full).await);
    }
    // As a crash after the first piece leaves it: the membership is ended, and one of three chats says so.
    let removal = group.change(group.number + 1, group.removal(&bob));
    group.deliver(vec![removal.clone()]).await.expect("applied");
    let undo = format!(
        "update messages.audiences set applied_number = {0} where audience_id = '{1}';
         delete from messages.changes where chat_id in ('{2}', '{3}') and kind = 18;
         update messages.chats set last_position = last_position - 1, audience_number = {0} where chat_id in ('{2}', '{3}');
         update messages.chat_members set left_position = null where chat_id in ('{2}', '{3}') and user_id = '{4}';
         delete from messages.user_changes where user_id = '{4}' and kind = 31 and chat_id in ('{2}', '{3}');
         with left_over as (
             select position, row_number() over (order by position) as rank
             from messages.user_changes where user_id = '{4}'
         )
         update messages.user_changes c set position = l.rank from left_over l
         where c.user_id = '{4}' and c.position = l.position;
         update messages.user_logs set last_position = last_position - 2 where user_id = '{4}'",
        group.number, group.id, chats[1], chats[2], bob.id
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(undo))
        .execute(&world.pool())
        .await
        .expect("undone");
    world.assert_dense().await;
    assert_eq!(
        reason(bob.send(&chats[1], "hello").await),
        ErrorReason::NotFound,
        "the first piece decides"
    );

    assert_eq!(group.deliver(vec![removal]).await.expect("applied"), group.number + 1);
    for chat_id in &chats {
        let log: Vec<i16> = world
            .changes(chat_id)
            .await
            .into_iter()
            .map(|change| change.1)
            .collect();
        assert_eq!(log, [13, 18]);
    }
    world.assert_dense().await;
}

#[tokio::test]
async fn a_change_that_takes_longer_than_its_call_ends_with_it_and_goes_on_with_the_next() {
    let world = World::begin().await;
    let alice = world.user();
    let mut group = world.audience(&alice);
    group.put(&alice, OWNER).await;
    let chats = 230;
    for _ in 0..chats {
        group.add_chat(ChatHistory::Full).await;
    }
    let bob = world.user();
    let joining = group.change(group.number + 1, group.member(&bob, MEMBER));
    let pool = world.pool();
    let lock = async || {
        let mut holder = pool.begin().await.expect("a transaction");
        sqlx::query("select from messages.audiences where audience_id = $1::uuid for update")
            .bind(&group.id)
            .execute(&mut *holder)
            .await
            .expect("locked");
        holder
    };
    let waiting = async || {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&pool)
        .await
        .expect("readable");
        count
    };

    // The first of two pieces waits until the call's time is over.
    let holder = lock().await;
    let mut call = tonic::Request::new(ApplyMembershipChangesRequest {
        audience_id: group.id.clone(),
        changes: vec![joining.clone()],
    });
    call.set_timeout(std::time::Duration::from_secs(2));
    let mut client = group.client();
    let (late, ()) = tokio::join!(
        client.apply_membership_changes(call),
        until("the first piece", async || waiting().await == 1)
    );
    assert_eq!(reason(late), ErrorReason::DeadlineExceeded);
    // We are next, between the pieces.
    let (between, ()) = tokio::join!(lock(), async {
        until("us", async || waiting().await == 2).await;
        holder.rollback().await.expect("let go");
    });
    let written = world.user_changes(&bob).await.len();
    assert!((1..chats).contains(&written), "{written} of {chats} chats by one piece");

    // Whoever were still at work would have asked for the audience by now, and would come before us once more.
    let chat_id = world.user_changes(&alice).await[0].2.clone();
    alice.send(&chat_id, "meanwhile").await.expect("sent");
    between.rollback().await.expect("let go");
    lock().await.rollback().await.expect("let go");
    assert_eq!(world.user_changes(&bob).await.len(), written, "nobody is at work");

    let again = group.deliver(vec![joining]).await;
    assert_eq!(again.expect("applied"), group.number + 1);
    assert_eq!(world.user_changes(&bob).await.len(), chats);
    world.assert_dense().await;
}

#[tokio::test]
async fn a_chat_that_is_removed_ends_for_everybody() {
    let world = World::begin().await;
    let alice = world.user();
    let mut group = world.audience(&alice);
    group.put(&alice, OWNER).await;
    let crowd: Vec<_> = (0..250).map(|_| world.user()).collect();
    // Some at a time: each call has a deadline.
    for some in crowd.chunks(50) {
        let first = group.number + 1;
        let joins = some
            .iter()
            .enumerate()
            .map(|(index, user)| group.change(first + index as i64, group.member(user, MEMBER)));
        group.number = group.deliver(joins.collect()).await.expect("applied");
    }
    let [gone, kept] = [
        group.add_chat(ChatHistory::Full).await,
        group.add_chat(ChatHistory::Full).await,
    ];
    alice.send(&gone, "last words").await.expect("sent");

    group.remove_chat(&gone).await;
    for user in [&alice, &crowd[0], &crowd[249]] {
        assert_eq!(reason(user.texts(&gone).await), ErrorReason::NotFound);
        assert_eq!(reason(user.send(&gone, "hello").await), ErrorReason::NotFound);
        assert_eq!(
            world.user_changes(user).await.last(),
            Some(&(3, 31, gone.clone(), Some(3)))
        );
    }
    alice.send(&kept, "hello").await.expect("sent");
    let log: Vec<i16> = world.changes(&gone).await.into_iter().map(|change| change.1).collect();
    assert_eq!(log, [13, 10, 15]);

    // Somebody who joins now was never in it, and is not told of its end.
    let late = world.user();
    group.put(&late, MEMBER).await;
    group.end().await;
    let own = world.user_changes(&late).await;
    assert_eq!(own, [(1, 30, kept.clone(), Some(3)), (2, 31, kept.clone(), Some(4))]);
    world.assert_dense().await;
}

#[tokio::test]
async fn an_audience_that_is_removed_ends_with_all_its_chats() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut group = world.audience(&alice);
    group.put(&alice, OWNER).await;
    group.put(&bob, MEMBER).await;
    let mut chats = Vec::new();
    for _ in 0..120 {
        chats.push(group.add_chat(ChatHistory::Full).await);
    }
    let end = group.change(
        group.number + 1,
        Kind::AudienceRemoved(tidings_proto_message::v1::AudienceRemoved {}),
    );
    assert_eq!(group.deliver(vec![end.clone()]).await.expect("ended"), end.number);
    for chat_id in [&chats[0], &chats[119]] {
        assert_eq!(reason(bob.send(chat_id, "hello").await), ErrorReason::NotFound);
        assert_eq!(reason(alice.texts(chat_id).await), ErrorReason::NotFound);
        let log: Vec<i16> = world
            .changes(chat_id)
            .await
            .into_iter()
            .map(|change| change.1)
            .collect();
        assert_eq!(log, [13, 15]);
    }
    assert_eq!(world.user_changes(&bob).await.len(), 240);
    assert_eq!(group.deliver(vec![end.clone()]).await.expect("again"), end.number);
    world.assert_dense().await;
}

#[tokio::test]
async fn history_from_joining_begins_with_the_latest_joining() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world
        .conversation_with(&[&alice, &bob], |facts| facts.history = ChatHistory::FromJoining.into())
        .await;
    alice.send(&chat.id, "one").await.expect("sent");
    assert_eq!(bob.texts(&chat.id).await.expect("seen"), ["one"]);
    chat.remove(&bob).await;
    let gap = alice.send(&chat.id, "two").await.expect("sent");
    chat.put(&bob, MEMBER).await;
    alice.send(&chat.id, "three").await.expect("sent");

    assert_eq!(bob.texts(&chat.id).await.expect("seen"), ["three"]);
    assert_eq!(alice.texts(&chat.id).await.expect("seen"), ["one", "two", "three"]);
    assert_eq!(reason(bob.get(&chat.id, &gap.message_id).await), ErrorReason::NotFound);
    let page = bob
        .list(ListMessagesRequest {
            chat_id: chat.id.clone(),
            ..ListMessagesRequest::default()
        })
        .await
        .expect("seen");
    let range = &page.removed_ranges[0];
    assert_eq!(
        (range.first_sequence, range.last_sequence, range.reason()),
        (1, 2, SkipReason::NotVisible)
    );

    // The setting decides, not what it was when somebody joined.
    chat.update(|facts| facts.history = ChatHistory::Full.into()).await;
    assert_eq!(bob.texts(&chat.id).await.expect("seen"), ["one", "two", "three"]);
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let next = chat.number + 1;
    let deliver = |changes: Vec<AudienceChange>| chat.deliver(changes);
    let member = MemberPut {
        user_id: alice.id.clone(),
        role: MEMBER.into(),
        mute_end_time: None,
        create_time: Some(chat.now()),
    };
    let facts = ChatFacts {
        chat_id: chat.id.clone(),
        kind: ChatKind::Conversation.into(),
        create_time: Some(chat.now()),
        ..ChatFacts::default()
    };
    let wrong: Vec<(&str, Kind)> = vec![
        (
            "member_put.user_id",
            Kind::MemberPut(MemberPut {
                user_id: "x".to_owned(),
                ..member.clone()
            }),
        ),
        (
            "member_put.role",
            Kind::MemberPut(MemberPut {
                role: 0,
                ..member.clone()
            }),
        ),
        (
            "member_put.create_time",
            Kind::MemberPut(MemberPut {
                create_time: None,
                ..member
            }),
        ),
        (
            "chat_updated.kind",
            Kind::ChatUpdated(ChatFacts {
                kind: 99,
                ..facts.clone()
            }),
        ),
        (
            "chat_updated.group_id",
            Kind::ChatUpdated(ChatFacts {
                chat_id: alice.nowhere(),
                ..facts.clone()
            }),
        ),
        (
            "chat_updated.slow_mode_interval_secs",
            Kind::ChatUpdated(ChatFacts {
                slow_mode_interval_secs: u32::MAX,
                ..facts
            }),
        ),
    ];
    for (field, kind) in wrong {
        assert_eq!(
            wrong_fields(deliver(vec![chat.change(next, kind)]).await),
            [format!("changes[0].{field}")]
        );
    }
    assert_eq!(wrong_fields(deliver(vec![]).await), ["changes"]);
    let unknown = AudienceChange {
        kind: None,
        ..chat.change(next, chat.removal(&alice))
    };
    assert_eq!(wrong_fields(deliver(vec![unknown]).await), ["changes[0].kind"]);
    let hole = vec![
        chat.change(next, chat.removal(&alice)),
        chat.change(next + 2, chat.removal(&alice)),
    ];
    assert_eq!(wrong_fields(deliver(hole).await), ["changes[1].number"]);
    alice.send(&chat.id, "still here").await.expect("nothing was applied");
}

#[tokio::test]
async fn only_the_chat_service_hands_changes_over() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let changes = vec![chat.change(chat.number + 1, chat.removal(&alice))];
    let request = ApplyMembershipChangesRequest {
        audience_id: chat.id.clone(),
        changes,
    };
    for service in [
        tidings_authn::Service::Gateway,
        tidings_authn::Service::Auth,
        tidings_authn::Service::User,
    ] {
        let mut client = tidings_proto_message::v1::membership_log_service_client::MembershipLogServiceClient::new(
            world.peer(service),
        );
        let refused = client.apply_membership_changes(alice.asks(request.clone())).await;
        assert_eq!(reason(refused), ErrorReason::PermissionMissing);
    }
}
