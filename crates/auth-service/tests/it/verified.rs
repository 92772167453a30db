//! Verified registration: nobody learns from it whether an address is in use.

use std::time::Duration;

use tidings_auth_service::{Config, Registration};
use tidings_proto_auth::v1::{RegisterRequest, RequestEmailVerificationRequest, VerifyEmailRequest};
use tidings_proto_user::v1::UserStatus;

use crate::world::{World, bytes, refusal, registration, token};

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
    world.service.upkeep_once().await.expect("upkeep");
    assert!(world.users.named("eve").is_none());
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
