use std::time::Duration;

use tidings_ids::UserId;
use tidings_proto_common::v1::{ErrorReason as R, FeedHeartbeat};
use tidings_proto_user::v1::{
    AssignRoleRequest, UserState, UserStatus, WatchUserStatesRequest, WatchUserStatesResponse,
    watch_user_states_response::Frame,
};
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use crate::support::{Actor, World, reason};

const BOT: &str = "00000000-0000-7000-8000-000000000003";

struct Reader(Streaming<WatchUserStatesResponse>);

impl Reader {
    async fn open(world: &World, after_number: i64) -> Result<Self, Status> {
        let request = WatchUserStatesRequest { after_number };
        Ok(Self(world.states().watch_user_states(request).await?.into_inner()))
    }

    async fn frame(&mut self) -> Result<Frame, Status> {
        let next = timeout(Duration::from_secs(30), self.0.message())
            .await
            .expect("a frame in time")?;
        Ok(next
            .expect("the feed does not end well")
            .frame
            .expect("a frame holds something"))
    }

    async fn heartbeat(&mut self) -> FeedHeartbeat {
        loop {
            if let Frame::Heartbeat(heartbeat) = self.frame().await.expect("a frame") {
                return heartbeat;
            }
        }
    }

    /// The next entries, `count` of them.
    async fn states(&mut self, count: usize) -> Vec<UserState> {
        let mut states = Vec::new();
        while states.len() < count {
            if let Frame::States(batch) = self.frame().await.expect("a frame") {
                assert!((1..=500).contains(&batch.states.len()));
                states.extend(batch.states);
            }
        }
        states
    }
}

async fn assign(world: &World, admin: &Actor, user_id: UserId) {
    let request = AssignRoleRequest {
        user_id: user_id.to_string(),
        role_id: BOT.to_owned(),
        request_id: String::new(),
    };
    world.roles().assign_role(admin.asks(request)).await.expect("assigned");
}

