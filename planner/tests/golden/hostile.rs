//! Statements that are deep, wide or self-repeating: they may fail, but with an error, soon, and without harm to anybody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvstore::testing::MemoryKv;
use planner::{Execution, Planner, ServerInfo, Session, SqlError};

/// Longer than any statement takes on a busy machine. What is cured here took minutes or the process.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Runs a text in a session of its own, on threads with stacks of the usual size.
fn run(sql: &str) -> Result<(), SqlError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let planner = Planner::new(Arc::new(MemoryKv::default()), ServerInfo::new("spinnaker"));
    let session = Session::new(planner.info(), "root", "spinnaker", 1);
    let sql = sql.to_string();
    let work = async move {
        for part in planner.split(&session, &sql).await? {
            let prepared = planner.prepare(&session, &part.sql, &[]).await?;
            if let Execution::Rows(rows) = planner.execute(&session, &prepared, Vec::new()).await? {
                rows.rows.collect().await?;
            }
        }
        Ok(())
    };
    runtime.block_on(runtime.spawn(work)).expect("nothing panics")
}

/// The SQLSTATE of a text that must fail, soon.
fn state(sql: &str) -> &'static str {
    let started = Instant::now();
    let outcome = run(sql);
    let about: String = sql.chars().take(80).collect();
    assert!(started.elapsed() < TIME_MAX, "{about} took {:?}", started.elapsed());
    outcome.map_or_else(|error| error.sqlstate, |()| "00000")
}

/// Statements that grow with a number: what stands before, what is repeated, what stands in the middle, and what is
/// repeated behind it.
const FORMS: &[(&str, &str, &str, &str)] = &[
    ("select 1", " notnull", "", ""),
    ("select 1", " is true is true", "", ""),
    ("select 1", " in (true)", "", ""),
    ("select a", "[1]", "", ""),
    ("select array[1]", "[1:2]", "", ""),
    ("select 1", " operator(pg_catalog.+) 1", "", ""),
    ("select 1", " + 1", "", ""),
    ("select 'a'", " || 'a'", "", ""),
    ("select 1", " union select 1", "", ""),
    ("select 1", " union all select 1", "", ""),
    ("select 1", " = any('{1}')", "", ""),
    ("select 1", "::int8", "", ""),
    ("select '{}'::int8", "[]", "", ""),
    ("create table t (k int8", "[]", " primary key)", ""),
    ("select 'a'", " ~ 'a'", "", ""),
    ("select 'a'", " similar to 'a'", "", ""),
    ("select 'a'", " like 'a'", "", ""),
    ("select true", " xor true", "", ""),
    ("select 1", " collate \"C\"", "", ""),
    ("select 1", " at time zone 'utc'", "", ""),
    ("select 1", " between 1 and 2", "", ""),
    ("select ", "1 between 1 and ", "1", ""),
    ("select ", "(", "1", " between 1 and 2)"),
    ("select ", "case ", "1", " when 1 then 1 when 2 then 2 end"),
    ("select ", "case when ", "true", " then true end"),
    ("select ", "not ", "true", ""),
    ("select ", "- ", "1", ""),
    ("select ", "(", "1", ")"),
    ("select ", "abs(", "1", ")"),
    ("select ", "coalesce(", "1", ",1)"),
    ("select ", "(select ", "1", ")"),
    ("select ", "exists(select ", "1", ")"),
    ("select ", "array[", "1", "]"),
    ("select ", "((1,2) in ((1,2),(3,4)),1) in ((", "true", ",1),(false,2))"),
    ("select * from ", "(", "t", ")"),
    ("select * from ", "(select * from ", "pg_class", ") x"),
    ("select * from pg_am", " join pg_am a on false", "", ""),
    ("select 1 where false and exists (select * from pg_am", " join pg_am a on true", ")", ""),
    ("select * from pg_am", " natural join pg_am", "", ""),
    ("select * from pg_am", " cross join generate_series(1,1)", "", ""),
    ("select * from generate_series(1,1)", ",generate_series(1,1)", "", ""),
    ("select 1 where true", " and 1=1 or 2=2", "", ""),
    ("explain select 1", " + 1", "", ""),
    ("", "explain ", "select 1", ""),
    ("prepare a as select 1", " + 1", "", ""),
    ("set a.b = 1", " + 1", "", ""),
    ("create table t (k int primary key, v int default 1", " + 1", ")", ""),
    ("create table t (k int primary key, check (1 = 1", " + 1", "))", ""),
    ("create view v as select 1", " notnull", "", ""),
    ("merge into t using t on true when matched then update set a = 1", " + 1", "", ""),
    ("select cast(1 as ", "array<", "int", ">)"),
    ("select cast(1 as ", "map(int,", "int", "))"),
    ("insert into t values (1", " + 1", ")", ""),
    ("update t set a = 1", " + 1", " where k = 1", ""),
    ("copy (select 1", " + 1", ") to stdout", ""),
    ("select sum(1", " + 1", ") group by 1", ""),
    ("select 1 limit 1", " + 1", "", ""),
    ("values (1)", ", (1)", "", ""),
    ("select 1", ", 1", "", ""),
    ("select (1", ", 1", ") < (1)", ""),
    ("", "with a as (", "select 1", ") select * from a"),
    ("with a0 as (select 1)", ", a as (select * from a0)", " select 1", ""),
    ("select ", "sum(", "1", ") over ()"),
    ("select sum(1) over (order by 1", " + 1", ")", ""),
    ("select sum(1) over (partition by 1", ", 1", ")", ""),
    ("select * from pg_am", ", lateral (select 1) x", "", ""),
    ("select 1 from pg_am", " full join pg_class using (oid)", "", ""),
    ("select distinct on (1", ", 1", ") 1", ""),
];

