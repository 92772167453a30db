use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason as R;
use tidings_proto_user::v1::{
    Block, BlockUserRequest, ListBlockedUsersRequest, ListBlocksRequest, ListDeletedUsersRequest, UnblockUserRequest,
    UserBlock, WatchUserStatesRequest, watch_user_states_response::Frame,
};
use tidings_user_service::Config;
use tonic::Status;

use crate::support::{Actor, World, detail, reason, wrong_fields};

async fn block(world: &World, caller: &Actor, user_id: &str) -> Result<Option<Block>, Status> {
    let request = BlockUserRequest {
        user_id: user_id.to_owned(),
        request_id: String::new(),
    };
    let blocked = world.blocks().block_user(caller.asks(request)).await?;
    Ok(blocked.into_inner().block)
}

async fn unblock(world: &World, caller: &Actor, user_id: &str) -> Result<(), Status> {
    let request = UnblockUserRequest {
        user_id: user_id.to_owned(),
        request_id: String::new(),
    };
    world.blocks().unblock_user(caller.asks(request)).await.map(drop)
}

async fn blocked_by(world: &World, caller: &Actor, page_size: i32) -> Vec<String> {
    let mut request = ListBlockedUsersRequest {
        page_size,
        ..ListBlockedUsersRequest::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = world.blocks().list_blocked_users(caller.asks(request.clone())).await;
        let page = page.expect("a page").into_inner();
        listed.extend(page.blocks.into_iter().map(|block| block.user_id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return listed;
        }
    }
}

/// Entries of the feed, of either kind: the number, and for a block who, whom, and whether.
async fn entries(world: &World, after_number: i64, count: usize) -> Vec<(i64, Option<(String, String, bool)>)> {
    let request = WatchUserStatesRequest { after_number };
    let mut stream = world
        .states()
        .watch_user_states(request)
        .await
        .expect("a feed")
        .into_inner();
    let mut found = Vec::new();
    while found.len() < count {
        match stream.message().await.expect("a frame").expect("a frame").frame {
            Some(Frame::States(batch)) => found.extend(batch.states.into_iter().map(|state| (state.number, None))),
            Some(Frame::Blocks(batch)) => found.extend(batch.changes.into_iter().map(|change| {
                assert!(change.change_time.is_some());
                let block = (change.blocker_user_id, change.blocked_user_id, change.blocked);
                (change.number, Some(block))
            })),
            Some(Frame::Heartbeat(_)) | None => {}
        }
    }
    found
}

#[tokio::test]
async fn a_block_is_set_once_listed_and_removed() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    let bob_id = bob.user_id.to_string();
    let first = block(&world, &ada, &bob_id).await.unwrap().expect("a block");
    assert_eq!(first.user_id, bob_id);
    world.source.advance(std::time::Duration::from_secs(5));
    assert_eq!(
        block(&world, &ada, &bob_id).await.unwrap(),
        Some(first),
        "as of the first time"
    );
    assert_eq!(blocked_by(&world, &ada, 0).await, [bob_id.as_str()]);
    assert!(
        blocked_by(&world, &bob, 0).await.is_empty(),
        "not told to who is blocked"
    );

    unblock(&world, &ada, &bob_id).await.unwrap();
    unblock(&world, &ada, &bob_id).await.expect("removed already");
    assert!(blocked_by(&world, &ada, 0).await.is_empty());
}

#[tokio::test]
async fn who_cannot_be_blocked() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    let own = ada.user_id.to_string();
    assert_eq!(wrong_fields(block(&world, &ada, &own).await), ["user_id"]);
    assert_eq!(wrong_fields(block(&world, &ada, "x").await), ["user_id"]);
    assert_eq!(wrong_fields(unblock(&world, &ada, "x").await), ["user_id"]);
    assert_eq!(reason(block(&world, &ada, &world.absent()).await), R::NotFound);
    assert_eq!(reason(unblock(&world, &ada, &world.absent()).await), R::NotFound);

    let bob_id = bob.user_id.to_string();
    block(&world, &ada, &bob_id).await.unwrap();
    sqlx::query("update users.users set status = 'deleted' where user_id = $1")
        .bind(bob.user_id.uuid())
        .execute(&world.pool())
        .await
        .unwrap();
    assert_eq!(reason(block(&world, &ada, &bob_id).await), R::NotFound);
    unblock(&world, &ada, &bob_id)
        .await
        .expect("who is gone can be unblocked");
    assert_eq!(reason(block(&world, &bob, &own).await), R::LoginSessionRevoked);
}

