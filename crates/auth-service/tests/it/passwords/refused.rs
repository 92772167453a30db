//! Passwords that nobody may have.

use std::io::Write as _;

use tidings_auth_service::Config;
use tidings_proto_auth::v1::{RegisterRequest, ResetPasswordRequest};

use super::{NEW_PASSWORD, violation};
use crate::world::{PASSWORD, World, registration};

#[tokio::test(flavor = "multi_thread")]
async fn passwords_that_are_tried_first_are_taken_nowhere() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let own = world.login("ada").await.expect("logged in");
    let (operator, _) = world.operator().await;
    let (_, eve) = (0, world.register("eve").await.expect("registered"));
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;

    for common in ["password1", "Iloveyou1", "1q2w3e4r5t"] {
        let register = RegisterRequest {
            password: common.to_owned(),
            ..registration("trudy")
        };
        let reset = |token: &str| ResetPasswordRequest {
            token: token.to_owned(),
            new_password: common.to_owned(),
            request_id: String::new(),
        };
        let hashes = world.service.password_hash_runs();
        let refused = [
            world.register_as(register).await.map(|_| ()).expect_err("register"),
            world
                .change_password(&own.access_token, PASSWORD, common, "")
                .await
                .expect_err("change"),
            world.set_password(&operator, &eve, common, "").await.expect_err("set"),
            world
                .credentials()
                .reset_password(reset(&token))
                .await
                .expect_err("reset"),
            // What is wrong with the word says nothing about a token.
            world
                .credentials()
                .reset_password(reset("guess"))
                .await
                .expect_err("reset"),
        ];
        for (status, field) in refused.iter().zip([
            "password",
            "new_password",
            "new_password",
            "new_password",
            "new_password",
        ]) {
            let (named, description) = violation(status);
            assert_eq!(named, field);
            assert_eq!(
                description,
                "must not be among the passwords that are known and tried first"
            );
        }
        assert_eq!(world.service.password_hash_runs(), hashes);
    }
    // The token was not used up by it.
    let reset = ResetPasswordRequest {
        token,
        new_password: NEW_PASSWORD.to_owned(),
        request_id: String::new(),
    };
    world.credentials().reset_password(reset).await.expect("reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_account_is_not_its_password() {
    let world = World::open().await;
    let named = |password: &str| RegisterRequest {
        password: password.to_owned(),
        ..registration("ada.lovelace")
    };
    for name in ["ada.lovelace", "Ada.Lovelace@example.org"] {
        let refused = world.register_as(named(name)).await.expect_err("refused");
        assert_eq!(violation(&refused).0, "password");
    }
    let user_id = world.register("ada.lovelace").await.expect("registered");
    let own = world.login("ada.lovelace").await.expect("logged in");
    let (operator, _) = world.operator().await;
    let refused = [
        world
            .change_password(&own.access_token, PASSWORD, "ADA.LOVELACE", "")
            .await
            .expect_err("change"),
        world
            .set_password(&operator, &user_id, "ada.lovelace@example.org", "")
            .await
            .expect_err("set"),
    ];
    for status in refused {
        assert_eq!(
            violation(&status),
            (
                "new_password".to_owned(),
                "must not be the account's own username or e-mail address".to_owned()
            )
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_file_of_breached_passwords_is_looked_into() {
    let hash = |word: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, word.as_bytes());
        let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{digits}:3\r\n")
    };
    let breached = "a well-known secret";
    let mut lines: Vec<String> = (0..100)
        .map(|n| hash(&format!("word {n}")))
        .chain([hash(breached)])
        .collect();
    lines.sort();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.concat().as_bytes()).expect("written");
    let path = file.path().to_owned();
    let world = World::with(|config| Config {
        breached_passwords_file: Some(path),
        ..config
    })
    .await;
    let registers = |password: &str| RegisterRequest {
        password: password.to_owned(),
        ..registration("ada")
    };
    for refused in [breached, "password1"] {
        let status = world.register_as(registers(refused)).await.expect_err("refused");
        assert_eq!(violation(&status).0, "password");
    }
    world.register_as(registers(PASSWORD)).await.expect("registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_the_deployments_words_is_taken_nowhere() {
    let world = World::with(|config| Config {
        public_url: "https://chat.example.org".to_owned(),
        password_words: vec!["Analytical".to_owned()],
        ..config
    })
    .await;
    let eve = world.register("eve").await.expect("registered");
    let own = world.login("eve").await.expect("logged in").access_token;
    let (operator, _) = world.operator().await;
    for made in ["Tidings-2026", "example chat", "analytical.chat1"] {
        let register = RegisterRequest {
            password: made.to_owned(),
            ..registration("trudy")
        };
        let reset = ResetPasswordRequest {
            token: "guess".to_owned(),
            new_password: made.to_owned(),
            request_id: String::new(),
        };
        let refused = [
            world.register_as(register).await.map(|_| ()).expect_err("register"),
            world
                .change_password(&own, PASSWORD, made, "")
                .await
                .expect_err("change"),
            world.set_password(&operator, &eve, made, "").await.expect_err("set"),
            world.credentials().reset_password(reset).await.expect_err("reset"),
        ];
        for status in &refused {
            let (_, description) = violation(status);
            assert_eq!(description, "must not be made of the names of this service alone");
        }
    }
    let longer = world.change_password(&own, PASSWORD, "analytical engines chat", "");
    longer.await.expect("it is more than these words");
}
