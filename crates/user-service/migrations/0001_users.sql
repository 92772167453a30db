-- Accounts. A row stands for a user from the registration's first step (`pending`, seen by nobody) to the end of the deployment.
--
-- `discarded` is a registration that was given up: name and address are free again, and the row is the mark by which a late
-- CreateUser with this id is refused.
create table users.users (
    user_id uuid not null,
    status text not null,
    -- Small letters only, so that comparing bytes is comparing without regard to case. Null once it is free again.
    username text,
    -- As it was given, to write to.
    email text,
    -- As it is compared, see src/email.rs. A column of its own rather than lower(email): what lower() does depends on the locale.
    email_canonical text,
    email_verified boolean not null default false,
    -- The number of auth's last statement about the address, so that a late one undoes no newer one.
    email_revision bigint not null default 0,
    display_name text not null,
    bio text not null,
    avatar_url text not null default '',
    metadata jsonb not null default '{}',
    external_id text,
    is_bot boolean not null,
    -- Of the fields that UpdateUser changes: the etag.
    revision bigint not null default 1,
    -- The keyed hash of the CreateUser that made the row, without its request_id. Null where DiscardUser came first.
    create_hash bytea,
    create_time timestamptz not null,
    -- What auth says about login sessions, and the last statement's number.
    logged_in_until timestamptz,
    login_revision bigint not null default 0,
    -- The state as it stands in the feed's newest entry about this user: what other services decide by. Kept here too, since
    -- the feed forgets, and so that a change of roles knows what it changes. 0 until the first entry.
    state_number bigint not null default 0,
    token_epoch bigint not null default 0,
    -- The token epoch of the last suspension or deletion: login sessions that began under a lower one are over.
    login_epoch bigint not null default 0,
    permissions integer[] not null default '{}',
    roles text[] not null default '{}',
    state_time timestamptz not null,
    -- Of a deleted user: since when, and what the user is again when restored.
    delete_time timestamptz,
    deleted_status text,
    -- Of a deleted user: the 30 days are over, and what was known of the user is wiped.
    deletion_final boolean not null default false,
    -- What search_words has the words of: name and display name. Null where it has none.
    search_text text,
    constraint users_pkey primary key (user_id),
    constraint users_status_check check (status in ('pending', 'active', 'suspended', 'deleted', 'discarded')),
    constraint users_username_check check (username ~ '^[a-z0-9._-]{2,32}$'),
    constraint users_named_check check (case status when 'discarded' then username is null when 'deleted' then true else username is not null end),
    constraint users_email_check check ((email is null) = (email_canonical is null) and octet_length(email) <= 254),
    constraint users_display_name_check check (char_length(display_name) <= 128 and (display_name <> '' or status = 'discarded' or deletion_final)),
    constraint users_bio_check check (char_length(bio) <= 1000),
    constraint users_avatar_url_check check (octet_length(avatar_url) <= 2048),
    constraint users_external_id_check check (octet_length(external_id) between 1 and 128),
    constraint users_deletion_check check ((delete_time is null) = (deleted_status is null) and (delete_time is null or status = 'deleted')),
    constraint users_deleted_status_check check (deleted_status in ('active', 'suspended')),
    constraint users_deletion_final_check check (
        not deletion_final
        or (status = 'deleted' and username is null and email is null and external_id is null and display_name = '' and bio = '' and avatar_url = '')
    )
);

-- In this order: of two that are taken, the name is what the caller is told about.
create unique index users_username_key on users.users (username);
create unique index users_email_key on users.users (email_canonical);
create unique index users_external_id_key on users.users (external_id);

-- For the purge of marks that no late CreateUser can meet any more.
create index users_discarded_idx on users.users (state_time) where status = 'discarded';

-- Deletions that become final.
create index users_deletions_idx on users.users (delete_time) where delete_time is not null and not deletion_final;

-- Users whose words are not those of their name.
create index users_unsearchable_idx on users.users (user_id)
    where status in ('active', 'suspended') and search_text is distinct from (username || E'\n' || display_name);
