//! Another address: proven first, and then true in both services, or in neither.

mod given_up;

use std::{num::NonZeroU32, time::Duration};

use tidings_auth_service::{Config, Registration, Step, Throttle};
use tidings_proto_auth::v1::{ChangeEmailRequest, VerifyEmailRequest};
use tonic::Status;

use crate::world::{PASSWORD, World, bearing, bytes, reason, refusal, registration, token};

const NEW: &str = "Countess@example.org";

impl World {
    async fn change_email(&self, access_token: &str, email: &str, request_id: &str) -> Result<(), Status> {
        self.change_email_with(access_token, email, PASSWORD, request_id).await
    }

    async fn change_email_with(
        &self,
        access_token: &str,
        email: &str,
        password: &str,
        request_id: &str,
    ) -> Result<(), Status> {
        let request = ChangeEmailRequest {
            new_email: email.to_owned(),
            current_password: password.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.credentials().change_email(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    async fn prove(&self, token: &str, request_id: &str) -> Result<(), Status> {
        let request = VerifyEmailRequest {
            token: token.to_owned(),
            request_id: request_id.to_owned(),
        };
        self.credentials().verify_email(request).await.map(|_| ())
    }

    /// The newest mails to this address, once there are so many in all.
    async fn mails_to(&self, address: &str, count: usize) -> Vec<String> {
        let mails = self.mails(count).await;
        let to = format!("To: {address}\r\n");
        mails.into_iter().filter(|mail| mail.contains(&to)).collect()
    }

    async fn token_to(&self, address: &str, count: usize) -> String {
        token(self.mails_to(address, count).await.last().expect("a mail to it"))
    }

    fn email_at_users(&self, user_id: &str) -> (String, bool) {
        let user = self.users.get(user_id).expect("there");
        (user.email, user.email_verified)
    }

    async fn email_here(&self, username: &str) -> Option<String> {
        sqlx::query_scalar("select email from auth.accounts where username = $1")
            .bind(username)
            .fetch_one(&self.pool)
            .await
            .expect("an account")
    }
}

/// Ada, logged in: her id and her access token.
async fn ada(world: &World) -> (String, String) {
    let user_id = world.register("ada").await.expect("registered");
    (user_id, world.login("ada").await.expect("logged in").access_token)
}

async fn in_mode(registration: Registration) -> World {
    World::with(|config| Config { registration, ..config }).await
}

/// Registers a user and proves the address, where that is asked for.
async fn settled(world: &World, username: &str) -> String {
    let sent = world.mails(0).await.len();
    let user_id = world.register(username).await.expect("registered");
    let address = format!("{username}@example.org");
    let token = world.token_to(&address, sent + 1).await;
    world.prove(&token, "").await.expect("verified");
    user_id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_changes_in_both_services_once_it_is_proven() {
    let world = World::open().await;
    let (user_id, session) = ada(&world).await;
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let reset = world.token_of_mail(1).await;
    world.change_email(&session, NEW, "").await.expect("asked");

    let mails = world.mails(3).await;
    let notice = mails
        .iter()
        .find(|mail| mail.contains("Subject: Your e-mail address is to change"));
    let notice = notice.expect("the present address is told");
    assert!(
        notice.contains("To: ada@example.org") && !notice.contains("ountess"),
        "{notice}"
    );
    let token = world.token_to(NEW, 3).await;
    assert!(!notice.contains(&token));
    // Until then all is as it was.
    assert_eq!(world.email_at_users(&user_id).0, "ada@example.org");
    world.login("ada@example.org").await.expect("by the old one");
    assert_eq!(refusal(world.login(NEW).await), "CREDENTIALS_INVALID");

    world.prove(&token, "").await.expect("proven");
    assert_eq!(world.email_at_users(&user_id), (NEW.to_owned(), true));
    world.login("countess@EXAMPLE.org").await.expect("by the new one");
    assert_eq!(refusal(world.login("ada@example.org").await), "CREDENTIALS_INVALID");
    assert_eq!(refusal(world.prove(&token, "").await), "CREDENTIALS_INVALID", "once");
    let refused = world.reset(&reset, "another horse battery", "").await;
    assert_eq!(refusal(refused), "CREDENTIALS_INVALID", "it was for the old address");
    world
        .refresh(&world.login("ada").await.expect("in").refresh_token, "")
        .await
        .expect("goes on");
    // The old address is free.
    let eve = registration("ada");
    let eve = tidings_proto_auth::v1::RegisterRequest {
        username: "eve".to_owned(),
        ..eve
    };
    world.register_as(eve).await.expect("registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_takes_the_password_and_another_address() {
    let world = World::open().await;
    let (user_id, session) = ada(&world).await;
    let before = world.service.password_hash_runs();
    let wrong = world.change_email_with(&session, NEW, "a wrong password", "").await;
    assert_eq!(refusal(wrong), "CREDENTIALS_INVALID");
    assert_eq!(world.service.password_hash_runs(), before + 1);
    for (email, password) in [
        ("Ada@Example.org", PASSWORD),
        ("nowhere", PASSWORD),
        ("a@b.org\r\nBcc: c@d.org", PASSWORD),
        (NEW, ""),
    ] {
        let refused = world.change_email_with(&session, email, password, "").await;
        assert_eq!(refusal(refused), "FIELD_INVALID", "{email:?}");
    }
    assert_eq!(refusal(world.change_email("", NEW, "").await), "TOKEN_INVALID");
    assert_eq!(world.count("email_changes").await, 0);
    assert_eq!(world.email_at_users(&user_id).0, "ada@example.org");
    world.outbox_is_empty().await;
    assert_eq!(world.mails(0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_open_registration_a_taken_address_is_told_after_the_password() {
    let world = World::open().await;
    let (_, session) = ada(&world).await;
    world.register("eve").await.expect("registered");
    let wrong = world
        .change_email_with(&session, "eve@example.org", "a wrong password", "")
        .await;
    assert_eq!(refusal(wrong), "CREDENTIALS_INVALID");
    let taken = world.change_email(&session, "EVE@example.org", "").await;
    assert_eq!(refusal(taken), "EMAIL_TAKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_told_of_few_taken_addresses() {
    let throttle = Some(Throttle {
        taken_max: NonZeroU32::new(3).expect("not zero"),
        ..Throttle::STANDARD
    });
    let world = World::with(|config| Config { throttle, ..config }).await;
    let (_, session) = ada(&world).await;
    world.register("eve").await.expect("registered");
    for _ in 0..2 {
        let taken = world.change_email(&session, "eve@example.org", "").await;
        assert_eq!(refusal(taken), "EMAIL_TAKEN");
    }
    let request_id = world.request_id();
    world.change_email(&session, NEW, &request_id).await.expect("free");
    // Those of registrations are counted with them.
    assert_eq!(refusal(world.register("eve").await), "USERNAME_TAKEN");
    let before = world.service.password_hash_runs();
    let refusals = [
        world.change_email(&session, "eve@example.org", "").await,
        world.change_email(&session, "free@example.org", "").await,
    ]
    .map(|refused| refused.expect_err("the limit is reached"));
    assert_eq!(reason(&refusals[0]), "RATE_LIMITED");
    assert_eq!(bytes(&refusals[0]), bytes(&refusals[1]), "taken and free look alike");
    assert_eq!(world.service.password_hash_runs(), before);
    assert_eq!(refusal(world.register("grace").await), "RATE_LIMITED");
    // What was done is told again, and other networks are served.
    world.change_email(&session, NEW, &request_id).await.expect("repeated");
    let elsewhere = ChangeEmailRequest {
        new_email: "free@example.org".to_owned(),
        current_password: PASSWORD.to_owned(),
        request_id: String::new(),
    };
    let mut elsewhere = bearing(elsewhere, &session);
    let address = "203.0.113.7".parse().expect("ASCII");
    elsewhere.metadata_mut().insert("x-tidings-client", address);
    world.credentials().change_email(elsewhere).await.expect("free");

    world.source.advance(Duration::from_secs(15 * 60));
    let session = world.login("ada").await.expect("logged in").access_token;
    world
        .change_email(&session, "later@example.org", "")
        .await
        .expect("the window is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_verified_registration_no_answer_tells_whether_an_address_is_in_use() {
    let world = in_mode(Registration::Verified).await;
    let ada = settled(&world, "ada").await;
    settled(&world, "eve").await;
    let session = world.login("ada").await.expect("logged in").access_token;
    let hashes = world.service.password_hash_runs();
    world
        .change_email(&session, "EVE@example.org", "")
        .await
        .expect("taken");
    let taken = world.service.password_hash_runs() - hashes;
    // What is still on its way of a change is not sent when there is another one.
    world.outbox_is_empty().await;
    world.change_email(&session, NEW, "").await.expect("free");
    assert_eq!(world.service.password_hash_runs() - hashes, 2 * taken, "the same work");

    // Each has its mail to the address and a notice; what the owner of a taken one is told carries no token.
    world.outbox_is_empty().await;
    let mails = world.mails_to("eve@example.org", 6).await;
    let told = mails.last().expect("the owner is told");
    assert!(told.contains("Subject: This address is in use already"), "{told}");
    assert!(!told.contains("token="));
    let token = world.token_to(NEW, 6).await;
    world.prove(&token, "").await.expect("proven");
    assert_eq!(world.email_at_users(&ada).0, NEW);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_three_mails_an_hour_whoever_asks() {
    let world = World::open().await;
    let (_, session) = ada(&world).await;
    for _ in 0..5 {
        world
            .change_email(&session, NEW, "")
            .await
            .expect("asked, and nobody is told");
    }
    world.outbox_is_empty().await;
    assert!(world.mails_to(NEW, 1).await.len() <= 3);
    assert_eq!(world.mails_to("ada@example.org", 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn repetitions_have_the_first_outcome() {
    let world = World::open().await;
    let (user_id, session) = ada(&world).await;
    let request_id = world.request_id();
    for _ in 0..3 {
        world.change_email(&session, NEW, &request_id).await.expect("asked");
    }
    let other = world.change_email(&session, "other@example.org", &request_id).await;
    assert_eq!(refusal(other), "REQUEST_ID_REUSED");
    world.outbox_is_empty().await;
    assert_eq!(world.mails(2).await.len(), 2, "one to each address");

    let token = world.token_to(NEW, 2).await;
    let request_id = world.request_id();
    let proofs = futures_util::future::join_all((0..8).map(|_| world.prove(&token, &request_id))).await;
    for outcome in proofs {
        outcome.expect("each is the one proof");
    }
    world.prove(&token, &request_id).await.expect("repeated");
    let another = world.prove(&token, &world.request_id()).await;
    assert_eq!(refusal(another), "CREDENTIALS_INVALID");
    assert_eq!(world.email_at_users(&user_id).0, NEW);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_wish_a_new_password_and_time_end_a_change() {
    let world = World::open().await;
    let (user_id, session) = ada(&world).await;
    world.change_email(&session, NEW, "").await.expect("asked");
    let replaced = world.token_to(NEW, 2).await;
    world
        .change_email(&session, "second@example.org", "")
        .await
        .expect("asked");
    let second = world.token_to("second@example.org", 4).await;
    assert_eq!(refusal(world.prove(&replaced, "").await), "CREDENTIALS_INVALID");

    let changed = world.change_password(&session, PASSWORD, "another horse battery", "");
    changed.await.expect("changed");
    assert_eq!(refusal(world.prove(&second, "").await), "CREDENTIALS_INVALID");

    world
        .change_email_with(&session, "third@example.org", "another horse battery", "")
        .await
        .expect("asked");
    // One of them is word of the new password.
    let third = world.token_to("third@example.org", 7).await;
    world.source.advance(Duration::from_secs(601));
    assert_eq!(refusal(world.prove(&third, "").await), "CREDENTIALS_INVALID");
    assert_eq!(world.email_at_users(&user_id).0, "ada@example.org");
    assert_eq!(world.email_here("ada").await.as_deref(), Some("ada@example.org"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_arrives_after_a_new_password_brings_no_token() {
    let world = World::open().await;
    let (user_id, session) = ada(&world).await;
    // As a server does that takes no mail until the owner has noticed.
    let folder = world.mails.path().to_owned();
    std::fs::remove_dir(&folder).expect("empty");
    world.change_email(&session, NEW, "").await.expect("asked");
    world.mails_pause(2).await;

    let changed = world.change_password(&session, PASSWORD, "another horse battery", "");
    changed.await.expect("changed");
    // So could the word of the new password not.
    world.mails_pause(3).await;
    std::fs::create_dir(&folder).expect("made again");
    world.source.advance(Duration::from_secs(3_600));
    world.outbox_is_empty().await;
    assert_eq!(world.mails_to(NEW, 1).await, Vec::<String>::new());
    let told = world.mails_to("ada@example.org", 2).await;
    assert_eq!(told.len(), 2, "its owner is told of the change and of the new password");
    assert_eq!(world.email_at_users(&user_id).0, "ada@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_change_resets_no_password() {
    let world = World::open().await;
    let (_, session) = ada(&world).await;
    world.change_email(&session, NEW, "").await.expect("asked");
    let token = world.token_to(NEW, 2).await;
    let refused = world.reset(&token, "another horse battery", "").await;
    assert_eq!(refusal(refused), "CREDENTIALS_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_want_one_address_the_first_to_prove_it_has_it() {
    let world = World::open().await;
    let (ada, adas) = ada(&world).await;
    let eve = world.register("eve").await.expect("registered");
    let eves = world.login("eve").await.expect("logged in").access_token;
    world.change_email(&adas, NEW, "").await.expect("asked");
    world.change_email(&eves, NEW, "").await.expect("asked");
    let mails = world.mails_to(NEW, 4).await;
    let tokens: Vec<String> = mails.iter().map(|mail| token(mail)).collect();
    let outcomes = futures_util::future::join_all(tokens.iter().map(|token| world.prove(token, ""))).await;
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    let holders = [&ada, &eve].map(|user_id| world.email_at_users(user_id).0 == NEW);
    assert_eq!(holders.iter().filter(|holds| **holds).count(), 1);
    for (username, holds) in ["ada", "eve"].into_iter().zip(holders) {
        assert_eq!(world.email_here(username).await.as_deref() == Some(NEW), holds);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_user_service_knows_as_anothers_is_refused_for_good() {
    let world = World::open().await;
    let (user_id, session) = ada(&world).await;
    let eve = world.register("eve").await.expect("registered");
    world.change_email(&session, NEW, "").await.expect("asked");
    let token = world.token_to(NEW, 2).await;
    // Somebody registers with it at this moment: there first, and not here yet.
    world.users.change(&eve, |user| user.email = NEW.to_lowercase());
    let request_id = world.request_id();
    let refused = world.prove(&token, &request_id).await.expect_err("refused");
    let late = world.prove("guess", "").await.expect_err("refused");
    assert_eq!(bytes(&refused), bytes(&late), "as for any token that does not work");
    world
        .users
        .change(&eve, |user| user.email = "eve@example.org".to_owned());
    assert_eq!(refusal(world.prove(&token, &request_id).await), "CREDENTIALS_INVALID");
    world.service.upkeep_once().await.expect("nothing is left to do");
    assert_eq!(world.email_at_users(&user_id).0, "ada@example.org");
    world.login("ada@example.org").await.expect("as before");
    // And another wish goes its way.
    world.change_email(&session, NEW, "").await.expect("asked");
    let token = world.token_to(NEW, 4).await;
    world.prove(&token, "").await.expect("proven");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_proved_an_address_loses_it_to_who_does() {
    let world = in_mode(Registration::Verified).await;
    let ada = settled(&world, "ada").await;
    let session = world.login("ada").await.expect("logged in").access_token;
    let squatter = world.register("countess").await.expect("registered");
    let squatters = world.token_to("countess@example.org", 2).await;
    world
        .change_email(&session, "countess@example.org", "")
        .await
        .expect("asked");
    let mails = world.mails_to("countess@example.org", 4).await;
    let own = mails.iter().map(|mail| token(mail)).find(|token| *token != squatters);
    world.prove(&own.expect("a token of Ada's"), "").await.expect("proven");
    assert_eq!(world.email_at_users(&ada).0, "countess@example.org");
    let squatter = world.users.get(&squatter).expect("nothing shows it by the name");
    assert_eq!((squatter.username.as_str(), squatter.email.as_str()), ("countess", ""));
    assert_eq!(refusal(world.prove(&squatters, "").await), "CREDENTIALS_INVALID");
    world.login("countess@example.org").await.expect("Ada");
    assert_eq!(refusal(world.login("countess").await), "EMAIL_UNVERIFIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_user_service_is_away_nothing_changes_and_then_all_does() {
    let world = World::open().await;
    let (user_id, session) = ada(&world).await;
    world.change_email(&session, NEW, "").await.expect("asked");
    let token = world.token_to(NEW, 2).await;
    world.users.go_away(true);
    let request_id = world.request_id();
    let away = world.prove(&token, &request_id).await;
    assert_eq!(refusal(away), "DEPENDENCY_UNAVAILABLE");
    assert_eq!(world.email_here("ada").await.as_deref(), Some("ada@example.org"));
    world.users.go_away(false);
    world.prove(&token, &request_id).await.expect("repeated");
    assert_eq!(world.email_at_users(&user_id), (NEW.to_owned(), true));
    assert_eq!(world.email_here("ada").await.as_deref(), Some(NEW));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_between_the_services_leaves_a_change_that_comes_to_its_end() {
    for step in [Step::EmailProven, Step::UserEmailChanged] {
        for repeats in [false, true] {
            let (world, crash) = World::crashing_at(step).await;
            let (user_id, session) = ada(&world).await;
            world.change_email(&session, NEW, "").await.expect("asked");
            let (token, request_id) = (world.token_to(NEW, 2).await, world.request_id());
            let died = world.prove(&token, &request_id).await;
            assert_eq!(refusal(died), "DEPENDENCY_UNAVAILABLE", "{step:?}");
            if step == Step::UserEmailChanged {
                // The two do not agree, and nobody is locked out by it.
                assert_eq!(world.email_at_users(&user_id).0, NEW);
                assert_eq!(world.email_here("ada").await.as_deref(), Some("ada@example.org"));
                world.login("ada@example.org").await.expect("by the old one");
            }
            *crash.lock() = false;
            if repeats {
                world.prove(&token, &request_id).await.expect("repeated");
            } else {
                world.service.upkeep_once().await.expect("carried on");
            }
            assert_eq!(world.email_at_users(&user_id), (NEW.to_owned(), true), "{step:?}");
            assert_eq!(world.email_here("ada").await.as_deref(), Some(NEW));
            world.login(NEW).await.expect("by the new one");
            world.prove(&token, &request_id).await.expect("and its answer is OK");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_proven_goes_before_the_next_one() {
    let (world, crash) = World::crashing_at(Step::UserEmailChanged).await;
    let (user_id, session) = ada(&world).await;
    world.change_email(&session, NEW, "").await.expect("asked");
    let token = world.token_to(NEW, 2).await;
    assert_eq!(refusal(world.prove(&token, "").await), "DEPENDENCY_UNAVAILABLE");
    *crash.lock() = false;
    world
        .change_email(&session, "next@example.org", "")
        .await
        .expect("asked");
    assert_eq!(world.email_here("ada").await.as_deref(), Some(NEW), "carried on first");
    let token = world.token_to("next@example.org", 4).await;
    world.prove(&token, "").await.expect("proven");
    assert_eq!(world.email_at_users(&user_id).0, "next@example.org");
    assert_eq!(world.users.get(&user_id).expect("there").email_revision, 2);
}
