-- What keeps the work bounded that one user can make for all.

-- A user has a bounded number of login sessions: one too many ends the oldest.
alter table auth.login_sessions
    drop constraint login_sessions_end_reason_check,
    add constraint login_sessions_end_reason_check check (
        end_reason in (
            'logout', 'revoked', 'reuse', 'password_reset', 'password_change', 'password_set', 'suspended', 'deleted', 'replaced'));

-- For the removal of accounts, which looks for what belongs to each.
create index login_sessions_user_idx on auth.login_sessions (user_id);
create index email_changes_user_idx on auth.email_changes (user_id);
