use tidings_proto_common::v1::{ChatKind, ErrorReason, Permission};
use tidings_proto_message::v1::{
    BotResponse, CreateResponseRequest, GetResponseRequest, ListResponsesRequest, ListTurnsRequest, MessageOrder,
    MessageType, ResponseState,
};
use tonic::Status;

use crate::world::{Actor, World, reason, wrong_fields};

fn answer(chat_id: &str, message_id: &str, text: &str) -> CreateResponseRequest {
    CreateResponseRequest {
        chat_id: chat_id.to_owned(),
        message_id: message_id.to_owned(),
        text: text.to_owned(),
        ..CreateResponseRequest::default()
    }
}

async fn respond(actor: &Actor, request: CreateResponseRequest) -> Result<BotResponse, Status> {
    let response = actor.responses().create_response(actor.asks(request)).await?;
    Ok(response.into_inner().response.expect("a response"))
}

async fn list(actor: &Actor, request: ListResponsesRequest) -> Result<(Vec<BotResponse>, String), Status> {
    let response = actor
        .responses()
        .list_responses(actor.asks(request))
        .await?
        .into_inner();
    Ok((response.responses, response.next_page_token))
}

#[tokio::test]
async fn a_response_is_a_message_too() {
    let world = World::begin().await;
    let (alice, bot) = (world.user(), world.user_with(&[Permission::ResponsesCreate]));
    let chat = world.conversation(&[&alice, &bot]).await;
    let question = alice.send(&chat.id, "question").await.expect("sent");
    let request = CreateResponseRequest {
        request_id: bot.request_id(),
        ..answer(&chat.id, &question.message_id, "answer")
    };
    let response = respond(&bot, request.clone()).await.expect("answered");
    assert_eq!(
        (response.sequence, response.text.as_str(), response.state()),
        (2, "answer", ResponseState::Finished)
    );
    assert_eq!(
        (response.message_id.as_str(), response.author_id.as_str()),
        (question.message_id.as_str(), bot.id.as_str())
    );
    assert!(response.finish_time.is_some());
    assert_eq!(respond(&bot, request.clone()).await.expect("again"), response);
    let other = CreateResponseRequest {
        text: "other".to_owned(),
        ..request
    };
    assert_eq!(reason(respond(&bot, other).await), ErrorReason::RequestIdReused);

    let message = alice.get(&chat.id, &response.response_id).await.expect("seen");
    let reference = message.response.expect("a reference");
    assert_eq!(
        (reference.to_message_id.as_str(), reference.state()),
        (question.message_id.as_str(), ResponseState::Finished)
    );
    assert_eq!(message.text, "answer");
    let get = |id: &str| GetResponseRequest {
        chat_id: chat.id.clone(),
        response_id: id.to_owned(),
    };
    let found = alice
        .responses()
        .get_response(alice.asks(get(&response.response_id)))
        .await
        .expect("seen");
    assert_eq!(found.into_inner().response, Some(response));
    let no_response = alice
        .responses()
        .get_response(alice.asks(get(&question.message_id)))
        .await;
    assert_eq!(reason(no_response), ErrorReason::NotFound);
    world.assert_dense().await;
}

#[tokio::test]
async fn responses_are_for_bots_and_for_the_sessions_assistant() {
    let world = World::begin().await;
    let [alice, assistant, bob] = [world.user(), world.user(), world.user()];
    let stranger = world.user_with(&[Permission::ResponsesCreate]);
    let session = world
        .conversation_with(&[&alice, &assistant, &bob], |facts| {
            facts.kind = ChatKind::Session.into();
            facts.assistant_user_id = assistant.id.clone();
            facts.session_number = 1;
        })
        .await;
    let question = alice.send(&session.id, "question").await.expect("sent");
    respond(&assistant, answer(&session.id, &question.message_id, "answer"))
        .await
        .expect("the assistant needs no permission");
    let refused = respond(&bob, answer(&session.id, &question.message_id, "answer")).await;
    assert_eq!(reason(refused), ErrorReason::PermissionMissing);
    let refused = respond(&stranger, answer(&session.id, &question.message_id, "answer")).await;
    assert_eq!(reason(refused), ErrorReason::NotFound);
}

