//! Accounts, login sessions and credentials.

use super::{
    super::scene::Needs::{Nothing, OwnSession, RefreshToken, ResetToken, VerificationToken},
    Relation::Anyone,
    Row, row,
};

pub const ROWS: &[Row] = &[
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
];
