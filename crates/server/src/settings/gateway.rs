//! What an operator can set of the gateway.

use anyhow::{Context as _, Result};
use clap::{Args, builder::BoolishValueParser};
use tidings_auth_service::Registration;
use tidings_gateway::{Config, Cors, Network};
use tidings_proto_gateway::v1::RegistrationMode;

/// What an operator can set of the gateway.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Gateway")]
pub struct GatewayArgs {
    /// Which web pages may call: `off`, `localhost`, or origins such as `https://chat.example.org`, with commas
    #[arg(long, env = "TIDINGS_CORS", value_name = "ORIGINS")]
    cors: Option<String>,

    /// The proxies in front, whose `x-forwarded-for` counts: addresses and networks such as `10.0.0.0/8`, with commas
    ///
    /// Behind a proxy that is not named here, all clients share one rate limit.
    #[arg(
        long,
        env = "TIDINGS_TRUSTED_PROXIES",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<Network>,

    /// Whether the public RPCs are shown by reflection, for grpcurl and its like; `dev` does, the others do not
    #[arg(long, env = "TIDINGS_REFLECTION", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    reflection: Option<bool>,

    /// Whether `/` is a page to try it with; `dev` has it, the others have not
    #[arg(long, env = "TIDINGS_WEB", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    web: Option<bool>,
}

/// What a gateway does where nothing is set.
#[derive(Debug, Clone)]
pub struct GatewayDefaults {
    cors: Cors,
    reflection: bool,
    web: bool,
}

impl GatewayDefaults {
    /// To find one's way about.
    pub const DEV: Self = Self {
        cors: Cors::Localhost,
        reflection: true,
        web: true,
    };

    /// No more than clients need.
    pub const DEPLOYED: Self = Self {
        cors: Cors::Off,
        reflection: false,
        web: false,
    };
}

impl GatewayArgs {
    /// Whether `/` is a page.
    pub fn has_web(&self, defaults: &GatewayDefaults) -> bool {
        self.web.unwrap_or(defaults.web)
    }

    /// The gateway's configuration beside what the services are set to.
    pub fn config(
        &self,
        defaults: GatewayDefaults,
        registration: Registration,
        streams_per_user_max: usize,
    ) -> Result<Config> {
        let mut config = Config {
            cors: match self.cors.as_deref() {
                None => defaults.cors,
                Some(text) => cors(text)?,
            },
            trusted_proxies: self.trusted_proxies.clone(),
            reflection: self.reflection.unwrap_or(defaults.reflection),
            web: self.web.unwrap_or(defaults.web),
            registration_mode: match registration {
                Registration::Open => RegistrationMode::Open,
                Registration::Verified => RegistrationMode::Verified,
                Registration::Closed => RegistrationMode::Closed,
            },
            ..Config::default()
        };
        config.limits.user_streams_max = u32::try_from(streams_per_user_max).unwrap_or(u32::MAX);
        Ok(config)
    }
}

fn cors(text: &str) -> Result<Cors> {
    match text {
        "off" => Ok(Cors::Off),
        "localhost" => Ok(Cors::Localhost),
        origins => origins
            .split(',')
            .map(|origin| {
                origin
                    .trim()
                    .parse()
                    .with_context(|| format!("--cors: {origin:?} is no origin"))
            })
            .collect::<Result<_>>()
            .map(Cors::Origins),
    }
}
