//! Followers in a world that does not stand still: whatever happens, whenever hints are lost and streams break, a client is told
//! everything that it may see, nothing that it may not, in order, once.

mod client;

use std::collections::HashMap;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use tidings_ids::UserId;

use self::client::Client;
use super::{follower::Follower, frame::Frame, have::Have, memory::Memory, pull};

/// Steps until there is nothing to do, or for so many steps.
async fn follow(memory: &Memory, client: &mut Client, follower: &mut Follower, steps: usize) {
    for _ in 0..steps {
        let registration = memory.registration.as_ref().expect("followers are registered");
        follower.rung(registration.take());
        client.reads(memory);
        let frames = follower.step(memory).await.expect("memory does not fail");
        let Some(frames) = frames else { return };
        for frame in &frames {
            client.told(&memory.world.lock(), frame);
        }
        if memory.chance(0.3) {
            memory.happen();
        }
        if memory.chance(0.05) {
            memory.poll();
        }
    }
}

async fn stream(memory: &Memory, client: &mut Client, steps: usize) {
    let mut memory = memory.registered(client.user);
    client.reads(&memory);
    let (mut follower, first) = Follower::begin(&memory, client.user, client.have.clone())
        .await
        .expect("memory does not fail");
    for frame in &first {
        client.told(&memory.world.lock(), frame);
    }
    for _ in 0..steps {
        memory.happen();
        if memory.chance(0.5) {
            follow(&memory, client, &mut follower, 20).await;
        }
        if memory.chance(0.1) {
            memory.poll();
        }
    }
    if steps > 0 {
        return;
    }
    // The last stream: the world comes to rest.
    memory.unrest = 0.0;
    memory.poll();
    for _ in 0..100 {
        let registration = memory.registration.as_ref().expect("followers are registered");
        follower.rung(registration.take());
        while let Some(frames) = follower.step(&memory).await.expect("memory does not fail") {
            for frame in &frames {
                client.told(&memory.world.lock(), frame);
            }
        }
        memory.poll();
    }
    assert!(client.has_caught_up);
    client.has_all(&memory.world.lock());
}

/// One pull, from its first to its last page, or until the client loses interest.
async fn pages(memory: &Memory, client: &mut Client, at_rest: bool) {
    let have = client.have.clone();
    let mut cursor = None;
    loop {
        client.reads(memory);
        let count_max = 1 + memory.number(20) as u32;
        let page = pull::pull(memory, client.user, have.clone(), cursor, count_max)
            .await
            .expect("memory does not fail");
        assert!(!page.reset);
        for frame in &page.frames {
            client.told(&memory.world.lock(), frame);
        }
        assert_eq!(page.user_position, client.have.user_position);
        // A client that stops here goes on with what it has.
        cursor = Some(match page.next {
            Some(next) if at_rest || memory.chance(0.9) => next,
            _ => return,
        });
    }
}

