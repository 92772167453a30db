-- The number of auth's last statement about the user's address, so that a late one undoes no newer one.
alter table users.users
    add column email_revision bigint not null default 0;
