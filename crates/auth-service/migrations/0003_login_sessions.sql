-- Login sessions with their refresh tokens, the feed of those that ended, and the keys that access tokens are signed
-- with.

-- One device's sign-in. It is also the family of its refresh tokens: the row holds the one that is live (the leaf) and
-- the one that it was made from, as hashes. Older ones are known by their signature alone, so a family takes one row
-- however long it lives, and has one leaf whatever happens at once.
create table auth.login_sessions (
    login_session_id uuid not null,
    user_id uuid not null,
    device_label text not null,
    leaf_hash bytea not null,
    parent_hash bytea,
    -- The request that made the leaf of the parent, and when.
    parent_request_id uuid,
    refresh_time timestamptz not null,
    -- The leaf works until here; each refresh moves it.
    idle_expire_time timestamptz not null,
    -- The login session ends here whatever is refreshed.
    expire_time timestamptz not null,
    create_time timestamptz not null,
    end_time timestamptz,
    end_reason text,
    constraint login_sessions_pkey primary key (login_session_id),
    constraint login_sessions_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade,
    constraint login_sessions_leaf_hash_check check (octet_length(leaf_hash) = 32),
    constraint login_sessions_parent_check check ((parent_hash is null) = (parent_request_id is null)),
    constraint login_sessions_end_check check ((end_time is null) = (end_reason is null)),
    constraint login_sessions_end_reason_check check (end_reason in ('logout', 'reuse', 'password_reset'))
);

create index login_sessions_live_idx on auth.login_sessions (user_id) where end_time is null;
-- For the purge.
create index login_sessions_expire_time_idx on auth.login_sessions (least(expire_time, idle_expire_time, end_time));

-- The feed that other processes refuse access tokens by. Numbered by auth.feeds in the transaction that ends the login
-- session.
create table auth.revocations (
    number bigint not null,
    login_session_id uuid not null,
    revoke_time timestamptz not null,
    constraint revocations_pkey primary key (number)
);

create index revocations_revoke_time_idx on auth.revocations (revoke_time);

-- Ed25519. The private half is sealed with a key that is derived from auth's own secret and never stored.
create table auth.signing_keys (
    key_id uuid not null,
    public_key bytea not null,
    sealed_private_key bytea not null,
    create_time timestamptz not null,
    -- When the last token that it signed has expired; null while it signs.
    retire_time timestamptz,
    constraint signing_keys_pkey primary key (key_id),
    constraint signing_keys_public_key_check check (octet_length(public_key) = 32)
);

-- One key signs. Two nodes that start at once on an empty table make one, and rotation is one transaction.
create unique index signing_keys_active_key on auth.signing_keys ((retire_time is null)) where retire_time is null;
