//! Clients that do not give up: senders, founders of chats, people who register, who change their profile, and one who refreshes
//! tokens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidings_ids::Source;
use tidings_load::{
    client::{Account, Client, Failure, Options, Session},
    follow::{Follower, Timetable},
    identity::Identities,
    meter::Meter,
};
use tidings_proto_chat::v1::{
    AddMemberRequest, CreateChatRequest, CreateGroupRequest, chat_service_client::ChatServiceClient,
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    ledger::{Kind, Ledger},
    workers::Worker,
};

/// Chats that are sent to.
pub const CHATS: usize = 3;

/// Senders of each chat. Together with the others they keep two cores busy, and some of each kind in flight at any moment.
const SENDERS: usize = 4;

/// Those who create chats.
const FOUNDERS: usize = 4;

/// Those who register users.
const REGISTRARS: usize = 2;

/// Those who change their profile.
const EDITORS: usize = 2;

/// Everything comes back well within this, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent to: a chat with its senders, and who listens.
pub struct Room {
    pub chat_id: String,
    pub members: Vec<Session>,
    pub follower: Follower,
}

/// The clients at work.
pub struct Load {
    pub client: Client,
    pub ledger: Arc<Ledger>,
    pub rooms: Vec<Room>,
    pub founders: Vec<Session>,
    pub editors: Vec<Session>,
    pub meter: Arc<Meter>,
    stop: Arc<AtomicBool>,
    workers: JoinSet<()>,
}

impl Load {
    /// Registers everybody, and sets them to work.
    pub async fn start(target: &str, seed: u64) -> Self {
        let meter = Arc::new(Meter::default());
        let options = Options {
            target: target.to_owned(),
            patience: PATIENCE,
            ..Options::default()
        };
        let client = Client::new(&options, Arc::clone(&meter), Source::system()).expect("an address");
        let worker = Worker {
            client: client.clone(),
            ledger: Arc::default(),
            ids: Identities::of_run(&format!("kill {seed}")),
            stop: Arc::default(),
        };
        let mut load = Self {
            client,
            ledger: Arc::clone(&worker.ledger),
            rooms: Vec::new(),
            founders: Vec::new(),
            editors: Vec::new(),
            meter,
            stop: Arc::clone(&worker.stop),
            workers: JoinSet::new(),
        };
        for chat in 0..CHATS {
            load.rooms.push(worker.open_room(chat).await);
        }
        load.set_to_work(&worker).await;
        load
    }

    async fn set_to_work(&mut self, worker: &Worker) {
        for (chat, room) in self.rooms.iter().enumerate() {
            for (sender, session) in room.members.iter().enumerate() {
                let (session, chat_id) = (session.clone(), room.chat_id.clone());
                self.workers
                    .spawn(worker.clone().send_on(session, chat, chat_id, sender));
            }
        }
        for founder in 0..FOUNDERS {
            let session = worker.enrol(&format!("founder-{founder}")).await;
            self.founders.push(session.clone());
            self.workers.spawn(worker.clone().found_on(session, founder));
        }
        for registrar in 0..REGISTRARS {
            self.workers.spawn(worker.clone().register_on(registrar));
        }
        for editor in 0..EDITORS {
            let session = worker.enrol(&format!("editor-{editor}")).await;
            self.editors.push(session.clone());
            self.workers.spawn(worker.clone().update_on(session, editor));
        }
        let account = worker.account("refresher");
        account.register(&worker.client).await.expect("registers");
        self.workers.spawn(worker.clone().refresh_on(account));
    }

    /// Lets each finish what it is at, until it is acknowledged.
    pub async fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.workers.join_next().await {
            ended.expect("a worker does not panic");
        }
    }
}

impl Worker {
    pub(super) fn account(&self, name: &str) -> Account {
        Account {
            username: self.ids.username(name),
            email: self.ids.email(name),
            password: self.ids.password(name),
            display_name: name.to_owned(),
            request_id: self.ids.request_id("register", &[name]),
        }
    }

    async fn enrol(&self, name: &str) -> Session {
        let account = self.account(name);
        account.register(&self.client).await.expect("registers");
        Session::log_in(&self.client, &account.username, &account.password)
            .await
            .expect("logs in")
    }

    async fn open_room(&self, chat: usize) -> Room {
        let mut members = Vec::new();
        for sender in 0..SENDERS {
            members.push(self.enrol(&format!("sender-{chat}-{sender}")).await);
        }
        let title = format!("chat {chat}");
        let owner = &members[0];
        let group = self.found_group(owner, &title).await.expect("makes a group");
        for member in &members[1..] {
            let add = AddMemberRequest {
                group_id: group.clone(),
                user_id: member.user_id().to_owned(),
                request_id: self.ids.request_id("add", &[&title, member.user_id()]),
                ..AddMemberRequest::default()
            };
            owner.add_member(&add).await.expect("adds a member");
        }
        let chat_id = self.create_chat(owner, &group, &title).await.expect("makes a chat");
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("it is open");
        let mut follower = Follower::start(&members[SENDERS - 1], place, &chat_id, 0, Arc::<Timetable>::default());
        follower.caught_up(PATIENCE).await;
        Room {
            chat_id,
            members,
            follower,
        }
    }

    pub(super) async fn found_group(&self, owner: &Session, title: &str) -> Result<String, Failure> {
        let create = CreateGroupRequest {
            display_name: title.to_owned(),
            request_id: self.ids.request_id("group", &[title]),
            ..CreateGroupRequest::default()
        };
        Ok(owner.create_group(&create).await?.group_id)
    }

    pub(super) async fn create_chat(&self, owner: &Session, group_id: &str, title: &str) -> Result<String, Failure> {
        let create = CreateChatRequest {
            group_id: group_id.to_owned(),
            title: title.to_owned(),
            request_id: self.ids.request_id("chat", &[title]),
            ..CreateChatRequest::default()
        };
        let response = owner
            .call("CreateChat", &create, |channel, request| {
                let ledger = Arc::clone(&self.ledger);
                async move {
                    let mut chats = ChatServiceClient::new(channel);
                    ledger.fly(Kind::Found, chats.create_chat(request)).await
                }
            })
            .await?;
        Ok(response.chat.expect("an OK carries the chat").chat_id)
    }
}
