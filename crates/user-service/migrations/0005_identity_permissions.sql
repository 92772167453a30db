-- `admin` has every permission: those of credentials, service accounts, tokens, signing keys, access and audit come with this.
update users.roles set permissions = '{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}' where role_id = '00000000-0000-7000-8000-000000000001';
-- Those who are admins already get them with their next token.
insert into users.role_fan_outs (role_id) values ('00000000-0000-7000-8000-000000000001') on conflict do nothing;
