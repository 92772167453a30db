-- Registrations with an address that was another account's when they were made.

-- Each names an account without an address. As long as nobody has proven the address, its applicant may: a mailed token
-- belongs to one applicant's account and moves the address to that account alone, away from whoever held it unproven.
create table auth.claims (
    user_id uuid not null,
    -- As the applicant gave it, and as it is compared.
    email text not null,
    email_key text not null,
    -- What the user service is told once the address is proven.
    display_name text not null,
    bio text not null,
    -- The applicant has proven the address: the user is still to be created at the user service, and then active.
    proven boolean not null default false,
    -- The user who had the address until then, whom the user service is to discard first.
    displaced_user_id uuid,
    create_time timestamptz not null,
    constraint claims_pkey primary key (user_id),
    constraint claims_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade
);

create index claims_email_key_idx on auth.claims (email_key, create_time);

-- The account whose registration a mail is about; null for a mail that somebody asked for by address.
alter table auth.mails
    add column user_id uuid,
    add constraint mails_user_fkey foreign key (user_id) references auth.accounts (user_id) on delete cascade;

create index mails_user_idx on auth.mails (user_id) where user_id is not null;
