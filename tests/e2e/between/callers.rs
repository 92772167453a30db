//! Who reaches a service's own port, with what.

use tidings_authn::Service;
use tidings_proto_chat::v1::{ListChatsRequest, chat_service_client::ChatServiceClient};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{ListMessagesRequest, message_service_client::MessageServiceClient};
use tidings_proto_user::v1::{CreateUserRequest, provisioning_service_client::ProvisioningServiceClient};
use tidings_rpc::Peer;
use tidings_testkit::{Actor, Authority, Process, Suite, assert_contract, reason_of, until};
use tonic::{Code, Request, Status};

use super::{SOON, secured};

const SERVICES: [Process; 4] = [Process::Auth, Process::User, Process::Chat, Process::Message];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_between_services_is_for_those_whose_certificate_and_identity_agree() {
    let authority = Authority::new();
    let suite = secured(&authority).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let chat_id = ada.conversation(&[&bob]).await.chat_id;
    for process in SERVICES {
        plaintext_is_refused(&suite, process, &ada).await;
    }
    private_rpcs(&suite).await;
    users_calls(&suite, &ada, &chat_id).await;
    strangers(&suite).await;
}

/// A user's token is worth nothing at a service's own port without a certificate.
async fn plaintext_is_refused(suite: &Suite, process: Process, user: &Actor) {
    let mut chats = user.through(&suite.direct(process)).chats();
    let listed = chats.list_chats(ListChatsRequest::default()).await;
    let status = listed.expect_err("no TLS");
    // What it has comes from the transport: no service has looked at it.
    assert!(
        status.details().is_empty(),
        "{process:?} answers in plaintext: {status:?}"
    );
}

/// `CreateUser` is for auth alone: with its certificate and its identity.
async fn private_rpcs(suite: &Suite) {
    for certificate in Service::ALL {
        for claimed in Service::ALL {
            let peer = suite.peer(Process::User, claimed, &suite.tls_of(certificate));
            let created = ProvisioningServiceClient::new(peer)
                .create_user(CreateUserRequest::default())
                .await;
            let status = created.expect_err("an empty request");
            assert_contract(&status);
            let expected = if (certificate, claimed) == (Service::Auth, Service::Auth) {
                Code::InvalidArgument
            } else {
                Code::PermissionDenied
            };
            assert_eq!(
                status.code(),
                expected,
                "{claimed} on the certificate of {certificate}: {status:?}"
            );
        }
    }
}

/// A user's call comes by the gateway, or by a service that makes calls for users; not by any other that got hold of a token.
async fn users_calls(suite: &Suite, user: &Actor, chat_id: &str) {
    let bearer = format!("Bearer {}", user.access_token);
    let with_token = |chat_id: &str| {
        let mut request = Request::new(ListMessagesRequest {
            chat_id: chat_id.to_owned(),
            ..ListMessagesRequest::default()
        });
        let bearer = bearer.parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request
    };
    let list = async |peer: Peer| -> Result<(), Status> {
        let mut messages = MessageServiceClient::new(peer);
        messages.list_messages(with_token(chat_id)).await.map(drop)
    };
    let by = |service| suite.peer(Process::Message, service, &suite.tls_of(service));
    // A service that has just started trusts no token for a moment.
    until("the message service trusts", SOON, || async {
        list(by(Service::Gateway)).await.is_ok()
    })
    .await;
    for service in [Service::Auth, Service::User, Service::Message] {
        let status = list(by(service)).await.expect_err("makes no calls for users here");
        assert_eq!(
            reason_of(&status),
            ErrorReason::PermissionMissing,
            "{service}: {status:?}"
        );
    }
    let mut chats =
        ChatServiceClient::new(suite.peer(Process::Chat, Service::Message, &suite.tls_of(Service::Message)));
    let mut request = Request::new(ListChatsRequest::default());
    request
        .metadata_mut()
        .insert("authorization", bearer.parse().expect("a token is ASCII"));
    let status = chats
        .list_chats(request)
        .await
        .expect_err("makes no calls for users here");
    assert_eq!(reason_of(&status), ErrorReason::PermissionMissing, "{status:?}");
}

/// A certificate of another authority gets no connection, whatever it names.
async fn strangers(suite: &Suite) {
    let stranger = Authority::new();
    let kept = suite.tls_of(Service::Auth);
    let folder = tempfile::tempdir().expect("a folder of its own");
    let now = tidings_ids::Source::system().now();
    let certificate = stranger.service(Service::Auth, now);
    let mut files = certificate.write(folder.path(), &[&stranger]).expect("writes");
    // It trusts the suite's authority too, so that it is not the one who refuses.
    let trusted = std::fs::read_to_string(suite.certificates_of(Service::Auth).join("ca.pem")).expect("reads");
    files.ca = folder.path().join("both.pem");
    std::fs::write(&files.ca, format!("{trusted}{}", stranger.certificate())).expect("writes");
    let foreign = tidings_rpc::MutualTls::load(Service::Auth, files, tidings_ids::Source::system()).expect("fit");
    let call = async |tls| {
        let peer = suite.peer(Process::User, Service::Auth, tls);
        let mut client = ProvisioningServiceClient::new(peer);
        let created = client.create_user(CreateUserRequest::default()).await;
        created.expect_err("an empty request")
    };
    assert_eq!(call(&foreign).await.code(), Code::Unavailable);
    assert_eq!(
        call(&kept).await.code(),
        Code::InvalidArgument,
        "the same on a good certificate"
    );
}
