//! Groups, chats and who is in them.

use super::{
    super::scene::Needs::{Conversation, Group, Nothing, Session},
    Relation::{Anyone, Leaver, Manager, Member, OnlyHimself, OnlyOwner},
    Row, row,
};

pub const ROWS: &[Row] = &[
    row(
        "chat.v1.GroupService.CreateGroup",
        Anyone,
        Nothing,
        r#"{"displayName":"a group","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.GroupService.GetGroup",
        Member,
        Group,
        r#"{"groupId":"{group}"}"#,
    ),
    row("chat.v1.GroupService.ListGroups", Anyone, Nothing, "{}"),
    row(
        "chat.v1.GroupService.UpdateGroup",
        Manager,
        Group,
        r#"{"groupId":"{group}","displayName":"another","updateMask":"displayName","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.GroupService.DeleteGroup",
        OnlyOwner,
        Group,
        r#"{"groupId":"{group}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.MembershipService.AddMember",
        Manager,
        Group,
        r#"{"groupId":"{group}","userId":"{extra}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.MembershipService.RemoveMember",
        Manager,
        Group,
        r#"{"groupId":"{group}","userId":"{second}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.MembershipService.ListMembers",
        Member,
        Group,
        r#"{"groupId":"{group}"}"#,
    ),
    row(
        "chat.v1.MembershipService.LeaveGroup",
        Leaver,
        Group,
        r#"{"groupId":"{group}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatService.CreateChat",
        Manager,
        Group,
        r#"{"groupId":"{group}","title":"a chat","requestId":"{request}"}"#,
    ),
    row("chat.v1.ChatService.GetChat", Member, Group, r#"{"chatId":"{chat}"}"#),
    row("chat.v1.ChatService.ListChats", Anyone, Nothing, "{}"),
    row(
        "chat.v1.ChatService.UpdateChat",
        Manager,
        Group,
        r#"{"chatId":"{chat}","title":"another","updateMask":"title","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatService.DeleteChat",
        Manager,
        Group,
        r#"{"chatId":"{chat}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatService.OpenDirectChat",
        Anyone,
        Nothing,
        r#"{"userId":"{extra}"}"#,
    ),
    row(
        "chat.v1.ChatService.CreateConversation",
        Anyone,
        Nothing,
        r#"{"userIds":["{extra}"],"title":"a talk","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatService.AddChatMember",
        Manager,
        Conversation,
        r#"{"chatId":"{chat}","userId":"{extra}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatService.RemoveChatMember",
        Manager,
        Conversation,
        r#"{"chatId":"{chat}","userId":"{second}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatService.ListChatMembers",
        Member,
        Conversation,
        r#"{"chatId":"{chat}"}"#,
    ),
    row(
        "chat.v1.ChatService.LeaveChat",
        Leaver,
        Conversation,
        r#"{"chatId":"{chat}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatSessionService.CreateChatSession",
        Anyone,
        Nothing,
        r#"{"title":"a session","assistantUserId":"{assistant}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatSessionService.GetChatSession",
        OnlyHimself,
        Session,
        r#"{"chatId":"{session}"}"#,
    ),
    row(
        "chat.v1.ChatSessionService.GetChatSessionByNumber",
        OnlyHimself,
        Session,
        r#"{"sessionNumber":"{session_number}"}"#,
    ),
    row("chat.v1.ChatSessionService.ListChatSessions", Anyone, Nothing, "{}"),
    row(
        "chat.v1.ChatSessionService.UpdateChatSession",
        OnlyHimself,
        Session,
        r#"{"chatId":"{session}","title":"another","updateMask":"title","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatSessionService.CloseChatSession",
        OnlyHimself,
        Session,
        r#"{"chatId":"{session}","requestId":"{request}"}"#,
    ),
    row(
        "chat.v1.ChatSessionService.DeleteChatSession",
        OnlyHimself,
        Session,
        r#"{"chatId":"{session}","requestId":"{request}"}"#,
    ),
    row("chat.v1.ChatAuditService.ListAuditEvents", Anyone, Nothing, r#"{}"#),
    row("chat.v1.ChatAuditService.VerifyAuditChain", Anyone, Nothing, r#"{}"#),
];
