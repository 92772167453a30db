//! What an attacker may send as an access token (`reliability.md` B061 to B065): all of it is refused, and only what
//! auth signed as it signs is taken.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tidings_authn::{
    AUDIENCE, Claims, ISSUER, PublicKey, Refusal, Revocations, Service, ServiceIdentity, SuiteSecret, UserState,
    Verifier,
};
use tidings_ids::Source;

const KEY_ID: &str = "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e5f";

struct World {
    source: Source,
    verifier: Verifier,
    revocations: Arc<Revocations>,
    pair: Ed25519KeyPair,
}

impl World {
    fn new() -> Self {
        let (source, revocations) = (Source::seeded(1), Revocations::new());
        let pair = pair(1);
        let verifier = Verifier::new(Arc::clone(&revocations), source.clone());
        verifier.set_keys(&[public(KEY_ID, &pair)]);
        revocations.heard_sessions();
        revocations.heard_users();
        Self {
            source,
            verifier,
            revocations,
            pair,
        }
    }

    fn claims(&self) -> Claims {
        let now = self.source.now().unix_timestamp();
        Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: self.source.new_id(),
            sid: self.source.new_id(),
            epoch: 1,
            perms: vec![1],
            bot: false,
            iat: now,
            nbf: now,
            exp: now + 600,
        }
    }

    fn token(&self) -> String {
        tidings_authn::sign(&self.claims(), KEY_ID, &encoding(&self.pair)).expect("signed")
    }

    /// A token with our signature over whatever header and claims.
    fn signed(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = BASE64.encode(self.pair.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// A good token but for one claim.
    fn with_claim(&self, name: &str, value: Option<Value>) -> String {
        let mut claims = serde_json::to_value(self.claims()).expect("claims are JSON");
        let map = claims.as_object_mut().expect("claims are an object");
        match value {
            Some(value) => map.insert(name.to_owned(), value),
            None => map.remove(name),
        };
        self.signed(&header().to_string(), &claims.to_string())
    }

    /// A good token but for its header.
    fn with_header(&self, header: &Value) -> String {
        self.signed(
            &header.to_string(),
            &serde_json::to_string(&self.claims()).expect("claims are JSON"),
        )
    }

    fn refuses(&self, token: &str, what: &str) {
        let refused = self.verifier.verify(token).map(|_| ());
        assert!(
            matches!(refused, Err(Refusal::TokenInvalid | Refusal::TokenExpired)),
            "{what}: {refused:?}"
        );
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed")
}

fn public(key_id: &str, pair: &Ed25519KeyPair) -> PublicKey {
    PublicKey {
        key_id: key_id.to_owned(),
        bytes: pair.public_key().as_ref().try_into().expect("32 bytes"),
    }
}

fn encoding(pair: &Ed25519KeyPair) -> EncodingKey {
    EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("a document").as_ref())
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": KEY_ID})
}

#[test]
fn a_token_as_auth_signs_it_is_taken() {
    let world = World::new();
    let claims = world.claims();
    let token = tidings_authn::sign(&claims, KEY_ID, &encoding(&world.pair)).expect("signed");
    for _ in 0..2 {
        let caller = world.verifier.verify(&token).expect("valid, also from the cache");
        assert_eq!(
            (caller.user_id, caller.login_session_id, caller.token_epoch),
            (claims.sub, claims.sid, 1)
        );
    }
    // The hand-made one that the refusals below are variations of is good too.
    assert!(world.verifier.verify(&world.with_header(&header())).is_ok());
}

#[test]
fn other_algorithms_are_refused() {
    let world = World::new();
    let claims = serde_json::to_string(&world.claims()).expect("JSON");
    let unsigned = |alg: &str, signature: &str| {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": KEY_ID}).to_string();
        format!("{}.{}.{signature}", BASE64.encode(header), BASE64.encode(&claims))
    };
    for alg in [
        "none", "None", "nOnE", "NONE", "", "EdDSA", "HS256", "RS256", "ES256", "eddsa",
    ] {
        world.refuses(&unsigned(alg, ""), alg);
        world.refuses(&unsigned(alg, "AAAA"), alg);
    }
    for alg in ["HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "eddsa", "Ed25519"] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": KEY_ID});
        world.refuses(&world.with_header(&header), alg);
    }
    // The classic: the public key's bytes as an HMAC key.
    let public = world.pair.public_key().as_ref();
    for key in [public.to_vec(), BASE64.encode(public).into_bytes()] {
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": KEY_ID}).to_string();
        let input = format!("{}.{}", BASE64.encode(header), BASE64.encode(&claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), input.as_bytes());
        world.refuses(&format!("{input}.{}", BASE64.encode(tag)), "HS256 with the public key");
    }
}