#[tokio::test]
async fn what_cannot_be_answered_says_why() {
    let world = World::begin().await;
    let (alice, bot) = (world.user(), world.user_with(&[Permission::ResponsesCreate]));
    let mut chat = world.conversation(&[&alice, &bot]).await;
    let question = alice.send(&chat.id, "question").await.expect("sent");
    let response = respond(&bot, answer(&chat.id, &question.message_id, "answer"))
        .await
        .expect("answered");

    let to_response = respond(&bot, answer(&chat.id, &response.response_id, "answer")).await;
    assert_eq!(reason(to_response), ErrorReason::KindUnsuitable);
    assert_eq!(
        reason(respond(&bot, answer(&chat.id, &bot.nowhere(), "answer")).await),
        ErrorReason::NotFound
    );
    let good = answer(&chat.id, &question.message_id, "answer");
    let streaming = CreateResponseRequest {
        streaming: true,
        ..good.clone()
    };
    assert_eq!(reason(respond(&bot, streaming).await), ErrorReason::FeatureDisabled);
    for kind in [MessageType::Image, MessageType::File, MessageType::System] {
        let request = CreateResponseRequest {
            r#type: kind.into(),
            ..good.clone()
        };
        assert_eq!(wrong_fields(respond(&bot, request).await), ["type"]);
    }
    let empty = CreateResponseRequest {
        text: " ".to_owned(),
        message_id: "x".to_owned(),
        ..good.clone()
    };
    assert_eq!(wrong_fields(respond(&bot, empty).await), ["message_id", "text"]);

    let delete = tidings_proto_message::v1::DeleteMessageRequest {
        chat_id: chat.id.clone(),
        message_id: question.message_id.clone(),
        ..Default::default()
    };
    alice
        .messages()
        .delete_message(alice.asks(delete))
        .await
        .expect("deleted");
    assert_eq!(reason(respond(&bot, good.clone()).await), ErrorReason::StateUnsuitable);
    chat.update(|facts| facts.archived = true).await;
    assert_eq!(reason(respond(&bot, good).await), ErrorReason::ChatArchived);
}

#[tokio::test]
async fn a_message_has_fifty_responses_at_the_most_and_they_are_paged() {
    let world = World::begin().await;
    let (alice, bot) = (world.user(), world.user_with(&[Permission::ResponsesCreate]));
    let chat = world.conversation(&[&alice, &bot]).await;
    let question = alice.send(&chat.id, "question").await.expect("sent");
    let many = (0..55).map(|number| respond(&bot, answer(&chat.id, &question.message_id, &number.to_string())));
    let (good, refused): (Vec<_>, Vec<_>) = futures_util::future::join_all(many)
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!((good.len(), refused.len()), (50, 5));
    for refusal in refused {
        assert_eq!(reason(refusal), ErrorReason::QuotaExceeded);
    }

    let first = ListResponsesRequest {
        chat_id: chat.id.clone(),
        message_id: question.message_id.clone(),
        page_size: 20,
        ..ListResponsesRequest::default()
    };
    let (mut sequences, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListResponsesRequest {
            page_token: token,
            ..first.clone()
        };
        let (page, next) = list(&alice, request).await.expect("seen");
        sequences.extend(page.iter().map(|response| response.sequence));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    assert_eq!(sequences, (2..=51).collect::<Vec<_>>());
    let absent = ListResponsesRequest {
        message_id: alice.nowhere(),
        ..first.clone()
    };
    assert_eq!(reason(list(&alice, absent).await), ErrorReason::NotFound);
    assert_eq!(reason(list(&world.user(), first).await), ErrorReason::NotFound);
}

#[tokio::test]
async fn turns_pair_messages_with_their_responses() {
    let world = World::begin().await;
    let (alice, bot) = (world.user(), world.user_with(&[Permission::ResponsesCreate]));
    let chat = world.conversation(&[&alice, &bot]).await;
    for number in 0..7 {
        let question = alice.send(&chat.id, &format!("question {number}")).await.expect("sent");
        for part in 0..number % 3 {
            let text = format!("answer {number} {part}");
            respond(&bot, answer(&chat.id, &question.message_id, &text))
                .await
                .expect("answered");
        }
    }
    for newest_first in [false, true] {
        let order = if newest_first {
            MessageOrder::NewestFirst
        } else {
            MessageOrder::OldestFirst
        };
        let mut request = ListTurnsRequest {
            chat_id: chat.id.clone(),
            page_size: 3,
            order: order.into(),
            ..ListTurnsRequest::default()
        };
        let (mut turns, mut pages) = (Vec::new(), 0);
        loop {
            let page = alice
                .messages()
                .list_turns(alice.asks(request.clone()))
                .await
                .expect("seen")
                .into_inner();
            turns.extend(page.turns);
            pages += 1;
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        if newest_first {
            turns.reverse();
        }
        assert_eq!((turns.len(), pages), (7, 3));
        for (number, turn) in turns.iter().enumerate() {
            assert_eq!(
                turn.message.as_ref().expect("a message").text,
                format!("question {number}")
            );
            let texts: Vec<&str> = turn.responses.iter().map(|response| response.text.as_str()).collect();
            let expected: Vec<String> = (0..number % 3).map(|part| format!("answer {number} {part}")).collect();
            assert_eq!(texts, expected);
        }
    }
}
