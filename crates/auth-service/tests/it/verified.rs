//! Verified registration: nobody learns from it whether an address is in use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidings_auth_service::{Config, CrashPoints, Registration, Step};
use tidings_proto_auth::v1::{RegisterRequest, RequestEmailVerificationRequest, VerifyEmailRequest};
use tidings_proto_user::v1::UserStatus;

use crate::world::{World, bytes, eventually, refusal, registration, token};

async fn verified() -> World {
    World::with(|config| Config {
        registration: Registration::Verified,
        ..config
    })
    .await
}

impl World {
    async fn verify(&self, token: &str, request_id: &str) -> Result<(), tonic::Status> {
        let request = VerifyEmailRequest {
            token: token.to_owned(),
            request_id: request_id.to_owned(),
        };
        self.credentials().verify_email(request).await.map(|_| ())
    }

    /// Registers a user and proves the address.
    async fn settle(&self, username: &str, mails: usize) -> String {
        let user_id = self.register(username).await.expect("registered");
        let token = self.token_of_mail(mails).await;
        self.verify(&token, "").await.expect("verified");
        user_id
    }
}

/// Nothing is left of registrations that nobody has verified, when it is time. The service's own round may have begun with them: what
/// it holds is left to it.
async fn given_up(world: &World) {
    eventually("what nobody has verified is given up", async || {
        world.service.upkeep_once().await.expect("upkeep");
        let left = "select (select count(*) from auth.accounts where state = 'unverified')
             + (select count(*) from auth.registrations where state = 'failed' and not discarded)";
        let left: i64 = sqlx::query_scalar(left).fetch_one(&world.pool).await.expect("counted");
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_with_anothers_address_holds_its_name_at_the_user_service_as_any_other() {
    let world = verified().await;
    world.settle("ada", 1).await;
    let with_hers = with_address("countess", "Ada@example.org", "known to Mallory");
    let concealed = world.register_as(with_hers).await.expect("answered alike");
    let free = world.register("trudy").await.expect("registered");
    for (user_id, name, email) in [(concealed, "countess", ""), (free, "trudy", "trudy@example.org")] {
        let user = world.users.get(&user_id).expect("the user service knows both");
        assert_eq!((user.status, user.username.as_str()), (UserStatus::Pending, name));
        assert_eq!(user.email, email);
    }
    assert_eq!(world.count("claims").await, 1);
}

/// The address is another's here and not there: it is changing hands.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_while_the_address_changes_hands_stays_without_it_in_both_services() {
    let world = verified().await;
    let ada = world.settle("ada", 1).await;
    world
        .users
        .change(&ada, |user| user.email = "elsewhere@example.org".to_owned());
    let with_hers = with_address("countess", "ada@example.org", "known to Mallory");
    let concealed = world.register_as(with_hers).await.expect("answered alike");
    let user = world.users.get(&concealed).expect("not discarded");
    assert_eq!((user.status, user.username.as_str()), (UserStatus::Pending, "countess"));
    assert_eq!(user.email, "", "held by one account");
    assert_eq!(world.count("claims").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_with_anothers_address_that_crashed_goes_on_when_it_is_repeated() {
    for step in [Step::IntentStored, Step::UserCreated, Step::CredentialStored] {
        let crash = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&crash);
        let points = CrashPoints::new(move |reached| {
            let ends = asked.load(Ordering::SeqCst) && reached == step;
            async move { ends }
        });
        let world = World::with(|config| Config {
            registration: Registration::Verified,
            crash_points: Some(points),
            ..config
        })
        .await;
        world.settle("ada", 1).await;
        let request = RegisterRequest {
            request_id: world.request_id(),
            ..with_address("countess", "ada@example.org", "known to Mallory")
        };
        crash.store(true, Ordering::SeqCst);
        world.register_as(request.clone()).await.expect_err("it crashed");
        crash.store(false, Ordering::SeqCst);
        let user_id = world.register_as(request.clone()).await.expect("went on");
        assert_eq!(world.register_as(request).await.expect("repeated"), user_id, "{step:?}");
        let user = world.users.get(&user_id).expect("created");
        assert_eq!(
            (user.username.as_str(), user.email.as_str()),
            ("countess", ""),
            "{step:?}"
        );
        assert_eq!(world.count("claims").await, 1, "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_works_once_its_address_is_proven() {
    let world = verified().await;
    let user_id = world.register("ada").await.expect("registered");
    assert_eq!(refusal(world.login("ada").await), "EMAIL_UNVERIFIED");
    assert_eq!(
        refusal(world.login_with("ada", "wrong password").await),
        "CREDENTIALS_INVALID"
    );
    // An address that nobody has proven names no account.
    assert_eq!(refusal(world.login("ada@example.org").await), "CREDENTIALS_INVALID");
    assert_eq!(world.users.get(&user_id).expect("created").status, UserStatus::Pending);

    let token = world.token_of_mail(1).await;
    let request_id = world.request_id();
    world.verify(&token, &request_id).await.expect("verified");
    world.verify(&token, &request_id).await.expect("repeated");
    assert_eq!(refusal(world.verify(&token, "").await), "CREDENTIALS_INVALID");
    let user = world.users.get(&user_id).expect("created");
    assert!(user.status == UserStatus::Active && user.email_verified);
    for identifier in ["ada", "ada@example.org"] {
        assert_eq!(world.login(identifier).await.expect("logged in").user_id, user_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_with_anothers_address_looks_like_any_other() {
    let world = verified().await;
    world.settle("ada", 1).await;

    // Mallory names Ada's address, and then an address that is free.
    let mallorys = |request| RegisterRequest {
        password: "known to Mallory".to_owned(),
        ..request
    };
    let with_adas = mallorys(RegisterRequest {
        email: "Ada@example.org".to_owned(),
        ..registration("mallory")
    });
    let with_free = mallorys(registration("trudy"));
    let before = world.service.password_hash_runs();
    let taken = world.register_as(with_adas.clone()).await;
    let after_taken = world.service.password_hash_runs();
    let free = world.register_as(with_free.clone()).await;
    assert_eq!(taken.expect("as any other").len(), free.expect("registered").len());
    assert_eq!(
        after_taken - before,
        world.service.password_hash_runs() - after_taken,
        "the same work"
    );

    // Whatever is tried with the two afterwards ends alike.
    for (name, email) in [("mallory", "ada@example.org"), ("trudy", "trudy@example.org")] {
        let login = async |identifier| refusal(world.login_with(identifier, "known to Mallory").await);
        assert_eq!(login(name).await, "EMAIL_UNVERIFIED");
        assert_eq!(login(email).await, "CREDENTIALS_INVALID");
        let again = RegisterRequest {
            email: format!("other-{name}@example.org"),
            ..registration(name)
        };
        assert_eq!(refusal(world.register_as(again).await), "USERNAME_TAKEN");
    }

    // Ada is told, at the address as she gave it.
    let mails = world.mails(3).await;
    let to_ada: Vec<_> = mails
        .iter()
        .filter(|mail| mail.contains("To: ada@example.org"))
        .collect();
    assert!(to_ada.iter().any(|mail| mail.contains("You have an account already")));
    assert!(
        !mails.iter().any(|mail| mail.contains("mallory")),
        "what Mallory chose reaches nobody"
    );
    world
        .login_with("ada", crate::world::PASSWORD)
        .await
        .expect("Ada's account is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_registration_with_anothers_address_has_the_first_outcome() {
    let world = verified().await;
    world.settle("ada", 1).await;
    let request = RegisterRequest {
        email: "ada@example.org".to_owned(),
        request_id: world.request_id(),
        ..registration("mallory")
    };
    let first = world.register_as(request.clone()).await.expect("as any other");
    assert_eq!(world.register_as(request).await.expect("repeated"), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_nobody_verifies_gives_its_name_back() {
    let world = verified().await;
    world.settle("ada", 1).await;
    world.register("eve").await.expect("registered");
    let with_adas = RegisterRequest {
        email: "ada@example.org".to_owned(),
        ..registration("mallory")
    };
    world.register_as(with_adas).await.expect("as any other");
    world.source.advance(Duration::from_secs(73 * 3_600));
    given_up(&world).await;
    assert!(world.users.named("eve").is_none() && world.users.named("mallory").is_none());
    world.register("eve").await.expect("registered");
    world.register("mallory").await.expect("registered");
    world.login("ada").await.expect("who is verified stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_verification_mail_can_be_asked_for_by_anybody_and_tells_nothing() {
    let world = verified().await;
    world.register("ada").await.expect("registered");
    let first = world.token_of_mail(1).await;
    let ask = async |email: &str| {
        let request = RequestEmailVerificationRequest {
            email: email.to_owned(),
            request_id: String::new(),
        };
        world
            .credentials()
            .request_email_verification(request)
            .await
            .map(|response| format!("{:?}", response.into_inner()))
    };
    let known = ask("ADA@example.org").await.expect("asked");
    let unknown = ask("nobody@example.org").await.expect("asked");
    assert_eq!(known, unknown);
    let mails = world.mails(2).await;
    assert!(mails.iter().all(|mail| mail.contains("To: ada@example.org")));
    let second = token(mails.iter().find(|mail| token(mail) != first).expect("another token"));
    world.verify(&second, "").await.expect("verified");
    let refused = world
        .verify(&first, "")
        .await
        .expect_err("the other token is used up too");
    let guessed = world.verify(&"A".repeat(43), "").await.expect_err("a guess");
    assert_eq!(bytes(&refused), bytes(&guessed));
}

/// Registers with somebody else's address and a password of their own.
fn with_address(username: &str, email: &str, password: &str) -> RegisterRequest {
    RegisterRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        display_name: format!("{username} at home"),
        ..registration(username)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_token_confirms_the_account_of_the_registration_that_asked_for_it_and_no_other() {
    let world = verified().await;
    let mallory = with_address("mallory", "ada@example.org", "known to Mallory");
    let mallorys_id = world.register_as(mallory).await.expect("registered");
    world.mails(1).await;
    let adas_id = world.register("ada").await.expect("as any other");
    let mails = world.mails(2).await;
    let to_ada = mails
        .iter()
        .find(|mail| mail.contains("named ada "))
        .expect("her own mail");
    assert!(!to_ada.contains("mallory"), "what she confirms is hers alone");

    // The user service is away while she confirms: it is told later.
    let request_id = world.request_id();
    world.users.go_away(true);
    world.verify(&token(to_ada), &request_id).await.expect_err("away");
    world.users.go_away(false);
    world.verify(&token(to_ada), &request_id).await.expect("verified");
    for identifier in ["ada", "ada@example.org"] {
        assert_eq!(world.login(identifier).await.expect("logged in").user_id, adas_id);
    }
    let user = world.users.get(&adas_id).expect("created");
    assert!(user.status == UserStatus::Active && user.email_verified && user.email == "ada@example.org");
    let mallorys_user = world.users.get(&mallorys_id).expect("it looks as before");
    assert_eq!(
        (mallorys_user.status, mallorys_user.username.as_str()),
        (UserStatus::Pending, "mallory")
    );
    assert_eq!(mallorys_user.email, "");

    // Mallory's token is worth nothing now, and nothing tells that from an address that nobody has proven.
    let mallorys = mails
        .iter()
        .find(|mail| mail.contains("named mallory "))
        .expect("a mail");
    assert_eq!(refusal(world.verify(&token(mallorys), "").await), "CREDENTIALS_INVALID");
    assert_eq!(
        refusal(world.login_with("mallory", "known to Mallory").await),
        "EMAIL_UNVERIFIED"
    );
    assert_eq!(
        refusal(world.login_with("ada@example.org", "known to Mallory").await),
        "CREDENTIALS_INVALID"
    );
    world.source.advance(Duration::from_secs(73 * 3_600));
    given_up(&world).await;
    assert!(world.users.get(&mallorys_id).is_none(), "discarded");
    world.register("mallory").await.expect("the name is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_asked_for_by_address_offers_each_account_that_was_registered_with_it() {
    let world = verified().await;
    let mallory = with_address("mallory", "ada@example.org", "known to Mallory");
    world.register_as(mallory).await.expect("registered");
    world.register("ada").await.expect("as any other");
    world.mails(2).await;
    let request = RequestEmailVerificationRequest {
        email: "ada@example.org".to_owned(),
        request_id: String::new(),
    };
    world
        .credentials()
        .request_email_verification(request)
        .await
        .expect("asked");
    let mails = world.mails(3).await;
    let both = |mail: &&String| mail.contains("named ada ") && mail.contains("named mallory ");
    let mail = mails.iter().find(both).expect("one for both");
    let (_, adas) = mail.split_once("named ada ").expect("a section");
    world.verify(&token(adas), "").await.expect("verified");
    world.login("ada@example.org").await.expect("Ada's password");
    assert_eq!(
        refusal(world.login_with("mallory", "known to Mallory").await),
        "EMAIL_UNVERIFIED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_proven_by_its_first_applicant_ends_the_claims_of_the_others() {
    let world = verified().await;
    world.register("ada").await.expect("registered");
    world.mails(1).await;
    let mallory = with_address("mallory", "ada@example.org", "known to Mallory");
    world.register_as(mallory).await.expect("as any other");
    let mails = world.mails(2).await;
    let of = |name: &str| token(mails.iter().find(|mail| mail.contains(name)).expect("a mail"));
    let (adas, mallorys) = (of("named ada "), of("named mallory "));
    let (one, other) = tokio::join!(world.verify(&adas, ""), world.verify(&mallorys, ""));
    assert!(
        one.is_ok() ^ other.is_ok(),
        "one address, one account: {one:?} {other:?}"
    );
    assert_eq!(world.count("claims").await, 0);
}
