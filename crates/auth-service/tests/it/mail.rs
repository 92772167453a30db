use std::time::Duration;

use tidings_auth_service::{Config, MailTransport, SmtpServer, build};
use tidings_rpc::testing::Authority;

use crate::{
    smtp::{Begin, Sink},
    world::{World, eventually},
};

fn smtp(url: &str, authority: Option<&str>) -> MailTransport {
    MailTransport::Smtp(SmtpServer {
        url: url.into(),
        authorities: authority.map(|pem| pem.as_bytes().to_vec()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_leaves_by_tls_to_a_server_that_is_who_it_should_be() {
    let authority = Authority::new();
    for (begin, url) in [
        (Begin::Tls, "smtps://localhost:PORT"),
        (Begin::Plain, "smtp://localhost:PORT?tls=required"),
    ] {
        let sink = Sink::open(&authority, begin).await;
        let url = url.replace("PORT", &sink.port().to_string());
        let trusting = smtp(&url, Some(authority.certificate()));
        let world = World::with(|config| Config {
            mail: trusting,
            ..config
        })
        .await;
        world.register("ada").await.expect("registered");
        world.ask_reset("ada@example.org", "").await.expect("asked");
        eventually("the mail is delivered", async || sink.mails() == 1).await;
        assert!(sink.newest().contains("token="), "it has the token");
        assert_eq!(sink.in_the_open(), 0, "nothing of a mail was sent before TLS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_trusted_or_offers_no_tls_gets_no_mail() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (begin, url, trusted) in [
        (Begin::Tls, "smtps://localhost:PORT", &other),
        (Begin::PlainOnly, "smtp://localhost:PORT?tls=required", &authority),
    ] {
        let sink = Sink::open(&authority, begin).await;
        let url = url.replace("PORT", &sink.port().to_string());
        let transport = smtp(&url, Some(trusted.certificate()));
        let world = World::with(|config| Config {
            mail: transport,
            ..config
        })
        .await;
        world.register("ada").await.expect("registered");
        world.ask_reset("ada@example.org", "").await.expect("asked");
        eventually("it was tried", async || {
            world.source.advance(Duration::from_secs(24 * 3_600));
            attempts(&world).await >= 2
        })
        .await;
        assert_eq!((sink.mails(), sink.in_the_open()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_cannot_be_sent_is_retried_then_parked_and_blocks_nobody() {
    // Nobody listens there: the connection is refused at once.
    let dead = smtp("smtp://127.0.0.1:1", None);
    let world = World::with(|config| Config { mail: dead, ..config }).await;
    world.register("ada").await.expect("registered");
    world
        .ask_reset("ada@example.org", "")
        .await
        .expect("the same answer in the same time");
    eventually("it was tried eight times", async || {
        // Beyond any pause between two attempts.
        world.source.advance(Duration::from_secs(24 * 3_600));
        attempts(&world).await >= 8
    })
    .await;
    eventually("the mail is parked", async || {
        let parked = "select count(*) from auth.mails where parked_time is not null";
        sqlx::query_scalar::<_, i64>(parked)
            .fetch_one(&world.pool)
            .await
            .expect("counted")
            == 1
    })
    .await;
    world.ask_reset("ada@example.org", "").await.expect("asked");
    eventually("the next mail is tried", async || {
        let tried = "select count(*) from auth.mails where parked_time is null and attempts > 0";
        sqlx::query_scalar::<_, i64>(tried)
            .fetch_one(&world.pool)
            .await
            .expect("counted")
            == 1
    })
    .await;
}

async fn attempts(world: &World) -> i64 {
    let sql = "select coalesce(max(attempts), 0)::bigint from auth.mails";
    sqlx::query_scalar(sql).fetch_one(&world.pool).await.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_the_database_as_it_was_given() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let issued = world.login("ada").await.expect("logged in");
    world.ask_reset("ada@example.org", "").await.expect("asked");
    let token = world.token_of_mail(1).await;
    let tables = [
        "accounts",
        "registrations",
        "login_sessions",
        "mailed_tokens",
        "mails",
        "signing_keys",
        "requests",
        "mail_quotas",
    ];
    for table in tables {
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select t::text from auth.{table} as t")))
                .fetch_all(&world.pool)
                .await
                .expect("read");
        for secret in [
            crate::world::PASSWORD,
            &token,
            &issued.refresh_token,
            &issued.access_token,
        ] {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(
                !rows.iter().any(|row| row.contains(secret) || row.contains(&hex)),
                "{table}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_work_are_refused_at_start_without_showing_secrets() {
    let world = World::open().await;
    let user = world.peer(tidings_authn::Service::Auth);
    let env = tidings_rpc::Environment::new(
        tidings_authn::Service::Auth,
        tidings_authn::SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough"),
        world.verifier.clone(),
        world.source.clone(),
        world.drain.clone(),
        tidings_rpc::Limits::default(),
    );
    let good = Config::new(
        env.secret.clone(),
        tidings_auth_service::Registration::Open,
        "https://chat.example.org".to_owned(),
        "no-reply@example.org".to_owned(),
        MailTransport::Folder(world.mails.path().to_owned()),
    );
    let refused = |config: Config| {
        build(&env, config, world.pool.clone(), user.clone())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert_eq!(refused(good.clone()), "");
    assert!(
        refused(Config {
            public_url: "chat.example.org".to_owned(),
            ..good.clone()
        })
        .starts_with("public-url must be")
    );
    assert!(
        refused(Config {
            mail_from: "nobody\r\nBcc: a@b.org".to_owned(),
            ..good.clone()
        })
        .starts_with("mail-from must be")
    );
    let refusal = refused(Config {
        mail: smtp("ftp://user:hunter2@host", None),
        ..good.clone()
    });
    assert!(
        refusal.starts_with("smtp-url must be") && !refusal.contains("hunter2"),
        "{refusal}"
    );
    let open = smtp("smtp://user:hunter2@mail.example.org:587", None);
    let refusal = refused(Config {
        mail: open,
        ..good.clone()
    });
    assert!(
        refusal.starts_with("smtp-url must be") && !refusal.contains("hunter2"),
        "{refusal}"
    );
    let unsigned = smtp("smtps://mail.example.org", Some("no certificate"));
    assert!(
        refused(Config {
            mail: unsigned,
            ..good.clone()
        })
        .starts_with("smtp-ca-file must")
    );
    let folder = MailTransport::Folder("/dev/null/mails".into());
    assert!(refused(Config { mail: folder, ..good }).starts_with("mail-folder must be"));
}
