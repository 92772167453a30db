//! `RotateSigningKey`: no good token is ever refused for its key.

use std::time::Duration;

use tidings_proto_auth::v1::{ListSigningKeysRequest, LoginResponse, RotateSigningKeyRequest, SigningKey};
use tidings_proto_common::v1::Permission;
use tonic::Status;

use crate::world::{World, bearing, eventually, refusal};

impl World {
    async fn rotate_key(&self, by: &LoginResponse, request_id: &str) -> Result<Option<SigningKey>, Status> {
        let request = RotateSigningKeyRequest {
            request_id: request_id.to_owned(),
        };
        let response = self
            .auth()
            .rotate_signing_key(bearing(request, &by.access_token))
            .await?;
        Ok(response.into_inner().key)
    }

    async fn signing_keys(&self) -> Vec<SigningKey> {
        let listed = self.auth().list_signing_keys(ListSigningKeysRequest {}).await;
        listed.expect("listed").into_inner().keys
    }
}

/// The `kid` of a token.
fn key_of(token: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = token.split('.').next().expect("a header");
    let header = URL_SAFE_NO_PAD.decode(header).expect("base64url");
    let header = String::from_utf8(header).expect("JSON");
    let (_, rest) = header.split_once("\"kid\":\"").expect("a kid");
    rest[..36].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_expired() {
    let world = World::open().await;
    let operator = world.holder("boss", &[Permission::SigningKeysManage]).await;
    let old = world.signing_keys().await.remove(0);
    let rotated = world.rotate_key(&operator, "").await.expect("rotated").expect("a key");
    let now = world.source.now().unix_timestamp();
    assert_eq!(rotated.sign_time.expect("a time").seconds, now + 30);

    let keys = world.signing_keys().await;
    assert_eq!(keys.len(), 2, "both are published");
    assert_eq!(keys[0], rotated);
    assert_eq!(keys[1].key_id, old.key_id);
    let retires = keys[1].retire_time.expect("it will retire").seconds;
    assert!(
        retires >= now + 30 + 600,
        "its last token is as young as the new key's first"
    );

    world.source.advance(Duration::from_secs(29));
    let before = world.login("boss").await.expect("logged in");
    assert_eq!(key_of(&before.access_token), old.key_id);
    world.source.advance(Duration::from_secs(1));
    let after = world.login("boss").await.expect("logged in");
    assert_eq!(key_of(&after.access_token), rotated.key_id);
    eventually("the verifier knows both keys", async || {
        world.verifier.verify(&before.access_token).is_ok() && world.verifier.verify(&after.access_token).is_ok()
    })
    .await;

    world
        .source
        .advance(Duration::from_secs(u64::try_from(retires - now).expect("later")));
    let keys = world.signing_keys().await;
    assert_eq!(keys.len(), 1);
    assert_eq!((&keys[0].key_id, &keys[0].retire_time), (&rotated.key_id, &None));
}

/// Two nodes, one of which makes the key while the other signs and both verify: at no time is a good token refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_node_refuses_a_good_token_while_keys_change() {
    let world = World::open().await;
    let other = world.second_node().await;
    let operator = world.holder("boss", &[Permission::SigningKeysManage]).await;
    let rotated = world.rotate_key(&operator, "").await.expect("rotated").expect("a key");
    // The thirty seconds, of which every process needs some to hear of the key. Their clock stands still meanwhile.
    for node in [&world, &other] {
        eventually("the node has read the key", async || {
            node.signing_keys().await.len() == 2
        })
        .await;
        eventually("the verifier has read the key", async || {
            node.verifier.knows_key(&rotated.key_id)
        })
        .await;
    }
    for step in [0, 29, 1, 1, 60, 300] {
        world.source.advance(Duration::from_secs(step));
        for signer in [&world, &other] {
            let issued = signer.login("boss").await.expect("logged in");
            for verifier in [&world, &other] {
                let verified = verifier.verifier.verify(&issued.access_token);
                assert!(verified.is_ok(), "{verified:?} after {step}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_rotation_gets_the_first_key_and_a_second_one_waits() {
    let world = World::open().await;
    let operator = world.holder("boss", &[Permission::SigningKeysManage]).await;
    let eve = world.holder("eve", &[]).await;
    assert_eq!(refusal(world.rotate_key(&eve, "").await), "PERMISSION_MISSING");
    let request_id = world.request_id();
    let rotations = (0..5).map(|_| world.rotate_key(&operator, &request_id));
    let mut keys: Vec<_> = futures_util::future::join_all(rotations)
        .await
        .into_iter()
        .map(|outcome| outcome.expect("the same for all").expect("a key").key_id)
        .collect();
    keys.dedup();
    assert_eq!(keys.len(), 1);
    assert_eq!(world.signing_keys().await.len(), 2);
    assert_eq!(refusal(world.rotate_key(&operator, "").await), "STATE_UNSUITABLE");
    assert_eq!(refusal(world.rotate_key(&operator, "nonsense").await), "FIELD_INVALID");
    world.source.advance(Duration::from_secs(30));
    world.rotate_key(&operator, "").await.expect("the next");
    assert_eq!(world.signing_keys().await.len(), 3);
    assert_eq!(
        world
            .rotate_key(&operator, &request_id)
            .await
            .expect("repeated")
            .expect("kept")
            .key_id,
        keys[0]
    );
    let recorded: i64 = sqlx::query_scalar(
        "select count(*) from auth.audit_events where action like '%/RotateSigningKey' and outcome = 1",
    )
    .fetch_one(&world.pool)
    .await
    .expect("counted");
    assert_eq!(recorded, 2, "each effect once");
}
