//! Passwords that are changed by their owners, set by operators, and refused.

mod changed;
mod guessed;
mod refused;
mod set;

use tidings_proto_auth::v1::{ChangePasswordRequest, SetPasswordRequest};
use tidings_proto_common::v1::Permission;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::world::{World, bearing, reason};

const NEW_PASSWORD: &str = "another horse battery";

impl World {
    pub async fn change_password(
        &self,
        access_token: &str,
        current: &str,
        new: &str,
        request_id: &str,
    ) -> Result<(), Status> {
        let request = ChangePasswordRequest {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
            end_current: false,
            request_id: request_id.to_owned(),
        };
        let answer = self.credentials().change_password(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    pub async fn set_password(
        &self,
        access_token: &str,
        user_id: &str,
        new: &str,
        request_id: &str,
    ) -> Result<(), Status> {
        let request = SetPasswordRequest {
            user_id: user_id.to_owned(),
            new_password: new.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.credentials().set_password(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    /// Somebody who manages others' credentials: their access token, and their id.
    pub async fn operator(&self) -> (String, String) {
        let user_id = self.register("root-admin").await.expect("registered");
        self.users.change(&user_id, |user| {
            user.permissions.push(Permission::CredentialsManage.into());
        });
        let issued = self.login("root-admin").await.expect("logged in");
        (issued.access_token, user_id)
    }
}

/// The field and the description of the only violation.
fn violation(status: &Status) -> (String, String) {
    let mut violations = status.get_details_bad_request().expect("fields").field_violations;
    assert_eq!((violations.len(), reason(status).as_str()), (1, "FIELD_INVALID"));
    let violation = violations.remove(0);
    (violation.field, violation.description)
}
