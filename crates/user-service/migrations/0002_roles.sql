-- Roles, and who holds them.
create table users.roles (
    role_id uuid not null,
    name text not null,
    display_name text not null,
    description text not null,
    -- Numbers of tidings.common.v1.Permission, rising.
    permissions integer[] not null,
    -- How high it stands: nobody gives, takes or changes a role above their own highest, nor acts on a user who has one.
    rank integer not null default 0,
    built_in boolean not null default false,
    -- Being taken from its holders, after which the row goes: nobody sees the role any more, and nobody can get it.
    deleting boolean not null default false,
    -- The etag.
    revision bigint not null default 1,
    create_time timestamptz not null,
    constraint roles_pkey primary key (role_id),
    constraint roles_name_check check (name ~ '^[a-z0-9._-]{2,32}$'),
    constraint roles_display_name_check check (char_length(display_name) between 1 and 128),
    constraint roles_description_check check (char_length(description) <= 1000),
    constraint roles_permissions_check check (0 < all (permissions) and cardinality(permissions) <= 100),
    constraint roles_rank_check check (rank between 0 and 1000),
    constraint roles_built_in_check check (not (built_in and deleting))
);

create unique index roles_name_key on users.roles (name);

create table users.role_assignments (
    user_id uuid not null,
    role_id uuid not null,
    -- Null where the role came with the account.
    assigner_user_id uuid,
    create_time timestamptz not null,
    constraint role_assignments_pkey primary key (user_id, role_id),
    constraint role_assignments_user_id_fkey foreign key (user_id) references users.users (user_id),
    constraint role_assignments_role_id_fkey foreign key (role_id) references users.roles (role_id)
);

create index role_assignments_role_id_idx on users.role_assignments (role_id, user_id);

-- A change of a role that has yet to reach its holders: those up to `after_user_id` have it. Gone when all have.
create table users.role_fan_outs (
    role_id uuid not null,
    after_user_id uuid not null default '00000000-0000-0000-0000-000000000000',
    constraint role_fan_outs_pkey primary key (role_id),
    constraint role_fan_outs_role_id_fkey foreign key (role_id) references users.roles (role_id)
);

-- The roles that are there from the start. `admin` has every permission of tidings.common.v1.Permission: a new one needs a migration
-- that adds it, and a test says so.
insert into users.roles (role_id, name, display_name, description, permissions, rank, built_in, create_time)
values
    (
        '00000000-0000-7000-8000-000000000001', 'admin', 'Administrator', 'Manages users and roles.',
        '{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}', 1000, true, now()
    ),
    ('00000000-0000-7000-8000-000000000002', 'member', 'Member', 'Finds others and talks with them.', '{1,6,7}', 0, true, now()),
    ('00000000-0000-7000-8000-000000000003', 'bot', 'Bot', 'Answers messages.', '{8}', 0, true, now());
