//! What an operator can set of the gateway.

use anyhow::{Context as _, Result, ensure};
use clap::{Args, builder::BoolishValueParser};
use http::{HeaderValue, uri::Authority};
use tidings_auth_service::Registration;
use tidings_gateway::{Config, Cors, Network};
use tidings_proto_gateway::v1::RegistrationMode;

/// What switches a setting off that is a text.
const OFF: &str = "off";

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

    /// What browsers are told of TLS to this host, in `strict-transport-security`, or `off`; they heed it only over TLS
    ///
    /// `dev` says nothing, the others that everything here and below is reached by TLS, for a year:
    /// `max-age=31536000; includeSubDomains`.
    #[arg(long, env = "TIDINGS_HSTS", value_name = "POLICY")]
    hsts: Option<String>,

    /// Whether the public RPCs are shown by reflection, for grpcurl and its like; `dev` does, the others do not
    #[arg(long, env = "TIDINGS_REFLECTION", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    reflection: Option<bool>,

    /// Whether `/` is a page to try it with, and the links in mails lead to a page; `dev` has them, the others have not
    #[arg(long, env = "TIDINGS_WEB", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    web: Option<bool>,
}

/// What a gateway does where nothing is set.
#[derive(Debug, Clone)]
pub struct GatewayDefaults {
    cors: Cors,
    hsts: &'static str,
    reflection: bool,
    web: bool,
}

impl GatewayDefaults {
    /// To find one's way about.
    pub const DEV: Self = Self {
        cors: Cors::Localhost,
        // It would count for all that listens on this machine.
        hsts: OFF,
        reflection: true,
        web: true,
    };

    /// No more than clients need.
    pub const DEPLOYED: Self = Self {
        cors: Cors::Off,
        // A year, and subdomains: ASVS 3.4.1.
        hsts: "max-age=31536000; includeSubDomains",
        reflection: false,
        web: false,
    };
}

impl GatewayArgs {
    /// Whether `/` is a page.
    pub fn has_web(&self, defaults: &GatewayDefaults) -> bool {
        self.web.unwrap_or(defaults.web)
    }

    /// Whether the public RPCs are shown by reflection.
    pub fn has_reflection(&self, defaults: &GatewayDefaults) -> bool {
        self.reflection.unwrap_or(defaults.reflection)
    }

    /// The gateway's configuration beside what the services are set to.
    pub fn config(
        &self,
        defaults: GatewayDefaults,
        registration: Registration,
        streams_per_user_max: usize,
    ) -> Result<Config> {
        let (reflection, web) = (self.has_reflection(&defaults), self.has_web(&defaults));
        let mut config = Config {
            cors: match self.cors.as_deref() {
                None => defaults.cors,
                Some(text) => cors(text)?,
            },
            trusted_proxies: self.trusted_proxies.clone(),
            transport_security: transport_security(self.hsts.as_deref().unwrap_or(defaults.hsts))?,
            reflection,
            web,
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
        origins => {
            let origins = origins.split(',').map(|text| origin(text.trim()));
            origins.collect::<Result<_>>().map(Cors::Origins)
        }
    }
}

/// An origin as browsers write it: scheme, host, and a port where it is not the scheme's. `*` and `null` are none: they would be
/// everybody.
fn origin(text: &str) -> Result<HeaderValue> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority: Option<Authority> = host.and_then(|host| host.parse().ok());
    let is_origin = authority.is_some_and(|authority| {
        !authority.host().is_empty() && !authority.as_str().contains(['@', '*']) && *text == text.to_ascii_lowercase()
    });
    ensure!(
        is_origin,
        "--cors: {text:?} is no origin such as https://chat.example.org"
    );
    text.parse().with_context(|| format!("--cors: {text:?} is no origin"))
}

fn transport_security(policy: &str) -> Result<Option<HeaderValue>> {
    if policy == OFF {
        return Ok(None);
    }
    let directives = || policy.split(';').map(str::trim);
    let max_age = directives().find_map(|directive| directive.strip_prefix("max-age="));
    let is_policy = max_age.is_some_and(|seconds| seconds.parse::<u32>().is_ok());
    ensure!(
        is_policy,
        "--hsts: {policy:?} has no max-age in seconds; `off` says nothing"
    );
    let value = policy
        .parse()
        .with_context(|| format!("--hsts: {policy:?} is no header"));
    value.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_one_by_one() {
        let named = cors("https://chat.example.org, http://localhost:5173").expect("two origins");
        assert!(matches!(named, Cors::Origins(origins) if origins.len() == 2));
        assert_eq!(cors("off").expect("none"), Cors::Off);
        for everybody in [
            "*",
            "null",
            "https://*.example.org",
            "https://chat.example.org/",
            "https://Chat.example.org",
            "https://ada@chat.example.org",
            "chat.example.org",
            "https://",
            "",
            "https://a.example.org,*",
        ] {
            assert!(cors(everybody).is_err(), "{everybody:?}");
        }
    }

    #[test]
    fn browsers_are_told_of_tls_for_a_year_unless_it_is_set_otherwise() {
        let deployed = transport_security(GatewayDefaults::DEPLOYED.hsts).expect("a policy");
        assert_eq!(deployed.expect("a header"), "max-age=31536000; includeSubDomains");
        assert_eq!(transport_security(GatewayDefaults::DEV.hsts).expect("fit"), None);
        assert!(transport_security("max-age=0").expect("a policy").is_some());
        for bad in [
            "",
            "on",
            "max-age=",
            "max-age=soon",
            "includeSubDomains",
            "max-age=1\nx: y",
        ] {
            assert!(transport_security(bad).is_err(), "{bad:?}");
        }
    }
}
