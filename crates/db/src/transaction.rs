use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, Span, field};

use crate::{
    Error, Pool,
    pool::{Held, silent},
};

/// Attempts at a transaction that meets a deadlock or a serialization failure. The error contract promises that a caller sees
/// `ABORTED` only after three.
const ATTEMPTS_MAX: u32 = 3;

/// The pause before the second attempt; it doubles for the third. A few times as long as a transaction takes.
const BACK_OFF: Duration = Duration::from_millis(10);

/// How many silences long an effect may take: it is several statements, each of which has its own time-out in Postgres.
const EFFECT_SHARE: u32 = 2;

/// Says which database error, if any, is behind an error. [`transaction!`](crate::transaction!) asks it, to know whether to try
/// again.
pub trait DatabaseCause {
    /// The database error behind this one.
    fn database_cause(&self) -> Option<&Error>;
}

impl DatabaseCause for Error {
    fn database_cause(&self) -> Option<&Error> {
        Some(self)
    }
}

/// Runs a block in a transaction at `READ COMMITTED`, and commits it if the block gives `Ok`.
///
/// ```no_run
/// # use tidings_db::{Error, Pool, transaction};
/// # async fn example(pool: &Pool, name: &str) -> Result<(), Error> {
/// transaction!(pool, |tx| -> Result<(), Error> {
///     sqlx::query("insert into users.users (name) values ($1)").bind(name).execute(&mut *tx).await?;
///     Ok(())
/// })
/// # }
/// ```
///
/// `tx` is a `&mut PgConnection`. The error must be `From<tidings_db::Error>` and [`DatabaseCause`]. `-> Result<…>` may be left out where
/// the compiler can tell. `?` and `return` leave the block, not the function around it.
///
/// - The block is run up to three times, with a jittered pause between, when Postgres answers with a deadlock or a serialization
///   failure, so it must not do anything outside of the database, and it borrows what it uses.
/// - On any error the transaction is rolled back.
/// - When the connection breaks during `COMMIT`, the error is [`Error::CommitUnknown`], and nothing is tried again.
/// - The block must return the database errors that it meets: Postgres rolls such a transaction back whatever is said afterwards,
///   so an `Ok` after an error that was swallowed becomes [`Error::Bug`] rather than an answer about something never stored.
/// - It is for tasks that a client's cancel cannot drop, see the crate's rules. If it is dropped all the same, its connection is
///   closed, and what Postgres had not been told to commit is rolled back.
///
/// It is a macro, because a function that takes an async closure gives a future of which the compiler cannot show that it is
/// `Send` once the closure borrows anything (rust-lang/rust 110338), and a boxed one could borrow nothing. The block in a plain
/// loop has neither fault.
#[macro_export]
macro_rules! transaction {
    ($pool:expr, |$tx:ident| $effect:block) => {
        $crate::transaction!($pool, |$tx| -> _ $effect)
    };
    ($pool:expr, |$tx:ident| -> $result:ty $effect:block) => {{
        let mut attempts = $crate::Attempts::new($pool);
        $crate::Attempts::traced(async {
            loop {
                let mut attempt = attempts.start().await;
                let outcome: $result = match attempt.begin().await {
                    ::core::result::Result::Ok(mut begun) => {
                        let limit = begun.limit();
                        let effect = async {
                            let $tx = begun.connection();
                            $effect
                        };
                        let effect = $crate::Attempts::limited::<$result, _>(limit, effect).await;
                        begun.end(effect).await
                    }
                    ::core::result::Result::Err(error) => ::core::result::Result::Err(::core::convert::From::from(error)),
                };
                ::core::mem::drop(attempt);
                if let ::core::option::Option::Some(outcome) = attempts.settle(outcome).await {
                    break outcome;
                }
            }
        })
        .await
    }};
}

/// The attempts at one transaction: what [`transaction!`](crate::transaction!) is made of, and nobody else's.
#[doc(hidden)]
#[derive(Debug)]
pub struct Attempts<'p> {
    pool: &'p Pool,
    count: u32,
}

impl<'p> Attempts<'p> {
    #[must_use]
    pub fn new(pool: &'p Pool) -> Self {
        Self { pool, count: 0 }
    }

    pub fn traced<F: Future>(attempts: F) -> tracing::instrument::Instrumented<F> {
        attempts.instrument(tracing::debug_span!("db.transaction", attempts = field::Empty))
    }

    /// Waits for the effect, but not for ever. `None` is too long.
    pub async fn limited<R, F: Future<Output = R>>(limit: Duration, effect: F) -> Option<R> {
        timeout(limit, effect).await.ok()
    }

    pub async fn start(&mut self) -> Attempt {
        self.count += 1;
        Attempt {
            held: Some(self.pool.hold().await),
        }
    }

    /// The outcome, unless it is worth another attempt; then after a pause nothing.
    pub async fn settle<T, E: DatabaseCause>(&mut self, outcome: Result<T, E>) -> Option<Result<T, E>> {
        let again = matches!(&outcome, Err(error) if error.database_cause().is_some_and(Error::is_retryable));
        if !again || self.count == ATTEMPTS_MAX {
            Span::current().record("attempts", self.count);
            return Some(outcome);
        }
        // Whatever made the others collide must not make them collide again.
        sleep(self.pool.source().jitter(BACK_OFF * self.count)).await;
        None
    }
}

/// One attempt: a connection, which is closed with it unless the transaction came to a clean end.
#[doc(hidden)]
#[derive(Debug)]
pub struct Attempt {
    held: Option<Result<Held, sqlx::Error>>,
}

impl Attempt {
    pub async fn begin(&mut self) -> Result<Begun<'_>, Error> {
        let held = match self.held.take().expect("an attempt begins once") {
            Ok(held) => self.held.insert(Ok(held)).as_mut().expect("it was just put there"),
            Err(error) => return Err(error.into()),
        };
        let silence_max = held.silence_max();
        let (connection, is_clean) = held.parts();
        let tx = within(silence_max, connection.begin()).await?;
        Ok(Begun {
            tx,
            is_clean,
            silence_max,
        })
    }
}

/// An open transaction.
#[doc(hidden)]
#[derive(Debug)]
pub struct Begun<'h> {
    tx: Transaction<'h, Postgres>,
    is_clean: &'h mut bool,
    silence_max: Duration,
}

impl Begun<'_> {
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.silence_max * EFFECT_SHARE
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    pub async fn end<T, E: From<Error>>(self, effect: Option<Result<T, E>>) -> Result<T, E> {
        match effect {
            Some(Ok(value)) => self.commit().await.map(|()| value).map_err(E::from),
            Some(Err(error)) => {
                *self.is_clean = within(self.silence_max, self.tx.rollback()).await.is_ok();
                Err(error)
            }
            None => Err(Error::Timeout(silent("the transaction took too long")).into()),
        }
    }

    async fn commit(mut self) -> Result<(), Error> {
        // In a transaction that has failed, COMMIT rolls back and reports success. This statement fails there instead.
        within(self.silence_max, sqlx::raw_sql("select 1").execute(&mut *self.tx)).await?;
        within(self.silence_max, self.tx.commit())
            .await
            .map_err(Error::of_commit)?;
        *self.is_clean = true;
        Ok(())
    }
}

/// Waits for Postgres, but not for ever: a server that is stopped or cut off enforces no time-out of its own.
async fn within<T>(
    silence_max: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(silence_max, answer)
        .await
        .unwrap_or_else(|_| Err(silent("postgres fell silent")))
}