fn run<F: Future<Output = ()>>(future: F) {
    // Nothing in memory waits.
    future.now_or_never().expect("memory answers at once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Streams that break and resume.
    #[test]
    fn streams_tell_everything_once_and_nothing_too_much(seed: u64) {
        run(async {
            let memory = Memory::new(seed);
            for _ in 0..memory.number(60) {
                memory.happen();
            }
            let user = memory.world.lock().users[0];
            let mut client = Client::new(user);
            for _ in 0..4 {
                stream(&memory, &mut client, 1 + memory.number(20)).await;
                for _ in 0..memory.number(20) {
                    memory.happen();
                }
            }
            stream(&memory, &mut client, 0).await;
        });
    }

    /// Several followers share hub and tails.
    #[test]
    fn followers_do_not_disturb_each_other(seed: u64) {
        run(async {
            let memory = Memory::new(seed);
            let users = memory.world.lock().users.clone();
            for _ in 0..30 {
                memory.happen();
            }
            let mut all = Vec::new();
            for user in users {
                let mut client = Client::new(user);
                let memory = memory.registered(user);
                client.reads(&memory);
                let (follower, first) =
                    Follower::begin(&memory, user, Have::default()).await.expect("memory does not fail");
                for frame in &first {
                    client.told(&memory.world.lock(), frame);
                }
                all.push((memory, client, follower));
            }
            for _ in 0..40 {
                memory.happen();
                let (memory, client, follower) = &mut all[memory.number(3)];
                follow(memory, client, follower, 5).await;
            }
            for (memory, client, follower) in &mut all {
                memory.unrest = 0.0;
                memory.poll();
                for _ in 0..20 {
                    let registration = memory.registration.as_ref().expect("followers are registered");
                    follower.rung(registration.take());
                    while let Some(frames) = follower.step(memory).await.expect("memory does not fail") {
                        for frame in &frames {
                            client.told(&memory.world.lock(), frame);
                        }
                    }
                    memory.poll();
                }
                client.has_all(&memory.world.lock());
            }
        });
    }

    /// Pages, and calls that go on from what the client has.
    #[test]
    fn pages_tell_everything_once_and_nothing_too_much(seed: u64) {
        run(async {
            let mut memory = Memory::new(seed);
            let user = memory.world.lock().users[0];
            let mut client = Client::new(user);
            for _ in 0..6 {
                for _ in 0..memory.number(40) {
                    memory.happen();
                }
                pages(&memory, &mut client, false).await;
            }
            memory.unrest = 0.0;
            pages(&memory, &mut client, true).await;
            client.has_all(&memory.world.lock());
        });
    }
}

/// Another follower has loaded tails, and nobody has heard of what happened since.
#[test]
fn who_comes_to_outdated_tails_is_told_all_that_there_was() {
    for seed in 0..50 {
        run(async {
            let mut memory = Memory::new(seed);
            (memory.unrest, memory.loss) = (0.0, 0.0);
            for _ in 0..40 {
                memory.happen();
            }
            let user = memory.world.lock().users[0];
            let mut staying = Client::new(user);
            let here = memory.registered(user);
            let (mut follower, first) = Follower::begin(&here, user, Have::default())
                .await
                .expect("memory does not fail");
            for frame in &first {
                staying.told(&here.world.lock(), frame);
            }
            for _ in 0..20 {
                here.happen();
                follow(&here, &mut staying, &mut follower, 20).await;
            }

            memory.loss = 1.0;
            for _ in 0..20 {
                memory.happen();
            }
            memory.loss = 0.0;
            let mut coming = Client::new(user);
            coming.have = staying.have.clone();
            let there = memory.registered(user);
            coming.reads(&there);
            let (mut follower, first) = Follower::begin(&there, user, coming.have.clone())
                .await
                .expect("memory does not fail");
            for frame in &first {
                coming.told(&there.world.lock(), frame);
            }
            while !coming.has_caught_up {
                let frames = follower.step(&there).await.expect("memory does not fail");
                for frame in &frames.expect("it has not caught up") {
                    coming.told(&there.world.lock(), frame);
                }
            }
            coming.has_all(&there.world.lock());
        });
    }
}

/// What is new in a chat that the client has waits for one snapshot of another, not for all.
#[test]
fn snapshots_do_not_hold_up_what_moved() {
    let mut found = 0;
    for seed in 0..300 {
        let mut memory = Memory::new(seed);
        (memory.unrest, memory.loss) = (0.0, 0.0);
        for _ in 0..60 {
            memory.happen();
        }
        let (user, chats) = {
            let world = memory.world.lock();
            let user = world.users[0];
            let chats = world.chats.iter().filter(|chat| chat.is_member(user));
            (user, chats.map(|chat| chat.id).collect::<Vec<_>>())
        };
        let &[named, _, _, ..] = &chats[..] else { continue };
        let have = Have {
            chats: HashMap::from([(named, 0)]),
            ..Have::default()
        };
        found += 1;
        run(async {
            let memory = memory.registered(user);
            let (mut follower, _) = Follower::begin(&memory, user, have)
                .await
                .expect("memory does not fail");
            let mut turns = Vec::new();
            for _ in 0..2 {
                let frames = follower.step(&memory).await.expect("memory does not fail");
                let is_snapshot = |frame: &Frame| matches!(frame, Frame::Snapshot(_));
                turns.push(frames.expect("there is more").iter().any(is_snapshot));
            }
            assert_eq!(turns, [true, false]);
        });
    }
    assert!(found > 5, "{found}");
}

#[test]
fn a_world_is_not_empty() {
    let told: HashMap<UserId, usize> = (0..20)
        .map(|seed| {
            let memory = Memory::new(seed);
            let user = memory.world.lock().users[0];
            let mut client = Client::new(user);
            run(async {
                for _ in 0..5 {
                    stream(&memory, &mut client, 20).await;
                }
            });
            (user, client.entries)
        })
        .collect();
    assert!(told.values().filter(|entries| **entries > 20).count() > 10, "{told:?}");
}
