//! What a certificate is worth: the identity that a call claims must be the certificate's.

use tidings_authn::Service;
use tonic::Code;

use super::world::{OF_USERS, PRIVATE, World, call, greet};
use crate::stack::reason;

#[tokio::test]
async fn services_with_certificates_of_the_authority_speak() {
    let world = World::new().await;
    for caller in Service::ALL {
        let tls = world.tls_of(caller);
        greet(world.peer(&tls, caller)).await.expect("is answered");
    }
}

#[tokio::test]
async fn a_private_rpc_is_for_the_services_that_it_names() {
    let world = World::new().await;
    for caller in Service::ALL {
        let status = call(world.peer(&world.tls_of(caller), caller), PRIVATE, None).await;
        let expected = if caller == Service::Chat {
            Code::Unimplemented
        } else {
            Code::PermissionDenied
        };
        assert_eq!(status.code(), expected, "{caller}: {status:?}");
    }
}

#[tokio::test]
async fn a_stolen_identity_is_worth_nothing_on_anothers_certificate() {
    let world = World::new().await;
    for thief in Service::ALL.into_iter().filter(|service| *service != Service::Chat) {
        let tls = world.tls_of(thief);
        let status = call(world.peer(&tls, Service::Chat), PRIVATE, None).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{thief}: {status:?}");
        assert_eq!(reason(&status), "PERMISSION_MISSING", "{thief}");
    }
    // Nor does the gateway's make a caller the gateway where no identity is asked for.
    let status = greet(world.peer(&world.tls_of(Service::Auth), Service::Gateway)).await;
    assert_eq!(status.expect_err("is refused").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn users_calls_come_from_the_services_that_make_them() {
    let world = World::new().await;
    for caller in Service::ALL {
        let status = call(world.peer(&world.tls_of(caller), caller), OF_USERS, Some("a.b.c")).await;
        let expected = if matches!(caller, Service::Gateway | Service::Chat) {
            // The token is looked at.
            Code::Unauthenticated
        } else {
            Code::PermissionDenied
        };
        assert_eq!(status.code(), expected, "{caller}: {status:?}");
    }
}
