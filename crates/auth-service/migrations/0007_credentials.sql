-- Second factors, recovery codes, changes of address, and when a password was set.

-- When the password became what it is; null for one from before this column, which is as old as the account or younger.
alter table auth.accounts
    add column password_set_time timestamptz,
    -- Numbers the addresses that were proven for this account, so that the user service takes none for an older one.
    add column email_revision bigint not null default 0;

-- One generator of codes for an account (RFC 6238). Its secret is sealed with a key that is derived from auth's own secret
-- and never stored.
create table auth.totps (
    user_id uuid not null,
    sealed_secret bytea not null,
    -- Null until a code of it was shown: it is asked for at no login then, and ends by itself.
    confirm_time timestamptz,
    -- The last time step whose code was taken: none up to it is taken again.
    last_step bigint not null default 0,
    create_time timestamptz not null,
    constraint totps_pkey primary key (user_id),
    constraint totps_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade
);

-- For the purge.
create index totps_unconfirmed_idx on auth.totps (create_time) where confirm_time is null;

-- Codes that stand in for the generator, each once, as keyed hashes.
create table auth.recovery_codes (
    user_id uuid not null,
    code_hash bytea not null,
    create_time timestamptz not null,
    use_time timestamptz,
    constraint recovery_codes_pkey primary key (user_id, code_hash),
    constraint recovery_codes_totp_fkey foreign key (user_id) references auth.totps (user_id) on delete cascade,
    constraint recovery_codes_code_hash_check check (octet_length(code_hash) = 32)
);

-- When an account's owner, or somebody else, last gave a wrong proof of a kind: few are looked at in a quarter of an hour, and not
-- many without a right one between them.
create table auth.proof_failures (
    user_id uuid not null,
    kind text not null,
    failure_times timestamptz[] not null,
    -- Those since the last right one.
    streak integer not null default 0,
    update_time timestamptz not null,
    constraint proof_failures_pkey primary key (user_id, kind),
    constraint proof_failures_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade,
    constraint proof_failures_kind_check check (kind in ('password', 'second_factor', 'second_factor_of_known_device'))
);

create index proof_failures_update_time_idx on auth.proof_failures (update_time);

-- An address that an account is to get. `asked` waits for a proof; `proven` has it, and the user service is to be told,
-- which decides; `done` and `refused` are how it ended, kept for repetitions of the call that brought the proof.
create table auth.email_changes (
    change_id uuid not null,
    user_id uuid not null,
    -- As it was given, and as it is compared.
    email text not null,
    email_key text not null,
    -- Where the account's mail went when the change was asked for: its owner is told there.
    old_email text,
    state text not null,
    -- The number of the proven address among the account's; null until it is proven.
    revision bigint,
    -- The user who had the address unproven until then, whom the user service is to discard first.
    displaced_user_id uuid,
    create_time timestamptz not null,
    update_time timestamptz not null,
    constraint email_changes_pkey primary key (change_id),
    constraint email_changes_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade,
    constraint email_changes_state_check check (state in ('asked', 'proven', 'done', 'refused')),
    constraint email_changes_revision_check check (revision is not null or state in ('asked', 'refused'))
);

-- An account gets one address at a time.
create unique index email_changes_open_key on auth.email_changes (user_id) where state in ('asked', 'proven');
-- An address is proven for one account at a time.
create unique index email_changes_proven_key on auth.email_changes (email_key) where state = 'proven';
-- For the purge.
create index email_changes_update_time_idx on auth.email_changes (update_time);

-- The change of address that a mail is about.
alter table auth.mails
    add column change_id uuid,
    add constraint mails_change_fkey foreign key (change_id) references auth.email_changes (change_id) on delete cascade,
    drop constraint mails_kind_check,
    add constraint mails_kind_check check (kind in ('reset_password', 'verify_email', 'address_in_use', 'change_email', 'email_change_notice'));

create index mails_change_idx on auth.mails (change_id) where change_id is not null;

alter table auth.mailed_tokens
    drop constraint mailed_tokens_purpose_check,
    add constraint mailed_tokens_purpose_check check (purpose in ('reset_password', 'verify_email', 'change_email'));

-- An operator has set the password.
alter table auth.login_sessions
    drop constraint login_sessions_end_reason_check,
    add constraint login_sessions_end_reason_check check (
        end_reason in ('logout', 'revoked', 'reuse', 'password_reset', 'password_change', 'password_set', 'suspended', 'deleted', 'suspension', 'deletion'));
