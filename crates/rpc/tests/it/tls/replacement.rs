//! Certificates and authorities are replaced while services speak (F64).

use std::{fs, sync::Arc, time::Duration};

use tidings_authn::Service;
use tidings_rpc::{
    MutualTls, Peer,
    testing::Authority,
    tls::{InvalidTls, Reload},
};
use tokio::time::timeout;

use super::world::{World, assert_unreachable, greet, load};

/// Replaced files are noticed within this, however slow the machine is.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_authority_is_replaced_step_by_step_and_no_call_fails() {
    let world = World::new().await;
    let now = world.source.now();
    let (old, new) = (&world.authority, Authority::new());
    let (files, tls) = load(
        Service::Chat,
        &old.service(Service::Chat, now),
        &[old],
        world.source.clone(),
    );
    let folder = files.cert.parent().expect("a folder");
    let standing = world.peer(&tls, Service::Chat);
    let fresh = || world.peer(&tls, Service::Chat);
    greet(standing.clone()).await.expect("connects");

    // 1. Everybody trusts both. 2. Everybody gets a new certificate. 3. The old authority is dropped.
    let callee = |signer: &Authority, trusted: &[&Authority]| {
        let certificate = signer.service(Service::Message, now);
        certificate.write(world.folder(), trusted).expect("writes");
        assert!(matches!(world.tls.reload(), Reload::Replaced));
    };
    let caller = |signer: &Authority, trusted: &[&Authority]| {
        let certificate = signer.service(Service::Chat, now);
        certificate.write(folder, trusted).expect("writes");
        assert!(matches!(tls.reload(), Reload::Replaced));
    };
    callee(old, &[old, &new]);
    greet(fresh()).await.expect("the callee trusts both");
    caller(old, &[old, &new]);
    greet(fresh()).await.expect("both trust both");
    callee(&new, &[old, &new]);
    greet(fresh()).await.expect("the callee has a new certificate");
    caller(&new, &[old, &new]);
    greet(fresh()).await.expect("both have new certificates");
    callee(&new, &[&new]);
    greet(fresh()).await.expect("the callee trusts the new only");
    caller(&new, &[&new]);
    greet(fresh()).await.expect("both trust the new only");
    greet(standing).await.expect("a connection lives as long as it lives");

    let late = old.service(Service::User, now);
    let (_, late) = load(Service::User, &late, &[old, &new], world.source.clone());
    assert_unreachable(greet(world.peer(&late, Service::User)).await);
}

#[tokio::test]
async fn files_that_are_not_fit_leave_things_as_they_were() {
    let world = World::new().await;
    let tls = world.tls_of(Service::Chat);
    let fresh = || world.peer(&tls, Service::Chat);
    let stranger = Authority::new();
    let cert = world.folder().join("cert.pem");
    let kept = fs::read(&cert).expect("reads");

    let foreign = stranger.service(Service::Message, world.source.now()).certificate;
    let other = world.authority.service(Service::Chat, world.source.now()).certificate;
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n", &foreign, &other] {
        fs::write(&cert, broken).expect("writes");
        assert!(matches!(world.tls.reload(), Reload::Refused(_)), "{broken}");
        assert!(matches!(world.tls.reload(), Reload::Unchanged), "it was said before");
        greet(fresh()).await.expect("the old certificate is in use");
    }
    fs::remove_file(&cert).expect("removes");
    assert!(matches!(
        world.tls.reload(),
        Reload::Refused(InvalidTls::Unreadable { .. })
    ));
    greet(fresh()).await.expect("the old certificate is in use");

    fs::write(&cert, kept).expect("writes");
    assert!(matches!(world.tls.reload(), Reload::Replaced));
    greet(fresh()).await.expect("what was there before is fit");
}

/// The same by the task that a process runs, on the callee's side: a service that trusted the old authority only is refused
/// from the replacement on.
#[tokio::test]
async fn replaced_files_are_noticed_by_whoever_watches_them() {
    let world = World::new().await;
    let watch = world.tls.clone().watch(Duration::from_millis(10), world.drain.clone());
    let watching = tokio::spawn(watch);
    let old = world.tls_of(Service::Chat);
    greet(world.peer(&old, Service::Chat))
        .await
        .expect("the old one is good");

    let new = Authority::new();
    let certificate = new.service(Service::Message, world.source.now());
    certificate.write(world.folder(), &[&new]).expect("writes");
    let certificate = new.service(Service::Chat, world.source.now());
    let (_, renewed) = load(Service::Chat, &certificate, &[&new], world.source.clone());
    let noticed = async {
        while greet(world.peer(&renewed, Service::Chat)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, noticed).await.expect("the new files are noticed");
    assert_unreachable(greet(world.peer(&old, Service::Chat)).await);
    world.drain.begin();
    timeout(SOON, watching)
        .await
        .expect("the watch ends with the process")
        .expect("joins");
}

/// Calls go on while both sides' certificates change again and again. A caller that repeats a call once is always answered.
#[tokio::test]
async fn calls_with_one_retry_go_on_while_certificates_change() {
    let world = Arc::new(World::new().await);
    let now = world.source.now();
    let certificate = world.authority.service(Service::Chat, now);
    let (files, tls) = load(Service::Chat, &certificate, &[&world.authority], world.source.clone());
    let folder = files.cert.parent().expect("a folder").to_owned();
    for round in 0..20 {
        let certificate = world.authority.service(Service::Message, now);
        certificate.write(world.folder(), &[&world.authority]).expect("writes");
        let certificate = world.authority.service(Service::Chat, now);
        certificate.write(&folder, &[&world.authority]).expect("writes");
        let (callee, caller) = (world.tls.clone(), tls.clone());
        let replacing = tokio::task::spawn_blocking(move || (callee.reload(), caller.reload()));
        for _ in 0..5 {
            answered(&world, &tls, round).await;
        }
        let (callee, caller) = replacing.await.expect("joins");
        assert!(matches!((callee, caller), (Reload::Replaced, Reload::Replaced)));
        answered(&world, &tls, round).await;
    }
}

async fn answered(world: &World, tls: &MutualTls, round: usize) {
    let peer: Peer = world.peer(tls, Service::Chat);
    if greet(peer.clone()).await.is_err() {
        let again = greet(peer).await;
        again.unwrap_or_else(|status| panic!("round {round}: {status:?}"));
    }
}
