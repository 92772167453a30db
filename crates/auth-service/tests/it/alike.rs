//! Whether an account exists shows in nothing (`reliability.md` G26, A24, A25). The same with 2,000 of each, and the times, is the
//! benchmark `alike`.

use crate::pairs::{self, Call};

const PAIRS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn logins_resets_and_registrations_look_alike_and_hash_alike_whether_accounts_exist() {
    let world = pairs::world(PAIRS).await;
    for call in Call::ALL {
        let samples = pairs::sample(&world, call, PAIRS).await;
        assert_eq!(samples.len(), 2 * PAIRS);
        pairs::assert_alike(call, &samples);
    }
    // They did not look alike because they all failed alike.
    let claims = world.count("claims").await;
    assert_eq!(
        claims,
        i64::try_from(PAIRS).expect("few"),
        "registrations with another's address"
    );
    let wrong = world.login_with("user0", crate::world::PASSWORD).await;
    wrong.expect("the accounts that exist can be logged in to");
}
