//! Users who do not register themselves: those of service accounts and of other systems.

use tidings_ids::UserId;
use tidings_proto_user::v1::{CreateUserRequest, DeleteBotRequest, GetExternalUserRequest};

use super::{Refused, Standing, Users, standing};
use crate::Error;

/// A user who is to be created at somebody's request.
#[derive(Debug, Clone)]
pub(crate) struct NewForeigner {
    pub user_id: UserId,
    pub username: String,
    pub display_name: String,
    /// None means the usual one.
    pub role_names: Vec<String>,
    pub is_bot: bool,
    /// What another system calls the user. None for a bot.
    pub external_id: Option<String>,
    /// Who gives the roles, and what their token reaches. None where auth answers for them.
    pub giver: Option<(UserId, Vec<i32>)>,
}

impl Users {
    /// Creates a pending user.
    pub(crate) async fn create_foreigner(&self, user: &NewForeigner) -> Result<(), Refused> {
        let (actor_user_id, actor_permissions) = match &user.giver {
            Some((giver, reach)) => (giver.to_string(), reach.clone()),
            None => (String::new(), Vec::new()),
        };
        let request = CreateUserRequest {
            user_id: user.user_id.to_string(),
            username: user.username.clone(),
            email: String::new(),
            display_name: user.display_name.clone(),
            bio: String::new(),
            is_bot: user.is_bot,
            role_names: user.role_names.clone(),
            request_id: String::new(),
            actor_user_id,
            actor_permissions,
            external_id: user.external_id.clone().unwrap_or_default(),
            may_lack_email: false,
        };
        self.call(&request, |mut client, request| async move {
            client.create_user(request).await
        })
        .await?;
        Ok(())
    }

    /// The user whom another system calls by this id, and how they stand.
    pub(crate) async fn external(&self, external_id: &str) -> Result<Option<(UserId, Standing)>, Error> {
        let request = GetExternalUserRequest {
            external_id: external_id.to_owned(),
        };
        let response = self
            .call(&request, |mut client, request| async move {
                client.get_external_user(request).await
            })
            .await;
        let state = match response {
            Ok(response) => response.state,
            Err(Refused::NotFound) => return Ok(None),
            Err(refused) => return Err(refused.into()),
        };
        let user_id = state.as_ref().and_then(|state| UserId::parse(&state.user_id).ok());
        let user_id = user_id.ok_or_else(|| Error::Internal("the user service answered without a user".to_owned()))?;
        Ok(Some((user_id, standing(state)?)))
    }

    /// How the user stands.
    pub(crate) async fn standing(&self, user_id: UserId) -> Result<Standing, Error> {
        match self.states(&[user_id]).await?.pop() {
            Some(state) => standing(Some(state)),
            None => Ok(Standing::GONE),
        }
    }

    /// Deletes the user of a service account.
    pub(crate) async fn delete_bot(&self, user_id: UserId, actor: UserId) -> Result<(), Error> {
        let request = DeleteBotRequest {
            user_id: user_id.to_string(),
            actor_user_id: actor.to_string(),
        };
        let response = self
            .call(&request, |mut client, request| async move {
                client.delete_bot(request).await
            })
            .await;
        match response {
            // Gone for good already.
            Ok(_) | Err(Refused::NotFound) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }
}
