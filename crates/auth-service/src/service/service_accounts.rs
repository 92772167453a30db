//! `ServiceAccountService`.

use prost_types::Timestamp;
use secrecy::ExposeSecret as _;
use tidings_ids::{ApiKeyId, UserId};
use tidings_proto_auth::v1::{
    ApiKey, CreateApiKeyRequest, CreateApiKeyResponse, CreateServiceAccountRequest, CreateServiceAccountResponse,
    DeleteServiceAccountRequest, DeleteServiceAccountResponse, ExchangeApiKeyRequest, ExchangeApiKeyResponse,
    GetServiceAccountRequest, GetServiceAccountResponse, ListApiKeysRequest, ListApiKeysResponse,
    ListServiceAccountsRequest, ListServiceAccountsResponse, RevokeApiKeyRequest, RevokeApiKeyResponse, ServiceAccount,
    service_account_service_server::ServiceAccountService,
};
use tidings_proto_common::v1::Permission;
use tidings_rpc::{PageScope, Violations, caller, page_size, text::TextRule};
use time::{Duration, OffsetDateTime};
use tonic::{Request, Response};
use uuid::Uuid;

use super::{Answer, Rpcs};
use crate::{
    Error, api_keys,
    auth::Repeatable,
    convert::{Fields as _, timestamp},
    service_accounts::{self, Wanted},
    store,
};

const CREATE: &str = "tidings.auth.v1.ServiceAccountService/CreateServiceAccount";
const LIST: &str = "tidings.auth.v1.ServiceAccountService/ListServiceAccounts";
const DELETE: &str = "tidings.auth.v1.ServiceAccountService/DeleteServiceAccount";
const CREATE_KEY: &str = "tidings.auth.v1.ServiceAccountService/CreateApiKey";
const LIST_KEYS: &str = "tidings.auth.v1.ServiceAccountService/ListApiKeys";
const REVOKE_KEY: &str = "tidings.auth.v1.ServiceAccountService/RevokeApiKey";

/// As the protos say.
const PAGE_SIZE_DEFAULT: u32 = 50;
const PAGE_SIZE_MAX: u32 = 200;
const ROLE_NAMES_MAX: usize = 50;
const PERMISSIONS_MAX: usize = 100;
const KEY_LIFETIME_MAX: Duration = Duration::days(3_653);

