use std::{path::PathBuf, time::Duration};

use crate::SyncSettings;

/// What a deployment can set, and the defaults that `GetLimits` and the proto comments tell.
#[derive(Debug, Clone)]
pub struct Config {
    /// Connections that take sends, each with batches of its own. One saturates one core of Postgres; more than two on two cores
    /// only makes batches smaller (`performance.md`, D2).
    pub send_shards: usize,
    /// Whether other nodes are told what moves here, and heard. A single process does without.
    pub other_nodes: bool,
    /// The folder that files are kept in. It is made if it is not there.
    pub media_dir: PathBuf,
    /// Where clients reach the gateway, such as `https://chat.example.org`: what upload and download URLs begin with.
    pub public_url: String,
    /// The size of one file in bytes.
    pub attachment_bytes_max: u32,
    /// How long an upload or download URL works, five minutes at the most (`reliability.md`, G31).
    pub media_url_lifetime: Duration,
    /// Files that no message takes for so long are removed.
    pub unused_attachment_lifetime: Duration,
    /// How long what was in a removed chat is still in the tables and the store, where nobody sees it: its messages with their earlier
    /// texts, its files and its title. Then it is erased.
    pub removed_chat_lifetime: Duration,
    /// How long the logs keep their entries. Who was away for longer reads its chats anew. Messages are kept for ever.
    pub log_lifetime: Duration,
    /// How often the sweeper looks for removed chats, files, requests and log entries whose time is over.
    pub sweep_interval: Duration,
    /// Streams.
    pub sync: SyncSettings,
    /// Things on a page where the request says nothing.
    pub page_size_default: u32,
    /// Things on a page at most.
    pub page_size_max: u32,
}

impl Config {
    /// The default of [`attachment_bytes_max`](Self::attachment_bytes_max): 100 MiB.
    pub const ATTACHMENT_BYTES_MAX: u32 = 100 * 1024 * 1024;

    /// The longest that a URL of a file may work.
    pub const MEDIA_URL_LIFETIME_MAX: Duration = Duration::from_secs(300);

    /// The defaults, with files in `media_dir` and URLs that begin with `public_url`.
    #[must_use]
    pub fn new(media_dir: impl Into<PathBuf>, public_url: impl Into<String>) -> Self {
        Self {
            send_shards: 2,
            other_nodes: true,
            media_dir: media_dir.into(),
            public_url: public_url.into(),
            attachment_bytes_max: Self::ATTACHMENT_BYTES_MAX,
            media_url_lifetime: Self::MEDIA_URL_LIFETIME_MAX,
            unused_attachment_lifetime: Duration::from_secs(24 * 3_600),
            removed_chat_lifetime: Duration::from_secs(24 * 3_600),
            log_lifetime: Duration::from_secs(30 * 24 * 3_600),
            sweep_interval: Duration::from_secs(60),
            sync: SyncSettings::default(),
            page_size_default: 50,
            page_size_max: 200,
        }
    }
}
