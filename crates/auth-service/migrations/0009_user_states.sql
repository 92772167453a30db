-- Following the states of users: how far that has come, and what it is compared with.

-- How far a feed of another service was applied. Whoever applies entries locks the row, so that of many nodes one does at a time and
-- each entry is applied once, in order.
create table auth.followed_feeds (
    feed text not null,
    -- Everything up to this number was applied.
    position bigint not null,
    -- The place was lost, and everything is compared anew, in order of id: accounts up to this one were. Null when that is done.
    resync_after uuid,
    constraint followed_feeds_pkey primary key (feed)
);

-- The number of the state that was last applied to the account, so that an older one changes nothing. 0 where none was.
alter table auth.accounts
    add column user_state_number bigint not null default 0;

-- The user's token epoch when the login session began: a suspension or deletion ends those from before it, and no later ones.
alter table auth.login_sessions
    add column token_epoch bigint not null default 0;
