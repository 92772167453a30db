use std::time::Duration;

use tidings_load::revocations::{self, Admin, Options, Way};
use tidings_testkit::{Process, Shape, Suite};

/// Each way twice, so that the second time meets a suite that has heard of the first.
const ROUNDS: usize = 2;

/// What is not known by then is not known at all.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_somebodys_rights_ends_calls_and_streams_at_two_message_processes() {
    let mut suite = Suite::start(Shape::Five).await;
    suite.start_second_message().await;
    let admin = suite.administrator().await;
    let ways = Way::all(true);
    let report = revocations::run(&Options {
        gateway: suite.gateway_address().to_string(),
        nodes: [Process::Message, Process::SecondMessage]
            .map(|process| suite.address_of(process).to_string())
            .into(),
        admin: Admin {
            username: admin.username,
            password: admin.password,
        },
        mail_dir: Some(suite.mail_folder()),
        rounds: ROUNDS * ways.len(),
        senders: 2,
        patience: PATIENCE,
    })
    .await
    .expect("calls and streams end as promised");
    assert_eq!(report.rounds(), ROUNDS * ways.len());
    assert_eq!(report.ways(), ways);
}
