//! `.sqlx` of each service: what its checked queries look like to a build that has no database.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, migrate::Migrator};
use tidings_db::{
    Schema, Settings,
    migrate::{self, Migrations},
};

use crate::workspace::{self, cargo, run};

const DATABASE: &str = "checked_queries";

/// The part of a crate's `sqlx.toml` that says by which variable its queries find a database.
#[derive(Deserialize)]
struct Config {
    common: Common,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Common {
    database_url_var: String,
}

/// Migrates a database and has the compiler describe every query against it. With `check` nothing is changed.
pub fn refresh(url: &str, check: bool) -> Result<()> {
    let services = workspace::services()?;
    let database = url.replacen("/postgres?", &format!("/{DATABASE}?"), 1);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(migrate(url, &database, &services))?;
    for service in &services {
        let fresh = describe(service, &database)?;
        let kept = service.join(".sqlx");
        if check {
            compare(service, &fresh, &kept)?;
        } else {
            replace(&fresh, &kept)?;
        }
    }
    Ok(())
}

async fn migrate(url: &str, database: &str, services: &[PathBuf]) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {DATABASE}")))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let mut migrations = Vec::new();
    for service in services {
        let migrator = Migrator::new(service.join("migrations")).await?;
        migrations.push(Migrations {
            schema: schema_of(service)?,
            // For the rest of this short program.
            migrator: Box::leak(Box::new(migrator)),
        });
    }
    let owner = Settings::owner(database, "tidings-xtask");
    migrate::run(&owner, &migrations, Duration::from_secs(1)).await?;
    Ok(())
}

fn name_of(service: &Path) -> Result<&str> {
    service
        .file_name()
        .and_then(|name| name.to_str())
        .context("a crate's folder has a name in ASCII")
}

fn schema_of(service: &Path) -> Result<Schema> {
    Ok(match name_of(service)? {
        "auth-service" => Schema::Auth,
        "user-service" => Schema::Users,
        "chat-service" => Schema::Chats,
        "message-service" => Schema::Messages,
        other => bail!("{other} has migrations, but no schema is known for it"),
    })
}

/// Compiles the service against the database; each query leaves a file in the folder returned.
fn describe(service: &Path, database: &str) -> Result<PathBuf> {
    let name = name_of(service)?;
    let config = service.join("sqlx.toml");
    let text = fs::read_to_string(&config).with_context(|| config.display().to_string())?;
    let config: Config = toml::from_str(&text).with_context(|| config.display().to_string())?;
    let fresh = workspace::root().join("target/sqlx").join(name);
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    touch_targets(service)?;
    run(cargo()
        .args(["check", "--quiet", "--all-targets", "--package"])
        .arg(format!("tidings-{name}"))
        .env(config.common.database_url_var, database)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &fresh))?;
    // Otherwise a build that follows, without a database, would find nothing to do and check nothing.
    touch_targets(service)?;
    Ok(fresh)
}

/// Cargo does not know that the queries depend on a database: a changed root file makes it compile them again.
fn touch_targets(service: &Path) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the clock of the file system")]
    let now = SystemTime::now();
    let mut roots = vec![service.join("src/lib.rs")];
    for folder in ["tests", "benches"] {
        let Ok(entries) = fs::read_dir(service.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            roots.push(if path.is_dir() { path.join("main.rs") } else { path });
        }
    }
    for root in roots.iter().filter(|root| root.exists()) {
        fs::File::options().write(true).open(root)?.set_modified(now)?;
    }
    Ok(())
}

fn compare(service: &Path, fresh: &Path, kept: &Path) -> Result<()> {
    ensure!(
        described(fresh)? == described(kept)?,
        "crates/{}/.sqlx is not what its queries and migrations give: `cargo xtask sqlx` refreshes it",
        name_of(service)?
    );
    Ok(())
}

fn replace(fresh: &Path, kept: &Path) -> Result<()> {
    if kept.exists() {
        fs::remove_dir_all(kept)?;
    }
    fs::create_dir_all(kept)?;
    for (name, content) in read_all(fresh)? {
        fs::write(kept.join(name), content)?;
    }
    Ok(())
}

/// What the files of a folder describe, by name. Whether a column may be null is left out: sqlx reads that from the plan that
/// Postgres makes, which differs by version and by what the tables hold. The build that follows checks it anyway.
fn described(folder: &Path) -> Result<BTreeMap<String, Value>> {
    read_all(folder)?
        .into_iter()
        .map(|(name, content)| {
            let mut query: Value = serde_json::from_str(&content).with_context(|| name.clone())?;
            if let Some(describe) = query.get_mut("describe").and_then(Value::as_object_mut) {
                describe.remove("nullable");
            }
            Ok((name, query))
        })
        .collect()
}

/// The files of a folder by name; a folder that is not there has none.
fn read_all(folder: &Path) -> Result<BTreeMap<String, String>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, fs::read_to_string(entry.path())?))
        })
        .collect()
}
