-- The send path: one function for batches and one that goes item by item, with the same contract. Rules that both keep:
--
--   * Two statements at READ COMMITTED: first the chats' rows, in id order, then everything else with a younger snapshot. One
--     statement would be unsafe: its subqueries keep the snapshot from before it waited for the row, and a member who was removed
--     meanwhile would still send.
--   * VOLATILE is part of the safety: only then has each statement of a plpgsql function a snapshot of its own.
--   * Whatever changes a membership takes the chat's row lock before its change gets a position.
--   * They run with plan_cache_mode = force_generic_plan, enable_seqscan = off, enable_mergejoin = off. In `auto` a partitioned
--     plan is judged too dear, and every statement inside is planned again at every call.
--
-- Outcomes, which `send/item.rs` repeats:
--
--    0 stored                       5 chat archived             10 attachment not ready, or in another message
--    1 the same was sent before     6 sender muted              11 message to answer is deleted
--    2 request_id used otherwise    7 slow mode                 12 message to answer is a response or of the system
--    3 no such chat, or no member   8 no message to reply to    13 too many responses
--    4 not now: the next batch      9 no such attachment        14 sender may not respond
--                                                               15 type does not fit the attachment
--                                                               16 chat blocked
--
-- The request_id is asked before everything else but the chat's row: a repetition changes nothing, and gets the first outcome also
-- when its sender is no member any more, or the chat is archived or removed. 1 gives the ids of the first outcome and no content.
-- `until` is when a mute ends or slow mode allows the next.

-- For batches of about 8 and more, of plain messages: text, metadata, replies.
create function messages.send_batch(
    chat_ids uuid[], caller_ids uuid[], request_ids uuid[], request_hashes bigint[],
    message_ids uuid[], bodies text[], metadatas text[], reply_tos uuid[], wait boolean)
returns table (
    ord integer, outcome smallint, message_id uuid, sequence bigint, "position" bigint, create_time timestamptz, until timestamptz)
language plpgsql volatile
as $f$
#variable_conflict use_column
declare
    l_chat uuid[];
    l_audience uuid[];
    l_number bigint[];
    l_sequence bigint[];
    l_position bigint[];
    l_first bigint[];
    l_archived boolean[];
    l_blocked boolean[];
    l_removed boolean[];
    l_joining boolean[];
    l_slow integer[];
    at timestamptz;
