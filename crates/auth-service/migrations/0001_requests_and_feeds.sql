-- What every service keeps: what each request_id did, and the numbers of its feeds (crate tidings-db).

-- What each request_id did, so that a repeated call gets the first outcome. Written in the transaction of the effect,
-- kept for at least 7 days. `scope` is what else bounds the request_id, here the identifier that an unauthenticated
-- call names; `caller` is then empty.
create table auth.requests (
    caller text not null,
    method text not null,
    scope text not null default '',
    request_id uuid not null,
    request_hash bytea not null,
    outcome_id uuid,
    outcome bytea,
    create_time timestamptz not null,
    constraint requests_pkey primary key (caller, method, scope, request_id)
);

-- For the purge.
create index requests_create_time_idx on auth.requests (create_time);

-- One row a feed: the last number given out. A table and not a sequence, because a reader must never see 7 before 6;
-- the row is locked until the transaction that takes a number ends.
create table auth.feeds (
    feed text not null,
    last_number bigint not null,
    constraint feeds_pkey primary key (feed),
    constraint feeds_last_number_check check (last_number > 0)
);
