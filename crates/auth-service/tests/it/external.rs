use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tidings_auth_service::{Config, ExternalIssuer, SigningAlgorithm};
use tidings_proto_auth::v1::{ExchangeExternalTokenRequest, ExchangeExternalTokenResponse};
use tidings_proto_user::v1::UserStatus;
use tidings_rpc::testing::Authority;
use tonic::Status;

use crate::{
    issuer::{Conduct, Issuer, Key, unsigned},
    trail,
    world::{World, bytes, refusal},
};

/// A deployment that trusts one issuer, which has one key.
struct Scene {
    world: World,
    issuer: Issuer,
    key: Key,
}

impl Scene {
    async fn open() -> Self {
        Self::with(|config| config).await
    }

    async fn with(configure: impl FnOnce(ExternalIssuer) -> ExternalIssuer) -> Self {
        let key = Key::ed25519("one");
        let issuer = Issuer::open(&[&key]).await;
        Self::of(key, issuer, configure).await
    }

    async fn of(key: Key, issuer: Issuer, configure: impl FnOnce(ExternalIssuer) -> ExternalIssuer) -> Self {
        let trusted = configure(ExternalIssuer {
            issuer: issuer.name(),
            audiences: vec!["app".to_owned(), "web".to_owned()],
            algorithms: vec![SigningAlgorithm::EdDSA, SigningAlgorithm::ES256],
            username_claim: "preferred_username".to_owned(),
            display_name_claim: "name".to_owned(),
            create_users: true,
            ca_file: None,
        });
        let world = World::with(|config| Config {
            external_issuers: vec![trusted],
            ..config
        })
        .await;
        Self { world, issuer, key }
    }

    /// What a good token says.
    fn claims(&self) -> Value {
        let now = self.world.source.now().unix_timestamp();
        json!({
            "iss": self.issuer.name(), "sub": "4711", "aud": "app", "iat": now, "exp": now + 300,
            "nonce": "n-1", "preferred_username": "Ada", "name": "Ada Lovelace", "email": "eve@example.org",
        })
    }

