//! `deploy/make-certs.sh`, where openssl is there.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;
use tidings_authn::Service;
use tidings_ids::Source;
use tidings_rpc::{MutualTls, TlsFiles, tls::InvalidTls, tls::Reload};

/// A folder of certificates that the script made.
struct Made(TempDir);

impl Made {
    /// Nothing where there is no openssl: the script says so itself.
    fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("there is no openssl here: deploy/make-certs.sh is not tried");
            return None;
        }
        let made = Self(tempfile::tempdir().unwrap());
        made.succeeds(&[]);
        Some(made)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/make-certs.sh");
        let mut command = Command::new("sh");
        command
            .arg(script)
            .args(arguments)
            .env("TIDINGS_CERTS_DIR", self.0.path());
        command.output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn files(&self, service: Service) -> TlsFiles {
        let file = |name: &str| -> PathBuf { self.0.path().join(service.name()).join(name) };
        TlsFiles {
            ca: file("ca.crt"),
            cert: file("tls.crt"),
            key: file("tls.key"),
        }
    }

    fn load(&self, service: Service) -> Result<MutualTls, InvalidTls> {
        MutualTls::load(service, self.files(service), Source::system())
    }
}

#[test]
fn every_service_can_use_what_the_script_makes() {
    let Some(made) = Made::new() else { return };
    for service in Service::ALL {
        made.load(service).unwrap();
        for other in Service::ALL.into_iter().filter(|other| *other != service) {
            let stolen = MutualTls::load(other, made.files(service), Source::system());
            assert!(
                matches!(stolen, Err(InvalidTls::OtherName { .. })),
                "{other} as {service}"
            );
        }
    }
}

#[test]
fn certificates_and_their_authority_are_replaced_without_a_restart() {
    let Some(made) = Made::new() else { return };
    let running = Service::ALL.map(|service| made.load(service).unwrap());
    let all_take_it_up = |what: &str| {
        for tls in &running {
            assert!(matches!(tls.reload(), Reload::Replaced), "{what}: {}", tls.service());
        }
    };
    made.succeeds(&[]);
    all_take_it_up("new certificates");
    made.succeeds(&["--new-authority"]);
    all_take_it_up("another authority beside the old");
    assert!(
        !made.run(&["--new-authority"]).status.success(),
        "one is begun at a time"
    );
    assert!(
        !made.run(&["--drop-old-authority"]).status.success(),
        "certificates of it are in use"
    );
    made.succeeds(&[]);
    all_take_it_up("certificates of the new authority");
    made.succeeds(&["--drop-old-authority"]);
    all_take_it_up("the new authority alone");
}

#[test]
fn nobody_else_on_the_machine_reads_the_keys() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(made) = Made::new() else { return };
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(made.0.path()), 0o700);
    assert_eq!(mode(&made.0.path().join("authority")), 0o700);
    assert_eq!(mode(&made.0.path().join("authority/ca.key")), 0o600);
}
