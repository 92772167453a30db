//! `tidings dev`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tidings_auth_service::{MailTransport, Registration};
use tidings_ids::Source;
use tidings_rpc::Drain;

use super::{
    admin,
    banner::Banner,
    migrate,
    whole::{Given, Whole},
};
use crate::{
    data_dir::DataDir,
    database::Database,
    postgres::{self, Options},
    process,
    settings::{Assistant, GatewayDefaults, PostgresArgs},
};

const EXAMPLES: &str = "\
Examples:
  tidings dev
  tidings dev --data-dir /srv/chat --listen 0.0.0.0:7700
  tidings dev --admin ada
      Also makes the administrator `ada`, and says where her password is
  DATABASE_URL=postgres://tidings:…@localhost/tidings tidings dev
      On a database that runs, instead of a private one";

/// Another migration of the same database is one of a second suite on it, which does not take long.
const MIGRATION_WAIT: Duration = Duration::from_secs(30);

/// Serve everything, with a private Postgres: for development and small deployments
///
/// Everything that is kept is in one folder: the database, secrets, attachments and mails. Nothing outside it is needed or
/// changed. It listens to this machine only, and without TLS, unless told otherwise; everybody may register.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    #[command(flatten)]
    whole: Whole,

    #[command(flatten)]
    postgres: PostgresArgs,

    /// Make an administrator of this name if there is none, with a password of its own
    #[arg(long, env = "TIDINGS_ADMIN", value_name = "USERNAME", value_parser = tidings_auth_service::username)]
    admin: Option<String>,
}

impl Dev {
    /// Serves until it is asked to stop.
    pub async fn run(self) -> Result<()> {
        let telemetry = tidings_telemetry::init(&self.whole.telemetry.settings("tidings"))?;
        let drain = Drain::new();
        process::drain_on_signal(drain.clone())?;
        let listener = self.whole.listen().await?;
        let data_dir = DataDir::open(&self.whole.data.path())?;
        let database = match self.whole.database.url()? {
            Some(url) => Database::given(url)?,
            None => match Database::private(&data_dir, self.options(&drain)).await {
                Err(error) if matches!(error.downcast_ref(), Some(postgres::Error::GivenUp)) => return Ok(()),
                database => database?,
            },
        };
        let served = self.serve(listener, &data_dir, &database, drain).await;
        // What is left of the traces is sent while Postgres writes its last checkpoint.
        let flushed = tokio::task::spawn_blocking(move || drop(telemetry));
        database.stop().await;
        let _ = flushed.await;
        served
    }

    /// What Postgres is started with. The wait for it, which is long after a crash, ends where the process is to stop.
    fn options(&self, drain: &Drain) -> Options {
        let options = self.postgres.options();
        let (stopping, give_up) = (drain.clone(), options.give_up.clone());
        drain.spawn(async move {
            stopping.begun().await;
            give_up.say();
        });
        options
    }

    async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        data_dir: &DataDir,
        database: &Database,
        drain: Drain,
    ) -> Result<()> {
        tokio::select! {
            applied = migrate::apply(database, MIGRATION_WAIT) => applied?,
            () = drain.begun() => return Ok(()),
        }
        let source = Source::system();
        let whole = &self.whole;
        let secrets = data_dir.subfolder("secrets")?;
        let attachments = data_dir.subfolder("attachments")?;
        let mail = whole.mail.or_folder(&data_dir.subfolder("mail")?)?;
        let mail_shown = shown(&mail);
        let listen = listener.local_addr()?;
        let registration = whole.registration.or(Registration::Open);
        let given = Given {
            suite_secret: whole.suite_secret.given_or_kept(&secrets, &source)?,
            auth_secret: whole.auth_secret.given_or_kept(&secrets, &source)?,
            mail,
            registration,
            assistant: Assistant::Echo,
            gateway: GatewayDefaults::DEV,
            attachments: &attachments,
            other_nodes: !database.is_private(),
            database,
        };
        let running = whole.start(given, listen, drain, source.clone()).await?;
        let admin = match &self.admin {
            Some(name) => Some(admin::ensure(&running.auth, name, &secrets, &source).await?),
            None => None,
        };
        running.whole().await;
        Banner {
            listen,
            data_dir: data_dir.path(),
            persistence: &database.persistence,
            mail: mail_shown,
            admin,
            assistant: running.assistant.is_some(),
            web: whole.gateway.has_web(&GatewayDefaults::DEV),
            tls: whole.public_tls.is_set(),
            reflection: whole.gateway.has_reflection(&GatewayDefaults::DEV),
            registration,
        }
        .print();
        running.serve(listener).await
    }
}

fn shown(mail: &MailTransport) -> String {
    match mail {
        MailTransport::Folder(folder) => format!("files in {}", folder.display()),
        MailTransport::Smtp(_) => "sent by SMTP".to_owned(),
    }
}
