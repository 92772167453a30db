//! TLS between services, and at the public port.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{Args, builder::BoolishValueParser};
use http::Uri;
use tidings_authn::Service;
use tidings_ids::Source;
use tidings_rpc::{Drain, MutualTls, PublicTls, TlsFiles};

/// Files are looked at this often, so that a certificate that was renewed is in use long before the old one ends. They are a few
/// kilobytes in the system's cache.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// What one of several processes needs to prove which service it is, and to know the others.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS between services")]
pub struct TlsArgs {
    /// The certificates of the authorities that sign those of the services, in PEM
    ///
    /// Whoever has a certificate of theirs is a service of this deployment, so they must sign nothing else. The three files are
    /// read again when they change, without a restart; new ones that cannot be used leave the old in use.
    #[arg(long, env = "TIDINGS_TLS_CA_FILE", value_name = "FILE")]
    tls_ca_file: Option<PathBuf>,

    /// This service's certificate, in PEM: for `auth.tidings.internal`, and so on
    #[arg(long, env = "TIDINGS_TLS_CERT_FILE", value_name = "FILE")]
    tls_cert_file: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(long, env = "TIDINGS_TLS_KEY_FILE", value_name = "FILE")]
    tls_key_file: Option<PathBuf>,

    /// Speak plaintext with services on other machines: whoever is on the network between them reads everything
    #[arg(
        long,
        env = "TIDINGS_UNSAFE_ALLOW_PLAINTEXT",
        value_name = "BOOL",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        hide_default_value = true,
        value_parser = BoolishValueParser::new()
    )]
    unsafe_allow_plaintext: bool,
}

impl TlsArgs {
    /// What `service` speaks TLS with, if anything is set, kept current until the process stops.
    ///
    /// # Errors
    ///
    /// When only some of the files are set, or they cannot be used.
    pub fn mutual(&self, service: Service, source: &Source, drain: &Drain) -> Result<Option<MutualTls>> {
        let files = match (&self.tls_ca_file, &self.tls_cert_file, &self.tls_key_file) {
            (None, None, None) => return Ok(None),
            (Some(ca), Some(cert), Some(key)) => TlsFiles {
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
            },
            _ => bail!("--tls-ca-file, --tls-cert-file and --tls-key-file are set together or not at all"),
        };
        let tls =
            MutualTls::load(service, files, source.clone()).context("cannot speak TLS with the other services")?;
        drain.spawn(tls.clone().watch(RELOAD_INTERVAL, drain.clone()));
        Ok(Some(tls))
    }

    /// Whether plaintext may leave this machine.
    pub fn allows_plaintext(&self) -> bool {
        self.unsafe_allow_plaintext
    }

    /// Refuses to take other services' calls in plaintext from other machines.
    ///
    /// # Errors
    ///
    /// When the address is one that other machines reach, and neither TLS is set nor that they may.
    pub fn permit_plaintext_at(&self, listen: SocketAddr) -> Result<()> {
        if listen.ip().to_canonical().is_loopback() || self.unsafe_allow_plaintext {
            return Ok(());
        }
        bail!(
            "{listen} is reached from other machines, and no TLS is set: set --tls-ca-file, --tls-cert-file and \
             --tls-key-file, listen on 127.0.0.1, or accept plaintext with --unsafe-allow-plaintext"
        );
    }
}

/// Whether an address such as `http://127.0.0.1:7711` is one of this machine only.
pub fn is_loopback(address: &str) -> bool {
    let Ok(uri) = address.parse::<Uri>() else { return false };
    is_local(uri.host().unwrap_or_default())
}

/// Whether a host, by name or address, is this machine.
pub fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let ip = host.parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// TLS at the port that clients use, where none ends in front of it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS for clients")]
pub struct PublicTlsArgs {
    /// A certificate that clients trust, with those between it and its authority, in PEM; without it TLS ends in front
    ///
    /// It is read again when it changes, without a restart.
    #[arg(
        long,
        env = "TIDINGS_PUBLIC_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "public_tls_key_file"
    )]
    public_tls_cert_file: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(
        long,
        env = "TIDINGS_PUBLIC_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "public_tls_cert_file"
    )]
    public_tls_key_file: Option<PathBuf>,
}

impl PublicTlsArgs {
    /// Whether clients speak TLS with the port.
    pub fn is_set(&self) -> bool {
        self.public_tls_cert_file.is_some()
    }

    /// What the port speaks TLS with, if anything is set, kept current until the process stops.
    ///
    /// # Errors
    ///
    /// When the files cannot be used.
    pub fn public(&self, source: &Source, drain: &Drain) -> Result<Option<PublicTls>> {
        let tls = self.load(source)?;
        if let Some(tls) = &tls {
            drain.spawn(tls.clone().watch(RELOAD_INTERVAL, drain.clone()));
        }
        Ok(tls)
    }

    /// What the port would speak TLS with now, if anything is set.
    ///
    /// # Errors
    ///
    /// When the files cannot be used.
    pub fn load(&self, source: &Source) -> Result<Option<PublicTls>> {
        let (Some(cert), Some(key)) = (&self.public_tls_cert_file, &self.public_tls_key_file) else {
            return Ok(None);
        };
        let tls = PublicTls::load(cert.clone(), key.clone(), source.clone());
        tls.context("cannot speak TLS with clients").map(Some)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        tls: TlsArgs,
    }

    fn given(arguments: &[&str]) -> TlsArgs {
        let arguments = ["tidings"].iter().chain(arguments);
        Given::try_parse_from(arguments).expect("parses").tls
    }

    #[test]
    fn plaintext_stays_on_this_machine_unless_it_is_allowed_to_leave() {
        let own = [
            "127.0.0.1:7711",
            "127.3.2.1:7711",
            "[::1]:7711",
            "[::ffff:127.0.0.1]:7711",
        ];
        let others = ["0.0.0.0:7711", "[::]:7711", "10.0.0.7:7711", "[fe80::1]:7711"];
        let (default, unsafe_) = (given(&[]), given(&["--unsafe-allow-plaintext"]));
        for listen in own {
            assert!(default.permit_plaintext_at(listen.parse().unwrap()).is_ok(), "{listen}");
        }
        for listen in others {
            let refusal = default.permit_plaintext_at(listen.parse().unwrap()).unwrap_err();
            assert!(refusal.to_string().contains("--unsafe-allow-plaintext"), "{refusal}");
            assert!(unsafe_.permit_plaintext_at(listen.parse().unwrap()).is_ok(), "{listen}");
        }
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        for own in ["http://127.0.0.1:7711", "http://localhost:7711", "http://[::1]:7711"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in [
            "http://auth:7700",
            "http://10.0.0.7:7711",
            "http://localhost.example.org",
            "nonsense here",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[tokio::test]
    async fn some_of_the_files_are_not_enough() {
        let (source, drain) = (Source::system(), Drain::new());
        assert!(given(&[]).mutual(Service::Auth, &source, &drain).unwrap().is_none());
        let some = given(&["--tls-ca-file", "ca.pem", "--tls-cert-file", "cert.pem"]);
        let refusal = some.mutual(Service::Auth, &source, &drain).unwrap_err();
        assert!(refusal.to_string().contains("--tls-key-file"), "{refusal}");
        let absent = given(&[
            "--tls-ca-file",
            "a.pem",
            "--tls-cert-file",
            "b.pem",
            "--tls-key-file",
            "c.pem",
        ]);
        let refusal = absent.mutual(Service::Auth, &source, &drain).unwrap_err();
        assert!(format!("{refusal:#}").contains("cannot read a.pem"), "{refusal:#}");
    }
}
