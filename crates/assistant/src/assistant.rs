//! The two loops: one follows, one answers.

use std::{future::Future, time::Duration};

use futures_util::{StreamExt as _, future, stream::FuturesUnordered};
use moka::sync::Cache;
use parking_lot::Mutex;
use tidings_ids::{Source, UserId};
use tidings_proto_message::v1::{
    CreateResponseRequest, ListMessagesRequest, MessageOrder, MessageType, StreamChangesRequest,
    message_service_client::MessageServiceClient, response_service_client::ResponseServiceClient,
    stream_changes_response::Frame, sync_service_client::SyncServiceClient,
};
use tidings_proto_user::v1::{GetUserRequest, user_service_client::UserServiceClient};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status};

use crate::{
    Config, Patience, Transport,
    failure::{Backoff, Failure, Kind},
    inbox::{Inbox, Job, LookBack},
    login_session::LoginSession,
    place::{Heard, Place},
    question::{Question, unanswered},
};

/// Chats that are answered at once. A user may send 20 messages a second, which so many calls reach easily.
const AT_WORK_MAX: usize = 8;

/// Questions that wait before no further frame is read. The longest has 32 KiB. The server keeps the rest, which is sent again
/// after this place if the stream is ended meanwhile.
const WAITING_MAX: usize = 1_000;

/// Messages of a chat that are looked through for what was not answered while the assistant was away.
const LOOK_BACK_MAX: usize = 1_000;

/// What the server has a defect with is given up after so many attempts.
const DEFECTS_MAX: u32 = 5;

/// Senders of whom it is remembered whether they are bots.
const SENDERS_MAX: u64 = 10_000;

/// The assistant at work.
#[derive(Debug)]
pub(crate) struct Assistant {
    login: LoginSession,
    inbox: Mutex<Inbox>,
    /// There is something to do.
    work: Notify,
    /// There is room for more questions.
    room: Notify,
    bots: Cache<UserId, bool>,
    patience: Patience,
    source: Source,
}

impl Assistant {
    pub(crate) fn new(transport: Transport, config: Config) -> Self {
        Self {
            login: LoginSession::new(transport, &config),
            inbox: Mutex::default(),
            work: Notify::new(),
            room: Notify::new(),
            bots: Cache::new(SENDERS_MAX),
            patience: config.patience,
            source: config.source,
        }
    }

    /// Follows and answers, without end.
    pub(crate) async fn work(&self) {
        future::join(self.follow(), self.answer()).await;
    }

    async fn follow(&self) {
        let mut place = None;
        let mut backoff = Backoff::new(self.patience);
        loop {
            let failure = self.follow_once(&mut place, &mut backoff).await;
            // Tokens live for minutes, and every stream ends with the one that it was opened with.
            if failure.kind == Kind::Unauthenticated {
                tracing::debug!(%failure, "the assistant follows with another token");
            } else {
                tracing::warn!(%failure, "the assistant cannot follow its chats: trying again");
            }
            sleep(backoff.after(&failure, &self.source)).await;
        }
    }

    /// Follows from the place on, until the stream ends.
    async fn follow_once(&self, place: &mut Option<Place>, backoff: &mut Backoff) -> Failure {
        let begin = |me| {
            // Another account has other chats.
            let here = place.take().filter(|place: &Place| place.me() == me);
            let after = here.as_ref().map(Place::after);
            *place = Some(here.unwrap_or_else(|| Place::new(me)));
            StreamChangesRequest { after }
        };
        let opened = self.login.open(begin, |transport, request| async move {
            SyncServiceClient::new(transport).stream_changes(request).await
        });
        let mut frames = match opened.await {
            Ok(frames) => frames,
            Err(failure) => return failure,
        };
        let place = place.as_mut().expect("it was begun when the stream was opened");
        loop {
            let frame = match timeout(self.patience.silence, frames.message()).await {
                Ok(Ok(Some(response))) => response.frame,
                Ok(Ok(None)) => return Failure::of(&Status::unavailable("")),
                Ok(Err(status)) => return self.login.ended(&status).await,
                Err(_) => return Failure::timeout(),
            };
            if matches!(frame, Some(Frame::CaughtUp(_))) {
                backoff.reset();
                tracing::debug!("the assistant has caught up");
            }
            if let Some(frame) = frame {
                self.note(place.hear(frame));
            }
            self.until_there_is_room().await;
        }
    }

    fn note(&self, heard: Heard) {
        let mut inbox = self.inbox.lock();
        match heard {
            Heard::Nothing => return,
            Heard::Questions {
                chat_id,
                questions,
                look_back,
            } => {
                inbox.add(chat_id, questions);
                if let Some(look_back) = look_back {
                    inbox.look_back(look_back);
                }
            }
            Heard::Left(chat_id) => inbox.forget(chat_id),
            Heard::Reset => inbox.clear(),
        }
        drop(inbox);
        self.work.notify_one();
    }

