//! Messages, what changes, files; and what the gateway itself answers.

use super::{
    super::scene::Needs::{Attachment, Group, Nothing, Session, Upload},
    Relation::{Anyone, Manager, Member, OnlyHimself, Responder, Sender},
    Row, row,
};

pub const ROWS: &[Row] = &[
    row(
        "message.v1.MembershipLogService.ApplyMembershipChanges",
        Anyone,
        Nothing,
        "{}",
    ),
    row(
        "message.v1.MembershipLogService.ListChatActivity",
        Anyone,
        Nothing,
        "{}",
    ),
    row(
        "message.v1.MessageService.SendMessage",
        Member,
        Group,
        r#"{"chatId":"{chat}","text":"hello","requestId":"{request}"}"#,
    ),
    row(
        "message.v1.MessageService.GetMessage",
        Member,
        Group,
        r#"{"chatId":"{chat}","messageId":"{message}"}"#,
    ),
    row(
        "message.v1.MessageService.BatchGetMessages",
        Member,
        Group,
        r#"{"chatId":"{chat}","messageIds":["{message}"]}"#,
    ),
    row(
        "message.v1.MessageService.ListMessages",
        Member,
        Group,
        r#"{"chatId":"{chat}"}"#,
    ),
    row(
        "message.v1.MessageService.ListTurns",
        Member,
        Group,
        r#"{"chatId":"{chat}"}"#,
    ),
    row(
        "message.v1.MessageService.UpdateMessage",
        Sender,
        Group,
        r#"{"chatId":"{chat}","messageId":"{message}","text":"changed","requestId":"{request}"}"#,
    ),
    row(
        "message.v1.MessageService.DeleteMessage",
        Manager,
        Group,
        r#"{"chatId":"{chat}","messageId":"{message}","requestId":"{request}"}"#,
    ),
    row("message.v1.SyncService.GetSyncState", Anyone, Nothing, "{}"),
    row("message.v1.SyncService.SyncChanges", Anyone, Nothing, "{}"),
    row("message.v1.SyncService.StreamChanges", Anyone, Nothing, "{}"),
    row(
        "message.v1.ResponseService.CreateResponse",
        Responder,
        Group,
        r#"{"chatId":"{chat}","messageId":"{message}","text":"an answer","requestId":"{request}"}"#,
    ),
    row(
        "message.v1.ResponseService.GetResponse",
        OnlyHimself,
        Session,
        r#"{"chatId":"{session}","responseId":"{response}"}"#,
    ),
    row(
        "message.v1.ResponseService.ListResponses",
        Member,
        Group,
        r#"{"chatId":"{chat}","messageId":"{message}"}"#,
    ),
    row(
        "message.v1.AttachmentService.CreateUpload",
        Member,
        Group,
        r#"{"chatId":"{chat}","mediaType":"text/plain","sizeBytes":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","fileName":"hello.txt","requestId":"{request}"}"#,
    ),
    row(
        "message.v1.AttachmentService.CompleteUpload",
        OnlyHimself,
        Upload,
        r#"{"chatId":"{chat}","attachmentId":"{attachment}","requestId":"{request}"}"#,
    ),
    row(
        "message.v1.AttachmentService.GetAttachment",
        Member,
        Attachment,
        r#"{"chatId":"{chat}","attachmentId":"{attachment}"}"#,
    ),
    row(
        "message.v1.AttachmentService.CreateDownloadUrl",
        Member,
        Attachment,
        r#"{"chatId":"{chat}","attachmentId":"{attachment}"}"#,
    ),
    row("gateway.v1.GatewayService.GetServerInfo", Anyone, Nothing, "{}"),
    row("gateway.v1.GatewayService.GetLimits", Anyone, Nothing, "{}"),
    row(
        "message.v1.MessageAuditService.ListAuditEvents",
        Anyone,
        Nothing,
        r#"{}"#,
    ),
    row(
        "message.v1.MessageAuditService.VerifyAuditChain",
        Anyone,
        Nothing,
        r#"{}"#,
    ),
];