#[tokio::test]
async fn a_user_blocks_a_bounded_number() {
    let world = World::begin_with(Config {
        blocks_per_user_max: 2,
        ..Config::default()
    })
    .await;
    let ada = world.register("ada", &[]).await;
    let mut others = Vec::new();
    for name in ["bob", "cem", "dan"] {
        others.push(world.register(name, &[]).await.user_id.to_string());
    }
    block(&world, &ada, &others[0]).await.unwrap();
    block(&world, &ada, &others[1]).await.unwrap();
    let refused = block(&world, &ada, &others[2]).await;
    assert_eq!(
        (detail(&refused, "quota"), detail(&refused, "limit")),
        ("blocked_users".to_owned(), "2".to_owned())
    );
    assert_eq!(reason(refused), R::QuotaExceeded);
    block(&world, &ada, &others[0]).await.expect("blocked already");
    unblock(&world, &ada, &others[0]).await.unwrap();
    block(&world, &ada, &others[2]).await.expect("there is room again");
}

#[tokio::test]
async fn blocks_are_listed_a_page_at_a_time() {
    let world = World::begin().await;
    let ada = world.register("ada", &[]).await;
    let mut others = Vec::new();
    for number in 0..5 {
        let other = world.register(&format!("other{number}"), &[]).await.user_id.to_string();
        block(&world, &ada, &other).await.unwrap();
        others.push(other);
    }
    others.sort();
    assert_eq!(blocked_by(&world, &ada, 2).await, others);
    let negative = ListBlockedUsersRequest {
        page_size: -1,
        ..ListBlockedUsersRequest::default()
    };
    let refused = world.blocks().list_blocked_users(ada.asks(negative)).await;
    assert_eq!(wrong_fields(refused), ["page_size"]);

    let first = ListBlockedUsersRequest {
        page_size: 2,
        ..ListBlockedUsersRequest::default()
    };
    let page = world.blocks().list_blocked_users(ada.asks(first)).await;
    let page_token = page.unwrap().into_inner().next_page_token;
    let bob = world.register("bob", &[]).await;
    let foreign = ListBlockedUsersRequest {
        page_size: 2,
        page_token,
    };
    let refused = world.blocks().list_blocked_users(bob.asks(foreign)).await;
    assert_eq!(reason(refused), R::PageTokenInvalid);
}

