//! Word to the owner of an account of what has happened to it.

use std::time::Duration;

use tidings_proto_auth::v1::RemoveTotpRequest;

use crate::world::{PASSWORD, World, eventually, reason, refusal};

const NEW_PASSWORD: &str = "another horse battery";
const ADA: &str = "ada@example.org";

impl World {
    /// What an address has been told of accounts, by the subjects of its mails and oldest first, once nothing more is on its way.
    async fn told(&self, address: &str) -> Vec<String> {
        self.outbox_is_empty().await;
        let mails = self.mails(0).await.into_iter();
        let mut subjects: Vec<_> = mails
            .filter(|mail| mail.contains(&format!("To: {address}\r\n")) && !mail.contains("token="))
            .map(|mail| subject(&mail))
            .collect();
        // Mails that leave at once do so in any order.
        subjects.sort();
        subjects
    }

    /// The newest mail with this subject, once it is there.
    async fn notice(&self, wanted: &str) -> String {
        let mut found = None;
        eventually(wanted, async || {
            let mails = self.mails(0).await;
            found = mails.into_iter().rfind(|mail| subject(mail) == wanted);
            found.is_some()
        })
        .await;
        found.expect("just found")
    }
}

fn subject(mail: &str) -> String {
    let line = mail.lines().find_map(|line| line.strip_prefix("Subject: "));
    line.expect("a subject").to_owned()
}

fn by_password() -> RemoveTotpRequest {
    RemoveTotpRequest {
        current_password: PASSWORD.to_owned(),
        ..RemoveTotpRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_what_changed_and_when_and_no_secret() {
    let world = World::open().await;
    let user_id = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in").access_token;
    let (operator, _) = world.operator().await;
    world.give_second_factor(&session).await;
    let codes = world.new_codes(&session).await;
    world.remove_totp(&session, by_password()).await.expect("removed");
    world
        .change_password(&session, PASSWORD, NEW_PASSWORD, "")
        .await
        .expect("changed");
    world
        .set_password(&operator, &user_id, "a third horse battery", "")
        .await
        .expect("set");
    world.ask_reset(ADA, "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    world.reset(&token, "a fourth horse battery", "").await.expect("reset");

    let now = world.source.now();
    let when = format!("on {} at {:02}:{:02} UTC.", now.date(), now.hour(), now.minute());
    for wanted in [
        "An authenticator app was added",
        "Your authenticator app was removed",
        "New recovery codes were made",
        "Your password was changed",
        "Your password was set by an operator",
        "Your password was reset",
    ] {
        let mail = world.notice(wanted).await;
        assert!(
            mail.contains("To: ada@example.org\r\n") && mail.contains("Hello ada,"),
            "{mail}"
        );
        let early = wanted == "An authenticator app was added";
        assert!(early || mail.contains(&when), "{when} in {mail}");
        let secrets = [PASSWORD, NEW_PASSWORD, "horse battery", &token, "token="];
        assert!(secrets.into_iter().all(|secret| !mail.contains(secret)), "{mail}");
        assert!(codes.iter().all(|code| !mail.contains(code)), "{mail}");
    }
    assert_eq!(world.told("root-admin@example.org").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_did_not_happen_or_happened_already_nobody_is_told() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in").access_token;
    let wrong = world
        .change_password(&session, "a wrong password", NEW_PASSWORD, "")
        .await;
    assert_eq!(refusal(wrong), "CREDENTIALS_INVALID");
    assert_eq!(
        refusal(world.reset("a guess", NEW_PASSWORD, "").await),
        "CREDENTIALS_INVALID"
    );
    // It was never confirmed, so it counted for nothing.
    world.enrol(&session).await.expect("enrolled");
    world.remove_totp(&session, by_password()).await.expect("removed");
    world.remove_totp(&session, by_password()).await.expect("there is none");
    assert_eq!(world.told(ADA).await, Vec::<String>::new());

    let request_id = world.request_id();
    let calls = (0..4).map(|_| world.change_password(&session, PASSWORD, NEW_PASSWORD, &request_id));
    for outcome in futures_util::future::join_all(calls).await {
        if let Err(status) = outcome {
            assert_eq!(reason(&status), "CREDENTIALS_INVALID");
        }
    }
    world
        .change_password(&session, PASSWORD, NEW_PASSWORD, &request_id)
        .await
        .expect("repeated");
    assert_eq!(world.told(ADA).await, ["Your password was changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_mail_keeps_a_notice_away_and_notices_flood_nobody() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in").access_token;
    for _ in 0..5 {
        world.ask_reset(ADA, "").await.expect("asked");
    }
    let passwords: Vec<String> = (0..6).map(|n| format!("horse battery {n}")).collect();
    let first = world.change_password(&session, PASSWORD, &passwords[0], "");
    first.await.expect("changed");
    assert_eq!(world.told(ADA).await, ["Your password was changed"]);
    for pair in passwords[..5].windows(2) {
        let next = world.change_password(&session, &pair[0], &pair[1], "");
        next.await.expect("changed, and whether anybody is told does not show");
    }
    assert_eq!(world.told(ADA).await, ["Your password was changed"; 3]);
    world.source.advance(Duration::from_secs(3_601));
    let session = world
        .login_with("ada", &passwords[4])
        .await
        .expect("logged in")
        .access_token;
    let next = world.change_password(&session, &passwords[4], &passwords[5], "");
    next.await.expect("changed");
    assert_eq!(world.told(ADA).await, ["Your password was changed"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_goes_where_mail_went_when_it_happened_however_late() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in").access_token;
    // No mail leaves, and meanwhile the thief gets another address.
    let folder = world.mails.path().to_owned();
    std::fs::remove_dir(&folder).expect("empty");
    world
        .change_password(&session, PASSWORD, NEW_PASSWORD, "")
        .await
        .expect("changed");
    sqlx::query("update auth.accounts set email = 'thief@example.org', email_key = 'thief@example.org'")
        .execute(&world.pool)
        .await
        .expect("moved");
    world.mails_pause(1).await;
    std::fs::create_dir(&folder).expect("made again");
    world.source.advance(Duration::from_secs(3_600));
    assert_eq!(world.told(ADA).await, ["Your password was changed"]);
    assert_eq!(world.told("thief@example.org").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_an_address_has_nobody_to_be_told() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in").access_token;
    sqlx::query("update auth.accounts set email = null, email_key = null")
        .execute(&world.pool)
        .await
        .expect("taken away");
    world
        .change_password(&session, PASSWORD, NEW_PASSWORD, "")
        .await
        .expect("changed");
    assert_eq!(world.count("mails").await, 0);
    assert_eq!(world.mails(0).await.len(), 0);
}