#[test]
fn another_key_and_a_key_id_that_points_elsewhere_are_refused() {
    let world = World::new();
    let stranger = tidings_authn::sign(&world.claims(), KEY_ID, &encoding(&pair(2))).expect("signed");
    world.refuses(&stranger, "another's key");
    let long = "k".repeat(10_000);
    for kid in [
        "",
        "other",
        "../../etc/passwd",
        "' or 1=1 --",
        "http://evil.example/key",
        long.as_str(),
        "\0",
    ] {
        let mut header = header();
        header["kid"] = json!(kid);
        world.refuses(&world.with_header(&header), kid);
    }
}

#[test]
fn headers_of_another_shape_are_refused() {
    let world = World::new();
    for (name, value) in [
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("jwk", json!({"kty": "OKP"})),
        ("x5c", json!([])),
        ("crit", json!(["exp"])),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
    ] {
        let mut header = header();
        header[name] = value;
        world.refuses(&world.with_header(&header), name);
    }
    for name in ["alg", "typ", "kid"] {
        let mut missing = header();
        missing.as_object_mut().expect("an object").remove(name);
        world.refuses(&world.with_header(&missing), name);
        for value in [json!(null), json!(1), json!(["EdDSA"])] {
            let mut wrong = header();
            wrong[name] = value;
            world.refuses(&world.with_header(&wrong), name);
        }
    }
    for typ in ["JWT", "jwt", "AT+JWT", "rt+jwt", "tidings-service+jwt", ""] {
        let mut header = header();
        header["typ"] = json!(typ);
        world.refuses(&world.with_header(&header), typ);
    }
    let claims = serde_json::to_string(&world.claims()).expect("JSON");
    let twice = format!(r#"{{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"{KEY_ID}"}}"#);
    world.refuses(&world.signed(&twice, &claims), "a header named twice");
}

#[test]
fn claims_of_another_type_or_value_are_refused() {
    let world = World::new();
    let now = world.source.now().unix_timestamp();
    let wrong_times = [
        json!("1"),
        json!((now + 600).to_string()),
        json!(1.0e9),
        json!(now as f64 + 600.5),
        json!([now]),
        json!({}),
        json!(null),
        json!(true),
    ];
    for name in ["exp", "nbf", "iat"] {
        world.refuses(&world.with_claim(name, None), name);
        for value in &wrong_times {
            world.refuses(&world.with_claim(name, Some(value.clone())), &format!("{name} {value}"));
        }
    }
    for value in [
        json!(-1),
        json!(0),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(10_i64.pow(18)),
        json!(u64::MAX),
        json!(now + 601),
    ] {
        world.refuses(&world.with_claim("exp", Some(value.clone())), &format!("exp {value}"));
    }
    for name in ["nbf", "iat"] {
        world.refuses(
            &world.with_claim(name, Some(json!(now + 60))),
            &format!("{name} in the future"),
        );
    }
    world.refuses(&world.with_claim("iat", Some(json!(i64::MIN))), "iat long ago");
    for name in ["iss", "aud", "sub", "sid", "epoch", "perms", "bot"] {
        world.refuses(&world.with_claim(name, None), name);
        for value in [
            json!(null),
            json!(""),
            json!("tidings-other"),
            json!([AUDIENCE]),
            json!({}),
            json!(1.5),
        ] {
            world.refuses(&world.with_claim(name, Some(value.clone())), &format!("{name} {value}"));
        }
    }
    for value in [
        "018F4C3E-7B1A-7C3D-8E9F-0A1B2C3D4E5F",
        "018f4c3e7b1a7c3d8e9f0a1b2c3d4e5f",
        "admin",
    ] {
        world.refuses(&world.with_claim("sub", Some(json!(value))), value);
    }
    let claims = serde_json::to_string(&world.claims()).expect("JSON");
    let twice = format!(r#"{{"sub":"{KEY_ID}",{}"#, &claims[1..]);
    world.refuses(&world.signed(&header().to_string(), &twice), "a claim named twice");
}

#[test]
fn cut_and_altered_tokens_are_refused() {
    let world = World::new();
    let token = world.token();
    for end in 0..token.len() {
        world.refuses(&token[..end], "a token cut off");
    }
    let (input, _) = token.rsplit_once('.').expect("three parts");
    for altered in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        format!("{input}."),
        format!("{token}."),
        format!("{token}.AAAA"),
        format!("{token}=="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}A"),
        token.to_uppercase(),
        "A".repeat(4_097),
        "A".repeat(1 << 20),
    ] {
        world.refuses(&altered, "an altered token");
    }
    for position in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        world.refuses(
            &String::from_utf8(bytes).expect("ASCII"),
            &format!("byte {position} altered"),
        );
    }
    assert!(world.verifier.verify(&token).is_ok());
}

