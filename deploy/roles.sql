-- One role and one schema for each service; no role reaches into another's schema.
--
-- `tidings migrate` applies this before and after the migrations. By hand:
--
--     psql --set ON_ERROR_STOP=1 --dbname <database> --file roles.sql
--
-- Run it as the role that will own the schemas and run the migrations: a superuser, or a role with CREATEROLE and CREATE on the
-- database. It can be run again at any time. Where roles are made by somebody else, create the four beforehand.
--
-- Services take their role on after connecting (`set role`), or log in as it with a URL of their own; for that:
--
--     alter role tidings_auth login password '…';

-- Roles belong to the whole cluster, so another database's run may create one at the same moment.
do $$
declare
    name text;
begin
    foreach name in array array['tidings_auth', 'tidings_user', 'tidings_chat', 'tidings_message'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = name) then
            begin
                execute format('create role %I nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls', name);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
        -- A superuser is a member of everything. Anybody else becomes one here, so that a shared URL can `set role`.
        if not pg_catalog.pg_has_role(current_user, name, 'member') then
            begin
                execute format('grant %I to current_user', name);
            exception
                when duplicate_object or unique_violation then
                    null;
                when insufficient_privilege then
                    raise notice 'not a member of role %: its service needs a URL of its own', name;
            end;
        end if;
    end loop;
end
$$;

do $$
declare
    pair text[];
    schema_name text;
    role_name text;
begin
    foreach pair slice 1 in array array[
        ['auth', 'tidings_auth'],
        ['users', 'tidings_user'],
        ['chats', 'tidings_chat'],
        ['messages', 'tidings_message']
    ] loop
        schema_name := pair[1];
        role_name := pair[2];

        if not exists (select from pg_catalog.pg_namespace where nspname = schema_name) then
            execute format('create schema %I', schema_name);
        end if;
        execute format('revoke all on schema %I from public', schema_name);
        execute format('grant usage on schema %I to %I', schema_name, role_name);

        -- What is there already, and what the migrations will make.
        execute format('grant select, insert, update, delete on all tables in schema %I to %I', schema_name, role_name);
        execute format('grant usage, select on all sequences in schema %I to %I', schema_name, role_name);
        execute format(
            'alter default privileges in schema %I grant select, insert, update, delete on tables to %I', schema_name, role_name);
        execute format('alter default privileges in schema %I grant usage, select on sequences to %I', schema_name, role_name);

        -- A service reads which migrations were applied; it never writes that.
        if exists (
            select
            from pg_catalog.pg_tables
            where schemaname = schema_name and tablename = '_sqlx_migrations'
        ) then
            execute format('revoke insert, update, delete on %I._sqlx_migrations from %I', schema_name, role_name);
        end if;

        -- What is in the audit trail stays as it is.
        if exists (
            select
            from pg_catalog.pg_tables
            where schemaname = schema_name and tablename = 'audit_chain'
        ) then
            execute format(
                'revoke update, delete on %1$I.audit_events, %1$I.audit_chain, %1$I.audit_heads from %2$I',
                schema_name, role_name);
            execute format('revoke insert, delete on %I.audit_sealer from %I', schema_name, role_name);
        end if;
    end loop;
end
$$;

-- Nobody makes temporary tables or schemas in this database, and nobody creates in `public` (Postgres 14 lets everybody). That is the
-- database owner's to say; whoever is not the owner is told, and goes on.
do $$
declare
    may_revoke boolean := (
        select pg_catalog.pg_has_role(current_user, datdba, 'usage')
        from pg_catalog.pg_database
        where datname = current_database()
    );
begin
    if may_revoke then
        execute format('revoke temporary, create on database %I from public', current_database());
    else
        raise notice 'not the owner of the database: TEMPORARY stays granted to public';
    end if;
    if exists (
        select
        from pg_catalog.pg_namespace
        where nspname = 'public' and pg_catalog.pg_has_role(current_user, nspowner, 'usage')
    ) then
        revoke create on schema public from public;
    end if;
end
$$;
