-- Names that somebody has given up, and that nobody else gets for 30 days, lest they pass for the one who had it.
create table users.held_usernames (
    username text not null,
    -- Who had it.
    user_id uuid not null,
    -- Whether they gave it up themselves, and so can take it back themselves.
    by_owner boolean not null,
    -- When anybody can have it.
    free_time timestamptz not null,
    constraint held_usernames_pkey primary key (username),
    constraint held_usernames_user_id_fkey foreign key (user_id) references users.users (user_id) on delete cascade
);

create index held_usernames_user_id_idx on users.held_usernames (user_id);
create index held_usernames_free_time_idx on users.held_usernames (free_time);