#[tonic::async_trait]
impl ServiceAccountService for Rpcs {
    async fn create_service_account(
        &self,
        request: Request<CreateServiceAccountRequest>,
    ) -> Answer<CreateServiceAccountResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let username = violations.username(&request.username);
        let display_name = violations.display_name(request.display_name.clone());
        let description = violations.text("description", TextRule::DESCRIPTION, request.description.clone());
        if request.role_names.len() > ROLE_NAMES_MAX {
            violations.add("role_names", format!("must have at most {ROLE_NAMES_MAX} entries"));
        }
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(username), Some(display_name), Some(description), true) =
            (username, display_name, description, violations.is_empty())
        else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(CREATE, &request);
        let call = Repeatable::by(caller.user_id, CREATE, request_id, hash);
        let wanted = Wanted {
            username,
            display_name,
            description,
            role_names: request.role_names,
        };
        let account = service_accounts::create(&self.auth, &caller, wanted, call.as_ref()).await?;
        Ok(Response::new(CreateServiceAccountResponse {
            service_account: Some(account.into()),
        }))
    }

    async fn get_service_account(
        &self,
        request: Request<GetServiceAccountRequest>,
    ) -> Answer<GetServiceAccountResponse> {
        let user_id = user_id(&request.get_ref().user_id)?;
        let account = service_accounts::get(&self.auth, user_id).await?;
        Ok(Response::new(GetServiceAccountResponse {
            service_account: Some(account.into()),
        }))
    }

    async fn list_service_accounts(
        &self,
        request: Request<ListServiceAccountsRequest>,
    ) -> Answer<ListServiceAccountsResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let scope = PageScope {
            caller: caller.user_id,
            method: LIST,
            arguments: &[],
        };
        let page = self.page_of(scope, request.page_size, &request.page_token)?;
        let after = UserId::from_uuid(page.after);
        let accounts = store::service_accounts::page(&self.auth.pool, after, page.limit()).await;
        let mut accounts = accounts.map_err(Error::from)?;
        let next_page_token = self.next_page(&page, &mut accounts, |account| account.user_id.uuid());
        Ok(Response::new(ListServiceAccountsResponse {
            service_accounts: accounts.into_iter().map(ServiceAccount::from).collect(),
            next_page_token,
        }))
    }

    async fn delete_service_account(
        &self,
        request: Request<DeleteServiceAccountRequest>,
    ) -> Answer<DeleteServiceAccountResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(user_id), true) = (user_id, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(DELETE, &request);
        let call = Repeatable::by(caller.user_id, DELETE, request_id, hash);
        service_accounts::delete(&self.auth, &caller, user_id, call.as_ref()).await?;
        Ok(Response::new(DeleteServiceAccountResponse {}))
    }

    async fn create_api_key(&self, request: Request<CreateApiKeyRequest>) -> Answer<CreateApiKeyResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let label = violations.text("label", TextRule::NAME, request.label.clone());
        let permissions = permissions(&request.permissions, &mut violations);
        let expire_time = request
            .expire_time
            .and_then(|time| expire_time(time, self.auth.now(), &mut violations));
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(user_id), Some(label), true) = (user_id, label, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(CREATE_KEY, &request);
        let call = Repeatable::by(caller.user_id, CREATE_KEY, request_id, hash);
        let wanted = api_keys::Wanted {
            label,
            permissions,
            expire_time,
        };
        let (record, key) = api_keys::create(&self.auth, &caller, user_id, wanted, call.as_ref()).await?;
        Ok(Response::new(CreateApiKeyResponse {
            api_key: Some(record.into()),
            key: key.map(|key| key.expose_secret().to_owned()).unwrap_or_default(),
        }))
    }

    async fn list_api_keys(&self, request: Request<ListApiKeysRequest>) -> Answer<ListApiKeysResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        if request.page_size < 0 {
            violations.add("page_size", "must not be negative");
        }
        let (Some(user_id), true) = (user_id, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let of_user = user_id.uuid();
        let scope = PageScope {
            caller: caller.user_id,
            method: LIST_KEYS,
            arguments: of_user.as_bytes(),
        };
        let page = self.page_of(scope, request.page_size, &request.page_token)?;
        service_accounts::get(&self.auth, user_id).await?;
        let after = ApiKeyId::from_uuid(page.after);
        let keys = store::api_keys::page(&self.auth.pool, user_id, after, page.limit()).await;
        let mut keys = keys.map_err(Error::from)?;
        let next_page_token = self.next_page(&page, &mut keys, |key| key.api_key_id.uuid());
        Ok(Response::new(ListApiKeysResponse {
            api_keys: keys.into_iter().map(ApiKey::from).collect(),
            next_page_token,
        }))
    }

    async fn revoke_api_key(&self, request: Request<RevokeApiKeyRequest>) -> Answer<RevokeApiKeyResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        let api_key_id = violations.id("api_key_id", &request.api_key_id);
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(user_id), Some(api_key_id), true) = (user_id, api_key_id, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(REVOKE_KEY, &request);
        let call = Repeatable::by(caller.user_id, REVOKE_KEY, request_id, hash);
        let key = api_keys::revoke(&self.auth, &caller, user_id, api_key_id, call.as_ref()).await?;
        Ok(Response::new(RevokeApiKeyResponse {
            api_key: Some(key.into()),
        }))
    }

    async fn exchange_api_key(&self, request: Request<ExchangeApiKeyRequest>) -> Answer<ExchangeApiKeyResponse> {
        let mut violations = Violations::new();
        let Some(key) = violations.token("key", request.into_inner().key) else {
            return Err(Error::Fields(violations).into());
        };
        let exchanged = api_keys::exchange(&self.auth, &key).await?;
        Ok(Response::new(ExchangeApiKeyResponse {
            access_token: exchanged.access_token,
            access_token_expire_time: Some(timestamp(exchanged.expire_time)),
            api_key_id: exchanged.api_key_id.to_string(),
            user_id: exchanged.user_id.to_string(),
        }))
    }
}

