-- How many wrong guesses are listened to, what users see of their login sessions, and when a signing key begins.

-- Failures, counted in Postgres so that all nodes count together. Bounded: each row says when it counts no longer, and the purge
-- leaves at most 200,000.
create table auth.throttles (
    -- A keyed hash of what is counted, such as an identifier and a network prefix. Whether an account has the identifier is not
    -- known here.
    bucket bytea not null,
    -- Those of the last 15 minutes, for buckets that count them: a few at the most.
    failure_times timestamptz[] not null default '{}',
    -- Those since the last success, or all of a bucket that ends by itself.
    streak integer not null default 0,
    expire_time timestamptz not null,
    constraint throttles_pkey primary key (bucket),
    constraint throttles_bucket_check check (octet_length(bucket) = 32),
    constraint throttles_streak_check check (streak >= 0)
);

-- For the purge.
create index throttles_expire_time_idx on auth.throttles (expire_time);

alter table auth.login_sessions
    -- The network that tokens were last issued to, such as 192.0.2.0/24; empty where it is not known.
    add column client_prefix text not null default '',
    -- What the client that logged in called itself.
    add column user_agent text not null default '',
    -- Rises with each change of the label.
    add column revision bigint not null default 1,
    drop constraint login_sessions_end_reason_check,
    add constraint login_sessions_end_reason_check check (
        end_reason in (
            'logout', 'revoked', 'reuse', 'password_reset', 'password_change', 'password_set', 'suspended', 'deleted'));

-- From when on a key signs: later than it was made, so that every verifier knows it by then.
alter table auth.signing_keys add column sign_time timestamptz;
update auth.signing_keys set sign_time = create_time;
alter table auth.signing_keys alter column sign_time set not null;
