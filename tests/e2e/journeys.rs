//! The flows that the product began from (`api.md` section 8), each from end to end through the gateway.

use std::time::Duration;

use tidings_proto_auth::v1::{
    LogoutRequest, RegisterRequest, RequestPasswordResetRequest, ResetPasswordRequest,
    auth_service_client::AuthServiceClient, credential_service_client::CredentialServiceClient,
};
use tidings_proto_chat::v1::{CreateChatRequest, CreateChatSessionRequest, ListChatsRequest, ListMembersRequest};
use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_proto_message::v1::{
    CompleteUploadRequest, CreateDownloadUrlRequest, CreateResponseRequest, CreateUploadRequest, DeleteMessageRequest,
    ListMessagesRequest, ListTurnsRequest, MessageType, SendMessageRequest, StreamChangesResponse,
    UpdateMessageRequest, change::Kind, stream_changes_response::Frame,
};
use tidings_proto_user::v1::{
    AssignRoleRequest, CreateRoleRequest, GetCurrentUserRequest, GetUserRequest, ListRolesRequest, ListUsersRequest,
    UpdateUserRequest,
};
use tidings_testkit::{Actor, Authority, Shape, Suite, mail, reason_of, request_id, until, until_some};
use tonic::{Code, Streaming};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(20);

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
    registration(suite).await;
    logging_in_and_out(suite).await;
    a_forgotten_password(suite).await;
    roles_and_users(suite).await;
    direct_messages(suite).await;
    conversations_and_groups(suite).await;
    an_assistant_session(suite).await;
    media(suite).await;
    editing_deleting_and_paging(suite).await;
    a_stream_from_the_first_message_on(suite).await;
}

async fn registration(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let user = ada
        .users()
        .get_current_user(GetCurrentUserRequest {})
        .await
        .expect("a user")
        .into_inner()
        .user;
    let user = user.expect("a user");
    assert_eq!(
        (user.username.as_str(), user.email.as_str()),
        (ada.username.as_str(), ada.email.as_str())
    );

    let mut auth = AuthServiceClient::new(suite.channel());
    let again = |username: &str, email: &str| {
        let request = RegisterRequest {
            username: username.to_owned(),
            email: email.to_owned(),
            password: "correct horse battery".to_owned(),
            display_name: "Another".to_owned(),
            bio: String::new(),
            request_id: request_id(),
        };
        let mut auth = auth.clone();
        async move { auth.register(request).await }
    };
    let taken = again(&ada.username.to_uppercase().to_lowercase(), "other@example.org")
        .await
        .expect_err("the name is taken");
    assert_eq!(reason_of(&taken), ErrorReason::UsernameTaken);
    let taken = again(&format!("{}2", ada.username), &ada.email)
        .await
        .expect_err("the address is taken");
    assert_eq!(reason_of(&taken), ErrorReason::EmailTaken);

    // The same request again has the same outcome.
    let request = RegisterRequest {
        username: format!("{}-twice", ada.username),
        email: format!("twice-{}", ada.email),
        password: "correct horse battery".to_owned(),
        request_id: request_id(),
        ..RegisterRequest::default()
    };
    let first = auth
        .register(request.clone())
        .await
        .expect("registers")
        .into_inner()
        .user_id;
    assert_eq!(
        auth.register(request).await.expect("replays").into_inner().user_id,
        first
    );

    let update = UpdateUserRequest {
        bio: "counts engines".to_owned(),
        request_id: request_id(),
        ..UpdateUserRequest::default()
    };
    let user = ada
        .users()
        .update_user(update)
        .await
        .expect("updates")
        .into_inner()
        .user
        .expect("a user");
    assert_eq!(user.bio, "counts engines");
}

async fn logging_in_and_out(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let seen_by_bob = async || {
        let request = GetUserRequest {
            user_id: ada.user_id.clone(),
        };
        bob.users()
            .get_user(request)
            .await
            .expect("a user")
            .into_inner()
            .user
            .expect("a user")
    };
    let seen = seen_by_bob().await;
    assert!(seen.logged_in && seen.email.is_empty());
    let wrong = Actor::login(&suite.channel(), &ada.username, &ada.email, "a wrong password")
        .await
        .expect_err("refused");
    assert_eq!(
        (wrong.code(), reason_of(&wrong)),
        (Code::Unauthenticated, ErrorReason::CredentialsInvalid)
    );

    ada.auth().logout(LogoutRequest {}).await.expect("logs out");
    until("the token is refused everywhere", Duration::from_secs(3), || async {
        ada.users().get_current_user(GetCurrentUserRequest {}).await.is_err() && ada.listen().await.is_err()
    })
    .await;
    assert!(!seen_by_bob().await.logged_in);
}

