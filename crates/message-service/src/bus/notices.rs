//! The hints of the bus between nodes: `LISTEN` and `NOTIFY` of Postgres, each on a connection of its own.
//!
//! A notice covers all commits since the last one, is sent after them and not within them (a `NOTIFY` in the transaction of a
//! send takes a lock that all senders would queue for), and with `synchronous_commit = off`, as nothing is lost with it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sqlx::{PgConnection, postgres::PgListener};
use tidings_db::{Pool, Settings, connect_dedicated};
use tidings_ids::{ChatId, Id, Kind, Source, UserId};
use tidings_rpc::Drain;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Bus, Moved};

/// The channel, of the database that the message service is in.
const CHANNEL: &str = "tidings_messages_moved";

/// The pause after a failure. The polling bound of followers is as long.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A notice that takes longer than this has no one to wait for.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Tells other nodes what moved here, and this node's followers what moved there, until the process drains.
pub(crate) async fn run(bus: Bus, settings: Settings, source: Source, drain: Drain) {
    // What this node sends comes back to it, and is known by this number.
    let node = Uuid::from_bytes(source.random());
    let tell = tell(&bus, &settings, node);
    let listen = listen(&bus, &settings, &source, node);
    tokio::select! {
        () = drain.begun() => {}
        () = tell => {}
        () = listen => {}
    }
}

async fn tell(bus: &Bus, settings: &Settings, node: Uuid) {
    let mut connection: Option<PgConnection> = None;
    loop {
        let moved = bus.next_notice().await;
        let sent = timeout(SEND_TIMEOUT, send(&mut connection, settings, &encode(node, &moved))).await;
        if !matches!(sent, Ok(Ok(()))) {
            // Not worth a line each: the followers on other nodes poll.
            tracing::debug!("a notice to other nodes was not sent");
            connection = None;
            sleep(RETRY_AFTER).await;
        }
    }
}

async fn send(
    connection: &mut Option<PgConnection>,
    settings: &Settings,
    payload: &str,
) -> Result<(), tidings_db::Error> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(connect_dedicated(settings, &[("synchronous_commit", "off")]).await?),
    };
    sqlx::query("select pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(payload)
        .execute(open)
        .await?;
    Ok(())
}

async fn listen(bus: &Bus, settings: &Settings, source: &Source, node: Uuid) {
    loop {
        if let Err(error) = listen_once(bus, settings, source, node).await {
            tracing::debug!(%error, "hints of other nodes are not heard");
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn listen_once(bus: &Bus, settings: &Settings, source: &Source, node: Uuid) -> Result<(), tidings_db::Error> {
    // A pool of one for the listener, which wants a pool to reconnect by.
    let settings = Settings {
        max_connections: 1,
        ..settings.clone()
    };
    let pool: Pool = tidings_db::connect(&settings, source)?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // Whatever was said before now was not heard.
    bus.wake(Moved::Look);
    loop {
        match listener.try_recv().await? {
            Some(notice) => {
                if let Some(moved) = decode(node, notice.payload()) {
                    bus.wake(moved);
                }
            }
            // The connection broke and notices may be lost.
            None => bus.wake(Moved::Look),
        }
    }
}

/// `node:chats:users`, each id in 22 characters; 200 of them stay below the 8,000 bytes that a notice can have.
fn encode(node: Uuid, moved: &Moved) -> String {
    fn ids<K: Kind>(ids: &[Id<K>]) -> String {
        ids.iter()
            .map(|id| URL_SAFE_NO_PAD.encode(id.uuid().as_bytes()))
            .collect()
    }
    let node = URL_SAFE_NO_PAD.encode(node.as_bytes());
    match moved {
        Moved::Look => format!("{node}:look"),
        Moved::Logs { chats, users } => format!("{node}:{}:{}", ids(chats), ids(users)),
    }
}

/// What a notice of another node says; `None` for our own. One that cannot be read, of a newer version perhaps, says to look.
fn decode(node: Uuid, payload: &str) -> Option<Moved> {
    fn ids<K: Kind>(text: &str) -> Option<Vec<Id<K>>> {
        let chunks = text.as_bytes().chunks(22);
        chunks
            .map(|chunk| {
                Uuid::from_slice(&URL_SAFE_NO_PAD.decode(chunk).ok()?)
                    .ok()
                    .map(Id::from_uuid)
            })
            .collect()
    }
    let (from, rest) = payload.split_once(':').unwrap_or((payload, "look"));
    if from == URL_SAFE_NO_PAD.encode(node.as_bytes()) {
        return None;
    }
    let logs = || {
        let (chats, users) = rest.split_once(':')?;
        let (chats, users): (Vec<ChatId>, Vec<UserId>) = (ids(chats)?, ids(users)?);
        Some(Moved::Logs {
            chats: chats.into(),
            users: users.into(),
        })
    };
    Some(logs().unwrap_or(Moved::Look))
}

#[cfg(test)]
mod tests {
    use tidings_ids::{ChatId, Source, UserId};
    use uuid::Uuid;

    use super::{Moved, decode, encode};

    #[test]
    fn a_notice_reads_back_on_another_node_and_not_on_its_own() {
        let source = Source::seeded(1);
        let (here, there) = (Uuid::from_bytes(source.random()), Uuid::from_bytes(source.random()));
        let chats: Vec<ChatId> = (0..150).map(|_| source.new_id()).collect();
        let users: Vec<UserId> = (0..50).map(|_| source.new_id()).collect();
        let moved = Moved::Logs {
            chats: chats.into(),
            users: users.into(),
        };
        let payload = encode(here, &moved);
        assert!(payload.len() < 8_000, "{} bytes", payload.len());
        assert_eq!(decode(there, &payload), Some(moved));
        assert_eq!(decode(here, &payload), None);
        assert_eq!(decode(there, &encode(here, &Moved::Look)), Some(Moved::Look));
    }

    #[test]
    fn a_notice_that_cannot_be_read_says_to_look() {
        for payload in ["", "x", "a:b", "a:b:c", "a:AAAA:"] {
            assert_eq!(decode(Uuid::nil(), payload), Some(Moved::Look), "{payload:?}");
        }
    }
}
