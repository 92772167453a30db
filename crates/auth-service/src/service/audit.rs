//! The audit trail's RPCs. What they ask and answer is the same in every service.

use tidings_audit::{ListRequest, Trail};
use tidings_proto_auth::v1::{
    ListAuditEventsRequest, ListAuditEventsResponse, VerifyAuditChainRequest, VerifyAuditChainResponse,
    auth_audit_service_server::AuthAuditService,
};
use tidings_rpc::caller;
use tonic::{Request, Response, Status};

/// Serves `AuthAuditService`.
#[derive(Debug, Clone)]
pub(crate) struct AuditRpcs {
    pub(crate) trail: Trail,
}

#[tonic::async_trait]
impl AuthAuditService for AuditRpcs {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = ListRequest {
            caller: caller.user_id,
            method: "tidings.auth.v1.AuthAuditService/ListAuditEvents",
            filter: request.filter,
            order: request.order,
            page_size: request.page_size,
            page_token: request.page_token,
        };
        let (events, next_page_token) = self.trail.list(page).await?;
        Ok(Response::new(ListAuditEventsResponse {
            events,
            next_page_token,
        }))
    }

    async fn verify_audit_chain(
        &self,
        request: Request<VerifyAuditChainRequest>,
    ) -> Result<Response<VerifyAuditChainResponse>, Status> {
        let request = request.into_inner();
        let verification = self
            .trail
            .verify_asked(request.from_number, request.to_number, request.expected_head)
            .await?;
        Ok(Response::new(VerifyAuditChainResponse {
            findings: verification.findings(),
            checked_from_number: verification.from,
            checked_to_number: verification.to,
            next_number: verification.next,
            last_number: verification.last_number,
            head: verification.head(),
        }))
    }
}
