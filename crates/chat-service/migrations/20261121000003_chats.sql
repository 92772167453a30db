-- Chats of all kinds. `kind` is 1 direct, 2 group, 3 conversation, 4 session, as in `tidings.common.v1.ChatKind`; a group's chat has the
-- group for its audience, every other chat is its own. `history` is 1 full, 2 from joining.
create table chats.chats (
    chat_id uuid not null,
    audience_id uuid not null,
    kind smallint not null,
    title text not null,
    metadata jsonb not null,
    history smallint not null,
    archived boolean not null,
    slow_mode_interval_secs int not null,
    revision bigint not null,
    create_time timestamptz not null,
    constraint chats_pkey primary key (chat_id),
    constraint chats_audience_id_fkey foreign key (audience_id) references chats.audiences (audience_id),
    constraint chats_kind_check check (kind between 1 and 4 and (kind = 2) = (chat_id <> audience_id)),
    constraint chats_title_check check (char_length(title) <= 128 and (kind <> 2 or title <> '') and (kind <> 1 or title = '')),
    constraint chats_history_check check (history in (1, 2)),
    constraint chats_slow_mode_interval_secs_check check (slow_mode_interval_secs >= 0),
    constraint chats_revision_check check (revision > 0)
);

-- A group's chats.
create index chats_audience_id_idx on chats.chats (audience_id);

-- One direct chat for each unordered pair, whoever opens it and when: the pair in order is the key. The chat's row is written after
-- this one, by whoever has won the key.
create table chats.direct_chats (
    user_low uuid not null,
    user_high uuid not null,
    chat_id uuid not null,
    -- Whether the message service is told that nothing can be sent there, since one of the two blocks the other.
    blocked boolean not null default false,
    constraint direct_chats_pkey primary key (user_low, user_high),
    constraint direct_chats_chat_id_key unique (chat_id),
    constraint direct_chats_chat_id_fkey foreign key (chat_id) references chats.chats (chat_id) deferrable initially deferred,
    constraint direct_chats_order_check check (user_low < user_high)
);

-- A user's sessions with assistants.
create table chats.sessions (
    user_id uuid not null,
    session_number bigint not null,
    chat_id uuid not null,
    assistant_user_id uuid not null,
    close_time timestamptz,
    constraint sessions_pkey primary key (user_id, session_number),
    constraint sessions_chat_id_key unique (chat_id),
    constraint sessions_chat_id_fkey foreign key (chat_id) references chats.chats (chat_id),
    constraint sessions_session_number_check check (session_number > 0),
    constraint sessions_assistant_user_id_check check (assistant_user_id <> user_id)
);

-- One row for each user who has made something or was put into something: locked while they make more or are put into more, so that
-- their sessions are numbered without holes and their quotas hold for calls at the same time.
create table chats.creators (
    user_id uuid not null,
    last_session_number bigint not null,
    constraint creators_pkey primary key (user_id),
    constraint creators_last_session_number_check check (last_session_number >= 0)
);
