//! The auth service in this process, on a real Postgres, with a user service made for the tests beside it.

mod alike;
mod api_keys;
mod change_email;
mod credentials;
mod external;
mod feed;
mod flood;
mod introspect;
mod issuer;
mod login;
mod login_sessions;
mod mail;
mod notices;
#[expect(dead_code, reason = "the benchmark uses more of it")]
mod pairs;
mod passwords;
mod recovery;
mod refresh;
mod registration;
mod schema;
mod second_factor;
mod service_accounts;
mod signing_keys;
mod smtp;
mod states;
mod throttle;
mod trail;
mod user;
mod user_tokens;
mod verified;
mod world;
