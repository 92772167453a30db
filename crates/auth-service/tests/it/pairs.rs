//! The same call for accounts that exist and for accounts that do not, in turns: what is seen of it, what it costs.

use std::time::{Duration, Instant};

use tidings_auth_service::{Config, Registration};
use tidings_proto_auth::v1::{LoginRequest, RegisterRequest, RegisterResponse, RequestPasswordResetRequest};
use tidings_proto_user::v1::UserStatus;
use tonic::{Response, Status, metadata::MetadataMap};

use crate::{
    user::FakeUser,
    world::{PASSWORD, World, registration},
};

/// Which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `Login` with a wrong password, by username and by address in turns.
    Login,
    /// `RequestPasswordReset`.
    Reset,
    /// `Register` where addresses are verified, with a free username.
    Registration,
}

impl Call {
    pub const ALL: [Self; 3] = [Self::Login, Self::Reset, Self::Registration];

    /// How often it hashes a password.
    pub fn hashes(self) -> u64 {
        match self {
            Self::Login | Self::Registration => 1,
            Self::Reset => 0,
        }
    }
}

/// One call.
#[derive(Debug, Clone)]
pub struct Sample {
    pub exists: bool,
    /// Status, message, details, headers and trailers, without what names the call itself.
    pub seen: Vec<u8>,
    pub hashes: u64,
    pub took: Duration,
}

/// A world with verified registration, in which `user0` to `user<count - 1>` exist and have verified their addresses.
pub async fn world(count: usize) -> World {
    let world = World::with(|config| Config {
        registration: Registration::Verified,
        ..config
    })
    .await;
    // One hash for all: what a password's hash is, nobody sees.
    world.register("first").await.expect("registered");
    let accounts = "insert into auth.accounts
             (user_id, username, email, email_key, password_hash, state, email_verified, create_time)
         select gen_random_uuid(), 'user' || n, 'user' || n || '@example.org', 'user' || n || '@example.org', a.password_hash,
             'active', true, now()
         from generate_series(0, $1 - 1) as n, auth.accounts as a
         where a.username = 'first'
         returning user_id::text, username";
    let accounts: Vec<(String, String)> = sqlx::query_as(accounts)
        .bind(i32::try_from(count).expect("few"))
        .fetch_all(&world.pool)
        .await
        .expect("inserted");
    for (user_id, username) in accounts {
        world.users.insert(&user_id, user(&username));
    }
    world
}

fn user(username: &str) -> FakeUser {
    FakeUser {
        status: UserStatus::Active,
        email_verified: true,
        ..FakeUser::new(username, &format!("{username}@example.org"))
    }
}

/// Makes the call for `count` accounts that exist and as many that do not: one of each in turns, the first by chance.
pub async fn sample(world: &World, call: Call, count: usize) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(2 * count);
    for n in 0..count {
        let first = world.source.fraction() < 0.5;
        for exists in [first, !first] {
            samples.push(one(world, call, n, exists).await);
        }
    }
    samples
}

async fn one(world: &World, call: Call, n: usize, exists: bool) -> Sample {
    let name = if exists { format!("user{n}") } else { format!("none{n}") };
    let email = format!("{name}@example.org");
    let hashes = world.service.password_hash_runs();
    let begun;
    let seen = match call {
        Call::Login => {
            let request = LoginRequest {
                identifier: if n.is_multiple_of(2) { name } else { email },
                password: "not the password".to_owned(),
                ..LoginRequest::default()
            };
            let mut auth = world.auth();
            begun = Instant::now();
            seen(auth.login(request).await)
        }
        Call::Reset => {
            let request = RequestPasswordResetRequest {
                email,
                ..RequestPasswordResetRequest::default()
            };
            let mut credentials = world.credentials();
            begun = Instant::now();
            seen(credentials.request_password_reset(request).await)
        }
        Call::Registration => {
            let request = RegisterRequest {
                email,
                password: PASSWORD.to_owned(),
                ..registration(&format!("fresh{n}{exists}"))
            };
            let mut auth = world.auth();
            begun = Instant::now();
            let answer = auth.register(request).await;
            // The id is new with each call.
            seen(answer.map(|response| {
                response.map(|response| RegisterResponse {
                    user_id: "x".repeat(response.user_id.len()),
                })
            }))
        }
    };
    Sample {
        exists,
        took: begun.elapsed(),
        seen,
        hashes: world.service.password_hash_runs() - hashes,
    }
}

fn seen<T: prost::Message>(answer: Result<Response<T>, Status>) -> Vec<u8> {
    match answer {
        Ok(response) => {
            let mut seen = headers(response.metadata());
            seen.extend(response.into_inner().encode_to_vec());
            seen
        }
        Err(status) => {
            let mut seen = headers(status.metadata());
            seen.extend(format!("{:?} {}", status.code(), status.message()).into_bytes());
            seen.extend_from_slice(status.details());
            seen
        }
    }
}

/// Headers in a fixed order, without what names the time or the call.
fn headers(metadata: &MetadataMap) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = metadata
        .as_ref()
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "traceparent" | "x-trace-id"))
        .map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat())
        .collect();
    lines.sort();
    lines.concat()
}

/// The middle one.
pub fn median(samples: &[Sample], exists: bool) -> Duration {
    let mut times: Vec<Duration> = samples
        .iter()
        .filter(|sample| sample.exists == exists)
        .map(|sample| sample.took)
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Holds that nothing but the time could tell the samples apart.
pub fn assert_alike(call: Call, samples: &[Sample]) {
    for sample in samples {
        let (seen, first) = (&sample.seen, &samples[0].seen);
        assert!(
            seen == first,
            "{call:?}: {} is not {}",
            String::from_utf8_lossy(seen),
            String::from_utf8_lossy(first)
        );
        assert_eq!(sample.hashes, call.hashes(), "{call:?}, exists: {}", sample.exists);
    }
}
