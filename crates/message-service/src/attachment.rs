//! Files: announced, uploaded, completed, then carried by one message.
//!
//! The bytes go to the object store by the routes of `media`; here is what the RPCs decide. An upload that was announced is
//! nobody's but its uploader's until a message carries it; then whoever may read the message may read it.

mod store;
mod sweeper;

use std::sync::Arc;

use sqlx::PgConnection;
use tidings_db::{Pool, transaction};
use tidings_ids::{AttachmentId, ChatId, Source, UserId};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::AttachmentState;
use tidings_rpc::Problem;
use time::OffsetDateTime;

pub(crate) use store::{Put, find_upload, record_put};
pub(crate) use sweeper::Sweeper;

use crate::{
    Config, Error,
    access::{Access, lock_chat},
    media::{Action, MediaUrls, SignedUrl},
    requests::{Call, Earlier},
};

/// Uploads of one user that are not complete.
const UPLOADING_MAX: i64 = 100;

/// A row of `messages.attachments`, as far as readers see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttachmentRow {
    pub(crate) attachment_id: AttachmentId,
    pub(crate) chat_id: ChatId,
    pub(crate) uploader_id: UserId,
    pub(crate) file_name: String,
    pub(crate) media_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) sha256: Vec<u8>,
    /// A number of [`AttachmentState`].
    pub(crate) state: i16,
    pub(crate) create_time: OffsetDateTime,
}

impl AttachmentRow {
    /// How far it is.
    pub(crate) fn state(&self) -> AttachmentState {
        AttachmentState::try_from(i32::from(self.state)).unwrap_or(AttachmentState::Unspecified)
    }
}

/// A file that is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) file_name: String,
    pub(crate) media_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) sha256: [u8; 32],
}

/// What attachments are made with.
#[derive(Debug, Clone)]
pub(crate) struct Attachments {
    pub(crate) pool: Pool,
    pub(crate) source: Source,
    pub(crate) urls: MediaUrls,
    pub(crate) config: Arc<Config>,
}

impl Attachments {
    /// Announces a file, and says where to put it; no URL where a repetition finds it complete, or its caller no member any more.
    pub(crate) async fn create_upload(
        &self,
        call: &Call,
        announced: &Announced,
    ) -> Result<(AttachmentId, Option<SignedUrl>), Error> {
        let attachment_id = self.source.new_id();
        let now = self.source.now();
        let (id, row) = transaction!(&self.pool, |tx| -> Result<_, Error> {
            lock_chat(tx, call.chat_id).await?;
            if let Earlier::Same(id) = call.look_up(tx).await? {
                return Ok((id.into(), seen(tx, call, id.into()).await?));
            }
            let access = Access::of(&mut *tx, call.chat_id, call.caller_id).await?;
            access.check_writable()?;
            if store::uploading(tx, call.caller_id).await? >= UPLOADING_MAX {
                let problem = Problem::new(ErrorReason::QuotaExceeded);
                return Err(problem.with("quota", "uploads").with("limit", UPLOADING_MAX).into());
            }
            store::insert(tx, call, attachment_id, announced, now).await?;
            call.remember(tx, attachment_id.uuid()).await?;
            let row = store::own(tx, call, attachment_id).await?.row;
            Ok((attachment_id, Some(row)))
        })?;
        let awaited = row.is_some_and(|row| row.state() == AttachmentState::Uploading);
        let url = awaited.then(|| self.urls.sign(Action::Upload, call.chat_id, id));
        Ok((id, url))
    }

    /// Takes an upload over whose bytes were put; `None` where that was done before and the caller is no member any more.
    pub(crate) async fn complete_upload(&self, call: &Call, id: AttachmentId) -> Result<Option<AttachmentRow>, Error> {
        let expired_before = self.source.now() - self.config.unused_attachment_lifetime;
        transaction!(&self.pool, |tx| -> Result<Option<AttachmentRow>, Error> {
            lock_chat(tx, call.chat_id).await?;
            if let Earlier::Same(id) = call.look_up(tx).await? {
                return seen(tx, call, id.into()).await;
            }
            Access::of(&mut *tx, call.chat_id, call.caller_id).await?;
            let own = store::own(tx, call, id).await?;
            match own.row.state() {
                AttachmentState::Ready => {}
                AttachmentState::Uploading if own.row.create_time >= expired_before => match own.put {
                    Put::Announced => store::set_ready(tx, call.chat_id, id).await?,
                    Put::Other => return Err(Problem::new(ErrorReason::ChecksumMismatch).into()),
                    Put::Nothing => return Err(Problem::new(ErrorReason::StateUnsuitable).into()),
                },
                _ => return Err(Problem::new(ErrorReason::UploadExpired).into()),
            }
            call.remember(tx, id.uuid()).await?;
            store::own(tx, call, id).await.map(|own| Some(own.row))
        })
    }

    /// What is known of an attachment that the user may see.
    pub(crate) async fn get(&self, chat_id: ChatId, user_id: UserId, id: AttachmentId) -> Result<AttachmentRow, Error> {
        store::seen(&self.pool, chat_id, user_id, id).await
    }

    /// A URL from which the user may fetch the attachment for a while.
    pub(crate) async fn create_download_url(
        &self,
        chat_id: ChatId,
        user_id: UserId,
        id: AttachmentId,
    ) -> Result<SignedUrl, Error> {
        let row = self.get(chat_id, user_id, id).await?;
        if row.state() != AttachmentState::Ready {
            return Err(Problem::new(ErrorReason::StateUnsuitable).into());
        }
        Ok(self.urls.sign(Action::Download, chat_id, id))
    }
}

/// The caller's own attachment that a repeated call is about; `None` where it is gone, or the caller is no member any more.
async fn seen(tx: &mut PgConnection, call: &Call, id: AttachmentId) -> Result<Option<AttachmentRow>, Error> {
    let own = async {
        Access::of(&mut *tx, call.chat_id, call.caller_id).await?;
        store::own(tx, call, id).await
    };
    match own.await {
        Ok(own) => Ok(Some(own.row)),
        Err(Error::Problem(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
