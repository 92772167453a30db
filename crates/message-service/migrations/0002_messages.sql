-- Messages with their earlier texts, and which of them a user has hidden. A response is a message with `response_to` set.

create table messages.messages (
    chat_id uuid not null,
    sequence bigint not null,
    message_id uuid not null,
    sender_id uuid not null,
    -- message.v1.MessageType; a tombstone keeps it.
    type smallint not null,
    -- Empty in tombstones: deleted text is gone, not hidden.
    body text not null,
    metadata jsonb,
    reply_to_message_id uuid,
    -- In the order of sending.
    attachment_ids uuid[],
    response_to_message_id uuid,
    -- message.v1.ResponseState
    response_state smallint,
    response_finish_time timestamptz,
    revision bigint not null default 1,
    create_time timestamptz not null,
    update_time timestamptz,
    delete_time timestamptz,
    original_time timestamptz,
    external_id text,
    constraint messages_pkey primary key (chat_id, sequence),
    constraint messages_message_id_key unique (chat_id, message_id)
) partition by hash (chat_id);

create index messages_response_to_idx on messages.messages (chat_id, response_to_message_id, sequence)
    where response_to_message_id is not null;

-- The texts before the last edits, 100 of each message. A deletion removes them.
create table messages.message_revisions (
    chat_id uuid not null,
    message_id uuid not null,
    revision bigint not null,
    body text not null,
    metadata jsonb,
    -- When this revision was written.
    create_time timestamptz not null,
    constraint message_revisions_pkey primary key (chat_id, message_id, revision)
) partition by hash (chat_id);

-- Messages that a user deleted for oneself.
create table messages.hidden_messages (
    chat_id uuid not null,
    user_id uuid not null,
    sequence bigint not null,
    create_time timestamptz not null,
    constraint hidden_messages_pkey primary key (chat_id, user_id, sequence)
);

-- What each request_id did, stored in the transaction of the effect and kept for at least 7 days.
create table messages.requests (
    chat_id uuid not null,
    caller_id uuid not null,
    -- Which RPC: see `requests.rs`.
    method smallint not null,
    request_id uuid not null,
    -- The first 64 bits of a keyed hash of the request.
    request_hash bigint not null,
    -- What it made or changed: a message or an attachment.
    outcome_id uuid not null,
    sequence bigint,
    create_time timestamptz not null,
    constraint requests_pkey primary key (chat_id, caller_id, method, request_id)
) partition by hash (chat_id);

-- lz4 costs no CPU to speak of and a fifth of the log that uncompressed text writes; a Postgres built without it does its best.
do $$
begin
    alter table messages.messages alter column body set compression lz4;
    alter table messages.message_revisions alter column body set compression lz4;
exception when feature_not_supported then
    raise notice 'this Postgres has no lz4: texts are compressed with pglz';
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array['messages', 'message_revisions', 'requests'] loop
        for remainder in 0 .. 7 loop
            execute format(
                'create table messages.%I partition of messages.%I for values with (modulus 8, remainder %s)',
                name || '_' || remainder, name, remainder);
        end loop;
    end loop;
end
$$;

-- How many messages a user has not read, exact up to 1,000. Others' messages and finished responses, no tombstones, no system
-- messages, nothing that the user has hidden. Of very many (a bot's own, say) only the first 10,000 after the read mark are looked at,
-- so that a count never takes long; sequences have no holes. `is_capped` says that there may be more.
create function messages.unread(
    of_chat_id uuid, of_user_id uuid, after_sequence bigint, last_sequence bigint, out unread_count integer, out is_capped boolean)
language sql stable
as $$
    select
        least(count(*), 1000)::integer,
        count(*) > 1000 or last_sequence > after_sequence + 10000
    from (
        select
        from messages.messages m
        where m.chat_id = of_chat_id
          and m.sequence > after_sequence
          and m.sequence <= after_sequence + 10000
          and m.sender_id <> of_user_id
          and m.type <> 5
          and m.delete_time is null
          and (m.response_state is null or m.response_state = 2)
          and not exists (
              select
              from messages.hidden_messages h
              where h.chat_id = m.chat_id and h.user_id = of_user_id and h.sequence = m.sequence
          )
        limit 1001
    ) unread
$$;
