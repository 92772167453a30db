//! Whether the time of a refusal tells what is there (`reliability.md` G15, A08): the same calls for what the caller may not see and for
//! what does not exist, in turns, within one run. Both are answered alike to the byte, which is checked; of the times it reports
//! medians and their ratio, and judges nothing.

mod report;
mod stage;

use anyhow::{Context as _, Result, ensure};
use tidings_proto_chat::v1::{GetChatRequest, chat_service_client::ChatServiceClient};
use tidings_proto_message::v1::{GetMessageRequest, message_service_client::MessageServiceClient};
use tidings_proto_user::v1::{LookupUserRequest, lookup_user_request::Key, user_service_client::UserServiceClient};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

pub use self::report::{Report, Times};
use self::stage::{Hidden, Stage};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the gateway listens.
    pub target: String,
    /// Pairs of calls of each kind.
    pub pairs: usize,
    /// Chats, with a message each, and deleted users that are there to be hidden. Each call is for one of them, in turn.
    pub things: usize,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `GetChat` of a conversation of others.
    Chat,
    /// `GetMessage` in a conversation of others.
    Message,
    /// `GetMessage` of others' message in a chat of one's own.
    MessageElsewhere,
    /// `LookupUser` by the name of a user who was deleted.
    User,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Message, Self::MessageElsewhere, Self::User];
}

/// Measures.
///
/// # Errors
///
/// When the suite cannot be reached or refuses what it should not, and when a refusal differs from the others.
pub async fn run(options: &Options) -> Result<Report> {
    ensure!(options.pairs > 0 && options.things > 0, "there is nothing to measure");
    let stage = Stage::set(&options.target, options.things).await?;
    let mut report = Report::default();
    for kind in Kind::ALL {
        // Connections, caches and statements are warm when the first pair comes.
        let warm_up = (options.pairs / 10).max(1);
        let mut answer = None;
        for turn in 0..warm_up + options.pairs {
            let hidden = stage.hidden(turn);
            let absent = stage.absent();
            let mut times = Times::default();
            let hidden_first = stage.coin();
            for is_hidden in [hidden_first, !hidden_first] {
                let thing = if is_hidden { hidden } else { &absent };
                let begun = Instant::now();
                let outcome = call(&stage, kind, thing).await;
                let took = begun.elapsed();
                let refusal = refusal(outcome).with_context(|| format!("{kind:?}, hidden: {is_hidden}"))?;
                let first = answer.get_or_insert_with(|| refusal.clone());
                ensure!(
                    *first == refusal,
                    "{kind:?} tells what is hidden: {refusal:?}, and {first:?}"
                );
                *if is_hidden {
                    &mut times.hidden
                } else {
                    &mut times.absent
                } = took;
            }
            if turn >= warm_up {
                report.add(kind, times);
            }
        }
    }
    Ok(report)
}

async fn call(stage: &Stage, kind: Kind, thing: &Hidden) -> Result<(), Status> {
    let channel = stage.channel();
    match kind {
        Kind::Chat => {
            let request = GetChatRequest {
                chat_id: thing.chat_id.clone(),
            };
            let request: Request<GetChatRequest> = stage.by_outsider(request);
            ChatServiceClient::new(channel).get_chat(request).await.map(drop)
        }
        Kind::Message | Kind::MessageElsewhere => {
            let chat_id = if kind == Kind::Message {
                &thing.chat_id
            } else {
                stage.own_chat()
            };
            let request = GetMessageRequest {
                chat_id: chat_id.clone(),
                message_id: thing.message_id.clone(),
            };
            let request = stage.by_outsider(request);
            MessageServiceClient::new(channel).get_message(request).await.map(drop)
        }
        Kind::User => {
            let request = LookupUserRequest {
                key: Some(Key::Username(thing.username.clone())),
            };
            let request = stage.by_outsider(request);
            UserServiceClient::new(channel).lookup_user(request).await.map(drop)
        }
    }
}

/// What a refusal says, to the byte.
type Refusal = (String, Vec<u8>);

fn refusal(outcome: Result<(), Status>) -> Result<Refusal> {
    let status = outcome.err().context("it was answered")?;
    ensure!(status.code() == Code::NotFound, "it was refused otherwise: {status:?}");
    Ok((status.message().to_owned(), status.details().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_as_not_found_is_one() {
        assert!(refusal(Ok(())).is_err());
        assert!(refusal(Err(Status::permission_denied("no"))).is_err());
        let one = refusal(Err(Status::not_found("nothing"))).expect("a refusal");
        let other = refusal(Err(Status::not_found("nothing for you"))).expect("a refusal");
        assert_ne!(one, other);
    }
}
