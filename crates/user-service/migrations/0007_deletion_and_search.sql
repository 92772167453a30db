-- Suspension and deletion that end login sessions, the 30 days of a deletion, names that are held back, and the words that users are
-- found by.

alter table users.users
    -- The token epoch of the last suspension or deletion: login sessions that began under a lower one are over.
    add column login_epoch bigint not null default 0,
    -- Of a deleted user: since when, and what the user is again when restored.
    add column delete_time timestamptz,
    add column deleted_status text,
    -- Of a deleted user: the 30 days are over, and what was known of the user is wiped.
    add column deletion_final boolean not null default false,
    -- What search_words has the words of: name and display name. Null where it has none.
    add column search_text text,
    drop constraint users_display_name_check,
    add constraint users_display_name_check check (char_length(display_name) <= 128 and (display_name <> '' or status = 'discarded' or deletion_final)),
    add constraint users_deletion_check check ((delete_time is null) = (deleted_status is null) and (delete_time is null or status = 'deleted')),
    add constraint users_deleted_status_check check (deleted_status in ('active', 'suspended')),
    add constraint users_deletion_final_check check (
        not deletion_final
        or (status = 'deleted' and username is null and email is null and external_id is null and display_name = '' and bio = '' and avatar_url = '')
    );

-- Deletions that become final.
create index users_deletions_idx on users.users (delete_time) where delete_time is not null and not deletion_final;

-- Users whose words are not those of their name: all who registered before there were words, at first.
create index users_unsearchable_idx on users.users (user_id)
    where status in ('active', 'suspended') and search_text is distinct from (username || E'\n' || display_name);

alter table users.user_states
    add column login_epoch bigint not null default 0,
    add column deletion_final boolean not null default false;

-- The words that users are found by, as src/search.rs parts and folds them. Of users who are seen, and no others. In the collation "C",
-- so that the words with one beginning stand together.
create table users.search_words (
    word text collate "C" not null,
    user_id uuid not null,
    constraint search_words_pkey primary key (word, user_id),
    constraint search_words_user_id_fkey foreign key (user_id) references users.users (user_id) on delete cascade
);

create index search_words_user_id_idx on users.search_words (user_id, word);

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
