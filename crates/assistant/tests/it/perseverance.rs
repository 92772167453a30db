//! One message, one response, whatever happens in between.

use tidings_ids::Source;

use super::{Fake, Running, until};

fn echoes(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| format!("echo: {text}")).collect()
}

#[tokio::test]
async fn what_is_said_is_answered() {
    let fake = Fake::new();
    let running = Running::start(&fake);
    until("it follows", || !fake.state().opened.is_empty()).await;
    fake.say("one");
    fake.say("two");
    until("both are answered", || fake.answers().len() == 2).await;
    assert_eq!(fake.answers(), echoes(&["one", "two"]));
    running.stop().await;
}

#[tokio::test]
async fn calls_that_fail_or_whose_answer_is_lost_are_repeated_and_answer_once() {
    let fake = Fake::new();
    fake.state().failures = 3;
    fake.state().lost_answers = 3;
    let running = Running::start(&fake);
    fake.say("one");
    fake.say("two");
    until("both are answered", || fake.answers().len() == 2).await;
    until("all failures were met", || fake.state().lost_answers == 0).await;
    assert_eq!(fake.answers(), echoes(&["one", "two"]));
    running.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_goes_on_where_it_was() {
    let fake = Fake::new();
    let running = Running::start(&fake);
    fake.say("one");
    until("it is answered", || fake.answers().len() == 1).await;
    fake.cut();
    fake.say("two");
    until("it is answered", || fake.answers().len() == 2).await;
    let after = fake.state().opened.last().unwrap().clone();
    assert_eq!(after.log_id, "log");
    assert!(after.chats[0].position >= 1, "{after:?}");
    assert_eq!(fake.state().logins, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_token_that_expired_is_refreshed() {
    let fake = Fake::new();
    let running = Running::start(&fake);
    fake.say("one");
    until("it is answered", || fake.answers().len() == 1).await;
    fake.expire_tokens();
    fake.say("two");
    until("it is answered", || fake.answers().len() == 2).await;
    assert_eq!(fake.state().logins, 1);
    assert!(fake.state().refreshes >= 1);
    running.stop().await;
}

#[tokio::test]
async fn after_a_restart_it_answers_what_it_missed_once() {
    let fake = Fake::new();
    let running = Running::start(&fake);
    fake.say("one");
    until("it is answered", || fake.answers().len() == 1).await;
    running.stop().await;

    // More than a snapshot holds, so that it must look back.
    let missed = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    for text in missed {
        fake.say(text);
    }
    let running = Running::start(&fake);
    until("all are answered", || fake.answers().len() == 10).await;
    running.stop().await;

    let running = Running::start(&fake);
    fake.say("eleven");
    until("it is answered", || fake.answers().len() == 11).await;
    let all = [&["one"][..], &missed, &["eleven"]].concat();
    assert_eq!(fake.answers(), echoes(&all));
    running.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_refused_does_not_hold_up_the_next() {
    let fake = Fake::new();
    let deleted = fake.say("one");
    fake.state().refused = Some(deleted);
    fake.say("two");
    let running = Running::start(&fake);
    until("the second is answered", || !fake.answers().is_empty()).await;
    assert_eq!(fake.answers(), echoes(&["two"]));
    running.stop().await;
}

#[tokio::test]
async fn a_bot_is_not_answered() {
    let fake = Fake::new();
    let bot = fake.state().person;
    fake.state().bot = Some(bot);
    fake.say("one");
    let running = Running::start(&fake);
    until("it follows", || !fake.state().opened.is_empty()).await;
    fake.say("two");
    // Nothing tells that it does nothing. But a chat is answered in order: who is answered after both tells that neither was.
    let person = Source::system().new_id();
    fake.state().person = person;
    fake.say("three");
    until("a person is answered", || !fake.answers().is_empty()).await;
    assert_eq!(fake.answers(), echoes(&["three"]));
    running.stop().await;
}
