use tidings_proto_message::v1::{
    After, ChatPosition, SyncChangesRequest,
    change::{Kind, Scope},
};
use tidings_testkit::Actor;

/// One entry of a chat's log, as far as it matters here.
pub struct Entry {
    pub position: i64,
    pub creates: Option<String>,
    pub removes: Option<String>,
}

/// A chat's whole log, as a member sees it.
pub async fn log_of(member: &Actor, chat_id: &str) -> Vec<Entry> {
    let after = After {
        chats: vec![ChatPosition {
            chat_id: chat_id.to_owned(),
            position: 0,
        }],
        ..After::default()
    };
    let mut request = SyncChangesRequest {
        after: Some(after),
        page_size: 200,
        ..SyncChangesRequest::default()
    };
    let mut entries = Vec::new();
    loop {
        let page = member
            .sync()
            .sync_changes(request.clone())
            .await
            .expect("a page")
            .into_inner();
        for change in page.changes {
            if change.scope != Some(Scope::ChatId(chat_id.to_owned())) {
                continue;
            }
            entries.push(Entry {
                position: change.position,
                creates: created(change.kind.as_ref()).map(|(id, _)| id),
                removes: match change.kind {
                    Some(Kind::MemberRemoved(removed)) => Some(removed.user_id),
                    _ => None,
                },
            });
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return entries;
        }
    }
}

pub fn created(kind: Option<&Kind>) -> Option<(String, String)> {
    let Some(Kind::MessageCreated(created)) = kind else {
        return None;
    };
    let message = created.message.as_ref()?;
    Some((message.message_id.clone(), message.text.clone()))
}
