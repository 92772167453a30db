//! Holds the suite to the ledger (`reliability.md` 5.4: C1 to C8, C10, C15), by the public API.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tidings_db::Pool;
use tidings_load::{
    client::{Client, Failure, Session},
    compare::Read,
    read_back,
    record::Ack,
    verify,
};
use tidings_proto_chat::v1::{ListChatsRequest, chat_service_client::ChatServiceClient};
use tidings_proto_user::v1::{GetCurrentUserRequest, user_service_client::UserServiceClient};

use super::{
    ledger::{Acknowledged, Founded, Sent},
    load::{Load, Room},
};

/// A subscriber has everything this long after the last send at the latest (C11).
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// Everything that is not as the ledger has it.
pub async fn judge(mut load: Load, pool: &Pool) -> Vec<String> {
    load.finish().await;
    let ledger = load.ledger.read(Acknowledged::clone);
    let mut wrong: Vec<String> = ledger
        .failures
        .iter()
        .map(|failure| format!("refused: {failure}"))
        .collect();
    for (chat, room) in std::mem::take(&mut load.rooms).into_iter().enumerate() {
        let sent: Vec<&Sent> = ledger.sent.iter().filter(|sent| sent.chat == chat).collect();
        wrong.extend(judge_room(chat, room, &sent).await.expect("a chat can be read"));
    }
    for (number, founder) in load.founders.iter().enumerate() {
        let founded = ledger.founded.iter().filter(|founded| founded.founder == number);
        wrong.extend(judge_founder(founder, founded).await.expect("chats can be read"));
    }
    for (number, editor) in load.editors.iter().enumerate() {
        let mut updates = ledger.updated.iter().filter(|(by, _)| *by == number);
        let last = updates.next_back().map_or("", |(_, bio)| bio);
        wrong.extend(judge_profile(editor, last).await.expect("a profile can be read"));
    }
    wrong.extend(judge_registrations(&load.client, &ledger).await);
    wrong.extend(judge_users(pool).await);
    wrong
}

async fn judge_room(chat: usize, room: Room, sent: &[&Sent]) -> Result<Vec<String>, Failure> {
    let stored = read_back::list(&room.members[0], &room.chat_id).await?.messages;
    let mut wrong = nothing_lost_or_doubled(chat, sent, &stored);
    wrong.extend(as_it_was_sent(chat, sent, &stored));
    wrong.extend(in_order(chat, sent));

    let synced = read_back::sync(&room.members[1], &room.chat_id).await?;
    let last = i64::try_from(stored.len()).unwrap_or(i64::MAX);
    let told = room.follower.finish(last, DELIVERY_LIMIT).await;
    for (way, log) in [("SyncChanges", &synced), ("StreamChanges", &told)] {
        wrong.extend(log.faults().iter().map(|fault| format!("chat {chat}, {way}: {fault}")));
        if log.messages() != stored {
            let count = log.messages().len();
            wrong.push(format!(
                "chat {chat}, {way} tells {count} messages otherwise than ListMessages"
            ));
        }
    }
    Ok(wrong)
}

/// C1, C4, C6: of what was acknowledged nothing lost, nothing twice, no hole.
fn nothing_lost_or_doubled(chat: usize, sent: &[&Sent], stored: &[Read]) -> Vec<String> {
    let acks: Vec<Ack> = sent
        .iter()
        .map(|sent| Ack {
            chat: chat.to_string(),
            line: sent.line,
            request_id: sent.request_id.clone(),
            message_id: sent.message_id.clone(),
            sequence: sent.sequence,
        })
        .collect();
    let differences = verify::check(&format!("chat {chat}"), &acks, stored);
    differences.told.iter().map(ToString::to_string).collect()
}

/// C2, C3: every send was acknowledged in the end, so that what is stored is what was acknowledged, word for word.
fn as_it_was_sent(chat: usize, sent: &[&Sent], stored: &[Read]) -> Vec<String> {
    let mut wrong = Vec::new();
    if sent.len() != stored.len() {
        wrong.push(format!("chat {chat}: {} sends, {} stored", sent.len(), stored.len()));
    }
    let by_id: HashMap<&str, &Read> = stored.iter().map(|read| (read.message_id.as_str(), read)).collect();
    for sent in sent {
        let Some(read) = by_id.get(sent.message_id.as_str()) else {
            continue;
        };
        if read.text != sent.text || read.sender_id != sent.sender_id {
            wrong.push(format!("chat {chat}: sent {:?}, stored {:?}", sent.text, read.text));
        }
    }
    wrong
}

/// C7 and C8: what was acknowledged before a send began stands before it, in particular the sender's own.
fn in_order(chat: usize, sent: &[&Sent]) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut by_end, mut by_begin) = (sent.to_vec(), sent.to_vec());
    by_end.sort_by_key(|sent| sent.acknowledged);
    by_begin.sort_by_key(|sent| sent.invoked);
    let mut ended = by_end.into_iter().peekable();
    let mut last = 0;
    for send in by_begin {
        while let Some(before) = ended.next_if(|before| before.acknowledged < send.invoked) {
            last = last.max(before.sequence);
        }
        if send.sequence <= last {
            let Sent { line, sequence, .. } = send;
            wrong.push(format!(
                "chat {chat}: line {line} got {sequence} although {last} was acknowledged before"
            ));
        }
    }
    wrong
}

