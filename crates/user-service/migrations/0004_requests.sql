-- What each request_id did, so that a repeated call gets the first outcome. Written in the transaction of the effect, kept for at
-- least 7 days. `scope` is what else bounds the request_id (a chat), or the identifier that an unauthenticated call names;
-- `caller` is then empty. (tidings-db, requests.rs)
create table users.requests (
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
create index requests_create_time_idx on users.requests (create_time);

