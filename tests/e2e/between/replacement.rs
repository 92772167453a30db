//! Certificates are replaced while the suite works (F64).

use std::{fs, time::Duration};

use tidings_authn::Service;
use tidings_proto_chat::v1::ListChatsRequest;
use tidings_proto_message::v1::SendMessageRequest;
use tidings_proto_user::v1::{CreateUserRequest, provisioning_service_client::ProvisioningServiceClient};
use tidings_rpc::{
    MutualTls,
    testing::{certificate_in, shown_at},
};
use tidings_testkit::{Actor, Authority, Process, Suite, request_id, until};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tonic::Code;

use super::{SOON, secured};

const SERVICES: [Process; 4] = [Process::Auth, Process::User, Process::Chat, Process::Message];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_replaced_and_no_call_with_a_retry_fails() {
    let old = Authority::new();
    let mut suite = secured(&old).await;
    let new = Authority::new();
    let work = Work::begin(&suite).await;

    // First everybody trusts both, then everybody has a certificate of the new one, then the old one is dropped.
    let before = suite.tls_of(Service::Auth);
    suite.certify(&old, &[&old, &new]);
    everywhere_in_use(&suite).await;
    let both = suite.tls_of(Service::Auth);
    suite.certify(&new, &[&old, &new]);
    everywhere_in_use(&suite).await;
    suite.certify(&new, &[&new]);
    everywhere_in_use(&suite).await;
    for process in SERVICES {
        // New connections are made with the new certificates only.
        assert_eq!(
            reached(&suite, process, &before).await,
            Code::Unavailable,
            "{process:?} by an old caller"
        );
        assert_eq!(
            reached(&suite, process, &both).await,
            Code::Unavailable,
            "{process:?} by the old authority"
        );
        let renewed = suite.tls_of(Service::Auth);
        assert_ne!(
            reached(&suite, process, &renewed).await,
            Code::Unavailable,
            "{process:?} by the new certificate"
        );
    }
    work.end().await;
    // A process that starts now finds the others.
    suite.kill(Process::Chat).await;
    suite.spawn(Process::Chat);
    suite.serving().await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    until("chat answers", SOON, || async {
        ada.chats().list_chats(ListChatsRequest::default()).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_are_named_and_the_old_ones_stay_in_use() {
    let authority = Authority::new();
    let suite = secured(&authority).await;
    let work = Work::begin(&suite).await;
    let kept = suite.tls_of(Service::Auth);
    for process in SERVICES {
        let service = process.service().expect("a process of one service");
        fs::write(suite.certificates_of(service).join("cert.pem"), "no certificate").expect("writes");
        until("the log names the files", SOON, || async {
            let log = fs::read_to_string(suite.log_of(process)).expect("a log");
            log.contains("new certificates cannot be used") && log.contains("cert.pem")
        })
        .await;
        assert_ne!(reached(&suite, process, &kept).await, Code::Unavailable, "{process:?}");
    }
    suite.certify(&authority, &[&authority]);
    everywhere_in_use(&suite).await;
    work.end().await;
}

/// Waits until each service shows the certificate that is in its file. That is written last, so what else is new is in use too.
async fn everywhere_in_use(suite: &Suite) {
    for process in SERVICES {
        let service = process.service().expect("a process of one service");
        let new = certificate_in(&suite.certificates_of(service).join("cert.pem"));
        until("a new certificate is in use", SOON, || async {
            let shown = shown_at(suite.address_of(process)).await;
            shown.is_ok_and(|shown| shown == new)
        })
        .await;
    }
}

/// How a call from auth over a new connection ends: unavailable, or refused by whoever is there.
async fn reached(suite: &Suite, process: Process, tls: &MutualTls) -> Code {
    let mut client = ProvisioningServiceClient::new(suite.peer(process, Service::Auth, tls));
    let created = client.create_user(CreateUserRequest::default()).await;
    created.expect_err("an empty request").code()
}

/// Users who go on all the while: each call that fails is repeated once, with the same request id.
struct Work {
    stop: watch::Sender<bool>,
    working: JoinHandle<usize>,
}

/// Over a new connection a moment later.
const RETRY_DELAY: Duration = Duration::from_millis(100);

impl Work {
    async fn begin(suite: &Suite) -> Self {
        let ada = Actor::register(&suite.channel(), "ada").await;
        let bob = Actor::register(&suite.channel(), "bob").await;
        let chat = ada.conversation(&[&bob]).await;
        let (stop, stopped) = watch::channel(false);
        let working = tokio::spawn(async move {
            let mut calls = 0;
            while !*stopped.borrow() {
                let send = SendMessageRequest {
                    chat_id: chat.chat_id.clone(),
                    text: "on and on".to_owned(),
                    request_id: request_id(),
                    ..SendMessageRequest::default()
                };
                if ada.messages().send_message(send.clone()).await.is_err() {
                    tokio::time::sleep(RETRY_DELAY).await;
                    ada.messages().send_message(send).await.expect("the retry is answered");
                }
                if bob.list(&chat.chat_id).await.is_err() {
                    tokio::time::sleep(RETRY_DELAY).await;
                    bob.list(&chat.chat_id).await.expect("the retry is answered");
                }
                calls += 2;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            calls
        });
        Self { stop, working }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        let calls = timeout(SOON, self.working)
            .await
            .expect("ends")
            .expect("no call failed twice");
        assert!(calls > 0, "nobody called");
    }
}
