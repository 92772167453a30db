//! Files that a process does not start with: the other services would refuse it, and nobody would see why.

use std::{fs, time::Duration};

use tidings_authn::Service;
use tidings_ids::Source;
use tidings_rpc::{
    MutualTls, TlsFiles,
    testing::{Authority, Certificate},
    tls::InvalidTls,
};

const DAY: Duration = Duration::from_secs(86_400);

struct Given {
    authority: Authority,
    source: Source,
    files: TlsFiles,
    _folder: tempfile::TempDir,
}

fn given(certificate: impl FnOnce(&Authority, &Source) -> Certificate) -> Given {
    let authority = Authority::new();
    let source = Source::stopped(1);
    let folder = tempfile::tempdir().expect("a folder of its own");
    let files = certificate(&authority, &source)
        .write(folder.path(), &[&authority])
        .expect("writes");
    Given {
        authority,
        source,
        files,
        _folder: folder,
    }
}

impl Given {
    fn loaded(&self) -> Result<MutualTls, InvalidTls> {
        MutualTls::load(Service::Chat, self.files.clone(), self.source.clone())
    }

    fn refused(&self) -> InvalidTls {
        self.loaded().expect_err("must be refused")
    }
}

fn of_chat() -> Given {
    given(|authority, source| authority.service(Service::Chat, source.now()))
}

#[test]
fn files_that_fit_are_taken() {
    assert_eq!(of_chat().loaded().expect("fit").service(), Service::Chat);
}

#[test]
fn a_certificate_of_another_service_or_of_several_is_refused() {
    for names in [
        &["message.tidings.internal"][..],
        &["*.tidings.internal"],
        &["chat.tidings.internal", "message.tidings.internal"],
        &["chat"],
    ] {
        let given = given(|authority, source| {
            let now = source.now();
            authority.sign(names, now - DAY, now + DAY)
        });
        assert!(matches!(given.refused(), InvalidTls::OtherName { .. }), "{names:?}");
    }
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    let given = given(|authority, source| {
        let now = source.now();
        authority.sign(&["chat.tidings.internal"], now - 2 * DAY, now - DAY)
    });
    assert!(matches!(given.refused(), InvalidTls::NotAccepted { .. }));
}

#[test]
fn a_certificate_of_an_authority_that_is_not_trusted_is_refused() {
    let given = of_chat();
    fs::write(&given.files.ca, Authority::new().certificate()).expect("writes");
    assert!(matches!(given.refused(), InvalidTls::NotAccepted { .. }));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let given = of_chat();
    let other = given.authority.service(Service::Chat, given.source.now());
    fs::write(&given.files.key, &other.key).expect("writes");
    assert!(matches!(given.refused(), InvalidTls::Unfit(_)));
}

#[test]
fn files_that_hold_something_else_are_named() {
    let given = of_chat();
    let named = |path: &std::path::Path, error: InvalidTls| {
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    };
    let kept = fs::read(&given.files.ca).expect("reads");
    fs::write(&given.files.ca, "nothing").expect("writes");
    named(&given.files.ca, given.refused());
    fs::write(&given.files.ca, kept).expect("writes");

    let kept = fs::read(&given.files.key).expect("reads");
    fs::write(&given.files.key, "").expect("writes");
    named(&given.files.key, given.refused());
    fs::write(&given.files.key, kept).expect("writes");

    given.loaded().expect("all as before");
    fs::remove_file(&given.files.cert).expect("removes");
    named(&given.files.cert, given.refused());
}

#[test]
fn it_is_known_when_a_certificate_is_about_to_end() {
    let tls = of_chat().loaded().expect("valid for a day");
    assert!(!tls.ends_within(DAY / 2));
    assert!(tls.ends_within(DAY * 7));
}
