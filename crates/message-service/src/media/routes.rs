//! `PUT /media/upload/…` and `GET /media/download/…`: what signed URLs lead to.

use aws_lc_rs::digest::{Context, SHA256};
use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tidings_db::Pool;
use tidings_ids::{AttachmentId, ChatId, Id, UserId};
use tidings_proto_message::v1::AttachmentState;
use tidings_rpc::{Answers, CLIENT_HEADER, RateKey, Watch};
use tokio::time::Instant;

use super::{
    Action, MediaUrls, Objects,
    disposition::{content_disposition, content_type},
    objects::Writing,
    places::{Full, IDLE_MAX, Pace, Places, Rate},
};
use crate::attachment::{AttachmentRow, Put, find_upload, record_put};

/// Uploads at once; each holds up to 5 MiB of bytes.
const UPLOADS_MAX: usize = 8;

/// Uploads of one user at once.
const UPLOADS_PER_USER_MAX: usize = 2;

/// Downloads at once; each holds one piece of a file, 8 KiB.
const DOWNLOADS_MAX: usize = 256;

/// Downloads of one file at once: whoever has its URL can pass it on.
const DOWNLOADS_PER_FILE_MAX: usize = 16;

/// Downloads into one network at once, as [`RateKey`] has them.
const DOWNLOADS_PER_NETWORK_MAX: usize = 64;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Media {
    pub(crate) pool: Pool,
    pub(crate) objects: Objects,
    pub(crate) urls: MediaUrls,
}

#[derive(Clone)]
struct Shared {
    media: Media,
    uploads: Places<UserId>,
    downloads: Places<AttachmentId>,
    downloads_by_network: Places<RateKey>,
    answers: Answers,
}

/// What a signed URL carries.
#[derive(serde::Deserialize)]
struct Signature {
    expires: i64,
    signature: String,
}

/// The routes, with their whole paths: they begin with `/media/`.
pub(crate) fn router(media: Media) -> Router {
    let shared = Shared {
        media,
        uploads: Places::new(UPLOADS_MAX, UPLOADS_PER_USER_MAX),
        downloads: Places::new(DOWNLOADS_MAX, DOWNLOADS_PER_FILE_MAX),
        downloads_by_network: Places::new(DOWNLOADS_MAX, DOWNLOADS_PER_NETWORK_MAX),
        answers: Answers::new(),
    };
    Router::new()
        .route("/media/upload/{chat_id}/{attachment_id}", put(upload))
        .route("/media/download/{chat_id}/{attachment_id}", get(download))
        .with_state(shared)
}

/// Why a transfer is refused. The text is fixed and says nothing of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The URL was not signed here, or for something else, or its time is over.
    Forbidden,
    /// There is no such file, or not any more.
    Gone,
    /// The file is there already.
    Complete,
    /// The bytes are not those announced.
    Mismatch,
    /// The bytes stopped coming, or came too slowly.
    Stalled,
    /// The user, the file or the network has as many transfers as one may have.
    TooMany,
    /// Too many transfers at once.
    Busy,
    /// The store or the database does not answer.
    Unavailable,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "the URL is not valid, or not any more: ask for another\n",
            ),
            Self::Gone => (StatusCode::NOT_FOUND, "there is no such file\n"),
            Self::Complete => (StatusCode::CONFLICT, "the file is complete\n"),
            Self::Mismatch => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "the bytes are not those that were announced\n",
            ),
            Self::Stalled => (
                StatusCode::REQUEST_TIMEOUT,
                "the bytes stopped coming, or came too slowly\n",
            ),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many of your transfers at once: try again when one has ended\n",
            ),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many transfers: try again\n"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the storage cannot be reached: try again\n",
            ),
        };
        let mut response = (status, text).into_response();
        harden(response.headers_mut());
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        match full {
            Full::Holder => Self::TooMany,
            Full::All => Self::Busy,
        }
    }
}

impl From<tidings_db::Error> for Refusal {
    fn from(error: tidings_db::Error) -> Self {
        tracing::warn!(%error, "the database did not do what a transfer needed");
        Self::Unavailable
    }
}

impl From<object_store::Error> for Refusal {
    fn from(error: object_store::Error) -> Self {
        tracing::warn!(%error, "the object store did not do what a transfer needed");
        Self::Unavailable
    }
}

