//! Settings, clauses and options that the parser reads: each is done, or harmless without effect, or refused. Nothing is
//! accepted and forgotten.

use std::sync::Arc;

use kvstore::testing::MemoryKv;
use planner::{Execution, Planner, ServerInfo, Session, SqlError};

/// What becomes of a form.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It has its effect.
    Done,
    /// It has no effect, which does no harm: why.
    Harmless(&'static str),
    /// The SQLSTATE with which it is refused.
    Refused(&'static str),
}

use Fate::{Done, Harmless, Refused};

const STATEMENTS: &[(&str, Fate)] = &[
    // Transactions.
    ("begin", Done),
    ("begin work", Done),
    ("start transaction read only", Done),
    ("begin isolation level read committed", Done),
    ("begin isolation level read uncommitted", Harmless("PostgreSQL runs it as read committed, too")),
    ("begin isolation level repeatable read", Refused("0A000")),
    ("begin transaction isolation level serializable, read only", Refused("0A000")),
    ("start transaction isolation level serializable", Refused("0A000")),
    ("begin; set transaction isolation level repeatable read", Refused("0A000")),
    ("begin; set transaction read only; insert into t values (9, 9)", Refused("25006")),
    ("begin; set transaction_read_only = on; insert into t values (9, 9)", Refused("25006")),
    ("set default_transaction_read_only = on; insert into t values (9, 9)", Refused("25006")),
    ("set session characteristics as transaction read only; delete from t where k = 1", Refused("25006")),
    ("set session characteristics as transaction isolation level serializable", Refused("0A000")),
    ("set transaction snapshot 'x'", Refused("0A000")),
    ("set default_transaction_isolation = 'serializable'", Refused("0A000")),
    ("set default_transaction_isolation = 'read committed'", Done),
    ("set transaction_isolation = 'repeatable read'", Refused("0A000")),
    ("set transaction_isolation = 'nonsense'", Refused("22023")),
    ("set default_transaction_deferrable = on", Refused("0A000")),
    ("begin immediate", Refused("42601")),
    ("commit and chain", Refused("0A000")),
    ("rollback and chain", Refused("0A000")),
    // Users.
    ("set role none", Done),
    ("set role root", Done),
    ("set role other", Refused("0A000")),
    ("reset role", Done),
    ("set session authorization default", Done),
    ("set session authorization root", Done),
    ("set session authorization other", Refused("0A000")),
    // Settings.
    ("set time zone 'UTC'", Done),
    ("set time zone 0", Done),
    ("set time zone 'Europe/Berlin'", Done),
    ("set timezone = 'nowhere'", Refused("22023")),
    ("set datestyle = 'ISO, DMY'", Done),
    ("set datestyle = 'German'", Done),
    ("set datestyle = 'nonsense'", Refused("22023")),
    ("set intervalstyle = 'iso_8601'", Done),
    ("set intervalstyle = 'nonsense'", Refused("22023")),
    ("set search_path = public", Done),
    ("set search_path = \"$user\", public, pg_catalog", Done),
    ("set search_path = tenant", Done),
    ("select set_config('search_path', 'tenant', false)", Done),
    ("select set_config('search_path', 'a,', false)", Refused("22023")),
    ("create schema s", Done),
    ("create schema s create table u (a int primary key)", Refused("42601")),
    ("create schema s with (a = 1)", Refused("42601")),
    ("drop schema public", Refused("0A000")),
    ("set client_encoding = 'utf8'", Done),
    ("set client_encoding = 'latin1'", Refused("22023")),
    ("set names 'latin1'", Refused("22023")),
    ("set standard_conforming_strings = off", Refused("22023")),
    ("set bytea_output = 'escape'", Refused("22023")),
    ("set client_min_messages = warning", Done),
    ("set client_min_messages = nonsense", Refused("22023")),
    ("set idle_in_transaction_session_timeout = 0", Done),
    ("set idle_in_transaction_session_timeout = '5s'", Refused("0A000")),
    ("set lock_timeout = '5s'", Harmless("no statement waits for a lock")),
    ("set statement_timeout = '5s'", Done),
    ("set extra_float_digits = 3", Harmless("floats are always shown exactly")),
    ("set row_security = off", Harmless("there are no policies")),
    ("set synchronous_commit = off", Harmless("what is committed is replicated, which is more")),
    ("set synchronous_commit = nonsense", Refused("22023")),
    ("set xmloption = document", Harmless("there is no xml")),
    ("set server_version = '1'", Refused("55P02")),
    ("set nonsense = 1", Refused("42704")),
    ("set own.setting = 1", Done),
    ("set global consistency = timeline", Refused("42601")),
    // Noise.
    ("vacuum", Harmless("there is nothing to clean by hand")),
    ("vacuum (analyze, verbose) t", Harmless("there is nothing to clean by hand")),
    ("analyze t (v)", Harmless("no statistics are kept")),
    ("checkpoint", Harmless("logs are forced at each commit")),
    ("vacuum = 1", Refused("42601")),
    ("unlisten *", Harmless("nobody listens")),
    ("listen a", Refused("0A000")),
    ("notify a", Refused("0A000")),
    ("close all", Harmless("there are no cursors")),
    ("close nosuch", Refused("34000")),
    ("discard all", Done),
    ("discard plans", Harmless("plans are of the gateway, and follow the tables")),
    ("discard sequences", Harmless("there are no sequences")),
    ("discard temp", Harmless("there are no temporary tables")),
    ("lock table t", Refused("0A000")),
    // Tables.
    ("create table a (k int primary key) with (fillfactor = 70)", Harmless("tables have no pages to fill")),
    ("create table a (k int primary key) with (autovacuum_enabled = off)", Harmless("there is no vacuum")),
    ("create table a (k int primary key) with (nonsense = 1)", Refused("22023")),
    ("create unlogged table a (k int primary key)", Harmless("it is logged, which is more")),
    ("create temp table a (k int primary key)", Refused("0A000")),
    ("create table a (k int primary key) on commit drop", Refused("0A000")),
    ("create table a as select 1", Refused("0A000")),
    ("create table a (like t)", Refused("0A000")),
    ("create table a (k int primary key) inherits (t)", Refused("0A000")),
    ("create table a (k int primary key) partition by range (k)", Refused("0A000")),
    ("create table a (k text collate \"C\" primary key)", Done),
    ("create table a (k text collate \"de_DE\" primary key)", Refused("0A000")),
    ("create table a (k int primary key, v int unique)", Refused("0A000")),
    ("create table a (k int primary key, v int check (v > 0))", Refused("0A000")),
    ("create table a (k int primary key, v int references t)", Refused("0A000")),
    ("create table a (k int primary key, v int generated always as identity)", Refused("0A000")),
    ("create table a (k int, primary key (k) include (k))", Refused("0A000")),
    ("create table a (k int, primary key (k) deferrable)", Refused("0A000")),
    ("create table a (k int, primary key (k desc))", Refused("0A000")),
    ("drop table t cascade", Harmless("nothing depends on a table")),
    ("drop table t restrict", Done),
    // Queries.
    ("select v from t for update", Refused("0A000")),
    ("select 1 for no key update", Refused("0A000")),
    ("select v from t for key share of t nowait", Refused("0A000")),
    ("select v from (select v from t for share skip locked) s", Refused("0A000")),
    ("select v from t tablesample system (1)", Refused("0A000")),
    ("with x as (select 1) select 1", Done),
    ("select distinct on (v) v from t", Done),
    ("select v into a from t", Refused("0A000")),
    ("select 1 from t window w as (order by v)", Done),
    ("select 1 from t window w as (order by nope)", Refused("42703")),
    ("select count(*) over () from t", Done),
    ("select percentile_cont(0.5) within group (order by v) from t", Refused("0A000")),
    ("select * from generate_series(1, 2) with ordinality", Done),
    ("select * from pg_am, lateral (select 1) x", Done),
    ("select * from pg_am natural join pg_class", Done),
    ("select * from pg_am full join pg_class on true", Done),
    ("select 1 from pg_am join pg_class", Refused("42601")),
    ("select v from t order by v using <", Done),
    ("select v from t fetch first 1 rows only", Done),
    ("select v from t fetch first 1 rows with ties", Refused("0A000")),
    ("select v from t limit 1 by v", Refused("42601")),
    ("select top 1 v from t", Refused("42601")),
    ("select 'a' collate \"C\"", Done),
    ("select 'a' collate \"de_DE\"", Refused("0A000")),
    ("select 1 union by name select 2", Refused("42601")),
    ("select 1 'a'", Refused("42601")),
    ("select 123abc", Refused("42601")),
    ("select lower(distinct 'a')", Refused("42809")),
    ("select lower('a') filter (where true)", Refused("42809")),
    ("select abs(*)", Refused("42809")),
    ("select length(42)", Refused("42883")),
    // Writes.
    ("insert t values (5, 5)", Refused("42601")),
    ("replace into t values (5, 5)", Refused("42601")),
    ("update t set v = 1 from pg_am where k = 1", Done),
    ("update t set v = 1 where current of c", Refused("0A000")),
    ("update t set (k, v) = (select 1)", Refused("42601")),
    ("update t set (k, v) = (select * from pg_am)", Refused("0A000")),
    ("update t set v = 1 where k = 1 limit 1", Refused("42601")),
    ("delete from t using pg_am where k = 1", Done),
    ("truncate t", Done),
    ("truncate only t cascade", Harmless("nothing hangs on a table")),
    ("truncate t restart identity", Harmless("no column has a sequence of its own")),
    ("truncate t, nope", Refused("42P01")),
    ("delete t where k = 1", Refused("42601")),
    // EXPLAIN and the rest.
    ("explain (costs off, timing off) select 1", Harmless("the plan shows neither")),
    ("explain verbose select 1", Harmless("the plan shows all that there is")),
    ("explain (format text) select 1", Done),
    ("explain (format json) select 1", Refused("0A000")),
    ("explain (nonsense) select 1", Refused("42601")),
    ("describe t", Refused("42601")),
    ("copy t to stdout (format csv, encoding 'latin1')", Refused("0A000")),
    ("copy t to stdout (freeze)", Harmless("as in PostgreSQL")),
    ("table t", Done),
    ("do $$ begin end $$", Refused("0A000")),
    // Cursors.
    ("fetch all from c", Refused("34000")),
    ("declare c cursor for select 1", Refused("25P01")),
    ("declare c binary insensitive cursor with hold for table t; fetch c; move all c; close c", Done),
    ("declare c cursor with hold for select 1 for update", Refused("0A000")),
    ("declare c cursor with hold for delete from t", Refused("42601")),
    ("listen a", Refused("0A000")),
    ("notify a, 'b'", Refused("0A000")),
    ("unlisten *", Harmless("nobody listens")),
    ("refresh materialized view v", Refused("0A000")),
    ("select -2 ^ 2", Done),
];

async fn run(planner: &Planner, sql: &str) -> Result<(), SqlError> {
    let session = Session::new(planner.info(), "root", "spinnaker", 1);
    for part in planner.split(&session, sql).await? {
        let prepared = planner.prepare(&session, &part.sql, &[]).await?;
        if let Execution::Rows(rows) = planner.execute(&session, &prepared, Vec::new()).await? {
            rows.rows.collect().await?;
        }
        for notice in session.take_notices() {
            assert_ne!(notice.severity, "WARNING", "{sql}: {}", notice.message);
        }
    }
    Ok(())
}

#[test]
fn what_is_accepted_is_done_or_harmless() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut wrong = Vec::new();
    for (sql, fate) in STATEMENTS {
        let planner = Planner::new(Arc::new(MemoryKv::default()), ServerInfo::new("spinnaker"));
        let outcome = runtime.block_on(async {
            run(&planner, "create table t (k int primary key, v int)").await?;
            run(&planner, sql).await
        });
        let expected = match fate {
            Done | Harmless(_) => "00000",
            Refused(state) => state,
        };
        let state = outcome.as_ref().map_or_else(|error| error.sqlstate, |()| "00000");
        if state != expected {
            wrong.push(format!("{sql}: {outcome:?}, should be {expected} ({fate:?})"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
