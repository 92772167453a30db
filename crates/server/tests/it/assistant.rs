//! The echo assistant of `tidings dev`, as a newcomer meets it.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidings_server::postgres::{Cluster, SUPERUSER};
use tokio::time::Instant;

use crate::tidings::{Dev, PATIENCE, folder};

const PASSWORD: &str = "correct horse battery";

/// A user of a running suite.
struct Person {
    token: String,
    user_id: String,
}

impl Person {
    async fn register(dev: &Dev, username: &str) -> Self {
        let register = json!({
            "username": username,
            "email": format!("{username}@example.org"),
            "password": PASSWORD,
        });
        answered(
            &dev.call("tidings.auth.v1.AuthService/Register", &register.to_string())
                .await,
        );
        Self::login(dev, username).await
    }

    async fn login(dev: &Dev, username: &str) -> Self {
        let login = json!({"identifier": username, "password": PASSWORD}).to_string();
        let answer = answered(&dev.call("tidings.auth.v1.AuthService/Login", &login).await);
        Self {
            token: text(&answer["accessToken"]),
            user_id: text(&answer["userId"]),
        }
    }

    async fn call(&self, dev: &Dev, method: &str, body: &Value) -> String {
        let authorization = format!("authorization: Bearer {}\r\n", self.token);
        dev.call_with(method, &authorization, &body.to_string()).await
    }

    /// Begins a session with whoever answers by default.
    async fn session(&self, dev: &Dev) -> Value {
        let method = "tidings.chat.v1.ChatSessionService/CreateChatSession";
        answered(&self.call(dev, method, &json!({"title": "a session"})).await)["session"].take()
    }

    async fn send(&self, dev: &Dev, chat_id: &Value, text: &str) {
        let send = json!({"chatId": chat_id, "text": text});
        answered(
            &self
                .call(dev, "tidings.message.v1.MessageService/SendMessage", &send)
                .await,
        );
    }

    /// The messages of a chat with the texts of their responses.
    async fn turns(&self, dev: &Dev, chat_id: &Value) -> Vec<(String, Vec<String>)> {
        let list = json!({"chatId": chat_id, "pageSize": 200});
        let answer = answered(
            &self
                .call(dev, "tidings.message.v1.MessageService/ListTurns", &list)
                .await,
        );
        let turns = answer["turns"].as_array().cloned().unwrap_or_default();
        let turn = |turn: &Value| {
            let responses = turn["responses"].as_array().cloned().unwrap_or_default();
            let texts = responses.iter().map(|response| text(&response["text"])).collect();
            (text(&turn["message"]["text"]), texts)
        };
        turns.iter().map(turn).collect()
    }

    /// Waits until every message of the chat has its one echo.
    async fn answered(&self, dev: &Dev, chat_id: &Value, messages: usize) {
        let begun = Instant::now();
        loop {
            let turns = self.turns(dev, chat_id).await;
            let echoed = |(said, responses): &(String, Vec<String>)| *responses == [format!("echo: {said}")];
            if turns.len() == messages && turns.iter().all(echoed) {
                return;
            }
            let too_many = turns.iter().any(|(_, responses)| responses.len() > 1);
            assert!(!too_many && begun.elapsed() < PATIENCE, "{turns:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn answered(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// As an operator does who makes a bot out of an account.
async fn make_bot(path: &Path, person: &Person) {
    let mut connection = PgConnection::connect(&Cluster::url_in(path, SUPERUSER, "tidings"))
        .await
        .unwrap();
    let sql = format!(
        "update users.users set is_bot = true where user_id = '{}'",
        person.user_id
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_first_session_is_answered_and_what_was_said_meanwhile_after_the_next_start() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    assert!(dev.banner.contains("Assistant     echo"), "{}", dev.banner);
    let ada = Person::register(&dev, "ada").await;
    let session = ada.session(&dev).await;
    assert_eq!(text(&session["sessionNumber"]), "1");
    let chat_id = &session["chatId"];
    ada.send(&dev, chat_id, "is anybody there?").await;
    ada.answered(&dev, chat_id, 1).await;
    assert_eq!(dev.terminate().await, Some(0));

    // Nobody answers meanwhile, and more is said than a snapshot holds.
    let dev = Dev::start(&path, &["--assistant", "none"]).await;
    assert!(dev.banner.contains("Assistant     none"), "{}", dev.banner);
    let ada = Person::login(&dev, "ada").await;
    for number in 0..60 {
        ada.send(&dev, chat_id, &format!("number {number}")).await;
    }
    let refused = ada
        .call(&dev, "tidings.chat.v1.ChatSessionService/CreateChatSession", &json!({}))
        .await;
    assert!(refused.contains("FEATURE_DISABLED"), "{refused}");
    dev.kill().await;

    for _ in 0..2 {
        let dev = Dev::start(&path, &[]).await;
        let ada = Person::login(&dev, "ada").await;
        ada.answered(&dev, chat_id, 61).await;
        dev.kill().await;
    }
    let dev = Dev::start(&path, &[]).await;
    let ada = Person::login(&dev, "ada").await;
    ada.send(&dev, chat_id, "the last").await;
    ada.answered(&dev, chat_id, 62).await;
    assert_eq!(text(&ada.session(&dev).await["sessionNumber"]), "2");
}

#[tokio::test]
async fn a_bot_is_not_answered_and_a_person_beside_it_is() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let bot = Person::register(&dev, "mechanical").await;
    make_bot(&path, &bot).await;
    let ada = Person::register(&dev, "ada").await;
    let (bots, adas) = (bot.session(&dev).await, ada.session(&dev).await);
    bot.send(&dev, &bots["chatId"], "ping").await;
    ada.send(&dev, &adas["chatId"], "is anybody there?").await;
    ada.answered(&dev, &adas["chatId"], 1).await;
    // Of one sender and another the assistant hears in any order; after a restart it has looked at both again.
    assert_eq!(dev.terminate().await, Some(0));
    let dev = Dev::start(&path, &[]).await;
    let ada = Person::login(&dev, "ada").await;
    ada.send(&dev, &adas["chatId"], "and now?").await;
    ada.answered(&dev, &adas["chatId"], 2).await;
    let bot = Person::login(&dev, "mechanical").await;
    let turns = bot.turns(&dev, &bots["chatId"]).await;
    assert_eq!(turns, [("ping".to_owned(), Vec::new())]);
}

#[tokio::test]
async fn what_is_said_outside_sessions_is_not_answered() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &[]).await;
    let ada = Person::register(&dev, "ada").await;
    let session = ada.session(&dev).await;
    let open = json!({"userId": session["assistantUserId"]});
    let direct = answered(
        &ada.call(&dev, "tidings.chat.v1.ChatService/OpenDirectChat", &open)
            .await,
    );
    ada.send(&dev, &direct["chat"]["chatId"], "psst").await;
    ada.send(&dev, &session["chatId"], "is anybody there?").await;
    ada.answered(&dev, &session["chatId"], 1).await;
    let turns = ada.turns(&dev, &direct["chat"]["chatId"]).await;
    assert_eq!(turns, [("psst".to_owned(), Vec::new())]);
}

#[tokio::test]
async fn nobody_can_register_as_the_assistant() {
    let (_parent, path) = folder();
    let dev = Dev::start(&path, &["--assistant", "none"]).await;
    let register = json!({"username": "echo", "email": "echo@example.org", "password": PASSWORD}).to_string();
    let refused = dev.call("tidings.auth.v1.AuthService/Register", &register).await;
    assert!(refused.contains("USERNAME_TAKEN"), "{refused}");
}