async fn upload(
    State(shared): State<Shared>,
    Path(ids): Path<(String, String)>,
    Query(signature): Query<Signature>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (chat_id, id) = shared.checked(Action::Upload, &ids, &signature)?;
    let media = &shared.media;
    let row = find_upload(&media.pool, chat_id, id).await?.ok_or(Refusal::Gone)?;
    let _place = shared.uploads.take(row.uploader_id)?;
    match row.state() {
        AttachmentState::Uploading => {}
        AttachmentState::Ready => return Err(Refusal::Complete),
        _ => return Err(Refusal::Gone),
    }
    // Said before anything is read, so that a client learns it before it sends.
    if content_length(&headers).is_some_and(|length| i64::try_from(length) != Ok(row.size_bytes)) {
        record_put(&media.pool, chat_id, id, Put::Other).await?;
        return Err(Refusal::Mismatch);
    }
    let mut writing = media.objects.write(id).await?;
    match receive(&mut writing, &row, body, &shared.uploads).await {
        Ok(()) => writing.commit().await?,
        Err(refusal) => {
            writing.abort().await;
            if refusal == Refusal::Mismatch {
                record_put(&media.pool, chat_id, id, Put::Other).await?;
            }
            return Err(refusal);
        }
    }
    if !record_put(&media.pool, chat_id, id, Put::Announced).await? {
        // Completed by another PUT of the same bytes meanwhile, or removed; what is removed must not stay in the store.
        let now = find_upload(&media.pool, chat_id, id).await?;
        if now.is_none_or(|row| row.state() != AttachmentState::Ready) {
            media.objects.delete(id).await?;
            return Err(Refusal::Gone);
        }
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    harden(response.headers_mut());
    Ok(response)
}

/// Writes the body, and checks it against what was announced.
async fn receive(
    writing: &mut Writing,
    row: &AttachmentRow,
    body: Body,
    places: &Places<UserId>,
) -> Result<(), Refusal> {
    let mut stream = body.into_data_stream();
    let mut digest = Context::new(&SHA256);
    let mut left = u64::try_from(row.size_bytes).unwrap_or(0);
    let mut pace = Pace::default();
    loop {
        let rate = if places.is_short() {
            Rate::LEAST_WHEN_SHORT
        } else {
            Rate::LEAST
        };
        let chunk = pace.wait(rate, stream.next()).await.ok_or(Refusal::Stalled)?;
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|_| Refusal::Stalled)?;
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        left = left.checked_sub(bytes).ok_or(Refusal::Mismatch)?;
        pace.bring(bytes);
        digest.update(&chunk);
        writing.push(chunk).await?;
    }
    let same = left == 0 && digest.finish().as_ref() == row.sha256;
    if same { Ok(()) } else { Err(Refusal::Mismatch) }
}

async fn download(
    State(shared): State<Shared>,
    Path(ids): Path<(String, String)>,
    Query(signature): Query<Signature>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (chat_id, id) = shared.checked(Action::Download, &ids, &signature)?;
    let places = (
        shared.downloads.take(id)?,
        shared.downloads_by_network.take(network(&headers))?,
    );
    let media = &shared.media;
    // Asked again, so that a URL ends with its file.
    let row = find_upload(&media.pool, chat_id, id).await?;
    let row = row
        .filter(|row| row.state() == AttachmentState::Ready)
        .ok_or(Refusal::Gone)?;
    let stream = match media.objects.read(id).await {
        Ok(stream) => stream,
        Err(object_store::Error::NotFound { .. }) => {
            tracing::error!(attachment_id = %id, "a file is missing in the store");
            return Err(Refusal::Gone);
        }
        Err(error) => return Err(error.into()),
    };
    let body = tonic::body::Body::new(Body::from_stream(stream.map(move |chunk| {
        let _held = &places;
        chunk
    })));
    // Whoever does not fetch it is noticed from outside: the body is not asked for more then.
    let bytes = u64::try_from(row.size_bytes).unwrap_or(0);
    let watch = Watch {
        patience: IDLE_MAX,
        until: Some(Instant::now() + Rate::LEAST.time_for(bytes)),
        caller: None,
        trailers: false,
        on_let_go: None,
    };
    let mut response = Response::new(Body::new(shared.answers.watch(body, watch)));
    let headers = response.headers_mut();
    harden(headers);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(&row.media_type)),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(row.size_bytes));
    let disposition = HeaderValue::try_from(content_disposition(&row.file_name)).expect("it is ASCII without controls");
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    Ok(response)
}

impl Shared {
    /// The file that a URL is for, if it is a good one.
    fn checked(
        &self,
        action: Action,
        (chat_id, id): &(String, String),
        signature: &Signature,
    ) -> Result<(ChatId, AttachmentId), Refusal> {
        let chat_id = Id::parse(chat_id).map_err(|_| Refusal::Forbidden)?;
        let id = Id::parse(id).map_err(|_| Refusal::Forbidden)?;
        let allowed = self
            .media
            .urls
            .allows(action, chat_id, id, signature.expires, &signature.signature);
        if allowed {
            Ok((chat_id, id))
        } else {
            Err(Refusal::Forbidden)
        }
    }
}

/// Where the client is, as the gateway says.
fn network(headers: &HeaderMap) -> RateKey {
    let address = headers
        .get(CLIENT_HEADER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    address.map_or(RateKey::Unknown, RateKey::prefix)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What keeps a file from being taken for a page of this origin, and its URL from travelling on.
fn harden(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
