//! Random statements from a grammar: deep, wide, huge, of random types. They may fail, but only with an error that a client
//! could have been given; nothing panics, nothing takes long, and the memory of the process does not grow.
//!
//! `FUZZ_STATEMENTS=1000000 cargo test -p planner --test fuzz` runs longer; `FUZZ_SEED=n` runs another lot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvstore::testing::MemoryKv;
use planner::{Execution, Planner, ServerInfo, Session, SqlError};

/// Statements of an ordinary run.
const STATEMENTS: u64 = 1_500;
/// No statement takes longer, also where code is not optimized and the machine is busy: their timeout is a second.
const TIME_MAX: Duration = Duration::from_secs(30);
/// The process does not grow by more from its first tenth of the statements to the last.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len() as u64) as usize]
    }
}

const LITERALS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "100",
    "2147483647",
    "-2147483648",
    "9223372036854775807",
    "1.5",
    "1e300",
    "1e-300",
    "99999999999999999999.9999",
    "true",
    "false",
    "null",
    "''",
    "'a'",
    "'1'",
    "'{1,2}'",
    "'[1, {\"a\": null}]'",
    "'2024-02-29'",
    "'infinity'",
    "'NaN'",
    "'\\x00ff'",
    "E'\\t\\'x'",
    "$$x$$",
    "array[1,2]",
    "array['a',null]",
    "'550e8400-e29b-41d4-a716-446655440000'",
    "date '2000-01-01'",
    "'x'::bytea",
    "repeat('ab', 10000)",
];
const TYPES: &[&str] = &[
    "int",
    "int2",
    "int8",
    "float8",
    "real",
    "numeric",
    "numeric(10,2)",
    "text",
    "varchar(3)",
    "bytea",
    "uuid",
    "date",
    "timestamptz",
    "jsonb",
    "json",
    "bool",
    "int[]",
    "text[]",
    "name",
    "oid",
    "regclass",
    "\"char\"",
    "nonsense",
];
const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "||",
    "~",
    "!~*",
    "like",
    "ilike",
    "->",
    "->>",
    "&",
    "|",
    "and",
    "or",
    "is distinct from",
];
const FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "length",
    "lower",
    "upper",
    "repeat",
    "lpad",
    "rpad",
    "replace",
    "concat",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "substr",
    "split_part",
    "reverse",
    "md5",
    "round",
    "trunc",
    "power",
    "sqrt",
    "mod",
    "array_length",
    "array_position",
    "array_to_string",
    "cardinality",
    "jsonb_typeof",
    "now",
    "date_part",
    "date_trunc",
    "to_regclass",
    "format_type",
    "current_setting",
    "nonsense",
    "strpos",
    "left",
    "right",
    "initcap",
];
const AGGREGATES: &[&str] = &["count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_and"];
const COLUMNS: &[&str] = &["k", "v", "x.a", "a", "t.k", "oid", "relname", "_version", "excluded.v"];
const TABLES: &[&str] = &[
    "t",
    "t as x",
    "pg_class",
    "pg_type x",
    "pg_attribute",
    "pg_am",
    "information_schema.columns",
    "nosuch",
];

/// An expression; `left` levels may still come.
fn expression(random: &mut Random, left: u64) -> String {
    if left == 0 || random.below(6) == 0 {
        let from = if random.below(4) == 0 { COLUMNS } else { LITERALS };
        return random.pick(from).to_string();
    }
    let inner = |random: &mut Random| expression(random, left - 1);
    match random.below(20) {
        0..=5 => format!("({} {} {})", inner(random), random.pick(OPERATORS), inner(random)),
        6 => format!("{}::{}", inner(random), random.pick(TYPES)),
        7 => format!("cast({} as {})", inner(random), random.pick(TYPES)),
        8 => format!("(not {})", inner(random)),
        9 => format!("(- {})", inner(random)),
        10 => {
            let count = random.below(4);
            format!("{}({})", random.pick(FUNCTIONS), list(random, left, count))
        }
        11 => format!("{}(distinct {} order by {})", random.pick(AGGREGATES), inner(random), inner(random)),
        12 => format!(
            "case {} when {} then {} else {} end",
            inner(random),
            inner(random),
            inner(random),
            inner(random)
        ),
        13 => format!("({} between {} and {})", inner(random), inner(random), inner(random)),
        14 => {
            let count = 1 + random.below(20);
            format!("({} in ({}))", inner(random), list(random, left, count))
        }
        15 => format!("({} is not null)", inner(random)),
        16 => format!("({})", query(random, left - 1)),
        17 => format!("exists ({})", query(random, left - 1)),
        18 => format!("({} = any({}))", inner(random), inner(random)),
        _ => format!("(({}, {}) < ({}, {}))", inner(random), inner(random), inner(random), inner(random)),
    }
}

fn list(random: &mut Random, left: u64, count: u64) -> String {
    let items: Vec<String> = (0..count).map(|_| expression(random, left - 1)).collect();
    items.join(", ")
}

fn from(random: &mut Random, left: u64) -> String {
    if left == 0 {
        return random.pick(TABLES).to_string();
    }
    match random.below(8) {
        0..=2 => random.pick(TABLES).to_string(),
        3 => format!("generate_series({}, {}) a", random.below(10), random.next() % 100_000),
        4 => format!("({}) x", query(random, left - 1)),
        5 => format!("{}, {}", from(random, left - 1), from(random, left - 1)),
        6 => format!("unnest({}) a", expression(random, left - 1)),
        _ => {
            let join = random.pick(&["join", "left join", "right join"]);
            let (first, second) = (from(random, left - 1), from(random, left - 1));
            format!("{first} {join} {second} on {}", expression(random, left - 1))
        }
    }
}

