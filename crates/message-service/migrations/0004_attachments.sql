-- Files. The bytes are in the object store under the attachment's id; here stands what was announced and how far it is.

create table messages.attachments (
    chat_id uuid not null,
    attachment_id uuid not null,
    uploader_id uuid not null,
    file_name text not null,
    media_type text not null,
    size_bytes bigint not null,
    sha256 bytea not null,
    -- message.v1.AttachmentState: 1 uploading, 2 ready, 3 removed.
    state smallint not null default 1,
    -- What the last PUT brought: 0 nothing yet, 1 the announced bytes, 2 other bytes, of which nothing was kept.
    put_state smallint not null default 0,
    -- The one message that carries it.
    message_id uuid,
    -- Whether the object of a removed attachment is gone from the store.
    purged boolean not null default false,
    create_time timestamptz not null,
    constraint attachments_pkey primary key (chat_id, attachment_id),
    constraint attachments_sha256_check check (length(sha256) = 32)
);

-- For the quota of uploads that are not complete.
create index attachments_uploading_idx on messages.attachments (uploader_id) where state = 1;
-- For the sweeper: what no message took, and what is removed but still in the store.
create index attachments_unused_idx on messages.attachments (create_time) where message_id is null and state <> 3;
create index attachments_unpurged_idx on messages.attachments (create_time, attachment_id) where state = 3 and not purged;