    async fn until_there_is_room(&self) {
        while self.inbox.lock().len() >= WAITING_MAX {
            self.room.notified().await;
        }
    }

    async fn answer(&self) {
        let mut at_work = FuturesUnordered::new();
        loop {
            while at_work.len() < AT_WORK_MAX {
                let Some(job) = self.next_job() else { break };
                at_work.push(self.work_on(job));
            }
            tokio::select! {
                () = self.work.notified() => {}
                Some(()) = at_work.next() => {}
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let job = self.inbox.lock().take();
        self.room.notify_one();
        job
    }

    async fn work_on(&self, job: Job) {
        let chat_id = job.chat_id();
        match job {
            Job::Answer(question) => self.answer_one(&question).await,
            Job::LookBack(look_back) => self.look_back(look_back).await,
        }
        self.inbox.lock().done(chat_id);
    }

    /// Answers a question, unless it is a bot's, or the answer is refused: then nobody waits for it any more.
    async fn answer_one(&self, question: &Question) {
        let answered = async {
            if self.is_bot(question.sender_id).await? {
                return Ok(());
            }
            let request = CreateResponseRequest {
                chat_id: question.chat_id.to_string(),
                message_id: question.message_id.to_string(),
                r#type: MessageType::Text.into(),
                text: question.answer.clone(),
                // One message has one response, whoever repeats this.
                request_id: question.message_id.to_string(),
                ..CreateResponseRequest::default()
            };
            let create = self.persevere(&request, |transport, request| async move {
                ResponseServiceClient::new(transport).create_response(request).await
            });
            create.await.map(drop)
        };
        if let Err(failure) = answered.await {
            let (chat_id, message_id) = (question.chat_id, question.message_id);
            tracing::info!(%chat_id, %message_id, %failure, "the assistant leaves message {message_id} unanswered");
        }
    }

    /// Whether a program acts through the account; a deleted one needs no answer either.
    async fn is_bot(&self, user_id: UserId) -> Result<bool, Failure> {
        if let Some(is_bot) = self.bots.get(&user_id) {
            return Ok(is_bot);
        }
        let request = GetUserRequest {
            user_id: user_id.to_string(),
        };
        let get = self.persevere(&request, |transport, request| async move {
            UserServiceClient::new(transport).get_user(request).await
        });
        let response = get.await?;
        let is_bot = response.user.is_none_or(|user| user.is_bot || user.deleted);
        self.bots.insert(user_id, is_bot);
        Ok(is_bot)
    }

    /// Finds what was not answered before what has been seen of a chat.
    async fn look_back(&self, mut look_back: LookBack) {
        let chat_id = look_back.chat_id;
        let mut request = ListMessagesRequest {
            chat_id: chat_id.to_string(),
            page_size: 200,
            order: MessageOrder::NewestFirst.into(),
            before_sequence: look_back.before_sequence,
            ..ListMessagesRequest::default()
        };
        let mut seen = 0;
        while seen < LOOK_BACK_MAX {
            let listed = self.persevere(&request, |transport, request| async move {
                MessageServiceClient::new(transport).list_messages(request).await
            });
            let mut page = match listed.await {
                Ok(page) => page,
                Err(failure) => {
                    tracing::info!(%chat_id, %failure, "the assistant cannot look back in chat {chat_id}");
                    return;
                }
            };
            page.messages.reverse();
            seen += page.messages.len();
            let (questions, is_all) = unanswered(&page.messages, look_back.me, &mut look_back.answered);
            self.inbox.lock().add_before(chat_id, questions);
            if is_all || page.next_page_token.is_empty() {
                return;
            }
            request.page_token = page.next_page_token;
        }
        tracing::warn!(%chat_id, "the assistant does not look back further than {LOOK_BACK_MAX} messages in chat {chat_id}");
    }

    /// Repeats a call until it succeeds or is refused for good.
    async fn persevere<M, R, F>(&self, request: &M, invoke: impl Fn(Transport, Request<M>) -> F) -> Result<R, Failure>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut backoff = Backoff::new(self.patience);
        let mut defects = 0;
        loop {
            let failure = match self.login.call(request.clone(), &invoke).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure.kind {
                Kind::Refused => return Err(failure),
                Kind::Defect if defects == DEFECTS_MAX => return Err(failure),
                Kind::Defect => defects += 1,
                Kind::Passing | Kind::Unauthenticated => {}
            }
            let wait: Duration = backoff.after(&failure, &self.source);
            tracing::debug!(%failure, ?wait, "the assistant tries again");
            sleep(wait).await;
        }
    }
}