fn query(random: &mut Random, left: u64) -> String {
    if left == 0 {
        return format!("select {}", random.pick(LITERALS));
    }
    let count = 1 + random.below(3);
    let mut text = format!("select {}", list(random, left, count));
    if random.below(3) > 0 {
        text += &format!(" from {}", from(random, left));
    }
    if random.below(3) == 0 {
        text += &format!(" where {}", expression(random, left - 1));
    }
    if random.below(8) == 0 {
        text += &format!(" group by {}", expression(random, left - 1));
    }
    if random.below(6) == 0 {
        let set = random.pick(&["union", "union all", "except", "intersect all"]);
        text = format!("{text} {set} {}", query(random, left - 1));
    }
    if random.below(5) == 0 {
        text += &format!(" order by {}", expression(random, left - 1));
    }
    if random.below(5) == 0 {
        text += &format!(" limit {}", random.pick(LITERALS));
    }
    text
}

fn statement(random: &mut Random) -> String {
    let left = 1 + random.below(4);
    match random.below(20) {
        0 => {
            let count = 2 + random.below(300);
            format!("insert into t values ({})", (0..count).map(|_| "1, 2").collect::<Vec<_>>().join("), ("))
        }
        1 => {
            format!("insert into t values ({}) on conflict (k) do nothing returning *", list(random, left, 2))
        }
        2 => format!("update t set v = {} where k = {}", expression(random, left), expression(random, left)),
        3 => format!(
            "delete from t where k = {} returning {}",
            expression(random, left),
            expression(random, left)
        ),
        4 => format!("upsert into t {}", query(random, left)),
        5 => {
            let times = 1 + random.below(3_000) as usize;
            let link =
                random.pick(&[" + 1", " notnull", " || 'a'", " union select 1", "::text", " in (1)", "[1]"]);
            format!("select 1{}", link.repeat(times))
        }
        6 => format!(
            "select {}",
            (0..random.below(2_000)).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
        ),
        7 => {
            let setting =
                random.pick(&["consistency", "search_path", "timezone", "a.b", "nosuch", "datestyle"]);
            format!("set {setting} = {}", random.pick(LITERALS))
        }
        8 => random
            .pick(&["begin", "commit", "rollback", "savepoint s", "rollback to s", "discard all"])
            .into(),
        9 => format!("explain {}", query(random, left)),
        10 => {
            // A text that is cut off, or has a stray character in it.
            let mut text = query(random, left);
            let at = random.below(text.len() as u64 + 1) as usize;
            if random.below(2) == 0 {
                text.truncate(at);
            } else {
                text.insert_str(
                    at,
                    random.pick(&["(", ")", "'", "\"", "$1", ",", ";", "/*", "--", "\u{fffd}", "\\"]),
                );
            }
            text
        }
        11 => format!("prepare p as {}", query(random, left)),
        12 => random.pick(&["execute p", "deallocate all", "show all", "select * from pg_settings"]).into(),
        _ => query(random, left),
    }
}

async fn run(planner: &Planner, session: &Session, sql: &str) -> Result<(), SqlError> {
    for part in planner.split(session, sql).await? {
        let prepared = planner.prepare(session, &part.sql, &[]).await?;
        let nulls = vec![None; prepared.parameter_types().len()];
        match planner.execute(session, &prepared, nulls).await? {
            Execution::Rows(mut rows) => while rows.rows.next().await?.is_some() {},
            Execution::CopyOut(mut copy) => while copy.next().await?.is_some() {},
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of memory that the process has, if the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    status.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

#[test]
fn random_statements_fail_politely() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("FUZZ_STATEMENTS").unwrap_or(STATEMENTS);
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let planner = Arc::new(Planner::new(Arc::new(MemoryKv::default()), ServerInfo::new("spinnaker")));
    let session = Session::new(planner.info(), "root", "spinnaker", 1);
    let setup = "create table t (k int primary key, v int); insert into t values (1, 1), (2, null)";
    runtime.block_on(run(&planner, &session, setup)).unwrap();
    let mut random = Random(seed);
    let mut before = None;
    for nth in 0..count {
        if nth == count / 10 {
            before = resident_bytes();
        }
        let sql = statement(&mut random);
        let about: String = sql.chars().take(2_000).collect();
        let started = Instant::now();
        let (own, text) = (session.clone(), sql);
        let shared = planner.clone();
        let done = runtime.block_on(runtime.spawn(async move {
            run(&shared, &own, "set statement_timeout = 1000").await.ok();
            run(&shared, &own, &text).await
        }));
        session.take_notices();
        let done = done.unwrap_or_else(|panic| panic!("seed {seed}, statement {nth}: {panic}\n{about}"));
        assert!(
            started.elapsed() < TIME_MAX,
            "seed {seed}, statement {nth}: {:?}\n{about}",
            started.elapsed()
        );
        if let Err(error) = done {
            let internal = error.sqlstate.starts_with("XX");
            assert!(!internal, "seed {seed}, statement {nth}: {error:?}\n{about}");
        }
    }
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "the process grew by {grown} bytes");
    }
}
