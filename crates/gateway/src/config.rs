use http::HeaderValue;
use tidings_proto_gateway::v1::{Limits, RegistrationMode};

use crate::Network;

/// What an operator can set of the gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which web pages may call it.
    pub cors: Cors,
    /// The proxies in front of it, whose word on the client's address (`x-forwarded-for`) counts. Empty where clients connect
    /// directly: then no header says where a call comes from. Behind a proxy that is not named here all clients share one
    /// rate limit.
    pub trusted_proxies: Vec<Network>,
    /// What browsers are told of TLS to this host, in `strict-transport-security`; they heed it only over TLS. `None` says nothing.
    pub transport_security: Option<HeaderValue>,
    /// Whether reflection is offered, showing the public RPCs.
    pub reflection: bool,
    /// Whether `/` is a page to try it with, and the links in mails lead to a page.
    pub web: bool,
    /// Who may register, as auth is set, for `GetServerInfo`.
    pub registration_mode: RegistrationMode,
    /// Further features that are switched on, for `GetServerInfo`.
    pub features: Vec<String>,
    /// The limits of the deployment as the services are set, for `GetLimits`.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cors: Cors::Off,
            trusted_proxies: Vec::new(),
            transport_security: None,
            reflection: false,
            web: false,
            registration_mode: RegistrationMode::Open,
            features: Vec::new(),
            limits: default_limits(),
        }
    }
}

/// Which origins' pages may call the gateway. There are no cookies, so what this guards is a browser's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// None.
    Off,
    /// Those that come from the same machine, for development.
    Localhost,
    /// Exactly these, such as `https://chat.example.org`.
    Origins(Vec<HeaderValue>),
}

/// The limits as the comments in `limits.proto` give them: those of a deployment where nothing is set otherwise.
#[must_use]
pub fn default_limits() -> Limits {
    Limits {
        text_code_points_max: 8_000,
        text_bytes_max: 32_768,
        username_characters_min: 2,
        username_characters_max: 32,
        email_bytes_max: 254,
        password_code_points_min: 8,
        password_code_points_max: 256,
        display_name_code_points_max: 128,
        title_code_points_max: 128,
        bio_code_points_max: 1_000,
        metadata_bytes_max: 4_096,
        external_id_bytes_max: 128,
        page_size_default: 50,
        page_size_max: 200,
        batch_ids_max: 200,
        group_members_max: 10_000,
        conversation_members_max: 200,
        group_chats_max: 500,
        request_bytes_max: 65_536,
        user_streams_max: 8,
        stream_chats_max: 10_000,
        request_id_kept_seconds: 604_800,
        access_token_seconds_max: 600,
        mailed_token_seconds_max: 600,
        message_attachments_max: 10,
        attachment_bytes_max: 104_857_600,
    }
}
