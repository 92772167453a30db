//! When a suite is at rest: nothing of what calls have begun is still on its way.

use tidings_db::Pool;

/// Whether a service is in a transaction, has mail to send, which brings tokens with it, is to tell that an account is active, which
/// the audit trail has, has changes of memberships to hand over, or has yet to hear what the feed of users told that concerns it.
pub async fn somebody_works(pool: &Pool) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_stat_activity where datname = current_database() \
         and pid <> pg_backend_pid() and xact_start is not null and application_name like 'tidings-%') \
         or exists (select from auth.mails where parked_time is null) \
         or exists (select from auth.accounts where activation_due) \
         or exists (select from chats.outbox) \
         or exists (select from auth.followed_feeds f, users.feeds u where f.feed = u.feed and f.position < u.last_number) \
         or exists (select from chats.user_feed f, users.block_changes b where coalesce(f.position, 0) < b.number)",
    )
    .fetch_one(pool)
    .await
    .expect("the activity can be read")
}
