-- What a send, a read or a stream is decided by: audiences, their members, and their chats with the two counters of each log.
--
-- The chat service owns these facts and numbers the changes of an audience 1, 2, 3 …; `applied_number` is the last one that is
-- wholly applied here. A change that touches many chats is applied in several transactions, each fenced by a number: of a chat
-- by `chats.audience_number`, of a member by `members.revision`. So a change that is delivered again goes on where it stopped.
--
-- Every key begins with `chat_id`, `audience_id` or `user_id`, and the big tables are partitioned by it, never by a clock.

create table messages.audiences (
    audience_id uuid not null,
    applied_number bigint not null default 0,
    -- What the last changes up to `applied_number` are known by, the newest last, so that another change that comes under the number of
    -- one of them is noticed.
    recent_marks bigint[] not null default '{}',
    -- Committed before anything else of an audience's end, so that from then on every check fails.
    removed boolean not null default false,
    constraint audiences_pkey primary key (audience_id)
);

create table messages.members (
    audience_id uuid not null,
    user_id uuid not null,
    -- common.v1.ChatRole
    role smallint not null,
    mute_end_time timestamptz,
    -- The latest joining.
    create_time timestamptz not null,
    -- The number of the audience's change that made the latest joining. A chat takes a member into account when its
    -- `audience_number` has come so far, so that nobody writes into a chat before "joined" stands in its log.
    joined_number bigint not null,
    -- The number of the audience's last change of this membership.
    revision bigint not null,
    -- An ended membership stays, since older entries of the logs still tell of it.
    removed boolean not null default false,
    -- common.v1.RemovalReason
    removal_reason smallint,
    constraint members_pkey primary key (audience_id, user_id),
    constraint members_role_check check (role between 1 and 3)
) partition by hash (audience_id);

-- Of a user who is in very much, some at a time.
create index members_user_id_idx on messages.members (user_id, audience_id) where not removed;

-- Narrow, because each send rewrites the row: what is only shown stands in `chat_facts`.
create table messages.chats (
    chat_id uuid not null,
    audience_id uuid not null,
    -- common.v1.ChatKind
    kind smallint not null,
    -- common.v1.ChatHistory
    history smallint not null,
    archived boolean not null,
    -- A direct chat of two users one of whom blocks the other: nothing can be sent there, by neither. It is a fact for the send's
    -- transaction and nobody else: no entry of a log tells of it, since who is blocked is not told.
    blocked boolean not null default false,
    removed boolean not null default false,
    -- Removed, but not all members' logs say so yet.
    ending boolean not null default false,
    slow_mode_interval_secs integer not null,
    assistant_user_id uuid,
    -- The number of the last change of the audience that stands in this chat's log.
    audience_number bigint not null,
    -- The two counters, both without holes, both allocated under this row's lock.
    last_sequence bigint not null default 0,
    last_position bigint not null default 0,
    -- The floors of what is kept. They move before anything below them is dropped.
    first_sequence bigint not null default 1,
    first_position bigint not null default 1,
    -- Grows with each message: max(last + 1, microseconds of the database's clock), so that it orders chats among each other
    -- and never runs backwards in one.
    activity bigint not null,
    constraint chats_pkey primary key (chat_id)
) partition by hash (chat_id);

create index chats_audience_id_idx on messages.chats (audience_id);

create table messages.chat_facts (
    chat_id uuid not null,
    title text not null,
    metadata jsonb,
    session_number bigint,
    create_time timestamptz not null,
    -- The number of the audience's last change of the chat.
    revision bigint not null,
    -- When the chat was removed, until its content is erased.
    remove_time timestamptz,
    constraint chat_facts_pkey primary key (chat_id)
);

-- For the sweeper.
create index chat_facts_removed_idx on messages.chat_facts (remove_time, chat_id) where remove_time is not null;

-- One member's relation to one chat. A missing row means: was there when the chat began.
create table messages.chat_members (
    chat_id uuid not null,
    user_id uuid not null,
    -- The place of the latest joining: what is visible where the history is "from joining".
    first_position bigint not null,
    first_sequence bigint not null,
    -- The position of the removal, while the membership is ended: the last that this user may see.
    left_position bigint,
    -- The read mark; begins at the joining.
    read_sequence bigint not null,
    -- When the member sent last. Kept only where slow mode is on.
    last_send_time timestamptz,
    constraint chat_members_pkey primary key (chat_id, user_id)
) partition by hash (chat_id);

do $$
declare
    name text;
    key_column text;
begin
    foreach name in array array['members', 'chats', 'chat_members'] loop
        for remainder in 0 .. 7 loop
            -- Half-empty pages keep the counters' updates on their page (HOT).
            execute format(
                'create table messages.%I partition of messages.%I for values with (modulus 8, remainder %s) with (fillfactor = %s)',
                name || '_' || remainder, name, remainder, case name when 'chats' then 50 else 80 end);
        end loop;
    end loop;
end
$$;

-- Who may see which chat, and from where on: the one way in which a read is authorized. A read joins it in its own statement,
-- so that membership and content are of one snapshot. No row means NOT_FOUND.
create view messages.access as
select
    c.chat_id,
    m.user_id,
    c.audience_id,
    c.kind,
    c.history,
    c.archived,
    c.blocked,
    c.slow_mode_interval_secs,
    c.assistant_user_id,
    m.role,
    m.mute_end_time,
    c.activity,
    c.last_sequence,
    c.last_position,
    -- What is kept …
    c.first_sequence as kept_sequence,
    c.first_position as kept_position,
    -- … and visible to this user.
    case when c.history = 2 then greatest(c.first_sequence, coalesce(v.first_sequence, 1)) else c.first_sequence end
        as first_sequence,
    case when c.history = 2 then greatest(c.first_position, coalesce(v.first_position, 1)) else c.first_position end
        as first_position,
    coalesce(v.read_sequence, 0) as read_sequence
from messages.chats c
join messages.audiences a on a.audience_id = c.audience_id and not a.removed
join messages.members m on m.audience_id = c.audience_id and not m.removed and m.joined_number <= c.audience_number
left join messages.chat_members v on v.chat_id = c.chat_id and v.user_id = m.user_id
where not c.removed;