async fn a_forgotten_password(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "forgetful").await;
    let mut credentials = CredentialServiceClient::new(suite.channel());
    for email in [ada.email.clone(), "nobody-at-all@example.org".to_owned()] {
        let ask = RequestPasswordResetRequest {
            email,
            request_id: request_id(),
        };
        credentials
            .request_password_reset(ask)
            .await
            .expect("answers alike for any address");
    }
    let folder = suite.mail_folder();
    let token = until_some("the mail", SOON, || async { mail::newest_token(&folder, &ada.email) }).await;
    let reset = |token: &str| ResetPasswordRequest {
        token: token.to_owned(),
        new_password: "a new battery staple".to_owned(),
        request_id: request_id(),
    };
    credentials.reset_password(reset(&token)).await.expect("resets");
    let used = credentials.reset_password(reset(&token)).await.expect_err("used once");
    assert_eq!(reason_of(&used), ErrorReason::CredentialsInvalid);
    Actor::login(&suite.channel(), &ada.username, &ada.email, "a new battery staple")
        .await
        .expect("the new password works");
    assert!(ada.login_again().await.is_err(), "the old password still works");
    until("all login sessions have ended", Duration::from_secs(3), || async {
        ada.users().get_current_user(GetCurrentUserRequest {}).await.is_err()
    })
    .await;
}

async fn roles_and_users(suite: &Suite) {
    let admin = suite.administrator().await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let roles = admin
        .roles()
        .list_roles(ListRolesRequest::default())
        .await
        .expect("lists")
        .into_inner()
        .roles;
    let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
    for built_in in ["admin", "member", "bot"] {
        assert!(names.contains(&built_in), "{built_in} is missing from {names:?}");
    }
    let refused = ada
        .roles()
        .list_roles(ListRolesRequest::default())
        .await
        .expect_err("a member may not");
    assert_eq!(reason_of(&refused), ErrorReason::PermissionMissing);

    let create = CreateRoleRequest {
        name: "reader".to_owned(),
        permissions: vec![Permission::RolesRead.into()],
        request_id: request_id(),
        ..CreateRoleRequest::default()
    };
    let role = admin
        .roles()
        .create_role(create)
        .await
        .expect("creates")
        .into_inner()
        .role
        .expect("a role");
    let assign = AssignRoleRequest {
        user_id: ada.user_id.clone(),
        role_id: role.role_id,
        request_id: request_id(),
    };
    admin.roles().assign_role(assign).await.expect("assigns");
    // The old token ends, and the next one knows the new right.
    let ada = ada.login_again().await.expect("logs in");
    ada.roles()
        .list_roles(ListRolesRequest::default())
        .await
        .expect("a reader may");

    let page = ListUsersRequest {
        page_size: 2,
        ..ListUsersRequest::default()
    };
    let page = ada.users().list_users(page).await.expect("lists").into_inner();
    assert_eq!(page.users.len(), 2);
    let next = ListUsersRequest {
        page_size: 2,
        page_token: page.next_page_token.clone(),
    };
    let next_page = ada
        .users()
        .list_users(next.clone())
        .await
        .expect("the next page")
        .into_inner();
    assert_ne!(
        next_page.users.first().map(|user| &user.user_id),
        page.users.first().map(|user| &user.user_id)
    );
    let foreign = admin
        .users()
        .list_users(next)
        .await
        .expect_err("the token is bound to its caller");
    assert_eq!(reason_of(&foreign), ErrorReason::PageTokenInvalid);
}

