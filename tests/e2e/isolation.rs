//! What a service's role can do in the database: read and write its own tables, and nothing else (`reliability.md` A69).
//!
//! The statements run as the role itself, in transactions that are taken back: roles belong to the whole cluster, and one that did
//! more than it may must not do it to others.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tidings_db::Schema;
use tidings_testkit::{Shape, Suite};

/// `insufficient_privilege`.
const DENIED: &str = "42501";

/// What no service may do to anything.
const FORBIDDEN: &[&str] = &[
    // Definitions
    "create schema theirs",
    "create table {own}.another (id int)",
    "create table public.another (id int)",
    "create temporary table another (id int)",
    "create function {own}.f() returns int language sql as 'select 1'",
    "create type {own}.t as enum ('a')",
    "create sequence {own}.s",
    "create publication p for all tables",
    "create event trigger t on ddl_command_start execute function suppress_redundant_updates_trigger()",
    "create foreign data wrapper w",
    "drop schema {own} cascade",
    "drop table {own}.{table}",
    "truncate {own}.{table}",
    "alter table {own}.{table} add column another int",
    "alter table {own}.{table} disable trigger all",
    "alter table {own}.{table} owner to {role}",
    "create index on {own}.{table} ((1))",
    "create trigger t before insert on {own}.{table} for each row execute function suppress_redundant_updates_trigger()",
    "comment on table {own}.{table} is 'theirs'",
    "create rule r as on select to {own}.{table} do instead nothing",
    // The machine
    "copy (select 1) to program 'true'",
    "copy (select 1) to '/tmp/tidings-isolation'",
    "copy {own}.{table} from '/etc/passwd'",
    "copy {own}.{table} from program 'true'",
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select lo_import('/etc/passwd')",
    "select lo_export(1, '/tmp/tidings-isolation')",
    "load 'auto_explain'",
    // Rights
    "create role theirs",
    "alter role {role} superuser",
    "alter role {role} createrole",
    "alter role {role} bypassrls",
    "alter role {role} replication",
    "drop role {other}",
    "alter role {other} login password 'theirs'",
    "grant {other} to {role}",
    "grant pg_read_all_data to {role}",
    "grant pg_execute_server_program to {role}",
    "set role {other}",
    "set role pg_write_all_data",
    "select * from pg_catalog.pg_authid",
    "select * from pg_catalog.pg_user_mapping",
    "alter default privileges for role {other} grant select on tables to {role}",
    // The server
    "alter database postgres set fsync = off",
    "set session_replication_role = replica",
    "set log_statement = 'none'",
    "select pg_reload_conf()",
    "select pg_rotate_logfile()",
    "select pg_switch_wal()",
    "select pg_create_restore_point('theirs')",
    "select pg_create_physical_replication_slot('theirs')",
    "checkpoint",
];

/// What no service may do to another's table.
const FORBIDDEN_THERE: &[&str] = &[
    "select 1 from {table} limit 1",
    "select count(*) from {table}",
    "insert into {table} default values",
    "insert into {table} select * from {table} where false",
    "update {table} set {column} = {column} where false",
    "delete from {table} where false",
    "truncate {table}",
    "lock table {table} in access share mode",
    "drop table {table}",
    "alter table {table} rename to theirs",
    "copy {table} to stdout",
    "select 1 from {table} for update",
    "grant select on {table} to public",
];

/// What a service does to its own tables.
const ALLOWED_HERE: &[&str] = &[
    "select 1 from {table} limit 1",
    "insert into {table} select * from {table} where false",
    "update {table} set {column} = {column} where false",
    "delete from {table} where false",
    "select 1 from {table} for update",
];

