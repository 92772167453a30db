//! Chats of every kind.

use tidings_proto_chat::v1::{CreateChatRequest, CreateChatSessionRequest, ListChatsRequest, ListMembersRequest};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{CreateResponseRequest, ListTurnsRequest, MessageType, SendMessageRequest};
use tidings_testkit::{Actor, Api, Suite, reason_of, request_id, wrong_fields};
use tonic::Code;

use crate::matrix::cast::bot;

pub async fn direct_messages(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let (of_ada, of_bob) = tokio::join!(ada.direct_chat(&bob), bob.direct_chat(&ada));
    assert_eq!(of_ada.chat_id, of_bob.chat_id, "a pair has one chat");
    let chat_id = of_ada.chat_id;
    let request = SendMessageRequest {
        chat_id: chat_id.clone(),
        text: "hello Bob".to_owned(),
        request_id: request_id(),
        ..SendMessageRequest::default()
    };
    let first = ada
        .messages()
        .send_message(request.clone())
        .await
        .expect("sends")
        .into_inner()
        .message
        .expect("a message");
    let again = ada
        .messages()
        .send_message(request.clone())
        .await
        .expect("replays")
        .into_inner()
        .message
        .expect("a message");
    assert_eq!((&first.message_id, first.sequence), (&again.message_id, again.sequence));
    let other = SendMessageRequest {
        text: "something else".to_owned(),
        ..request
    };
    let reused = ada.messages().send_message(other).await.expect_err("the id is used");
    assert_eq!(reason_of(&reused), ErrorReason::RequestIdReused);
    bob.send(&chat_id, "hello Ada").await.expect("answers");
    let listed: Vec<_> = ada
        .list(&chat_id)
        .await
        .expect("lists")
        .into_iter()
        .map(|message| (message.sequence, message.sender_id, message.text))
        .collect();
    assert_eq!(
        listed,
        [
            (1, ada.user_id.clone(), "hello Bob".to_owned()),
            (2, bob.user_id.clone(), "hello Ada".to_owned())
        ]
    );
    let chats = bob
        .chats()
        .list_chats(ListChatsRequest::default())
        .await
        .expect("lists")
        .into_inner()
        .chats;
    let summary = chats.first().expect("one chat");
    assert_eq!(summary.chat.as_ref().map(|chat| &chat.chat_id), Some(&chat_id));
    assert_eq!(
        (summary.last_sequence, summary.unread_count),
        (2, 1),
        "Bob has not read Ada's message"
    );
}

pub async fn conversations_and_groups(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let cyd = Actor::register(&suite.channel(), "cyd").await;
    let conversation = ada.conversation(&[&bob, &cyd]).await;
    for actor in [&ada, &bob, &cyd] {
        actor
            .send(&conversation.chat_id, "here")
            .await
            .expect("all members send");
    }
    let group_chat = ada.group_chat(&[&bob]).await;
    let second = CreateChatRequest {
        group_id: group_chat.group_id.clone(),
        title: "a second chat".to_owned(),
        request_id: request_id(),
        ..CreateChatRequest::default()
    };
    let second = ada
        .chats()
        .create_chat(second)
        .await
        .expect("creates")
        .into_inner()
        .chat
        .expect("a chat");
    bob.send(&second.chat_id, "in the second")
        .await
        .expect("a member of the group sends");
    let stranger = cyd.send(&second.chat_id, "let me in").await.expect_err("no member");
    assert_eq!(stranger.code(), Code::NotFound);
    let members = ListMembersRequest {
        group_id: group_chat.group_id,
        ..ListMembersRequest::default()
    };
    assert_eq!(
        ada.memberships()
            .list_members(members)
            .await
            .expect("lists")
            .into_inner()
            .memberships
            .len(),
        2
    );
    let chats = bob
        .chats()
        .list_chats(ListChatsRequest::default())
        .await
        .expect("lists")
        .into_inner()
        .chats;
    assert_eq!(chats.len(), 3, "a user is in several chats");
}

pub async fn an_assistant_session(suite: &Suite, admin: &Actor) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let permissions = ["PERMISSION_RESPONSES_CREATE"];
    let assistant = bot(&Api::new(suite.channel()), admin, "assistant", &["bot"], &permissions).await;
    let begin = async |assistant_user_id: &str| {
        let create = CreateChatSessionRequest {
            assistant_user_id: assistant_user_id.to_owned(),
            request_id: request_id(),
            ..CreateChatSessionRequest::default()
        };
        ada.sessions().create_chat_session(create).await
    };
    let person = Actor::register(&suite.channel(), "person").await;
    let refused = begin(&person.user_id).await.expect_err("no bot");
    assert_eq!(reason_of(&refused), ErrorReason::FieldInvalid);
    assert_eq!(wrong_fields(Err::<(), _>(refused)), ["assistant_user_id"]);
    let mut sessions = Vec::new();
    for title in ["first", "second"] {
        let create = CreateChatSessionRequest {
            title: title.to_owned(),
            assistant_user_id: assistant.user_id.clone(),
            request_id: request_id(),
            ..CreateChatSessionRequest::default()
        };
        let session = ada
            .sessions()
            .create_chat_session(create)
            .await
            .expect("begins")
            .into_inner()
            .session;
        sessions.push(session.expect("a session"));
    }
    assert_eq!(
        sessions
            .iter()
            .map(|session| session.session_number)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    let chat_id = sessions[0].chat_id.clone();
    for text in ["one?", "two?"] {
        let question = ada.send(&chat_id, text).await.expect("asks");
        let answer = CreateResponseRequest {
            chat_id: chat_id.clone(),
            message_id: question.message_id,
            r#type: MessageType::Text.into(),
            text: text.replace('?', "!"),
            request_id: request_id(),
            ..CreateResponseRequest::default()
        };
        assistant.responses().create_response(answer).await.expect("answers");
    }
    let turns = ListTurnsRequest {
        chat_id,
        ..ListTurnsRequest::default()
    };
    let turns = ada
        .messages()
        .list_turns(turns)
        .await
        .expect("lists")
        .into_inner()
        .turns;
    let pairs: Vec<(String, Vec<String>)> = turns
        .into_iter()
        .map(|turn| {
            (
                turn.message.expect("a message").text,
                turn.responses.into_iter().map(|response| response.text).collect(),
            )
        })
        .collect();
    assert_eq!(
        pairs,
        [
            ("one?".to_owned(), vec!["one!".to_owned()]),
            ("two?".to_owned(), vec!["two!".to_owned()])
        ]
    );
}