begin
    -- Statement one. A locked row comes back in its newest version, so what is read here is true until the commit.
    -- `join`, not `= any (chat_ids)`: the join prunes partitions for each id, the array searches all of them for all ids.
    if wait then
        select array_agg(c.chat_id), array_agg(c.audience_id), array_agg(c.audience_number), array_agg(c.last_sequence),
            array_agg(c.last_position), array_agg(c.first_sequence), array_agg(c.archived), array_agg(c.removed),
            array_agg(c.history = 2), array_agg(c.slow_mode_interval_secs), array_agg(c.blocked)
        into l_chat, l_audience, l_number, l_sequence, l_position, l_first, l_archived, l_removed, l_joining, l_slow, l_blocked
        from (
            select c.*
            from (select distinct u.chat_id from unnest(chat_ids) u(chat_id)) u
            join messages.chats c on c.chat_id = u.chat_id
            order by c.chat_id
            for update of c
        ) c;
    else
        select array_agg(c.chat_id), array_agg(c.audience_id), array_agg(c.audience_number), array_agg(c.last_sequence),
            array_agg(c.last_position), array_agg(c.first_sequence), array_agg(c.archived), array_agg(c.removed),
            array_agg(c.history = 2), array_agg(c.slow_mode_interval_secs), array_agg(c.blocked)
        into l_chat, l_audience, l_number, l_sequence, l_position, l_first, l_archived, l_removed, l_joining, l_slow, l_blocked
        from (
            select c.*
            from (select distinct u.chat_id from unnest(chat_ids) u(chat_id)) u
            join messages.chats c on c.chat_id = u.chat_id
            order by c.chat_id
            for update of c skip locked
        ) c;
    end if;

    -- Not now(): a transaction may begin before one that gets the lock first, and times would run against the sequence.
    at := clock_timestamp();

    -- Statement two. Lookups are laterals with a limit, or scalar subqueries, so that no plan can turn them into a join over
    -- whole tables.
    return query
    with item as materialized (
        select
            i.ord, i.chat_id, i.caller_id, i.request_id, i.request_hash, i.message_id, i.body, i.metadata, i.reply_to,
            l.last_sequence, l.last_position, l.slow > 0 as is_slow, m.mute_end_time,
            v.last_send_time + make_interval(secs => l.slow) as slow_until,
            r.outcome_id as old_id, r.sequence as old_sequence, r.create_time as old_time,
            case
                -- Not among the locked: held by somebody, or absent? Absent must not be deferred for ever.
                when l.chat_id is null then
                    case when exists (select from messages.chats c where c.chat_id = i.chat_id) then 4 else 3 end
                when r.request_hash = i.request_hash then 1
                when r.request_hash is not null then 2
                when m.role is null then 3
                when l.archived then 5
                when l.blocked then 16
                when m.mute_end_time > at then 6
                -- In slow mode one item of a sender is decided at a time.
                when l.slow > 0 and row_number() over (partition by i.chat_id, i.caller_id order by i.ord) > 1 then 4
                when v.last_send_time + make_interval(secs => l.slow) > at then 7
                when i.reply_to is not null and p.sequence is null then 8
                else 0
            end as verdict
        from unnest(chat_ids, caller_ids, request_ids, request_hashes, message_ids, bodies, metadatas, reply_tos)
            with ordinality i(chat_id, caller_id, request_id, request_hash, message_id, body, metadata, reply_to, ord)
        left join unnest(
            l_chat, l_audience, l_number, l_sequence, l_position, l_first, l_archived, l_removed, l_joining, l_slow, l_blocked)
            l(chat_id, audience_id, audience_number, last_sequence, last_position, first_sequence, archived, removed, joining, slow,
                blocked)
            on l.chat_id = i.chat_id
        left join lateral (
            select m.role, m.mute_end_time
            from messages.members m
            where m.audience_id = l.audience_id
              and m.user_id = i.caller_id
              and not m.removed
              and m.joined_number <= l.audience_number
              and not l.removed
              and not (select a.removed from messages.audiences a where a.audience_id = l.audience_id)
            limit 1
        ) m on true
        left join lateral (
            select r.request_hash, r.outcome_id, r.sequence, r.create_time
            from messages.requests r
            where r.chat_id = i.chat_id and r.caller_id = i.caller_id and r.method = 1 and r.request_id = i.request_id
            limit 1
        ) r on true
        left join lateral (
            select v.first_sequence, v.last_send_time
            from messages.chat_members v
            where (l.slow > 0 or (l.joining and i.reply_to is not null))
              and v.chat_id = i.chat_id
              and v.user_id = i.caller_id
            limit 1
        ) v on true
        left join lateral (
            select p.sequence
            from messages.messages p
            where i.reply_to is not null
              and p.chat_id = i.chat_id
              and p.message_id = i.reply_to
              and p.sequence >= l.first_sequence
              and (not l.joining or p.sequence >= coalesce(v.first_sequence, 1))
              and not exists (
                  select
                  from messages.hidden_messages h
                  where h.chat_id = p.chat_id and h.user_id = i.caller_id and h.sequence = p.sequence
              )
            limit 1
        ) p on true
    ), numbered as materialized (
        select
            i.*,
            i.verdict = 0 and i.first_ord = i.ord as fresh,
            count(*) filter (where i.verdict = 0 and i.first_ord = i.ord) over (partition by i.chat_id order by i.ord) as rank
        from (
            -- An item that is refused has not used its request_id: the next one that has it is the first.
            select
                i.*,
                min(i.ord) filter (where i.verdict = 0) over (partition by i.chat_id, i.caller_id, i.request_id) as first_ord
            from item i
        ) i
    ), counted as (
        update messages.chats c
        set last_sequence = c.last_sequence + n.n,
            last_position = c.last_position + n.n,
            activity = greatest(c.activity + 1, (extract(epoch from at) * 1000000)::bigint)
        from (select n.chat_id, max(n.rank) as n from numbered n where n.fresh group by n.chat_id) n
        where c.chat_id = n.chat_id
    ), stored as (
        insert into messages.messages
            (chat_id, sequence, message_id, sender_id, type, body, metadata, reply_to_message_id, create_time)
        select n.chat_id, n.last_sequence + n.rank, n.message_id, n.caller_id, 1, n.body, n.metadata::jsonb, n.reply_to, at
        from numbered n
        where n.fresh
    ), logged as (
        insert into messages.changes (chat_id, position, kind, actor_id, message_id, sequence, revision, create_time)
        select n.chat_id, n.last_position + n.rank, 10, n.caller_id, n.message_id, n.last_sequence + n.rank, 1, at
        from numbered n
        where n.fresh
    ), remembered as (
        insert into messages.requests
            (chat_id, caller_id, method, request_id, request_hash, outcome_id, sequence, create_time)
        select n.chat_id, n.caller_id, 1, n.request_id, n.request_hash, n.message_id, n.last_sequence + n.rank, at
        from numbered n
        where n.fresh
    ), slowed as (
        update messages.chat_members v
        set last_send_time = at
        from numbered n
        where n.fresh and n.is_slow and v.chat_id = n.chat_id and v.user_id = n.caller_id
    )
    -- f: the first of several items with one request_id in this batch; the others are its repetitions.
    select
        n.ord::integer,
        (case when n.verdict <> 0 or n.fresh then n.verdict when f.request_hash = n.request_hash then 1 else 2 end)::smallint,
        case when n.fresh then n.message_id when n.verdict = 1 then n.old_id
            when f.request_hash = n.request_hash then f.message_id end,
        case when n.fresh then n.last_sequence + n.rank when n.verdict = 1 then n.old_sequence
            when f.request_hash = n.request_hash then f.last_sequence + f.rank end,
        case when n.fresh then n.last_position + n.rank end,
        case when n.fresh or f.request_hash = n.request_hash then at when n.verdict = 1 then n.old_time end,
        case n.verdict when 6 then n.mute_end_time when 7 then n.slow_until end
    from numbered n
    left join numbered f on n.verdict = 0 and not n.fresh and f.ord = n.first_ord;
