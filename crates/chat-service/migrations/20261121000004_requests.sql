-- What each request_id did, so that a repeated call gets the first outcome. The table is the same in every service (tidings-db,
-- requests.rs). `outcome_id` is what was made, `outcome` the audience and the number of its last change by then: that number must be
-- delivered before a repetition is answered.
create table chats.requests (
    caller text not null,
    method text not null,
    scope text not null default '',
    request_id uuid not null,
    request_hash bytea not null,
    outcome_id uuid,
    outcome bytea,
    create_time timestamptz not null,
    constraint requests_pkey primary key (caller, method, scope, request_id)
);

-- For the purge.
create index requests_create_time_idx on chats.requests (create_time);