#[tokio::test]
async fn a_repeated_call_changes_nothing() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    let request = BlockUserRequest {
        user_id: bob.user_id.to_string(),
        request_id: world.request_id(),
    };
    let first = world
        .blocks()
        .block_user(ada.asks(request.clone()))
        .await
        .unwrap()
        .into_inner();
    let again = world
        .blocks()
        .block_user(ada.asks(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    unblock(&world, &ada, &request.user_id).await.unwrap();
    let late = world
        .blocks()
        .block_user(ada.asks(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(late.block, None, "the block was removed since, and stays so");
    let other = BlockUserRequest {
        user_id: world.absent(),
        ..request
    };
    assert_eq!(
        reason(world.blocks().block_user(ada.asks(other)).await),
        R::RequestIdReused
    );
}

#[tokio::test]
async fn the_feed_has_states_and_blocks_in_one_row_of_numbers() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    let (ada_id, bob_id) = (ada.user_id.to_string(), bob.user_id.to_string());
    block(&world, &ada, &bob_id).await.unwrap();
    block(&world, &ada, &bob_id).await.unwrap();
    block(&world, &bob, &ada_id).await.unwrap();
    world.register("cem", &[]).await;
    unblock(&world, &ada, &bob_id).await.unwrap();

    // Each registration has two entries: pending, active.
    let told = |by: &str, of: &str, stands| Some((by.to_owned(), of.to_owned(), stands));
    let expected = vec![
        (1, None),
        (2, None),
        (3, None),
        (4, None),
        (5, told(&ada_id, &bob_id, true)),
        (6, told(&bob_id, &ada_id, true)),
        (7, None),
        (8, None),
        (9, told(&ada_id, &bob_id, false)),
    ];
    assert_eq!(entries(&world, 0, 9).await, expected);
    assert_eq!(entries(&world, 5, 4).await, expected[5..]);
    assert_eq!(entries(&world, 8, 1).await, expected[8..]);
}

#[tokio::test]
async fn a_feed_without_states_of_late_begins_at_its_blocks() {
    let world = World::begin().await;
    let (ada, bob) = (world.register("ada", &[]).await, world.register("bob", &[]).await);
    let bob_id = bob.user_id.to_string();
    sqlx::query("update users.user_states set store_time = now() - interval '16 minutes'")
        .execute(&world.pool())
        .await
        .unwrap();
    block(&world, &ada, &bob_id).await.unwrap();
    let (number, change) = entries(&world, 0, 1).await.remove(0);
    assert_eq!((number, change.is_some()), (5, true));

    // And a place before what is kept is refused.
    sqlx::query("delete from users.user_states")
        .execute(&world.pool())
        .await
        .unwrap();
    let refused = world
        .states()
        .watch_user_states(WatchUserStatesRequest { after_number: 2 })
        .await;
    assert_eq!(detail(&refused.map(drop), "first_position"), "5");
}

#[tokio::test]
async fn other_services_get_all_blocks_and_where_the_feed_goes_on() {
    let world = World::begin().await;
    let mut people = Vec::new();
    for number in 0..4 {
        people.push(world.register(&format!("user{number}"), &[]).await);
    }
    let mut expected = Vec::new();
    for blocker in &people {
        for blocked in &people {
            if blocker.user_id != blocked.user_id {
                block(&world, blocker, &blocked.user_id.to_string()).await.unwrap();
                expected.push(UserBlock {
                    blocker_user_id: blocker.user_id.to_string(),
                    blocked_user_id: blocked.user_id.to_string(),
                });
            }
        }
    }
    expected.sort_by(|one, other| {
        let key = |block: &UserBlock| (block.blocker_user_id.clone(), block.blocked_user_id.clone());
        key(one).cmp(&key(other))
    });
    let mut request = ListBlocksRequest {
        page_size: 5,
        ..ListBlocksRequest::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = world.states().list_blocks(request.clone()).await.unwrap().into_inner();
        assert_eq!(page.head_number, 8 + 12);
        listed.extend(page.blocks);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, expected);
    let negative = ListBlocksRequest {
        page_size: -1,
        ..ListBlocksRequest::default()
    };
    assert_eq!(wrong_fields(world.states().list_blocks(negative).await), ["page_size"]);
    let mut auth = world.states_as(tidings_authn::Service::Auth);
    let refused = auth.list_blocks(ListBlocksRequest::default()).await;
    assert_eq!(reason(refused), R::PermissionMissing);
}

#[tokio::test]
async fn other_services_get_all_users_who_are_gone_for_good() {
    let world = World::begin().await;
    let mut gone = Vec::new();
    for number in 0..5 {
        let user = world.register(&format!("user{number}"), &[]).await;
        if number != 2 {
            gone.push(user.user_id);
        }
    }
    gone.sort();
    sqlx::query(
        "update users.users
         set status = 'deleted', delete_time = now(), deleted_status = 'active', deletion_final = true, username = null, email = null,
             email_canonical = null, display_name = '', bio = ''
         where user_id = any ($1)",
    )
    .bind(gone.iter().map(|user_id| user_id.uuid()).collect::<Vec<_>>())
    .execute(&world.pool())
    .await
    .unwrap();
    let mut request = ListDeletedUsersRequest {
        page_size: 3,
        ..ListDeletedUsersRequest::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = world
            .states()
            .list_deleted_users(request.clone())
            .await
            .unwrap()
            .into_inner();
        listed.extend(page.user_ids);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, gone.iter().map(ToString::to_string).collect::<Vec<_>>());
    let negative = ListDeletedUsersRequest {
        page_size: -1,
        ..ListDeletedUsersRequest::default()
    };
    let refused = world.states().list_deleted_users(negative).await;
    assert_eq!(wrong_fields(refused), ["page_size"]);
}

#[tokio::test]
async fn users_who_block_each_other_at_once_both_do() {
    let world = World::begin().await;
    for round in 0..20 {
        let (ada, bob) = (
            world.register(&format!("ada{round}"), &[]).await,
            world.register(&format!("bob{round}"), &[]).await,
        );
        let id = |actor: &Actor| -> UserId { actor.user_id };
        let (bob_id, ada_id) = (id(&bob).to_string(), id(&ada).to_string());
        let (one, other) = tokio::join!(block(&world, &ada, &bob_id), block(&world, &bob, &ada_id));
        assert!(one.unwrap().is_some() && other.unwrap().is_some());
    }
}
