-- Accounts of programs and their API keys, and users who come from elsewhere.

-- False for an account that nobody logs in to with a password: a service account's, or one that was made for a user of another
-- system. Its password_hash is that of a random text that was never known to anybody, so that every login does the same work.
alter table auth.accounts add column has_password boolean not null default true;

-- Of an account that a program acts through. It stays here as long as its user may come back.
create table auth.service_accounts (
    user_id uuid not null,
    description text not null,
    creator_user_id uuid not null,
    create_time timestamptz not null,
    -- Since when it is deleted, and shown to nobody.
    delete_time timestamptz,
    constraint service_accounts_pkey primary key (user_id),
    constraint service_accounts_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade,
    constraint service_accounts_description_check check (char_length(description) <= 1000)
);

-- API keys, as hashes. A key's id stands in its access tokens as their login session, so that the feed of revocations ends them.
create table auth.api_keys (
    api_key_id uuid not null,
    user_id uuid not null,
    label text not null,
    -- SHA-256 of the whole key, which holds 256 random bits: guessing is hopeless, so the hash need not be slow.
    key_hash bytea not null,
    -- How the key begins and its last four characters.
    hint text not null,
    -- Numbers of tidings.common.v1.Permission, rising.
    permissions integer[] not null,
    creator_user_id uuid not null,
    create_time timestamptz not null,
    expire_time timestamptz,
    last_use_time timestamptz,
    revoke_time timestamptz,
    constraint api_keys_pkey primary key (api_key_id),
    constraint api_keys_user_fkey foreign key (user_id) references auth.service_accounts (user_id) on delete cascade,
    constraint api_keys_key_hash_check check (octet_length(key_hash) = 32),
    constraint api_keys_label_check check (char_length(label) between 1 and 128),
    constraint api_keys_permissions_check check (0 < all (permissions) and cardinality(permissions) between 1 and 100)
);

create index api_keys_user_idx on auth.api_keys (user_id, api_key_id);
-- For the purge.
create index api_keys_end_time_idx on auth.api_keys (least(revoke_time, expire_time));

-- ID tokens of other issuers that have been exchanged for a login session, until they expire by themselves: each works once.
create table auth.exchanged_tokens (
    -- SHA-256 of the signed part.
    token_hash bytea not null,
    expire_time timestamptz not null,
    constraint exchanged_tokens_pkey primary key (token_hash),
    constraint exchanged_tokens_token_hash_check check (octet_length(token_hash) = 32)
);

-- For the purge.
create index exchanged_tokens_expire_time_idx on auth.exchanged_tokens (expire_time);
