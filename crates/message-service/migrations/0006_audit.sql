-- The audit trail (crate tidings-audit). Its tables are only added to: the service's role may read and insert, and roles.sql takes
-- away the right to update and delete. Kept for ever.

-- What happened: written in the transaction of the effect. Nothing here is shared between effects, so that none waits for another;
-- what has a number stands in audit_chain. Ids, names of fields and kinds only: no secret, no address, no text of a user.
create table messages.audit_events (
    event_id uuid not null,
    event_time timestamptz not null,
    category smallint not null,
    action text not null,
    actor_kind smallint not null,
    actor_id uuid,
    actor_service text not null,
    login_session_id uuid,
    subject_kinds text[] not null,
    subject_ids uuid[] not null,
    outcome smallint not null,
    reason text not null,
    trace_id text not null,
    request_id uuid,
    client_prefix text not null,
    detail_names text[] not null,
    detail_values text[] not null,
    constraint audit_events_pkey primary key (event_id),
    constraint audit_events_action_check check (length(action) between 1 and 200),
    constraint audit_events_subjects_check check (cardinality(subject_kinds) = cardinality(subject_ids)),
    constraint audit_events_details_check check (cardinality(detail_names) = cardinality(detail_values))
);

-- Events that have no number yet: a queue, emptied by the sealer within a second.
create table messages.audit_pending (
    event_id uuid not null,
    constraint audit_pending_pkey primary key (event_id)
);

-- The order of the trail: 1, 2, 3 … without holes, each entry's hash over the one before and its event.
create table messages.audit_chain (
    number bigint not null,
    event_id uuid not null,
    seal_time timestamptz not null,
    previous_hash bytea not null,
    hash bytea not null,
    constraint audit_chain_pkey primary key (number),
    constraint audit_chain_event_id_key unique (event_id),
    constraint audit_chain_event_id_fkey foreign key (event_id) references messages.audit_events (event_id),
    constraint audit_chain_number_check check (number > 0),
    constraint audit_chain_hash_check check (length(previous_hash) = 32 and length(hash) = 32)
);

-- Signed statements of how far the chain went, each naming the one before.
create table messages.audit_heads (
    number bigint not null,
    previous_number bigint not null,
    hash bytea not null,
    sign_time timestamptz not null,
    public_key bytea not null,
    signature bytea not null,
    constraint audit_heads_pkey primary key (number),
    constraint audit_heads_previous_number_check check (previous_number >= 0 and previous_number < number)
);

-- One row: the lock that elects the sealer, and where it left the chain.
create table messages.audit_sealer (
    only_row boolean not null default true,
    last_number bigint not null,
    last_hash bytea,
    head_number bigint not null,
    constraint audit_sealer_pkey primary key (only_row),
    constraint audit_sealer_only_row_check check (only_row)
);

insert into messages.audit_sealer (last_number, head_number)
values (0, 0);
