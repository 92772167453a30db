//! What every table of the schema keeps to.

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn who_removes_a_row_finds_what_belongs_to_it_by_an_index() {
    let world = World::open().await;
    let without: Vec<String> = sqlx::query_scalar(
        "select c.conname::text
         from pg_constraint as c
         join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
         where c.contype = 'f'
             and c.connamespace = 'auth'::regnamespace
             and not exists (
                 select
                 from pg_index as i
                 where i.indrelid = c.conrelid
                     and i.indkey[0] = c.conkey[1]
                     and (i.indpred is null
                         or pg_get_expr(i.indpred, i.indrelid) = '(' || a.attname || ' IS NOT NULL)'))
         order by 1",
    )
    .fetch_all(&world.pool)
    .await
    .expect("read");
    assert_eq!(without, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_however_many_rows_there_are() {
    let world = World::open().await;
    sqlx::query(
        "insert into auth.mail_quotas (email_key, kind, ask_times, update_time)
         select number || '@example.org', 'reset_password', '{}', clock_timestamp() - interval '3 hours'
         from generate_series(1, 2500) as number",
    )
    .execute(&world.pool)
    .await
    .expect("stored");
    world.service.upkeep_once().await.expect("purged");
    // What the service's own round has begun to delete meanwhile is locked, and left to it.
    let left = "select count(*) from (select from auth.mail_quotas for update skip locked) as left_over";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&world.pool).await.expect("counted");
    assert_eq!(left, 0);
}