async fn direct_messages(suite: &Suite) {
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

async fn conversations_and_groups(suite: &Suite) {
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

async fn an_assistant_session(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let assistant = Actor::register(&suite.channel(), "assistant").await;
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

async fn media(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let chat = ada.direct_chat(&bob).await;
    let create = CreateUploadRequest {
        chat_id: chat.chat_id.clone(),
        media_type: "image/png".to_owned(),
        size_bytes: 5,
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
        file_name: "hello.png".to_owned(),
        request_id: request_id(),
    };
    let upload = ada
        .attachments()
        .create_upload(create)
        .await
        .expect("begins")
        .into_inner()
        .upload
        .expect("an upload");
    let complete = CompleteUploadRequest {
        chat_id: chat.chat_id.clone(),
        attachment_id: upload.attachment_id.clone(),
        request_id: request_id(),
    };
    let early = ada
        .attachments()
        .complete_upload(complete.clone())
        .await
        .expect_err("nothing is uploaded");
    assert_eq!(early.code(), Code::FailedPrecondition);
    let client = reqwest::Client::new();
    let put = upload
        .headers
        .iter()
        .fold(client.put(&upload.upload_url).body("hello"), |put, (name, value)| {
            put.header(name, value)
        });
    assert!(put.send().await.expect("uploads").status().is_success());
    let complete = CompleteUploadRequest {
        request_id: request_id(),
        ..complete
    };
    ada.attachments().complete_upload(complete).await.expect("completes");
    let send = SendMessageRequest {
        chat_id: chat.chat_id.clone(),
        attachment_ids: vec![upload.attachment_id.clone()],
        request_id: request_id(),
        ..SendMessageRequest::default()
    };
    let message = ada
        .messages()
        .send_message(send)
        .await
        .expect("sends")
        .into_inner()
        .message
        .expect("a message");
    assert_eq!(message.r#type(), MessageType::Image);
    let url = CreateDownloadUrlRequest {
        chat_id: chat.chat_id,
        attachment_id: upload.attachment_id,
    };
    let url = bob
        .attachments()
        .create_download_url(url)
        .await
        .expect("a URL")
        .into_inner()
        .download_url;
    let bytes = client
        .get(&url)
        .send()
        .await
        .expect("downloads")
        .bytes()
        .await
        .expect("bytes");
    assert_eq!(bytes.as_ref(), b"hello");
    let elsewhere = client.get(format!("{url}x")).send().await.expect("answers");
    assert!(elsewhere.status().is_client_error(), "a changed URL is refused");
}

async fn editing_deleting_and_paging(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let chat = ada.direct_chat(&bob).await;
    let mut messages = Vec::new();
    for number in 1..=5 {
        messages.push(
            ada.send(&chat.chat_id, &format!("number {number}"))
                .await
                .expect("sends"),
        );
    }
    let edit = UpdateMessageRequest {
        chat_id: chat.chat_id.clone(),
        message_id: messages[0].message_id.clone(),
        text: "number one".to_owned(),
        etag: messages[0].etag.clone(),
        request_id: request_id(),
        ..UpdateMessageRequest::default()
    };
    let edited = ada
        .messages()
        .update_message(edit.clone())
        .await
        .expect("edits")
        .into_inner()
        .message
        .expect("a message");
    assert_eq!(
        (edited.text.as_str(), edited.revision),
        ("number one", messages[0].revision + 1)
    );
    let stale = UpdateMessageRequest {
        text: "too late".to_owned(),
        request_id: request_id(),
        ..edit
    };
    let stale = ada.messages().update_message(stale).await.expect_err("the etag is old");
    assert_eq!(reason_of(&stale), ErrorReason::EtagMismatch);
    let delete = DeleteMessageRequest {
        chat_id: chat.chat_id.clone(),
        message_id: messages[1].message_id.clone(),
        request_id: request_id(),
        ..DeleteMessageRequest::default()
    };
    let tombstone = ada
        .messages()
        .delete_message(delete)
        .await
        .expect("deletes")
        .into_inner()
        .message
        .expect("a tombstone");
    assert!(tombstone.text.is_empty() && tombstone.delete_time.is_some());

    let page = ListMessagesRequest {
        chat_id: chat.chat_id.clone(),
        page_size: 2,
        ..ListMessagesRequest::default()
    };
    let page = bob.messages().list_messages(page).await.expect("a page").into_inner();
    let texts: Vec<&str> = page.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["number one", ""]);
    assert_eq!(bob.list(&chat.chat_id).await.expect("all pages").len(), 5);
}

async fn a_stream_from_the_first_message_on(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let mut stream = bob.listen().await.expect("listens");
    wait_for(&mut stream, |frame| matches!(frame, Frame::CaughtUp(_))).await;
    // The chat does not exist yet: the stream learns of it by itself.
    let chat = ada.direct_chat(&bob).await;
    let sent = ada.send(&chat.chat_id, "are you there?").await.expect("sends");
    wait_for(&mut stream, |frame| match frame {
        Frame::Change(change) => {
            matches!(&change.kind, Some(Kind::MessageCreated(created)) if created.message.as_ref().is_some_and(|message| message.message_id == sent.message_id))
        }
        Frame::Snapshot(snapshot) => snapshot.messages.iter().any(|message| message.message_id == sent.message_id),
        _ => false,
    })
    .await;
}

async fn wait_for(stream: &mut Streaming<StreamChangesResponse>, wanted: impl Fn(&Frame) -> bool) {
    let found = async {
        loop {
            let frame = stream
                .message()
                .await
                .expect("the stream goes on")
                .expect("the stream does not end")
                .frame;
            if frame.as_ref().is_some_and(&wanted) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, found)
        .await
        .expect("the frame comes in time");
}
