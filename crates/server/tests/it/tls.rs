//! Processes do not speak plaintext with other machines unless they are told to.

use std::{fs, process::Output};

use tempfile::TempDir;
use tidings_authn::Service;
use tidings_ids::Source;
use tidings_rpc::testing::{Authority, shown_at};
use tokio::time::timeout;

use crate::tidings::{PATIENCE, folder, free_address, tidings};

const SECRET: &str = "b7e1c0d94f5a4e6c8f2d3a1b0c9e8d7f6a5b4c3d";

/// Runs a service without a database, so that it ends for want of one if nothing else is wrong.
async fn begun(arguments: &[&str]) -> String {
    let mut command = tidings();
    command.args(arguments).env("TIDINGS_SUITE_SECRET", SECRET);
    let Output { status, stderr, .. } = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

/// What a service says that would have begun.
const WANTS_DATABASE: &str = "database";

#[tokio::test]
async fn a_service_does_not_listen_to_other_machines_in_plaintext() {
    for service in ["auth", "user", "chat", "message"] {
        let refused = begun(&[service, "--listen", "0.0.0.0:0"]).await;
        assert!(refused.contains("--unsafe-allow-plaintext"), "{service}: {refused}");
        let allowed = begun(&[service, "--listen", "0.0.0.0:0", "--unsafe-allow-plaintext"]).await;
        assert!(allowed.contains(WANTS_DATABASE), "{service}: {allowed}");
        let own = begun(&[service, "--listen", "127.0.0.1:0"]).await;
        assert!(own.contains(WANTS_DATABASE), "{service}: {own}");
        assert!(
            own.contains("plaintext"),
            "{service} does not say that it speaks plaintext: {own}"
        );
    }
}

#[tokio::test]
async fn the_gateway_does_not_call_other_machines_in_plaintext() {
    let call = async |address: &str| begun_gateway(&["--auth-address", address]).await;
    let refused = call("http://auth:7700").await;
    assert!(
        refused.contains("--auth-address") && refused.contains("--unsafe-allow-plaintext"),
        "{refused}"
    );
    let refused = call("https://auth:7700").await;
    assert!(refused.contains("--tls-ca-file"), "{refused}");
}

async fn begun_gateway(arguments: &[&str]) -> String {
    begun(&[&["gateway", "--listen", "127.0.0.1:0"], arguments].concat()).await
}

/// The files of a service, as flags.
fn flags(authority: &Authority, service: Service, folder: &TempDir) -> Vec<String> {
    let certificate = authority.service(service, Source::system().now());
    let files = certificate.write(folder.path(), &[authority]).unwrap();
    [
        ("--tls-ca-file", files.ca),
        ("--tls-cert-file", files.cert),
        ("--tls-key-file", files.key),
    ]
    .into_iter()
    .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
    .collect()
}

#[tokio::test]
async fn with_certificates_nothing_goes_in_plaintext() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let flags = flags(&authority, Service::Auth, &folder);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let begun = async |further: &[&str]| begun(&[&["auth"], &flags[..], further].concat()).await;
    let own = begun(&["--listen", "0.0.0.0:0"]).await;
    assert!(own.contains(WANTS_DATABASE) && !own.contains("plaintext"), "{own}");

    let others = begun_gateway(&flags).await;
    assert!(
        others.contains("gateway.tidings.internal"),
        "a certificate of another service: {others}"
    );
    fs::write(folder.path().join("key.pem"), "nothing").unwrap();
    let broken = begun(&["--listen", "127.0.0.1:0"]).await;
    assert!(broken.contains("key.pem"), "{broken}");
    let some = begun_gateway(&flags[..4]).await;
    assert!(some.contains("set together"), "{some}");
}

#[tokio::test]
async fn with_certificates_others_are_called_by_https_only() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let flags = flags(&authority, Service::Gateway, &folder);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let refused = begun_gateway(&[&flags[..], &["--auth-address", "http://127.0.0.1:7711"]].concat()).await;
    assert!(
        refused.contains("--auth-address") && refused.contains("https://"),
        "{refused}"
    );
}

#[tokio::test]
async fn dev_can_have_a_certificate_for_clients() {
    let (_parent, path) = folder();
    let certificates = tempfile::tempdir().unwrap();
    let now = Source::system().now();
    let day = std::time::Duration::from_secs(86_400);
    let certificate = Authority::new().sign(&["localhost"], now - day, now + day);
    let files = certificate.write(certificates.path(), &[]).unwrap();
    let further = [
        "--public-tls-cert-file",
        files.cert.to_str().unwrap(),
        "--public-tls-key-file",
        files.key.to_str().unwrap(),
    ];
    let dev = crate::tidings::Dev::start(&path, &further).await;
    assert!(
        dev.banner.contains(&format!("https://{}/healthz", dev.address)),
        "{}",
        dev.banner
    );
    let shown = shown_at(dev.address).await.unwrap();
    assert_eq!(shown, tidings_rpc::testing::certificate_in(&files.cert));
    assert_eq!(dev.terminate().await, Some(0));
}

#[tokio::test]
async fn the_doctor_tells_of_a_certificate_that_cannot_be_used() {
    let (_parent, path) = folder();
    let certificates = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let files = authority
        .service(Service::Gateway, Source::system().now())
        .write(certificates.path(), &[])
        .unwrap();
    let address = free_address().to_string();
    let examined = async || {
        let arguments = [
            "doctor",
            "--listen",
            &address,
            "--data-dir",
            path.to_str().unwrap(),
            "--public-tls-cert-file",
            files.cert.to_str().unwrap(),
            "--public-tls-key-file",
            files.key.to_str().unwrap(),
        ];
        String::from_utf8(crate::tidings::run(&arguments).await.stdout).unwrap()
    };
    let good = examined().await;
    assert!(good.contains("ok   certificate"), "{good}");
    fs::write(&files.key, "nothing").unwrap();
    let bad = examined().await;
    assert!(bad.contains("BAD  certificate") && bad.contains("key.pem"), "{bad}");
}

#[tokio::test]
async fn a_certificate_for_clients_needs_its_key() {
    let address = free_address().to_string();
    let output = crate::tidings::run(&["dev", "--listen", &address, "--public-tls-cert-file", "cert.pem"]).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.contains("--public-tls-key-file"),
        "{text}"
    );
}