/// A table with its schema and one of its columns.
struct Table {
    schema: String,
    name: String,
    column: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_reaches_its_own_tables_and_nothing_else() {
    let suite = Suite::prepare(Shape::One, &[]).await;
    suite.migrate().await;
    let mut connection = PgConnection::connect(&suite.database().url()).await.expect("connects");
    let tables = tables(&mut connection).await;
    for schema in Schema::ALL {
        let count = tables.iter().filter(|table| table.schema == schema.name()).count();
        assert!(count >= 4, "{schema} has {count} tables");
    }
    let mut findings = Vec::new();
    for schema in Schema::ALL {
        for table in &tables {
            findings.extend(touch(&mut connection, schema, table).await);
        }
        let own = tables.iter().find(|table| table.schema == schema.name());
        let own = &own.expect("every service has tables").name;
        let other = Schema::ALL.into_iter().find(|other| *other != schema);
        let other = other.expect("there are several").role();
        for statement in FORBIDDEN {
            let statement = statement
                .replace("{own}.{table}", own)
                .replace("{own}", schema.name())
                .replace("{role}", schema.role())
                .replace("{other}", other);
            findings.extend(must_be_denied(&mut connection, schema, &statement).await);
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_hold_no_attributes_and_no_other_roles() {
    let suite = Suite::prepare(Shape::One, &[]).await;
    suite.migrate().await;
    let mut connection = PgConnection::connect(&suite.database().url()).await.expect("connects");
    for schema in Schema::ALL {
        let sql = "select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as mighty, \
                   exists (select from pg_auth_members where member = r.oid) as is_member, \
                   exists (select from pg_shdepend where refobjid = r.oid and deptype = 'o' \
                       and dbid = (select oid from pg_database where datname = current_database())) as owns \
                   from pg_roles r where rolname = $1";
        let row = sqlx::query(sql).bind(schema.role()).fetch_one(&mut connection).await;
        let row = row.expect("the role is there");
        let has = |what: &str| row.get::<bool, _>(what);
        assert!(!has("mighty"), "{} has an attribute", schema.role());
        assert!(!has("is_member"), "{} is a member of a role", schema.role());
        assert!(
            !has("owns"),
            "{} owns something, which it may then change",
            schema.role()
        );
    }
}

/// Does to a table what its own service may, or others may not.
async fn touch(connection: &mut PgConnection, schema: Schema, table: &Table) -> Vec<String> {
    let is_own = table.schema == schema.name();
    let fill = |statement: &str| {
        statement
            .replace("{table}", &table.name)
            .replace("{column}", &table.column)
    };
    let mut findings = Vec::new();
    let statements = if is_own { ALLOWED_HERE } else { FORBIDDEN_THERE };
    for statement in statements {
        let text = fill(statement);
        let denied = !is_own || is_kept_from_its_owner(&table.name, statement);
        let finding = if denied {
            must_be_denied(connection, schema, &text).await
        } else {
            let outcome = run_as(connection, schema, &text).await;
            outcome.err().map(|error| format!("{}: {text}: {error}", schema.role()))
        };
        findings.extend(finding);
    }
    findings
}

/// Whether not even the service that a table belongs to may do this to it.
fn is_kept_from_its_owner(table: &str, statement: &str) -> bool {
    let does = |what: &str| statement.starts_with(what) || statement.ends_with(what);
    match table.split_once('.').map_or(table, |(_, name)| name) {
        // Which migrations were applied is read by the service and written by the operator.
        "_sqlx_migrations" => !does("limit 1"),
        // What is in the audit trail stays as it is.
        "audit_events" | "audit_chain" | "audit_heads" => does("update") || does("delete"),
        "audit_sealer" => does("insert") || does("delete"),
        _ => false,
    }
}

async fn must_be_denied(connection: &mut PgConnection, schema: Schema, statement: &str) -> Option<String> {
    let role = schema.role();
    match run_as(connection, schema, statement).await {
        Ok(()) => Some(format!("{role} may: {statement}")),
        Err(error) => {
            let code = error.as_database_error().and_then(|error| error.code());
            // `drop` and `alter` say who must own it, everything else that it is not permitted; Postgres has one code for both.
            (code.as_deref() != Some(DENIED)).then(|| format!("{role}: {statement}: {error}"))
        }
    }
}

/// Runs a statement as the role itself, and takes it back.
async fn run_as(connection: &mut PgConnection, schema: Schema, statement: &str) -> Result<(), sqlx::Error> {
    let begin = format!("begin; set local session authorization {}", schema.role());
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await?;
    let outcome = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut *connection)
        .await;
    sqlx::raw_sql("rollback").execute(&mut *connection).await?;
    outcome.map(drop)
}

async fn tables(connection: &mut PgConnection) -> Vec<Table> {
    let sql = "select n.nspname::text as schema, c.oid::regclass::text as name, \
               (select attname::text from pg_attribute a \
                where a.attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = '' \
                order by attnum limit 1) as column \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace \
               where n.nspname in ('auth', 'users', 'chats', 'messages') and c.relkind in ('r', 'p') order by 2";
    let rows = sqlx::query(sql)
        .fetch_all(&mut *connection)
        .await
        .expect("the catalogue can be read");
    let table = |row: &sqlx::postgres::PgRow| Table {
        schema: row.get("schema"),
        name: row.get("name"),
        column: row.get("column"),
    };
    rows.iter().map(table).collect()
}