#[test]
fn no_statement_is_too_deep_for_the_process() {
    for (before, repeated, middle, after) in FORMS {
        for levels in [20, 45, 500, 3_000, 12_000] {
            let sql = format!("{before}{}{middle}{}", repeated.repeat(levels), after.repeat(levels));
            let state = state(&sql);
            let known = ["00000", "53200", "54000", "54001", "54011", "57014", "0A000"];
            let about = format!("{levels} times: {before}{repeated}{middle}{after}");
            assert!(known.contains(&state) || state.starts_with("42"), "{about} gave {state}");
        }
    }
}

#[test]
fn a_chain_of_operators_may_be_long_and_too_long() {
    assert_eq!(state(&format!("select 1{}", " + 1".repeat(900))), "00000");
    assert_eq!(state(&format!("select 1{}", " notnull".repeat(900))), "00000");
    assert_eq!(state(&format!("select 1{}", " + 1".repeat(1_100))), "54001");
    assert_eq!(state(&format!("select 1{}", " union select 1".repeat(1_100))), "54001");
    assert_eq!(state(&format!("select 1 = 1{}", " or 1 = 2".repeat(5_000))), "00000");
}

#[test]
fn a_statement_does_not_execute_itself() {
    assert_eq!(state("prepare a as execute a; execute a"), "42601");
    assert_eq!(state("prepare a as prepare b as select 1; execute a"), "42601");
}

#[test]
fn no_statement_takes_the_memory_of_the_process() {
    let series = |n: usize| format!("generate_series(1,{n})");
    let (few, many) = (series(1_000), series(100_000));
    assert_eq!(state(&format!("select * from {few} a, {few} b, {few} c order by 1")), "53200");
    assert_eq!(state("select g from generate_series(-2000000000, 2000000000) g order by 1"), "53200");
    assert_eq!(state("select count(distinct g) from generate_series(-2000000000, 2000000000) g"), "53200");
    assert_eq!(
        state(
            "select 1 from generate_series(1, 2000000000) a join generate_series(1, 2000000000) b on a = b"
        ),
        "53200"
    );
    assert_eq!(
        state("select g from generate_series(1, 2000000000) g union select 0 limit 1000000000"),
        "53200"
    );
    assert_eq!(state("select g from generate_series(1, 2000000000) g except select 0 order by 1"), "53200");
    assert_eq!(state("select 1 where 0 in (select g from generate_series(1, 2000000000) g)"), "53200");
    let grows = "with recursive n as (select repeat('x', 10000) as i union select i || 'x' from n)";
    assert_eq!(state(&format!("{grows} select count(*) from n")), "53200");
    let wide = "select sum(a) over (order by a) from generate_series(1, 100000000) a";
    assert_eq!(state(wide), "53200");
    // What gathers nothing needs no memory, and ends at its timeout.
    let soon = "set statement_timeout = '300ms'";
    let endless = "with recursive n as (select 1 union all select 1 from n) select count(*) from n";
    assert_eq!(state(&format!("{soon}; {endless}")), "57014");
    let frames = "select max(m) from (select max(a) over (order by a rows between current row and unbounded following)";
    assert_eq!(state(&format!("{soon}; {frames} as m from {many} a) s")), "57014");
    assert_eq!(state(&format!("{soon}; select count(*) from {many} a, {many} b, {many} c")), "57014");
    assert_eq!(
        state(&format!("{soon}; select count(*) from generate_series(-2000000000, 2000000000)")),
        "57014"
    );
    assert_eq!(state(&format!("select a, repeat('x', 10000) from {many} a order by 1")), "53200");
    assert_eq!(state(&format!("select array_agg(repeat('x', 10000)) from {many} a")), "53200");
    assert_eq!(state(&format!("select count(distinct repeat('x', 10000) || a) from {many} a")), "53200");
    assert_eq!(state(&format!("select array(select repeat('x', 10000) from {many})")), "53200");
    let long = "repeat('x', 16000000)";
    assert_eq!(state(&format!("select {long}{}", format!(", {long}").repeat(50))), "53200");
    assert_eq!(state(&format!("select concat({long}{})", format!(", {long}").repeat(50))), "53200");
    assert_eq!(state(&format!("select length({long} || {long})")), "54000");
    assert_eq!(state(&format!("select length(replace({long}, 'x', {long}))")), "54000");
    assert_eq!(state(&format!("select string_agg('a', {long}) from {few}")), "54000");
    assert_eq!(state(&format!("select array_to_string(array_agg(a), {long}) from {few} a")), "54000");
    for first in ["'abc'", "array[1,2]"] {
        let nested = format!(
            "{}select {first} as a{}",
            "select a || a || a || a as a from (".repeat(14),
            ") x".repeat(14)
        );
        assert_eq!(state(&nested), "54000", "{first}");
    }
}

