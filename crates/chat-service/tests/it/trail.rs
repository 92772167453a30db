//! What the audit trail has of groups, chats and memberships.

use sqlx::Row as _;
use tidings_proto_chat::v1::{CreateGroupRequest, UpdateGroupRequest};

use crate::world::{ADMIN, MEMBER, World};

/// An event: the RPC's name, the kinds and ids of its subjects, its details.
#[derive(Debug, PartialEq)]
struct Told {
    action: String,
    subjects: Vec<String>,
    details: Vec<String>,
}

async fn events(world: &World) -> Vec<Told> {
    let sql = "select action, subject_kinds, subject_ids::text[] as ids, detail_names, detail_values
               from chats.audit_events
               order by event_time, event_id";
    let rows = sqlx::query(sql).fetch_all(&world.pool()).await.expect("read");
    let told = |row: &sqlx::postgres::PgRow| {
        let pairs = |names: &str, values: &str| {
            let (names, values): (Vec<String>, Vec<String>) = (row.get(names), row.get(values));
            names
                .iter()
                .zip(values)
                .map(|(name, value)| format!("{name} {value}"))
                .collect::<Vec<_>>()
        };
        let action: String = row.get("action");
        Told {
            action: action.rsplit('/').next().unwrap_or_default().to_owned(),
            subjects: pairs("subject_kinds", "ids"),
            details: pairs("detail_names", "detail_values"),
        }
    };
    rows.iter().map(told).collect()
}

fn told(action: &str, subjects: &[String], details: &[&str]) -> Told {
    Told {
        action: action.to_owned(),
        subjects: subjects.to_vec(),
        details: details.iter().map(|detail| (*detail).to_owned()).collect(),
    }
}

#[tokio::test]
async fn each_change_of_a_group_is_in_the_trail_with_whom_it_concerned() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, ADMIN).await.expect("added");
    let chat = bob
        .chat_in(&group, "a title that is nobody's business")
        .await
        .expect("made");
    alice.remove(&group, &bob).await.expect("removed");
    // What changes nothing leaves nothing.
    alice.remove(&group, &bob).await.expect("removed before");

    let audience = format!("audience {}", group.group_id);
    let (a, b) = (format!("user {}", alice.id), format!("user {}", bob.id));
    let expected = [
        told(
            "CreateGroup",
            &[audience.clone(), a],
            &["changes member_put", "role owner"],
        ),
        told(
            "AddMember",
            &[audience.clone(), b.clone()],
            &["changes member_put", "role admin"],
        ),
        told(
            "CreateChat",
            &[audience.clone(), format!("chat {}", chat.chat_id)],
            &["changes chat_added"],
        ),
        told("RemoveMember", &[audience, b], &["changes member_removed"]),
    ];
    assert_eq!(events(&world).await, expected);
}

#[tokio::test]
async fn a_repeated_call_is_in_the_trail_once_with_its_request_id() {
    let world = World::begin().await;
    let alice = world.user().await;
    let request_id = alice.request_id();
    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        request_id: request_id.clone(),
        ..CreateGroupRequest::default()
    };
    for _ in 0..3 {
        alice
            .groups()
            .create_group(alice.asks(request.clone()))
            .await
            .expect("made or repeated");
    }
    let ids: Vec<String> = sqlx::query_scalar("select request_id::text from chats.audit_events")
        .fetch_all(&world.pool())
        .await
        .expect("read");
    assert_eq!(ids, [request_id]);
}

#[tokio::test]
async fn a_refused_change_leaves_no_effect_in_the_trail_and_a_renaming_only_names_its_fields() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let rename = |etag: &str| UpdateGroupRequest {
        group_id: group.group_id.clone(),
        display_name: "secret plans".to_owned(),
        etag: etag.to_owned(),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["display_name".to_owned()],
        }),
        ..UpdateGroupRequest::default()
    };
    assert!(bob.groups().update_group(bob.asks(rename(""))).await.is_err());
    assert!(alice.groups().update_group(alice.asks(rename("77"))).await.is_err());
    alice
        .groups()
        .update_group(alice.asks(rename("")))
        .await
        .expect("renamed");
    let events = events(&world).await;
    assert_eq!(events.len(), 3, "{events:?}");
    let expected = told(
        "UpdateGroup",
        &[format!("group {}", group.group_id)],
        &["fields display_name"],
    );
    assert_eq!(events[2], expected);
}
