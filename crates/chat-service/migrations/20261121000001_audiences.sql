-- An audience is whose membership decides a chat: a group, or a chat that has no group. Its row is what every change of it locks
-- first, and where its changes get their numbers: 1, 2, 3 … without holes, in the order of their commits. (A SQL sequence would show
-- 7 before 6.) The row outlives the audience, so that its last changes can still be delivered and repeated calls still be answered.
create table chats.audiences (
    audience_id uuid not null,
    last_number bigint not null,
    member_count int not null,
    chat_count int not null,
    create_time timestamptz not null,
    delete_time timestamptz,
    constraint audiences_pkey primary key (audience_id),
    constraint audiences_last_number_check check (last_number >= 0),
    constraint audiences_member_count_check check (member_count >= 0),
    constraint audiences_chat_count_check check (chat_count >= 0)
);

-- What the message service has not confirmed yet: encoded `tidings.message.v1.AudienceChange`s. A row is written with its effect and
-- deleted once it is applied there, so the table is nearly empty, and what stands in it is what nobody may be told yet.
create table chats.outbox (
    audience_id uuid not null,
    number bigint not null,
    change bytea not null,
    create_time timestamptz not null,
    constraint outbox_pkey primary key (audience_id, number),
    constraint outbox_audience_id_fkey foreign key (audience_id) references chats.audiences (audience_id),
    constraint outbox_number_check check (number > 0)
);

-- For the sweeper.
create index outbox_create_time_idx on chats.outbox (create_time);
