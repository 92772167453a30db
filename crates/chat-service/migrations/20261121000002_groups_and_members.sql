-- Groups. The id is the audience's too.
create table chats.groups (
    group_id uuid not null,
    display_name text not null,
    description text not null,
    metadata jsonb not null,
    revision bigint not null,
    create_time timestamptz not null,
    constraint groups_pkey primary key (group_id),
    constraint groups_group_id_fkey foreign key (group_id) references chats.audiences (audience_id),
    constraint groups_display_name_check check (char_length(display_name) between 1 and 128),
    constraint groups_description_check check (char_length(description) <= 1000),
    constraint groups_revision_check check (revision > 0)
);

-- Who is in which audience: the one place, for groups and for chats without one. `role` is 1 member, 2 admin, 3 owner, as in
-- `tidings.common.v1.ChatRole`. `in_group` never changes; it stands here so that a user's groups are found among thousands of chats.
-- `added` says that somebody else has put the user there: what one makes oneself and what one is put into have quotas of their own.
-- Direct chats and sessions put nobody anywhere.
create table chats.members (
    audience_id uuid not null,
    user_id uuid not null,
    in_group boolean not null,
    role smallint not null,
    added boolean not null,
    mute_end_time timestamptz,
    create_time timestamptz not null,
    constraint members_pkey primary key (audience_id, user_id),
    constraint members_audience_id_fkey foreign key (audience_id) references chats.audiences (audience_id),
    constraint members_role_check check (role between 1 and 3)
);

-- A user's groups, in the order of ids, and how much a user is in, which each addition counts.
create index members_user_id_idx on chats.members (user_id, in_group, audience_id) include (role, added);

-- Is there another owner?
create index members_owners_idx on chats.members (audience_id) where role = 3;