end
$f$;

-- Item by item: for small batches, where it is cheaper, and for what carries attachments or answers a message. Each row is
-- locked when its item is reached, so with `wait` the caller must hand the items over sorted by chat, or two calls can deadlock.
-- `attachments` holds arrays in text form, since SQL has no arrays of arrays of different lengths.
create function messages.send_few(
    chat_ids uuid[], caller_ids uuid[], methods smallint[], request_ids uuid[], request_hashes bigint[],
    message_ids uuid[], bodies text[], metadatas text[], reply_tos uuid[],
    attachments text[], response_tos uuid[], may_responds boolean[], expected_types smallint[], wait boolean)
returns table (
    ord integer, outcome smallint, message_id uuid, sequence bigint, "position" bigint, create_time timestamptz, until timestamptz)
language plpgsql volatile
as $f$
#variable_conflict use_column
declare
    c messages.chats;
    m record;
    r record;
    visible_from bigint;
    last_sent timestamptz;
    p record;
    files record;
    file_ids uuid[];
    target uuid;
    message_type smallint;
    at timestamptz;
begin
    for i in 1 .. cardinality(chat_ids) loop
        ord := i; message_id := null; sequence := null; position := null; create_time := null; until := null;
        if wait then
            select * into c from messages.chats where chat_id = chat_ids[i] for update;
        else
            select * into c from messages.chats where chat_id = chat_ids[i] for update skip locked;
        end if;
        if not found then
            perform from messages.chats where chat_id = chat_ids[i];
            outcome := case when found then 4 else 3 end; return next; continue;
        end if;
        at := clock_timestamp(); visible_from := 1; last_sent := null;

        select r.request_hash, r.outcome_id, r.sequence, r.create_time into r
        from messages.requests r
        where r.chat_id = c.chat_id and r.caller_id = caller_ids[i] and r.method = methods[i] and r.request_id = request_ids[i];
        if found then
            outcome := 2;
            if r.request_hash = request_hashes[i] then
                outcome := 1; message_id := r.outcome_id; sequence := r.sequence; create_time := r.create_time;
            end if;
            return next; continue;
        end if;

        select m.role, m.mute_end_time into m
        from messages.members m
        where m.audience_id = c.audience_id
          and m.user_id = caller_ids[i]
          and not m.removed
          and m.joined_number <= c.audience_number
          and not c.removed
          and not (select a.removed from messages.audiences a where a.audience_id = c.audience_id);
        if not found then
            outcome := 3; return next; continue;
        end if;

        if c.archived then
            outcome := 5; return next; continue;
        elsif c.blocked then
            outcome := 16; return next; continue;
        elsif m.mute_end_time > at then
            outcome := 6; until := m.mute_end_time; return next; continue;
        end if;

        target := coalesce(reply_tos[i], response_tos[i]);
        if c.slow_mode_interval_secs > 0 or (target is not null and c.history = 2) then
            select case when c.history = 2 then v.first_sequence else 1 end, v.last_send_time into visible_from, last_sent
            from messages.chat_members v
            where v.chat_id = c.chat_id and v.user_id = caller_ids[i];
            if response_tos[i] is null and last_sent + make_interval(secs => c.slow_mode_interval_secs) > at then
                outcome := 7; until := last_sent + make_interval(secs => c.slow_mode_interval_secs);
                return next; continue;
            end if;
        end if;

        if response_tos[i] is not null and not may_responds[i] and c.assistant_user_id is distinct from caller_ids[i] then
            outcome := 14; return next; continue;
        end if;
        if target is not null then
            select p.sequence, p.type, p.response_to_message_id, p.delete_time into p
            from messages.messages p
            where p.chat_id = c.chat_id
              and p.message_id = target
              and p.sequence >= greatest(c.first_sequence, visible_from)
              and not exists (
                  select
                  from messages.hidden_messages h
                  where h.chat_id = p.chat_id and h.user_id = caller_ids[i] and h.sequence = p.sequence
              );
            if not found then
                outcome := 8; return next; continue;
            end if;
        end if;
        if response_tos[i] is not null then
            if p.response_to_message_id is not null or p.type = 5 then
                outcome := 12; return next; continue;
            elsif p.delete_time is not null then
                outcome := 11; return next; continue;
            end if;
            perform from messages.messages m
            where m.chat_id = c.chat_id and m.response_to_message_id = response_tos[i]
            offset 49 limit 1;
            if found then
                outcome := 13; return next; continue;
            end if;
        end if;

        message_type := 1; file_ids := null;
        if attachments[i] is not null then
            file_ids := attachments[i]::uuid[];
            -- Locked, so that the sweeper of unused uploads cannot take one away in between.
            select
                count(*) as found_count,
                bool_and(a.state = 2 and a.message_id is null) as usable,
                case when bool_and(a.media_type like 'image/%') then 2 when bool_and(a.media_type like 'video/%') then 3 else 4 end
                    as type
            into files
            from (
                select a.state, a.message_id, a.media_type
                from messages.attachments a
                where a.chat_id = c.chat_id and a.attachment_id = any (file_ids) and a.uploader_id = caller_ids[i]
                order by a.attachment_id
                for update
            ) a;
            if files.found_count <> cardinality(file_ids) then
                outcome := 9; return next; continue;
            elsif not files.usable then
                outcome := 10; return next; continue;
            end if;
            message_type := files.type;
        end if;
        if expected_types[i] <> message_type then
            outcome := 15; return next; continue;
        end if;

        outcome := 0; message_id := message_ids[i]; sequence := c.last_sequence + 1; position := c.last_position + 1;
        create_time := at;
        update messages.chats
        set last_sequence = c.last_sequence + 1,
            last_position = c.last_position + 1,
            activity = greatest(c.activity + 1, (extract(epoch from at) * 1000000)::bigint)
        where chat_id = c.chat_id;
        insert into messages.messages
            (chat_id, sequence, message_id, sender_id, type, body, metadata, reply_to_message_id, attachment_ids,
             response_to_message_id, response_state, response_finish_time, create_time)
        values
            (c.chat_id, c.last_sequence + 1, message_ids[i], caller_ids[i], message_type, bodies[i], metadatas[i]::jsonb,
             reply_tos[i], file_ids, response_tos[i],
             case when response_tos[i] is not null then 2 end, case when response_tos[i] is not null then at end, at);
        insert into messages.changes (chat_id, position, kind, actor_id, message_id, sequence, revision, create_time)
        values (c.chat_id, c.last_position + 1, 10, caller_ids[i], message_ids[i], c.last_sequence + 1, 1, at);
        insert into messages.requests
            (chat_id, caller_id, method, request_id, request_hash, outcome_id, sequence, create_time)
        values
            (c.chat_id, caller_ids[i], methods[i], request_ids[i], request_hashes[i], message_ids[i], c.last_sequence + 1, at);
        if file_ids is not null then
            update messages.attachments a
            set message_id = message_ids[i]
            where a.chat_id = c.chat_id and a.attachment_id = any (file_ids);
        end if;
        if c.slow_mode_interval_secs > 0 and response_tos[i] is null then
            update messages.chat_members v
            set last_send_time = at
            where v.chat_id = c.chat_id and v.user_id = caller_ids[i];
        end if;
        return next;
    end loop;
end
$f$;
