-- The feed of user states, for the other services: one entry for each change of status, permissions, roles or username. Kept for an hour.
create table users.user_states (
    number bigint not null,
    user_id uuid not null,
    token_epoch bigint not null,
    login_epoch bigint not null default 0,
    status text not null,
    username text,
    permissions integer[] not null,
    roles text[] not null,
    is_bot boolean not null,
    deletion_final boolean not null default false,
    change_time timestamptz not null,
    -- By Postgres' clock, which is one for all nodes: it decides which entries are of the last minutes.
    store_time timestamptz not null default clock_timestamp(),
    constraint user_states_pkey primary key (number)
);

create index user_states_store_time_idx on users.user_states (store_time, number);

-- One row a feed: the last number given out. A table and not a sequence, because a reader must never see 7 before 6; the row is
-- locked until the transaction that takes a number ends. (tidings-db, counter.rs)
create table users.feeds (
    feed text not null,
    last_number bigint not null,
    constraint feeds_pkey primary key (feed),
    constraint feeds_last_number_check check (last_number > 0)
);