    /// The same with some claims changed, or without those that are null.
    fn claims_but(&self, changes: Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().expect("changes") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("claims").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    fn token(&self, claims: &Value) -> String {
        self.key.sign(&self.key.header(), claims)
    }

    async fn exchange_with(&self, id_token: &str, nonce: &str) -> Result<ExchangeExternalTokenResponse, Status> {
        let request = ExchangeExternalTokenRequest {
            id_token: id_token.to_owned(),
            nonce: nonce.to_owned(),
            device_label: "phone".to_owned(),
        };
        Ok(self.world.auth().exchange_external_token(request).await?.into_inner())
    }

    async fn exchange(&self, id_token: &str) -> Result<ExchangeExternalTokenResponse, Status> {
        self.exchange_with(id_token, "").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_is_a_login() {
    let scene = Scene::open().await;
    let first = scene
        .exchange_with(&scene.token(&scene.claims()), "n-1")
        .await
        .expect("exchanged");
    let caller = scene.world.verifier.verify(&first.access_token).expect("valid");
    assert_eq!(
        (caller.user_id.to_string(), caller.login_session_id.to_string()),
        (first.user_id.clone(), first.login_session_id)
    );
    let user = scene.world.users.get(&first.user_id).expect("there");
    assert_eq!(
        (user.username.as_str(), user.status, user.email.as_str()),
        ("ada", UserStatus::Active, "")
    );
    assert!(user.external_id.starts_with("oidc:"));
    // The next token of the same subject is the same user's, whatever else it says.
    let claims =
        scene.claims_but(json!({"aud": ["web", "other"], "azp": "web", "preferred_username": "eve", "nonce": null}));
    let second = scene.exchange(&scene.token(&claims)).await.expect("exchanged");
    assert_eq!(second.user_id, first.user_id);
    // An account and two login sessions.
    assert_eq!(trail::done(&scene.world, "ExchangeExternalToken").await, 3);
    // It goes on like every login session, and no password opens the account.
    scene.world.refresh(&second.refresh_token, "").await.expect("refreshed");
    scene.world.logout(&second.access_token).await.expect("logged out");
    assert_eq!(refusal(scene.world.login("ada").await), "CREDENTIALS_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_not_somebody_who_merely_has_the_name_or_address() {
    let scene = Scene::open().await;
    let ada = scene.world.register("ada").await.expect("registered");
    let eve = scene.world.register("eve").await.expect("registered");
    let issued = scene.exchange(&scene.token(&scene.claims())).await.expect("exchanged");
    assert!(issued.user_id != ada && issued.user_id != eve);
    let user = scene.world.users.get(&issued.user_id).expect("there");
    assert!(user.username.starts_with("ada-"), "{}", user.username);
    // A subject differs by its case already.
    let other = scene.claims_but(json!({"sub": "a"}));
    let another = scene.claims_but(json!({"sub": "A"}));
    let other = scene.exchange(&scene.token(&other)).await.expect("exchanged");
    let another = scene.exchange(&scene.token(&another)).await.expect("exchanged");
    assert_ne!(other.user_id, another.user_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_token_is_refused_alike() {
    let scene = Scene::open().await;
    let now = scene.world.source.now().unix_timestamp();
    let mut bad = Vec::new();
    for changes in [
        json!({"iss": "https://other.example.org"}),
        json!({"iss": format!("{}/", scene.issuer.name())}),
        json!({"iss": null}),
        json!({"iss": [scene.issuer.name()]}),
        json!({"aud": "other"}),
        json!({"aud": ["other"]}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"aud": ["app", "other"]}),
        json!({"aud": ["app", "other"], "azp": "other"}),
        json!({"azp": "other"}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sub": 4711}),
        json!({"sub": "x".repeat(256)}),
        json!({"exp": null}),
        json!({"exp": (now + 300).to_string()}),
        json!({"iat": now - 300, "exp": now - 5}),
        json!({"iat": now - 300, "exp": now - 6}),
        json!({"iat": now + 6}),
        json!({"iat": null}),
        json!({"nbf": now + 6}),
        json!({"exp": now + 24 * 3_600 + 1}),
        json!({"exp": i64::MAX}),
        json!({"iat": i64::MIN}),
    ] {
        bad.push(scene.token(&scene.claims_but(changes)));
    }
    let claims = scene.claims();
    let header = |changes: Value| {
        let mut header = scene.key.header();
        for (name, value) in changes.as_object().expect("changes") {
            header[name] = value.clone();
        }
        header
    };
    // Signed by the right key all of them, and read by nobody.
    for changes in [
        json!({"typ": "at+jwt"}),
        json!({"typ": "logout+jwt"}),
        json!({"crit": ["b64"]}),
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES256"}),
        json!({"alg": "RS256"}),
        json!({"alg": "eddsa"}),
        json!({"kid": "two"}),
        json!({"kid": 1}),
    ] {
        bad.push(scene.key.sign(&header(changes), &claims));
    }
    let other = Key::ed25519("one");
    bad.push(other.sign(&other.header(), &claims));
    // Where to find another key is not for a token to say.
    let leading = json!({"jku": format!("{}/keys", scene.issuer.name()), "x5u": "https://evil.example.org", "jwk": {"kty": "OKP"}});
    bad.push(other.sign(&header(leading), &claims));
    // The public key as a secret, and no signature at all.
    let confused = unsigned(&json!({"alg": "HS256", "typ": "JWT", "kid": "one"}), &claims);
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, &scene.key.public_bytes()),
        confused.as_bytes(),
    );
    bad.push(format!("{confused}.{}", URL_SAFE_NO_PAD.encode(tag)));
    let bare = unsigned(&json!({"alg": "none", "typ": "JWT"}), &claims);
    bad.extend([bare.clone(), format!("{bare}."), format!("{bare}.AA")]);
    let good = scene.token(&claims);
    bad.extend([
        good[..good.len() - 1].to_owned(),
        format!("{good}.{good}"),
        format!("{good}A"),
        "nonsense".to_owned(),
        "..".to_owned(),
    ]);
    let (signed, signature) = good.rsplit_once('.').expect("a token");
    let swapped = scene.token(&scene.claims_but(json!({"sub": "1"})));
    bad.push(format!("{}.{signature}", swapped.rsplit_once('.').expect("a token").0));
    bad.push(format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])));

    let mut answers = Vec::new();
    for token in &bad {
        let refused = scene.exchange(token).await.expect_err(token);
        answers.push(bytes(&refused));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(refusal(scene.exchange(&bad[0]).await), "CREDENTIALS_INVALID");
    assert_eq!(refusal(scene.exchange_with(&good, "n-2").await), "CREDENTIALS_INVALID");
    assert!(scene.world.users.named("ada").is_none(), "nobody came of it");
    assert_eq!(refusal(scene.exchange("").await), "FIELD_INVALID");
    assert_eq!(refusal(scene.exchange(&"x".repeat(16_385)).await), "FIELD_INVALID");
    assert_eq!(
        refusal(scene.exchange_with(&good, &"x".repeat(256)).await),
        "FIELD_INVALID"
    );
    scene.exchange(&good).await.expect("the good one is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_proves_nothing_is_in_the_trail() {
    let scene = Scene::open().await;
    let bad = scene.token(&scene.claims_but(json!({"aud": "other"})));
    assert_eq!(refusal(scene.exchange(&bad).await), "CREDENTIALS_INVALID");
    let told = "select count(*) from auth.audit_events
                where action like '%/ExchangeExternalToken' and reason = 'CREDENTIALS_INVALID'";
    let told: i64 = sqlx::query_scalar(told)
        .fetch_one(&scene.world.pool)
        .await
        .expect("counted");
    assert_eq!(told, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_may_differ_by_a_little() {
    let scene = Scene::open().await;
    let now = scene.world.source.now().unix_timestamp();
    for (subject, changes) in [
        ("a", json!({"iat": now - 300, "exp": now - 4})),
        ("b", json!({"iat": now + 5, "nbf": now + 5})),
        ("c", json!({"exp": now + 24 * 3_600})),
    ] {
        let mut claims = scene.claims_but(changes);
        claims["sub"] = json!(subject);
        scene.exchange(&scene.token(&claims)).await.expect(subject);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_works_once() {
    let scene = Scene::open().await;
    let token = scene.token(&scene.claims());
    let (one, two) = tokio::join!(scene.exchange(&token), scene.exchange(&token));
    assert_eq!(
        usize::from(one.is_ok()) + usize::from(two.is_ok()),
        1,
        "{one:?} {two:?}"
    );
    assert_eq!(refusal(scene.exchange(&token).await), "CREDENTIALS_INVALID");
    let user_id = one.or(two).expect("one of them").user_id;
    assert_eq!(scene.world.users.named("ada").expect("there").0, user_id);
    // It is remembered for as long as it could be used.
    scene.world.service.upkeep_once().await.expect("purged");
    assert_eq!(scene.world.count("exchanged_tokens").await, 1);
    scene.world.source.advance(Duration::from_secs(311));
    scene.world.service.upkeep_once().await.expect("purged");
    assert_eq!(scene.world.count("exchanged_tokens").await, 0);
    assert_eq!(refusal(scene.exchange(&token).await), "CREDENTIALS_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_unknown_ones_are_asked_for_once_a_minute() {
    let scene = Scene::open().await;
    let claims = |subject: &str| scene.claims_but(json!({"sub": subject}));
    scene.exchange(&scene.token(&claims("a"))).await.expect("exchanged");
    let next = Key::p256("two");
    scene.issuer.rotate(&[&scene.key, &next]);
    let visits = scene.issuer.key_visits();
    for _ in 0..5 {
        let early = next.sign(&next.header(), &claims("b"));
        assert_eq!(refusal(scene.exchange(&early).await), "CREDENTIALS_INVALID");
    }
    assert_eq!(scene.issuer.key_visits(), visits, "asked less than a minute ago");
    scene.world.source.advance(Duration::from_secs(60));
    scene
        .exchange(&next.sign(&next.header(), &claims("b")))
        .await
        .expect("the new key is found");
    scene
        .exchange(&scene.token(&claims("c")))
        .await
        .expect("the old one still works");
    assert_eq!(scene.issuer.key_visits(), visits + 1);
    // A key that is withdrawn is not trusted for long, though nobody names another.
    scene.issuer.rotate(&[&next]);
    scene.world.source.advance(Duration::from_secs(15 * 60));
    assert_eq!(
        refusal(scene.exchange(&scene.token(&claims("d"))).await),
        "CREDENTIALS_INVALID"
    );
    // A token that names no key is checked with the only one.
    let mut header = next.header();
    header.as_object_mut().expect("a header").remove("kid");
    scene
        .exchange(&next.sign(&header, &claims("e")))
        .await
        .expect("there is one key");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_misbehaves_is_not_believed_and_not_waited_for() {
    let scene = Scene::open().await;
    for conduct in [
        Conduct::OtherName,
        Conduct::Redirects,
        Conduct::Endless,
        Conduct::Broken,
        Conduct::Gibberish,
        Conduct::ForeignKeys,
        Conduct::Silent,
    ] {
        scene.issuer.behave(conduct);
        let token = scene.token(&scene.claims());
        let visits = scene.issuer.visits();
        assert_eq!(
            refusal(scene.exchange(&token).await),
            "DEPENDENCY_UNAVAILABLE",
            "{conduct:?}"
        );
        assert_eq!(scene.issuer.visits(), visits + 1, "{conduct:?}");
        // At once, for some seconds.
        assert_eq!(
            refusal(scene.exchange(&token).await),
            "DEPENDENCY_UNAVAILABLE",
            "{conduct:?}"
        );
        assert_eq!(scene.issuer.visits(), visits + 1, "{conduct:?}");
        scene.world.source.advance(Duration::from_secs(5));
    }
    scene.issuer.behave(Conduct::Good);
    scene.exchange(&scene.token(&scene.claims())).await.expect("exchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_used_for_a_while_when_the_issuer_is_down() {
    let scene = Scene::open().await;
    let exchange = async |subject: &str| {
        let claims = scene.claims_but(json!({"sub": subject}));
        scene.exchange(&scene.token(&claims)).await
    };
    exchange("a").await.expect("exchanged");
    scene.issuer.behave(Conduct::Broken);
    scene.world.source.advance(Duration::from_secs(59 * 60));
    exchange("b").await.expect("the keys are less than an hour old");
    scene.world.source.advance(Duration::from_secs(60));
    assert_eq!(refusal(exchange("c").await), "DEPENDENCY_UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_of_an_authority_of_its_own_is_trusted_where_it_is_named() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.certificate()).expect("written");
    for ca_file in [None, Some(file)] {
        let key = Key::ed25519("one");
        let issuer = Issuer::with_tls(&authority, &[&key]).await;
        let is_named = ca_file.is_some();
        let scene = Scene::of(key, issuer, |issuer| ExternalIssuer { ca_file, ..issuer }).await;
        let outcome = scene.exchange(&scene.token(&scene.claims())).await;
        if is_named {
            outcome.expect("exchanged");
        } else {
            assert_eq!(refusal(outcome), "DEPENDENCY_UNAVAILABLE");
            assert_eq!(scene.issuer.visits(), 0, "it is asked nothing");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_algorithms_that_are_permitted_count() {
    let scene = Scene::with(|issuer| ExternalIssuer {
        algorithms: vec![SigningAlgorithm::ES256],
        ..issuer
    })
    .await;
    assert_eq!(
        refusal(scene.exchange(&scene.token(&scene.claims())).await),
        "CREDENTIALS_INVALID"
    );
    let permitted = Key::p256("two");
    scene.issuer.rotate(&[&permitted]);
    scene
        .exchange(&permitted.sign(&permitted.header(), &scene.claims()))
        .await
        .expect("exchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_to_be_here_does_not_get_in() {
    let scene = Scene::with(|issuer| ExternalIssuer {
        create_users: false,
        ..issuer
    })
    .await;
    let token = async |subject: &str| {
        let mut claims = scene.claims_but(json!({"sub": subject}));
        // Each is another token.
        claims["nonce"] = json!(scene.world.request_id());
        scene.token(&claims)
    };
    assert_eq!(refusal(scene.exchange(&token("a").await).await), "NOT_FOUND");
    assert!(scene.world.users.named("ada").is_none());

    // One whom an operator has given the issuer's user.
    let ada = scene.world.register("ada").await.expect("registered");
    let creating = Scene::open().await;
    let claims = creating.claims_but(json!({"sub": "a"}));
    let known = creating
        .exchange(&creating.token(&claims))
        .await
        .expect("exchanged")
        .user_id;
    let elsewhere = creating.world.users.get(&known).expect("there").external_id;
    scene.world.users.change(&ada, |user| user.external_id = elsewhere);
    assert_eq!(
        refusal(scene.exchange(&token("a").await).await),
        "NOT_FOUND",
        "another issuer's user of that name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_or_deleted_user_is_told_once_the_token_is_proven() {
    let scene = Scene::open().await;
    let token = || scene.token(&scene.claims_but(json!({"nonce": scene.world.request_id()})));
    let user_id = scene.exchange(&token()).await.expect("exchanged").user_id;
    scene
        .world
        .users
        .change(&user_id, |user| user.status = UserStatus::Suspended);
    assert_eq!(refusal(scene.exchange(&token()).await), "ACCOUNT_SUSPENDED");
    assert_eq!(
        refusal(scene.exchange(&format!("{}A", token())).await),
        "CREDENTIALS_INVALID"
    );
    scene
        .world
        .users
        .change(&user_id, |user| user.status = UserStatus::Deleted);
    assert_eq!(refusal(scene.exchange(&token()).await), "NOT_FOUND");
    scene
        .world
        .users
        .change(&user_id, |user| (user.status, user.is_bot) = (UserStatus::Active, true));
    assert_eq!(refusal(scene.exchange(&token()).await), "KIND_UNSUITABLE");
    assert_eq!(scene.world.count("login_sessions").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_there_is_no_such_way_in() {
    let scene = Scene::open().await;
    let world = World::open().await;
    let request = ExchangeExternalTokenRequest {
        id_token: scene.token(&scene.claims()),
        ..ExchangeExternalTokenRequest::default()
    };
    assert_eq!(
        refusal(world.auth().exchange_external_token(request).await),
        "FEATURE_DISABLED"
    );
}
