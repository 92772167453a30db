//! The database that a command works on: one that is given, or the private one of a data folder.

use std::path::Path;

use anyhow::{Context as _, Result};
use secrecy::SecretString;
use sqlx::{Connection as _, PgConnection};
use tidings_db::Settings;

use crate::{
    data_dir::{self, DataDir},
    postgres::{Cluster, Options, SUPERUSER},
    settings::DatabaseArgs,
};

/// The suite's database in a private Postgres.
const PRIVATE_NAME: &str = "tidings";

/// A database, with the server that was started for it.
#[derive(Debug)]
pub struct Database {
    /// Its address, with what opens it.
    pub url: SecretString,
    /// Where what is stored is kept, for people.
    pub persistence: String,
    cluster: Option<Cluster>,
}

impl Database {
    /// A database that runs already.
    pub fn given(url: SecretString) -> Result<Self> {
        Ok(Self {
            persistence: format!("PostgreSQL database {}", crate::settings::shown(&url)?),
            url,
            cluster: None,
        })
    }

    /// The private database in a data folder that this process holds, started and if need be made.
    pub async fn private(data_dir: &DataDir, options: Options) -> Result<Self> {
        // Starting blocks. The server belongs to a thread of its own, so that it may be any thread that waits.
        let cluster = tokio::task::block_in_place(|| Cluster::start(data_dir, &options))?;
        let url = SecretString::from(cluster.url(SUPERUSER, PRIVATE_NAME));
        create_if_missing(&cluster).await?;
        Ok(Self {
            persistence: format!(
                "private PostgreSQL {} in {}",
                cluster.version(),
                cluster.data().display()
            ),
            url,
            cluster: Some(cluster),
        })
    }

    /// For commands beside the suite: the database given, else the private one of the data folder, whether its suite is running
    /// or not.
    pub async fn beside(args: &DatabaseArgs, data_dir: &Path, options: Options) -> Result<(Self, Option<DataDir>)> {
        if let Some(url) = args.url()? {
            return Ok((Self::given(url)?, None));
        }
        match DataDir::open(data_dir) {
            Ok(held) => {
                let database = Self::private(&held, options).await?;
                Ok((database, Some(held)))
            }
            Err(data_dir::Error::InUse { path, .. }) => Ok((
                Self {
                    persistence: format!("private PostgreSQL of the suite that runs in {}", path.display()),
                    url: Cluster::url_in(&path, SUPERUSER, PRIVATE_NAME).into(),
                    cluster: None,
                },
                None,
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this process started the server, so that nobody else uses the database.
    pub fn is_private(&self) -> bool {
        self.cluster.is_some()
    }

    /// How its owner connects, who migrates.
    pub fn owner_settings(&self) -> Settings {
        Settings::owner(self.url.clone(), "tidings")
    }

    /// One connection of the owner.
    pub async fn connect(&self) -> Result<PgConnection> {
        tidings_db::connect_dedicated(&self.owner_settings(), &[])
            .await
            .with_context(|| format!("cannot connect to the {}", self.persistence))
    }

    /// Stops the server that was started for it, if one was.
    pub async fn stop(self) {
        if let Some(cluster) = self.cluster {
            tokio::task::block_in_place(|| cluster.stop());
        }
    }
}

async fn create_if_missing(cluster: &Cluster) -> Result<()> {
    let url = cluster.url(SUPERUSER, "postgres");
    let mut connection = PgConnection::connect(&url)
        .await
        .context("the private PostgreSQL does not answer")?;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_catalog.pg_database where datname = $1)")
        .bind(PRIVATE_NAME)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {PRIVATE_NAME}")))
            .execute(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(())
}
