use super::scene::Needs;

/// What a caller must be to the thing that the call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Nothing: whoever passes the policy.
    Anyone,
    /// A member of the chat or group.
    Member,
    /// An admin or owner of the chat or group.
    Manager,
    /// The sender of the message, or the maker of the upload, who is the owner here.
    Sender,
    /// A member who is not the only owner.
    Leaver,
    /// A member who may answer messages: a bot or the session's assistant, which nobody here is.
    Responder,
    /// The user in question, who is the owner here, or whoever manages users.
    Himself,
    /// The user in question, who is the owner here, and nobody else.
    OnlyHimself,
}

/// One RPC: what its callers must be, what must be there, and a request that is in order. `{…}` stands for what the scene has.
pub struct Row {
    pub rpc: &'static str,
    pub relation: Relation,
    pub needs: Needs,
    pub request: &'static str,
}

const fn row(rpc: &'static str, relation: Relation, needs: Needs, request: &'static str) -> Row {
    Row {
        rpc,
        relation,
        needs,
        request,
    }
}

/// The table. Written from `api.md`, `design.md` and the comments in the protos.
pub const ROWS: &[Row] = {
    use Needs::{
        Attachment, Conversation, Group, Nothing, OwnSession, RefreshToken, ResetToken, Role, RoleHeld, Session,
        Upload, VerificationToken,
    };
    use Relation::{Anyone, Himself, Leaver, Manager, Member, OnlyHimself, Responder, Sender};
    &[
        // auth
        row(
            "auth.v1.AuthService.Register",
            Anyone,
            Nothing,
            r#"{"username":"{fresh}","email":"{fresh}@example.org","password":"correct horse battery","requestId":"{request}"}"#,
        ),
        row(
            "auth.v1.AuthService.Login",
            Anyone,
            Nothing,
            r#"{"identifier":"{owner_name}","password":"{owner_password}"}"#,
        ),
        row(
            "auth.v1.AuthService.RefreshToken",
            Anyone,
            RefreshToken,
            r#"{"refreshToken":"{refresh_token}","requestId":"{request}"}"#,
        ),
        row("auth.v1.AuthService.Logout", Anyone, OwnSession, "{}"),
        row(
            "auth.v1.AuthService.LogoutAll",
            Anyone,
            OwnSession,
            r#"{"keepCurrent":true}"#,
        ),
        row("auth.v1.AuthService.ListSigningKeys", Anyone, Nothing, "{}"),
        row("auth.v1.AuthService.WatchRevocations", Anyone, Nothing, "{}"),
        row(
            "auth.v1.CredentialService.RequestPasswordReset",
            Anyone,
            Nothing,
            r#"{"email":"{fresh}@example.org","requestId":"{request}"}"#,
        ),
        row(
            "auth.v1.CredentialService.ResetPassword",
            Anyone,
            ResetToken,
            r#"{"token":"{token}","newPassword":"another horse battery","requestId":"{request}"}"#,
        ),
        row(
            "auth.v1.CredentialService.RequestEmailVerification",
            Anyone,
            Nothing,
            r#"{"email":"{fresh}@example.org","requestId":"{request}"}"#,
        ),
        row(
            "auth.v1.CredentialService.VerifyEmail",
            Anyone,
            VerificationToken,
            r#"{"token":"{token}","requestId":"{request}"}"#,
        ),
        // user
        row("user.v1.ProvisioningService.CreateUser", Anyone, Nothing, "{}"),
        row("user.v1.ProvisioningService.ActivateUser", Anyone, Nothing, "{}"),
        row("user.v1.ProvisioningService.DiscardUser", Anyone, Nothing, "{}"),
        row("user.v1.ProvisioningService.SetLoggedIn", Anyone, Nothing, "{}"),
        row("user.v1.UserStateService.WatchUserStates", Anyone, Nothing, "{}"),
        row(
            "user.v1.UserService.GetUser",
            Anyone,
            Nothing,
            r#"{"userId":"{owner}"}"#,
        ),
        row("user.v1.UserService.GetCurrentUser", Anyone, Nothing, "{}"),
        row(
            "user.v1.UserService.BatchGetUsers",
            Anyone,
            Nothing,
            r#"{"userIds":["{owner}","{member}"]}"#,
        ),
        row("user.v1.UserService.ListUsers", Anyone, Nothing, "{}"),
        row(
            "user.v1.UserService.UpdateUser",
            Himself,
            Nothing,
            r#"{"userId":"{owner}","bio":"about {fresh}","updateMask":"bio","requestId":"{request}"}"#,
        ),
        row(
            "user.v1.RoleService.CreateRole",
            Anyone,
            Nothing,
            r#"{"name":"{fresh}","displayName":"a role","requestId":"{request}"}"#,
        ),
        row("user.v1.RoleService.GetRole", Anyone, Role, r#"{"roleId":"{role}"}"#),
        row("user.v1.RoleService.ListRoles", Anyone, Nothing, "{}"),
        row(
            "user.v1.RoleService.UpdateRole",
            Anyone,
            Role,
            r#"{"roleId":"{role}","description":"changed","updateMask":"description","requestId":"{request}"}"#,
        ),
        row(
            "user.v1.RoleService.DeleteRole",
            Anyone,
            Role,
            r#"{"roleId":"{role}","requestId":"{request}"}"#,
        ),
        row(
            "user.v1.RoleService.AssignRole",
            Anyone,
            Role,
            r#"{"roleId":"{role}","userId":"{extra}","requestId":"{request}"}"#,
        ),
        row(
            "user.v1.RoleService.UnassignRole",
            Anyone,
            RoleHeld,
            r#"{"roleId":"{role}","userId":"{extra}","requestId":"{request}"}"#,
        ),
        row(
            "user.v1.RoleService.ListRoleAssignments",
            Anyone,
            Role,
            r#"{"roleId":"{role}"}"#,
        ),
        // chat
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
            Manager,
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
        // message
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
            Sender,
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
            r#"{"chatId":"{chat}","messageId":"{message}","type":"MESSAGE_TYPE_TEXT","text":"an answer","requestId":"{request}"}"#,
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
        // gateway
        row("gateway.v1.GatewayService.GetServerInfo", Anyone, Nothing, "{}"),
        row("gateway.v1.GatewayService.GetLimits", Anyone, Nothing, "{}"),
    ]
};
