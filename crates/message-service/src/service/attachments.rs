use std::collections::BTreeMap;

use tidings_ids::{AttachmentId, ChatId, UserId, kind};
use tidings_proto_message::v1::{
    CompleteUploadRequest, CompleteUploadResponse, CreateDownloadUrlRequest, CreateDownloadUrlResponse,
    CreateUploadRequest, CreateUploadResponse, GetAttachmentRequest, GetAttachmentResponse, Upload,
    attachment_service_server::AttachmentService,
};
use tidings_rpc::{Problem, Violations, caller, text::TextRule};
use tonic::{Request, Response, Status};

use super::{Rpcs, Shared};
use crate::{
    attachment::Announced,
    convert,
    requests::{Call, Method},
};

/// The name of a file: shown and saved under, never used as a path.
const FILE_NAME: TextRule = TextRule {
    chars_min: 0,
    chars_max: 255,
    bytes_max: 1_020,
    multiline: false,
    plain: true,
    visible: false,
};

/// RFC 6838 allows 127 characters for each half; the proto allows them for the whole.
const MEDIA_TYPE_CHARS_MAX: usize = 127;

#[tonic::async_trait]
impl AttachmentService for Rpcs {
    async fn create_upload(
        &self,
        request: Request<CreateUploadRequest>,
    ) -> Result<Response<CreateUploadResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let (call, announced) = self.shared.parse_upload(caller_id, request.into_inner())?;
        let (attachment_id, url) = self.shared.attachments.create_upload(&call, &announced).await?;
        let mut upload = Upload {
            attachment_id: attachment_id.to_string(),
            ..Upload::default()
        };
        if let Some(url) = url {
            upload.upload_url = url.url;
            upload.expire_time = Some(convert::timestamp(url.expire_time));
            upload.headers = BTreeMap::from([("content-type".to_owned(), "application/octet-stream".to_owned())]);
        }
        Ok(Response::new(CreateUploadResponse { upload: Some(upload) }))
    }

    async fn complete_upload(
        &self,
        request: Request<CompleteUploadRequest>,
    ) -> Result<Response<CompleteUploadResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let attachment_id = violations.id::<kind::Attachment>("attachment_id", &request.attachment_id);
        let request_id = violations.optional_id::<kind::Request>("request_id", &request.request_id);
        violations.finish()?;
        request.request_id.clear();
        let call = Call {
            chat_id: chat_id.expect("it had no violation"),
            caller_id,
            method: Method::CompleteUpload,
            request_id: Call::request_id(request_id, &self.shared.env.source),
            request_hash: Call::hash(&self.shared.env.hasher, Method::CompleteUpload, &request),
        };
        let attachment_id = attachment_id.expect("it had no violation");
        let row = self.shared.attachments.complete_upload(&call, attachment_id).await?;
        let attachment = row.as_ref().map_or_else(
            || convert::unseen_attachment(call.chat_id, attachment_id),
            convert::attachment,
        );
        Ok(Response::new(CompleteUploadResponse {
            attachment: Some(attachment),
        }))
    }

    async fn get_attachment(
        &self,
        request: Request<GetAttachmentRequest>,
    ) -> Result<Response<GetAttachmentResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let request = request.into_inner();
        let (chat_id, id) = parse_place(&request.chat_id, &request.attachment_id)?;
        let row = self.shared.attachments.get(chat_id, caller_id, id).await?;
        Ok(Response::new(GetAttachmentResponse {
            attachment: Some(convert::attachment(&row)),
        }))
    }

    async fn create_download_url(
        &self,
        request: Request<CreateDownloadUrlRequest>,
    ) -> Result<Response<CreateDownloadUrlResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let request = request.into_inner();
        let (chat_id, id) = parse_place(&request.chat_id, &request.attachment_id)?;
        let url = self
            .shared
            .attachments
            .create_download_url(chat_id, caller_id, id)
            .await?;
        let expire_time = Some(convert::timestamp(url.expire_time));
        Ok(Response::new(CreateDownloadUrlResponse {
            download_url: url.url,
            expire_time,
        }))
    }
}

impl Shared {
    fn parse_upload(&self, caller_id: UserId, mut request: CreateUploadRequest) -> Result<(Call, Announced), Problem> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let request_id = violations.optional_id::<kind::Request>("request_id", &request.request_id);
        if !is_media_type(&request.media_type) {
            violations.add(
                "media_type",
                "must be a MIME type without parameters, such as image/png",
            );
        }
        let bytes_max = self.config.attachment_bytes_max;
        if !(1..=bytes_max).contains(&request.size_bytes) {
            violations.add("size_bytes", format!("must be 1 to {bytes_max}"));
        }
        let sha256 = parse_sha256(&request.sha256);
        if sha256.is_none() {
            violations.add("sha256", "must be 64 lower-case hexadecimal digits");
        }
        violations.check("file_name", FILE_NAME.check(&request.file_name));
        if request.file_name.contains(['/', '\\']) {
            violations.add("file_name", "must not hold a folder");
        }
        violations.finish()?;

        request.request_id.clear();
        let call = Call {
            chat_id: chat_id.expect("it had no violation"),
            caller_id,
            method: Method::CreateUpload,
            request_id: Call::request_id(request_id, &self.env.source),
            request_hash: Call::hash(&self.env.hasher, Method::CreateUpload, &request),
        };
        let announced = Announced {
            file_name: request.file_name,
            media_type: request.media_type,
            size_bytes: request.size_bytes.into(),
            sha256: sha256.expect("it had no violation"),
        };
        Ok((call, announced))
    }
}

fn parse_place(chat_id: &str, attachment_id: &str) -> Result<(ChatId, AttachmentId), Problem> {
    let mut violations = Violations::new();
    let chat_id = violations.id::<kind::Chat>("chat_id", chat_id);
    let attachment_id = violations.id::<kind::Attachment>("attachment_id", attachment_id);
    violations.finish()?;
    Ok((
        chat_id.expect("it had no violation"),
        attachment_id.expect("it had no violation"),
    ))
}

/// Two halves of the characters that RFC 6838 allows.
fn is_media_type(text: &str) -> bool {
    let is_name = |half: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        half.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) && half.bytes().all(allowed)
    };
    text.len() <= MEDIA_TYPE_CHARS_MAX
        && text
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let lower = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let bytes = hex::decode(text).ok()?;
    lower.then_some(())?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_media_type, parse_sha256};

    #[test]
    fn media_types_have_two_halves_and_no_parameters() {
        for good in ["image/png", "application/vnd.api+json", "video/x-matroska"] {
            assert!(is_media_type(good), "{good}");
        }
        let long = format!("image/{}", "a".repeat(122));
        for bad in [
            "",
            "image",
            "image/",
            "/png",
            "text/html; charset=utf-8",
            "a/b/c",
            "image/p ng",
            "image/\r\n",
            &long,
        ] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }

    #[test]
    fn a_digest_has_one_spelling() {
        assert_eq!(parse_sha256(&"0f".repeat(32)), Some([0x0f; 32]));
        for bad in ["".to_owned(), "0F".repeat(32), "0f".repeat(31), "0g".repeat(32)] {
            assert_eq!(parse_sha256(&bad), None, "{bad}");
        }
    }
}
