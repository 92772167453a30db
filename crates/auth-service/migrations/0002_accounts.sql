-- Who can log in, and registrations on their way there.

-- An account is a credential: what a user proves to be that user by. The user itself is the user service's.
create table auth.accounts (
    user_id uuid not null,
    -- In small letters, as the user service has it.
    username text not null,
    -- As it was given: mail goes here, whatever spelling a request names.
    email text,
    -- What addresses are compared by. Null in an account that stands for a registration with another's address: it
    -- holds the username and takes the password, so that nobody can tell it from one that waits to be verified.
    email_key text,
    password_hash text not null,
    -- Rises with each new password, and ends what was issued for an older one.
    password_version bigint not null default 1,
    -- `unverified` waits for VerifyEmail and cannot log in.
    state text not null,
    email_verified boolean not null default false,
    -- The user service is still to be told that the user is active, or that the address is verified.
    activation_due boolean not null default false,
    -- Orders the statements to the user service about when the login sessions end.
    logged_in_revision bigint not null default 0,
    -- From when on such a statement is to be repeated; null when the last one arrived.
    logged_in_due_time timestamptz,
    create_time timestamptz not null,
    constraint accounts_pkey primary key (user_id),
    constraint accounts_username_key unique (username),
    constraint accounts_email_key_key unique (email_key),
    constraint accounts_state_check check (state in ('active', 'unverified')),
    constraint accounts_email_check check ((email is null) = (email_key is null))
);

create index accounts_activation_due_idx on auth.accounts (user_id) where activation_due;
create index accounts_logged_in_due_idx on auth.accounts (logged_in_due_time) where logged_in_due_time is not null;
create index accounts_unverified_idx on auth.accounts (create_time) where state = 'unverified';

-- The intent of each registration, written before the user service is asked and moved to `done` with the credential.
-- What stands open too long is moved to `failed` first and then discarded at the user service, so that a request that
-- wakes late is refused.
create table auth.registrations (
    user_id uuid not null,
    username text not null,
    state text not null,
    -- Of a failed one: the user service has freed the name, or never had it.
    discarded boolean not null default false,
    create_time timestamptz not null,
    update_time timestamptz not null,
    constraint registrations_pkey primary key (user_id),
    constraint registrations_state_check check (state in ('open', 'done', 'failed'))
);

create index registrations_open_idx on auth.registrations (create_time) where state = 'open';
create index registrations_undiscarded_idx on auth.registrations (update_time) where state = 'failed' and not discarded;
-- For the purge.
create index registrations_create_time_idx on auth.registrations (create_time);
