-- What this service knows of users, from user's feed.

-- How far the feed is applied; null before it was ever read. One row, which whoever applies entries locks: of several processes that
-- follow the feed one applies an entry, and the others find it applied.
create table chats.user_feed (
    only_row boolean not null default true,
    position bigint,
    -- Who reads everything anew just now, by a mark, and when they were last at it: two at once would end what the other has found.
    reading bigint,
    reading_time timestamptz,
    constraint user_feed_pkey primary key (only_row),
    constraint user_feed_only_row_check check (only_row)
);
insert into chats.user_feed default values;

-- Two users, one of whom has blocked the other at some time, or who have a direct chat. The row is what puts a block and the opening
-- of a direct chat into an order. `low_seen` and `high_seen` say by what each is known: the feed's entry, or, below zero, the reading
-- of all blocks that found it.
create table chats.user_pairs (
    user_low uuid not null,
    user_high uuid not null,
    low_blocks boolean not null default false,
    high_blocks boolean not null default false,
    low_seen bigint not null default 0,
    high_seen bigint not null default 0,
    constraint user_pairs_pkey primary key (user_low, user_high),
    constraint user_pairs_order_check check (user_low < user_high)
);

-- For the reading of all blocks, which ends those that it has not found.
create index user_pairs_blocks_idx on chats.user_pairs (user_low, user_high) where low_blocks or high_blocks;

-- Users who are deleted for good and may still be in groups and conversations. A row goes when they are in none.
create table chats.departures (
    user_id uuid not null,
    create_time timestamptz not null,
    constraint departures_pkey primary key (user_id)
);
