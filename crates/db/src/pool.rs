use std::{
    fmt, io,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream,
};
use sqlx::{
    ConnectOptions as _, Connection as _, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tidings_ids::Source;
use tokio::time::{Instant, timeout};

use crate::{Error, Settings};

/// How long [`connect_dedicated`] may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to Postgres, shared by cloning.
///
/// It is sqlx's pool (and derefs to it) with three differences, each for when Postgres is away: `&Pool` as an executor tells a
/// pool that is used up ([`Error::Overloaded`]) from a server that cannot be reached ([`Error::Unavailable`]), gives up on a server
/// that falls silent, and closes a connection whose query was dropped half-way. `fetch` on `&Pool` collects its rows before it
/// yields the first, as every list here is bounded; to stream a table, [`acquire`](Self::acquire) a connection.
#[derive(Clone)]
pub struct Pool {
    inner: PgPool,
    state: Arc<State>,
}

struct State {
    source: Source,
    silence_max: Duration,
    started: Instant,
    /// When a connection was last handed out, in milliseconds since `started`.
    last_acquired: Arc<AtomicU64>,
}

/// Makes a pool. It connects when it is first used, so that a service starts, and says that it is not ready, while Postgres is away.
///
/// # Errors
/// [`Error::Bug`] when the URL cannot be understood.
pub fn connect(settings: &Settings, source: &Source) -> Result<Pool, Error> {
    let acquire_timeout = settings.acquire_timeout.min(Settings::ACQUIRE_TIMEOUT_MAX);
    connect_patiently(settings, source, acquire_timeout)
}

/// The same with any time to wait for a connection: tests have no caller who could retry elsewhere.
pub(crate) fn connect_patiently(
    settings: &Settings,
    source: &Source,
    acquire_timeout: Duration,
) -> Result<Pool, Error> {
    let options = settings.options(&[])?;
    let started = Instant::now();
    let last_acquired = Arc::new(AtomicU64::new(0));
    let trusted_idle = settings.trusted_idle;
    let note = move |last: &AtomicU64| last.store(millis(started.elapsed()), Ordering::Relaxed);
    let (on_connect, on_acquire) = (Arc::clone(&last_acquired), Arc::clone(&last_acquired));
    let inner = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(acquire_timeout)
        .test_before_acquire(false)
        .after_connect(move |_, _| {
            note(&on_connect);
            async { Ok(()) }.boxed()
        })
        .before_acquire(move |connection, meta| {
            note(&on_acquire);
            async move {
                if meta.idle_for > trusted_idle {
                    connection.ping().await?;
                }
                Ok(true)
            }
            .boxed()
        })
        .connect_lazy_with(options);
    let silence_max = settings.statement_timeout + Settings::SILENCE_MAX;
    Ok(Pool {
        inner,
        state: Arc::new(State {
            source: source.clone(),
            silence_max,
            started,
            last_acquired,
        }),
    })
}

/// Makes one connection for whoever holds it for good (the message batcher, a listener), with `session` settings on top of those of
/// [`Settings`], such as `("plan_cache_mode", "force_generic_plan")`.
///
/// # Errors
/// [`Error::Unavailable`] when Postgres cannot be reached within 5 s.
pub async fn connect_dedicated(
    settings: &Settings,
    session: &[(&'static str, &'static str)],
) -> Result<PgConnection, Error> {
    let options = settings.options(session)?;
    match timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(Error::Unavailable(silent("postgres did not answer in time"))),
    }
}

impl Pool {
    /// A connection of the pool, which goes back when it is dropped.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when all stay in use, [`Error::Unavailable`] when Postgres cannot be reached.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.checked_acquire().await?)
    }

    /// Is Postgres there? For readiness.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::raw_sql("select 1").execute(self).await?;
        Ok(())
    }

    /// The given randomness, for jitter.
    pub(crate) fn source(&self) -> &Source {
        &self.state.source
    }

    pub(crate) async fn hold(&self) -> Result<Held, sqlx::Error> {
        Ok(Held {
            connection: Some(self.checked_acquire().await?),
            silence_max: self.state.silence_max,
            is_clean: false,
        })
    }

    async fn checked_acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let asked = millis(self.state.started.elapsed());
        match self.inner.acquire().await {
            Err(sqlx::Error::PoolTimedOut) if self.is_cut_off(asked) => Err(silent("postgres cannot be reached")),
            other => other,
        }
    }

    /// Whether waiting was in vain because no connection could be made, rather than because others had them all: then there was
    /// room for another, or nobody got one all the time that we waited.
    fn is_cut_off(&self, asked: u64) -> bool {
        let has_room = self.inner.size() < self.inner.options().get_max_connections();
        has_room || self.state.last_acquired.load(Ordering::Relaxed) < asked
    }
}

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.inner
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.inner.size())
            .field("idle", &self.inner.num_idle())
            .finish()
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        async move {
            let held = pool.hold().await?;
            let rows = held
                .run(async |connection| connection.fetch_many(query).try_collect::<Vec<_>>().await)
                .await?;
            Ok(stream::iter(rows.into_iter().map(Ok)))
        }
        .try_flatten_stream()
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        async move {
            pool.hold()
                .await?
                .run(async |connection| connection.fetch_optional(query).await)
                .await
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move {
            pool.hold()
                .await?
                .run(async |connection| connection.prepare_with(sql, parameters).await)
                .await
        }
        .boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>> {
        let pool = self.clone();
        async move {
            pool.hold()
                .await?
                .run(async |connection| connection.describe(sql).await)
                .await
        }
        .boxed()
    }
}

/// A pooled connection that is closed when dropped, unless what was done with it came to a clean end: whoever stops half-way leaves
/// no transaction and no unread answer behind for the next.
#[derive(Debug)]
pub(crate) struct Held {
    connection: Option<PoolConnection<Postgres>>,
    silence_max: Duration,
    is_clean: bool,
}

impl Held {
    /// How long to wait for an answer of Postgres.
    pub(crate) fn silence_max(&self) -> Duration {
        self.silence_max
    }

    /// The connection, and where to say that nothing is open on it any more.
    pub(crate) fn parts(&mut self) -> (&mut PgConnection, &mut bool) {
        (
            self.connection.as_mut().expect("only drop takes it"),
            &mut self.is_clean,
        )
    }

    async fn run<T>(
        mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let silence_max = self.silence_max;
        let (connection, is_clean) = self.parts();
        let answer = timeout(silence_max, statement(connection))
            .await
            .map_err(|_| silent("postgres fell silent"))?;
        *is_clean = matches!(answer, Ok(_) | Err(sqlx::Error::Database(_)));
        answer
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.is_clean
        {
            drop(connection.detach());
        }
    }
}

/// What waiting in vain is told as: an error of the connection, as its cause is there.
pub(crate) fn silent(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, what))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
