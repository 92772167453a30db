//! `LoginSessionService`.

use tidings_ids::{LoginSessionId, UserId};
use tidings_proto_auth::v1::{
    GetLoginSessionRequest, GetLoginSessionResponse, ListLoginSessionsRequest, ListLoginSessionsResponse, LoginSession,
    RevokeLoginSessionRequest, RevokeLoginSessionResponse, RevokeUserLoginSessionsRequest,
    RevokeUserLoginSessionsResponse, UpdateLoginSessionRequest, UpdateLoginSessionResponse,
    login_session_service_server::LoginSessionService,
};
use tidings_rpc::{PageScope, Problem, Violations, caller, page_size, text::TextRule};
use tonic::Request;
use uuid::Uuid;

use super::{Answer, Rpcs};
use crate::{
    Error,
    auth::Repeatable,
    convert::{Fields as _, timestamp},
    login_sessions,
    store::session_views::View,
};

const LIST: &str = "tidings.auth.v1.LoginSessionService/ListLoginSessions";
const UPDATE: &str = "tidings.auth.v1.LoginSessionService/UpdateLoginSession";
const REVOKE: &str = "tidings.auth.v1.LoginSessionService/RevokeLoginSession";
const REVOKE_ALL: &str = "tidings.auth.v1.LoginSessionService/RevokeUserLoginSessions";

const PAGE_SIZE_DEFAULT: u32 = 50;
const PAGE_SIZE_MAX: u32 = 200;

/// All that `UpdateLoginSession` can change.
const DEVICE_LABEL: &str = "device_label";

#[tonic::async_trait]
impl LoginSessionService for Rpcs {
    async fn get_login_session(&self, request: Request<GetLoginSessionRequest>) -> Answer<GetLoginSessionResponse> {
        let caller = caller(&request)?;
        let mut violations = Violations::new();
        let id = violations.id("login_session_id", &request.get_ref().login_session_id);
        let Some(id) = id else {
            return Err(Error::Fields(violations).into());
        };
        let view = login_sessions::get(&self.auth, caller.user_id, id).await?;
        Ok(tonic::Response::new(GetLoginSessionResponse {
            login_session: Some(shown(view, caller.login_session_id)),
        }))
    }

    async fn list_login_sessions(
        &self,
        request: Request<ListLoginSessionsRequest>,
    ) -> Answer<ListLoginSessionsResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.optional_id("user_id", &request.user_id);
        if request.page_size < 0 {
            violations.add("page_size", "must not be negative");
        }
        violations.finish()?;
        let user_id: UserId = user_id.unwrap_or(caller.user_id);
        let size = page_size(request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
        let whose = user_id.uuid();
        let scope = PageScope {
            caller: caller.user_id,
            method: LIST,
            arguments: whose.as_bytes(),
        };
        let cursor = self.auth.env.page_tokens.read(scope, &request.page_token)?;
        let after = cursor
            .and_then(|cursor| Uuid::from_slice(&cursor).ok())
            .map(LoginSessionId::from_uuid);
        // One more than the page has: whether it is there says whether there is another page.
        let mut views = login_sessions::list(&self.auth, &caller, user_id, after, size + 1).await?;
        let mut next_page_token = String::new();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if views.len() > size {
            views.truncate(size);
            if let Some(last) = views.last() {
                let cursor = last.login_session_id.uuid();
                next_page_token = self.auth.env.page_tokens.issue(scope, cursor.as_bytes());
            }
        }
        let views = views.into_iter().map(|view| shown(view, caller.login_session_id));
        Ok(tonic::Response::new(ListLoginSessionsResponse {
            login_sessions: views.collect(),
            next_page_token,
        }))
    }

    async fn update_login_session(
        &self,
        request: Request<UpdateLoginSessionRequest>,
    ) -> Answer<UpdateLoginSessionResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let id = violations.id("login_session_id", &request.login_session_id);
        let label = violations.text(DEVICE_LABEL, TextRule::OPTIONAL_NAME, request.device_label.clone());
        let paths = request.update_mask.iter().flat_map(|mask| &mask.paths);
        for (index, _) in paths.clone().enumerate().filter(|(_, path)| *path != DEVICE_LABEL) {
            violations.add(format!("update_mask.paths[{index}]"), format!("must be {DEVICE_LABEL}"));
        }
        // Without a mask the fields that are set are meant.
        let named = paths.count() > 0 || !request.device_label.is_empty();
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(id), Some(label), true) = (id, label, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(UPDATE, &request);
        let call = Repeatable::by(caller.user_id, UPDATE, request_id, hash);
        let label = named.then_some(label.as_str());
        let view = login_sessions::relabel(&self.auth, caller.user_id, id, label, &request.etag, call.as_ref()).await?;
        Ok(tonic::Response::new(UpdateLoginSessionResponse {
            login_session: view.map(|view| shown(view, caller.login_session_id)),
        }))
    }

    async fn revoke_login_session(
        &self,
        request: Request<RevokeLoginSessionRequest>,
    ) -> Answer<RevokeLoginSessionResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let id = violations.id("login_session_id", &request.login_session_id);
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(id), true) = (id, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(REVOKE, &request);
        let call = Repeatable::by(caller.user_id, REVOKE, request_id, hash);
        login_sessions::revoke(&self.auth, caller.user_id, id, &request.etag, call.as_ref()).await?;
        Ok(tonic::Response::new(RevokeLoginSessionResponse {}))
    }

    async fn revoke_user_login_sessions(
        &self,
        request: Request<RevokeUserLoginSessionsRequest>,
    ) -> Answer<RevokeUserLoginSessionsResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(user_id), true) = (user_id, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(REVOKE_ALL, &request);
        let call = Repeatable::by(caller.user_id, REVOKE_ALL, request_id, hash);
        let count = login_sessions::revoke_all_of(&self.auth, caller.user_id, user_id, call.as_ref()).await?;
        let revoked_count = i32::try_from(count).map_err(|error| Problem::internal(&error))?;
        Ok(tonic::Response::new(RevokeUserLoginSessionsResponse { revoked_count }))
    }
}

fn shown(view: View, current: LoginSessionId) -> LoginSession {
    LoginSession {
        etag: view.etag(),
        current: view.login_session_id == current,
        login_session_id: view.login_session_id.to_string(),
        user_id: view.user_id.to_string(),
        device_label: view.device_label,
        create_time: Some(timestamp(view.create_time)),
        refresh_time: Some(timestamp(view.refresh_time)),
        expire_time: Some(timestamp(view.expire_time)),
        client_prefix: view.client_prefix,
        user_agent: view.user_agent,
    }
}
