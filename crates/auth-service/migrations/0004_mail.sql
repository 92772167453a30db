-- Mail that is to be sent, and the tokens that it carries.

-- The outbox. A row says what to send to the account that has this address, if any has: whether one does, and the
-- token, is found out when it is sent, so that asking for a mail does the same work for every address and no token is
-- ever stored.
create table auth.mails (
    mail_id uuid not null,
    kind text not null,
    email_key text not null,
    attempts integer not null default 0,
    next_attempt_time timestamptz not null,
    -- Set when it was tried often enough: it waits for an operator and blocks nothing.
    parked_time timestamptz,
    create_time timestamptz not null,
    constraint mails_pkey primary key (mail_id),
    constraint mails_kind_check check (kind in ('reset_password', 'verify_email', 'address_in_use'))
);

create index mails_due_idx on auth.mails (next_attempt_time) where parked_time is null;
create index mails_parked_idx on auth.mails (parked_time) where parked_time is not null;

-- When an address, known or not, was last asked to be mailed: it gets few of each kind an hour.
create table auth.mail_quotas (
    email_key text not null,
    kind text not null,
    ask_times timestamptz[] not null,
    update_time timestamptz not null,
    constraint mail_quotas_pkey primary key (email_key, kind)
);

create index mail_quotas_update_time_idx on auth.mail_quotas (update_time);

-- Tokens that were mailed, as hashes.
create table auth.mailed_tokens (
    token_hash bytea not null,
    user_id uuid not null,
    purpose text not null,
    -- What it is bound to besides the account: it is worth nothing once either has changed.
    email_key text not null,
    password_version bigint not null,
    create_time timestamptz not null,
    expire_time timestamptz not null,
    constraint mailed_tokens_pkey primary key (token_hash),
    constraint mailed_tokens_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade,
    constraint mailed_tokens_token_hash_check check (octet_length(token_hash) = 32),
    constraint mailed_tokens_purpose_check check (purpose in ('reset_password', 'verify_email'))
);

create index mailed_tokens_user_idx on auth.mailed_tokens (user_id, purpose);
create index mailed_tokens_expire_time_idx on auth.mailed_tokens (expire_time);