#[tokio::test]
async fn the_feed_begins_with_a_heartbeat_and_tells_every_change_in_order() {
    let world = World::begin().await;
    let mut reader = Reader::open(&world, 0).await.unwrap();
    let first = reader.frame().await.unwrap();
    assert_eq!(
        first,
        Frame::Heartbeat(FeedHeartbeat {
            head_number: 0,
            sent_number: 0
        })
    );

    let admin = world.register("ruth", &["admin"]).await;
    let ada = world.register("ada", &[]).await;
    assign(&world, &admin, ada.user_id).await;
    let mut heartbeats = 0;
    let mut states = Vec::new();
    while states.len() < 5 {
        match reader.frame().await.unwrap() {
            Frame::States(batch) => states.extend(batch.states),
            _ => heartbeats += 1,
        }
    }
    // There is one each second; the first was ready before.
    assert!(heartbeats <= 2, "sooner than the third heartbeat: {heartbeats}");
    let numbers: Vec<_> = states.iter().map(|state| state.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let (pending, active, with_role) = (&states[2], &states[3], &states[4]);
    assert_eq!(
        (pending.status(), active.status()),
        (UserStatus::Pending, UserStatus::Active)
    );
    assert!(pending.token_epoch < active.token_epoch && active.token_epoch < with_role.token_epoch);
    assert_eq!(with_role.roles, ["bot", "member"]);
    assert_eq!(
        *with_role,
        world.state_of(ada.user_id).await,
        "the same story as auth is told"
    );
    let heartbeat = reader.heartbeat().await;
    assert_eq!((heartbeat.head_number, heartbeat.sent_number), (5, 5));
}

#[tokio::test]
async fn heartbeats_come_each_second() {
    let world = World::begin().await;
    let began = Instant::now();
    let mut reader = Reader::open(&world, 0).await.unwrap();
    let mut came = Vec::new();
    // A machine that stands still holds some of them up, but not all.
    while came.len() < 30 {
        reader.heartbeat().await;
        came.push(began.elapsed());
        let least = Duration::from_secs(came.len() as u64 - 1);
        assert!(came[came.len() - 1] >= least, "no more than one a second: {came:?}");
        let last_three = &came[came.len().saturating_sub(3)..];
        if last_three.len() == 3 && last_three[2] - last_three[0] < Duration::from_millis(2_800) {
            return;
        }
    }
    panic!("never three in a row: {came:?}");
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let world = World::begin().await;
    world.register("ada", &[]).await;
    world.register("bob", &[]).await;
    let mut reader = Reader::open(&world, 3).await.unwrap();
    let heartbeat = reader.heartbeat().await;
    assert_eq!((heartbeat.head_number, heartbeat.sent_number), (4, 3));
    assert_eq!(reader.states(1).await[0].number, 4);
    let mut reader = Reader::open(&world, 4).await.unwrap();
    world.register("cy", &[]).await;
    assert_eq!(reader.states(1).await[0].number, 5);
}

#[tokio::test]
async fn a_reader_without_a_number_gets_the_last_fifteen_minutes() {
    let world = World::begin().await;
    world.register("ada", &[]).await;
    sqlx::query("update users.user_states set store_time = store_time - interval '16 minutes'")
        .execute(&world.pool())
        .await
        .unwrap();
    let mut reader = Reader::open(&world, 0).await.unwrap();
    let heartbeat = reader.heartbeat().await;
    assert_eq!(
        (heartbeat.head_number, heartbeat.sent_number),
        (2, 2),
        "nothing that a living token could be from"
    );
    world.register("bob", &[]).await;
    assert_eq!(reader.states(2).await[0].number, 3);
    let mut reader = Reader::open(&world, 0).await.unwrap();
    assert_eq!(reader.heartbeat().await.sent_number, 2);
    assert_eq!(reader.states(2).await[0].number, 3);
}

#[tokio::test]
async fn places_that_the_feed_does_not_have_are_refused() {
    let world = World::begin().await;
    world.register("ada", &[]).await;
    world.register("bob", &[]).await;
    let refused = async |after_number| reason(Reader::open(&world, after_number).await.map(|_| ()));
    assert_eq!(refused(-1).await, R::FieldInvalid);
    assert_eq!(refused(i64::MIN).await, R::FieldInvalid);
    assert_eq!(refused(5).await, R::CursorInvalid);
    assert_eq!(refused(i64::MAX).await, R::CursorInvalid);
    sqlx::query("delete from users.user_states where number <= 2")
        .execute(&world.pool())
        .await
        .unwrap();
    assert_eq!(refused(1).await, R::CursorExpired);
    assert!(Reader::open(&world, 2).await.is_ok(), "everything after it is kept");
}

#[tokio::test]
async fn a_long_feed_comes_in_bounded_batches() {
    let world = World::begin().await;
    sqlx::raw_sql(
        "insert into users.user_states (number, user_id, token_epoch, status, permissions, roles, is_bot, change_time)
         select n, gen_random_uuid(), 1, 'active', '{}', '{}', false, now() from generate_series(1, 1250) n;
         insert into users.feeds (feed, last_number) values ('user_states', 1250)",
    )
    .execute(&world.pool())
    .await
    .unwrap();
    let mut reader = Reader::open(&world, 0).await.unwrap();
    let states = reader.states(1_250).await;
    assert!(states.iter().map(|state| state.number).eq(1..=1_250));
}

#[tokio::test]
async fn a_hole_ends_the_stream_rather_than_be_skipped() {
    let world = World::begin().await;
    let mut reader = Reader::open(&world, 0).await.unwrap();
    reader.heartbeat().await;
    sqlx::raw_sql(
        "insert into users.user_states (number, user_id, token_epoch, status, permissions, roles, is_bot, change_time)
         values (2, gen_random_uuid(), 1, 'active', '{}', '{}', false, now());
         insert into users.feeds (feed, last_number) values ('user_states', 2)",
    )
    .execute(&world.pool())
    .await
    .unwrap();
    let outcome = loop {
        match reader.frame().await {
            Ok(Frame::Heartbeat(_)) => {}
            outcome => break outcome,
        }
    };
    assert_eq!(reason(outcome), R::CursorExpired);
}

#[tokio::test]
async fn streams_end_when_the_process_stops() {
    let world = World::begin().await;
    let mut reader = Reader::open(&world, 0).await.unwrap();
    reader.heartbeat().await;
    world.environment.drain.begin();
    let mut heartbeats = 0;
    let outcome = loop {
        match reader.frame().await {
            Ok(_) => heartbeats += 1,
            Err(status) => break Err::<(), _>(status),
        }
    };
    assert_eq!(reason(outcome), R::Draining);
    // There is one each second; one may have been ready before.
    assert!(heartbeats <= 1, "at once, not after {heartbeats} heartbeats");
}