#[test]
fn a_session_keeps_so_many_statements_and_a_row_has_so_many_columns() {
    let prepare = |n: usize| format!("prepare p{n} as select 1{}; ", ", 1".repeat(1_600));
    assert_eq!(state(&(0..50).map(prepare).collect::<String>()), "00000");
    assert_eq!(state(&(0..150).map(prepare).collect::<String>()), "53200");
    let both = |n: usize| prepare(n) + &format!("deallocate p{n}; ");
    assert_eq!(state(&(0..150).map(both).collect::<String>()), "00000");
    let wide = format!("select 1{}", ", 1".repeat(1_663));
    assert_eq!(state(&wide), "00000");
    assert_eq!(state(&(wide + ", 1")), "54011");
    assert_eq!(state(&format!("values (1{})", ", 1".repeat(1_664))), "54011");
}

#[test]
fn no_statement_takes_the_square_of_its_rows() {
    let many = "generate_series(1,100000)";
    assert_eq!(state(&format!("select count(distinct a) from {many} a")), "00000");
    assert_eq!(state(&format!("select count(distinct a % 10 order by a % 10) from {many} a")), "00000");
    assert_eq!(state(&format!("select count(*) from (select a from {many} a group by a) x")), "00000");
    for set in ["except", "except all", "intersect", "intersect all", "union"] {
        assert_eq!(state(&format!("select a from {many} a {set} select a from {many} a")), "00000", "{set}");
        assert_eq!(state(&format!("select 1 from {many} a {set} select 1 from {many} a")), "00000", "{set}");
    }
    assert_eq!(state(&format!("select 1 where 5 in (1{})", ",2".repeat(100_000))), "00000");
}

#[test]
fn a_statement_that_computes_for_long_ends_at_its_timeout_and_hinders_nobody() {
    let slow = "set statement_timeout = '300ms'; \
                select (select count(*) from generate_series(1,3000) a join generate_series(1,3000) b on a + b < 0)";
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let planner = Arc::new(Planner::new(Arc::new(MemoryKv::default()), ServerInfo::new("spinnaker")));
    let session = Session::new(planner.info(), "root", "spinnaker", 1);
    let work = async move {
        for part in planner.split(&session, slow).await? {
            let prepared = planner.prepare(&session, &part.sql, &[]).await?;
            planner.execute(&session, &prepared, Vec::new()).await?;
        }
        Ok::<(), SqlError>(())
    };
    let slow = runtime.spawn(work);
    let started = Instant::now();
    let mut turns = 0;
    while !slow.is_finished() {
        // On the one thread that there is for all.
        runtime.block_on(runtime.spawn(async {})).unwrap();
        turns += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(runtime.block_on(slow).unwrap().unwrap_err().sqlstate, "57014");
    assert!(turns > 20 && started.elapsed() < TIME_MAX, "{turns} turns in {:?}", started.elapsed());
}
