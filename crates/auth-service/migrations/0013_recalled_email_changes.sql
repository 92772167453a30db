-- Changes of address that are given up although they were proven, since the account has a new password.

alter table auth.email_changes
    -- The user service may have been told: noted before it is. `recalled` is given up after that: the user service is to be told the
    -- address that the account has, by a higher number.
    add column told boolean not null default false,
    drop constraint email_changes_state_check,
    add constraint email_changes_state_check check (state in ('asked', 'proven', 'done', 'refused', 'recalled'));

update auth.email_changes set told = true where state = 'proven';

-- Until the user service has the account's address again, the one that it has stays the account's affair.
drop index auth.email_changes_open_key;
create unique index email_changes_open_key on auth.email_changes (user_id) where state in ('asked', 'proven', 'recalled');
drop index auth.email_changes_proven_key;
create unique index email_changes_proven_key on auth.email_changes (email_key) where state in ('proven', 'recalled');
