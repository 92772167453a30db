-- Who wants to hear nothing from whom.
create table users.blocks (
    blocker_user_id uuid not null,
    blocked_user_id uuid not null,
    create_time timestamptz not null,
    constraint blocks_pkey primary key (blocker_user_id, blocked_user_id),
    constraint blocks_self_check check (blocker_user_id <> blocked_user_id),
    constraint blocks_blocker_user_id_fkey foreign key (blocker_user_id) references users.users (user_id),
    constraint blocks_blocked_user_id_fkey foreign key (blocked_user_id) references users.users (user_id)
);

create index blocks_blocked_user_id_idx on users.blocks (blocked_user_id);

-- The other kind of entry in the feed of user states, numbered by the same counter: a number stands here or in users.user_states.
-- Kept as long.
create table users.block_changes (
    number bigint not null,
    blocker_user_id uuid not null,
    blocked_user_id uuid not null,
    -- Whether the block stands from here on.
    blocked boolean not null,
    change_time timestamptz not null,
    store_time timestamptz not null default clock_timestamp(),
    constraint block_changes_pkey primary key (number)
);

create index block_changes_store_time_idx on users.block_changes (store_time, number);
