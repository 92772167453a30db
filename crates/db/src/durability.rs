use sqlx::{Executor, Postgres};

use crate::Error;

/// The three settings without which "stored" is not true after a crash (guarantee G1). A service refuses readiness while one of
/// them is off, unless it was told otherwise by a flag that is named as unsafe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// `fsync`: writes reach the disk at all.
    pub fsync: bool,
    /// `synchronous_commit` is not `off`, as this session sees it: each other value waits for the local disk.
    pub synchronous_commit: bool,
    /// `full_page_writes`: a page that was half written when the machine stopped can be restored.
    pub full_page_writes: bool,
}

impl Durability {
    /// Whether what was acknowledged survives a crash.
    #[must_use]
    pub fn is_durable(self) -> bool {
        self.off().is_empty()
    }

    /// The names of the settings that are off.
    #[must_use]
    pub fn off(self) -> Vec<&'static str> {
        [
            ("fsync", self.fsync),
            ("synchronous_commit", self.synchronous_commit),
            ("full_page_writes", self.full_page_writes),
        ]
        .into_iter()
        .filter(|(_, on)| !on)
        .map(|(name, _)| name)
        .collect()
    }
}

/// Asks Postgres for the settings that decide on durability.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn durability<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Durability, Error> {
    let (fsync, synchronous_commit, full_page_writes) = sqlx::query_as(
        "select current_setting('fsync')::bool,
                current_setting('synchronous_commit') <> 'off',
                current_setting('full_page_writes')::bool",
    )
    .fetch_one(executor)
    .await?;
    Ok(Durability {
        fsync,
        synchronous_commit,
        full_page_writes,
    })
}