/// Each chat that was created is there once, takes messages from the moment of the answer, and has exactly the one.
async fn judge_founder(founder: &Session, founded: impl Iterator<Item = &Founded>) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    let mut there: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut request = ListChatsRequest {
        page_size: 100,
        ..ListChatsRequest::default()
    };
    loop {
        let page = founder
            .call("ListChats", &request, |channel, request| async move {
                ChatServiceClient::new(channel).list_chats(request).await
            })
            .await?;
        for chat in page.chats.into_iter().filter_map(|summary| summary.chat) {
            there.entry(chat.title).or_default().push(chat.chat_id);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    for founded in founded {
        let found = there.remove(&founded.title).unwrap_or_default();
        if found != [founded.chat_id.as_str()] || founded.first_sequence != 1 {
            wrong.push(format!("{founded:?} is there as {found:?}"));
        }
        let messages = read_back::list(founder, &founded.chat_id).await?.messages;
        if messages.len() != 1 {
            wrong.push(format!("{founded:?} has {} messages", messages.len()));
        }
    }
    wrong.extend(
        there
            .into_keys()
            .map(|title| format!("{title:?} is there, and nobody got to know")),
    );
    Ok(wrong)
}

/// The profile is as it was acknowledged last: no earlier change has come after it.
async fn judge_profile(editor: &Session, last: &str) -> Result<Option<String>, Failure> {
    let request = GetCurrentUserRequest {};
    let response = editor
        .call("GetCurrentUser", &request, |channel, request| async move {
            UserServiceClient::new(channel).get_current_user(request).await
        })
        .await?;
    let bio = response.user.expect("an OK carries the user").bio;
    Ok((bio != last).then(|| format!("the profile says {bio:?}, and {last:?} was acknowledged last")))
}

/// Who was told to be registered can log in, as that user.
async fn judge_registrations(client: &Client, ledger: &Acknowledged) -> Vec<String> {
    let mut wrong = Vec::new();
    for registered in &ledger.registered {
        match Session::log_in(client, &registered.username, &registered.password).await {
            Ok(session) if session.user_id() == registered.user_id => {}
            Ok(session) => wrong.push(format!("{registered:?} is {} now", session.user_id())),
            Err(failure) => wrong.push(format!("{registered:?}: {failure}")),
        }
    }
    wrong
}

/// C15: a credential for each user, and a user for each credential.
async fn judge_users(pool: &Pool) -> Vec<String> {
    let lonely: Vec<String> = sqlx::query_scalar(
        "select coalesce(a.user_id, u.user_id)::text \
         from auth.accounts a full join users.users u on u.user_id = a.user_id \
         where a.user_id is null or u.user_id is null",
    )
    .fetch_all(pool)
    .await
    .expect("the tables can be read");
    lonely
        .into_iter()
        .map(|user| format!("user {user} is in one service only"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_load::compare::Read;
    use tokio::time::Instant;

    use super::{Sent, as_it_was_sent, in_order};

    /// A send of a millisecond that was acknowledged with this sequence.
    fn sent(start: Instant, line: u64, begun_millis: u64, sequence: i64) -> Sent {
        let invoked = start + Duration::from_millis(begun_millis);
        Sent {
            chat: 0,
            sender_id: "ada".to_owned(),
            line,
            request_id: format!("request-{line}"),
            text: format!("line {line}"),
            message_id: format!("message-{line}"),
            sequence,
            invoked,
            acknowledged: invoked + Duration::from_millis(1),
        }
    }

    fn read(sent: &Sent) -> Read {
        Read {
            message_id: sent.message_id.clone(),
            sequence: sent.sequence,
            sender_id: sent.sender_id.clone(),
            text: sent.text.clone(),
            reply_to: String::new(),
            line: sent.line.to_string(),
        }
    }

    #[test]
    fn what_overtakes_an_acknowledged_send_is_found() {
        let start = Instant::now();
        let (first, beside) = (sent(start, 1, 0, 2), sent(start, 2, 0, 1));
        let later = sent(start, 3, 10, 3);
        assert_eq!(in_order(0, &[&first, &beside, &later]), Vec::<String>::new());
        let overtaking = sent(start, 3, 10, 1);
        assert_eq!(in_order(0, &[&first, &overtaking]).len(), 1);
    }

    #[test]
    fn what_nobody_sent_and_what_reads_otherwise_is_found() {
        let sent = sent(Instant::now(), 1, 0, 1);
        let stored = [read(&sent)];
        assert_eq!(as_it_was_sent(0, &[&sent], &stored), Vec::<String>::new());
        assert_eq!(as_it_was_sent(0, &[], &stored).len(), 1);
        let other = [Read {
            text: "another".to_owned(),
            ..read(&sent)
        }];
        assert_eq!(as_it_was_sent(0, &[&sent], &other).len(), 1);
    }
}