#[test]
fn a_token_is_refused_from_its_expiry_on_also_from_the_cache() {
    let world = World::new();
    let token = world.token();
    assert!(world.verifier.verify(&token).is_ok());
    world.source.advance(Duration::from_secs(599));
    assert!(world.verifier.verify(&token).is_ok());
    world.source.advance(Duration::from_secs(1));
    assert_eq!(world.verifier.verify(&token).map(|_| ()), Err(Refusal::TokenExpired));
    let late = World::new();
    let token = late.token();
    late.source.advance(Duration::from_secs(601));
    assert_eq!(late.verifier.verify(&token).map(|_| ()), Err(Refusal::TokenExpired));
}

#[test]
fn the_identity_of_a_service_is_no_access_token() {
    let world = World::new();
    let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
    let identity = ServiceIdentity::new(Service::Gateway, &secret, world.source.clone());
    world.refuses(&identity.token_for(Service::Auth), "a service's token");
}

/// Auth publishes a key before it signs. Who has not heard of auth for a while cannot say that there is no such key, and refuses
/// without calling a token invalid that may be good.
#[tokio::test(start_paused = true)]
async fn an_unknown_key_makes_a_token_invalid_only_while_the_keys_are_current() {
    let world = World::new();
    let (new, new_id) = (pair(2), "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e60");
    let token = tidings_authn::sign(&world.claims(), new_id, &encoding(&new)).expect("signed");
    let verify = || world.verifier.verify(&token).map(|_| ());
    assert_eq!(verify(), Err(Refusal::TokenInvalid));
    tokio::time::advance(Verifier::KEYS_CURRENT_FOR).await;
    world.revocations.heard_sessions();
    world.revocations.heard_users();
    assert_eq!(verify(), Err(Refusal::Untrusted));
    assert!(world.verifier.verify(&world.token()).is_ok(), "known keys stay good");
    world.verifier.set_keys(&[public(KEY_ID, &world.pair)]);
    assert_eq!(verify(), Err(Refusal::TokenInvalid));
    world
        .verifier
        .set_keys(&[public(KEY_ID, &world.pair), public(new_id, &new)]);
    assert_eq!(verify(), Ok(()));
}

#[test]
fn a_removed_key_verifies_nothing_also_not_from_the_cache() {
    let world = World::new();
    let token = world.token();
    assert!(world.verifier.verify(&token).is_ok());
    world.verifier.set_keys(&[public("another", &pair(3))]);
    world.refuses(&token, "a removed key");
}

#[test]
fn what_has_been_revoked_is_refused_and_so_is_everything_when_nothing_is_heard() {
    let world = World::new();
    let claims = world.claims();
    let token = tidings_authn::sign(&claims, KEY_ID, &encoding(&world.pair)).expect("signed");
    assert!(world.verifier.verify(&token).is_ok());
    let active = tidings_authn::AccountStatus::Active;
    world.revocations.user_changed(
        claims.sub,
        UserState {
            token_epoch: 1,
            status: active,
        },
    );
    assert!(world.verifier.verify(&token).is_ok());
    world.revocations.user_changed(
        claims.sub,
        UserState {
            token_epoch: 2,
            status: active,
        },
    );
    assert_eq!(world.verifier.verify(&token).map(|_| ()), Err(Refusal::TokenInvalid));
    world.revocations.session_revoked(claims.sid);
    assert_eq!(world.verifier.verify(&token).map(|_| ()), Err(Refusal::SessionRevoked));

    let deaf = Verifier::new(Revocations::new(), world.source.clone());
    deaf.set_keys(&[public(KEY_ID, &world.pair)]);
    assert_eq!(deaf.verify(&world.token()).map(|_| ()), Err(Refusal::Untrusted));
}