/// A page of a list in order of id.
struct Page<'a> {
    scope: PageScope<'a>,
    size: u32,
    after: Uuid,
}

impl Page<'_> {
    /// One more than the page has: whether it is there says whether there is another page.
    fn limit(&self) -> i64 {
        i64::from(self.size) + 1
    }
}

impl Rpcs {
    fn page_of<'a>(&self, scope: PageScope<'a>, size: i32, token: &str) -> Result<Page<'a>, tidings_rpc::Problem> {
        let size = page_size(size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
        let cursor = self.auth.env.page_tokens.read(scope, token)?;
        let after = cursor.and_then(|cursor| Uuid::from_slice(&cursor).ok());
        Ok(Page {
            scope,
            size,
            after: after.unwrap_or_default(),
        })
    }

    fn next_page<T>(&self, page: &Page<'_>, rows: &mut Vec<T>, id: impl Fn(&T) -> Uuid) -> String {
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        let last = rows.last().map(id).unwrap_or_default();
        self.auth.env.page_tokens.issue(page.scope, last.as_bytes())
    }
}

fn user_id(text: &str) -> Result<UserId, Error> {
    let mut violations = Violations::new();
    violations.id("user_id", text).ok_or(Error::Fields(violations))
}

fn permissions(numbers: &[i32], violations: &mut Violations) -> Vec<Permission> {
    if numbers.is_empty() || numbers.len() > PERMISSIONS_MAX {
        violations.add("permissions", format!("must have 1 to {PERMISSIONS_MAX} entries"));
        return Vec::new();
    }
    let mut permissions = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        match Permission::try_from(*number) {
            Ok(permission) if permission != Permission::Unspecified => permissions.push(permission),
            _ => violations.add(format!("permissions[{index}]"), "must be a permission"),
        }
    }
    permissions
}

fn expire_time(time: Timestamp, now: OffsetDateTime, violations: &mut Violations) -> Option<OffsetDateTime> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let time = OffsetDateTime::from_unix_timestamp(time.seconds)
        .ok()
        .zip(nanos)
        .and_then(|(time, nanos)| time.replace_nanosecond(nanos).ok())
        .filter(|time| *time > now && *time <= now + KEY_LIFETIME_MAX);
    if time.is_none() {
        violations.add("expire_time", "must be in the future, and at most ten years from now");
    }
    time
}

impl From<store::service_accounts::ServiceAccount> for ServiceAccount {
    fn from(account: store::service_accounts::ServiceAccount) -> Self {
        Self {
            user_id: account.user_id.to_string(),
            username: account.username,
            description: account.description,
            creator_user_id: account.creator_user_id.to_string(),
            create_time: Some(timestamp(account.create_time)),
        }
    }
}

impl From<store::api_keys::ApiKey> for ApiKey {
    fn from(key: store::api_keys::ApiKey) -> Self {
        Self {
            api_key_id: key.api_key_id.to_string(),
            user_id: key.user_id.to_string(),
            label: key.label,
            hint: key.hint,
            permissions: key.permissions,
            creator_user_id: key.creator_user_id.to_string(),
            create_time: Some(timestamp(key.create_time)),
            expire_time: key.expire_time.map(timestamp),
            last_use_time: key.last_use_time.map(timestamp),
            revoke_time: key.revoke_time.map(timestamp),
        }
    }
}
