-- The logs: of each chat, and of each user across chats. Both are numbered 1, 2, 3 … without holes by a counter on a locked row
-- (`chats.last_position`, `user_logs.last_position`).
--
-- An entry says what happened, to whom, by whom; never the words. Content is joined when the log is read, as it is then, so
-- that no replay brings deleted text back. `kind` is the number of the kind's field in message.v1.Change.

create table messages.changes (
    chat_id uuid not null,
    position bigint not null,
    -- 10 message_created, 11 message_updated, 12 message_deleted, 13 chat_created, 14 chat_updated, 15 chat_deleted,
    -- 16 member_joined, 17 member_updated, 18 member_removed
    kind smallint not null,
    actor_id uuid not null,
    -- 10 to 12: the message, its sequence, and its revision after the change.
    message_id uuid,
    sequence bigint,
    revision bigint,
    -- 16 to 18: the member.
    user_id uuid,
    -- 18: common.v1.RemovalReason.
    reason smallint,
    create_time timestamptz not null,
    constraint changes_pkey primary key (chat_id, position)
) partition by hash (chat_id);

create table messages.user_logs (
    user_id uuid not null,
    last_position bigint not null,
    -- The floor of what is kept.
    first_position bigint not null default 1,
    constraint user_logs_pkey primary key (user_id)
) with (fillfactor = 80);

create table messages.user_changes (
    user_id uuid not null,
    position bigint not null,
    -- 30 chat_joined, 31 chat_left, 32 message_hidden
    kind smallint not null,
    actor_id uuid not null,
    chat_id uuid not null,
    -- 30: the position of the joining in the chat's log; 31: that of the removal, the last that the user may see.
    chat_position bigint,
    -- 31: common.v1.RemovalReason.
    reason smallint,
    -- 32: the message and its sequence.
    message_id uuid,
    sequence bigint,
    create_time timestamptz not null,
    constraint user_changes_pkey primary key (user_id, position)
) partition by hash (user_id);

do $$
declare
    name text;
begin
    foreach name in array array['changes', 'user_changes'] loop
        for remainder in 0 .. 7 loop
            execute format(
                'create table messages.%I partition of messages.%I for values with (modulus 8, remainder %s)',
                name || '_' || remainder, name, remainder);
        end loop;
    end loop;
end
$$;

-- One row, by which two deployments are told apart. Whoever puts back a copy of the database's files gives it another `deployment_id`:
-- nothing else tells that copy from what it was taken of.
create table messages.deployment (
    only_row boolean not null default true,
    deployment_id uuid not null,
    constraint deployment_pkey primary key (only_row),
    constraint deployment_only_row_check check (only_row)
);

insert into messages.deployment (deployment_id) values (gen_random_uuid());

-- The id of the logs' history. Every other way in which positions may be given a second time makes another one of it: a dump that is
-- restored, into another cluster, another database or in place, and a backup or a standby that becomes the primary, which begins a
-- timeline of its own.
create view messages.history as
select md5(concat_ws(
    '/',
    d.deployment_id,
    (select system_identifier from pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    (select oid from pg_database where datname = current_database()),
    d.tableoid))::uuid as log_id
from messages.deployment d;
