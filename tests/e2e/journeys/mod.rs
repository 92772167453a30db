//! The flows that the product began from (`api.md` section 8), each from end to end through the gateway.

mod accounts;
mod chats;
mod messages;
mod people;

use std::time::Duration;

use tidings_testkit::{Authority, Shape, Suite};

use self::{
    accounts::{a_forgotten_password, logging_in_and_out, registration},
    chats::{an_assistant_session, conversations_and_groups, direct_messages},
    messages::{a_stream_from_the_first_message_on, editing_deleting_and_paging, media},
    people::roles_and_users,
};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flows_work_in_one_process() {
    play(&Suite::start(Shape::One).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flows_work_in_five_processes() {
    play(&Suite::start(Shape::Five).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flows_work_over_mutual_tls() {
    let mut suite = Suite::prepare(Shape::Five, &[]).await;
    suite.secure(&Authority::new());
    suite.begin().await;
    play(&suite).await;
}

async fn play(suite: &Suite) {
    let admin = suite.administrator().await;
    registration(suite).await;
    logging_in_and_out(suite).await;
    a_forgotten_password(suite).await;
    roles_and_users(suite, &admin).await;
    direct_messages(suite).await;
    conversations_and_groups(suite).await;
    an_assistant_session(suite, &admin).await;
    media(suite).await;
    editing_deleting_and_paging(suite).await;
    a_stream_from_the_first_message_on(suite).await;
}
