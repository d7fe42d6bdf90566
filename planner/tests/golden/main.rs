//! Golden scripts of SQL: `testdata/*`. A line `> statement` runs it in a session (a prefix names another one) and
//! prints what a client would see; one whose name begins with `other` is at a second gateway over the same store. `copy` feeds lines to a COPY; `params` sets the values of `$1`, `$2`, ..
//! of the next statement.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p planner` writes the outputs anew; review the difference.

mod accepted;
mod concurrent;
mod hostile;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};
use kvstore::testing::MemoryKv;
use planner::types::{Row, TextSettings, Value};
use planner::{Execution, Planner, ServerInfo, Session, SqlError};
use wal::golden::{self, Arguments};

struct Script {
    runtime: tokio::runtime::Runtime,
    /// Two gateways over one store.
    planners: [Planner; 2],
    sessions: BTreeMap<String, Session>,
    params: Vec<Option<String>>,
}

impl Script {
    fn new() -> Script {
        let kv = MemoryKv::new();
        let planner = || Planner::new(kv.clone(), ServerInfo::new("spinnaker"));
        Script {
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
            planners: [planner(), planner()],
            sessions: BTreeMap::new(),
            params: Vec::new(),
        }
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let words = Arguments::of(command).words;
        let name = context.prefix.clone().unwrap_or_default();
        let count = self.sessions.len() as u32;
        let planner = &self.planners[usize::from(name.starts_with("other"))];
        let info = planner.info().clone();
        let session = self
            .sessions
            .entry(name)
            .or_insert_with(|| Session::new(&info, "root", "spinnaker", 100 + count));
        let mut out = String::new();
        match command.name.as_str() {
            "params" => {
                self.params = words.into_iter().map(|word| (word != "NULL").then_some(word)).collect();
            }
            "copy" => {
                let (sql, data) = words.split_first().expect("copy 'statement' 'data'..");
                self.runtime.block_on(copy(planner, session, sql, data, &mut out));
            }
            sql => {
                let params = std::mem::take(&mut self.params);
                self.runtime.block_on(statements(planner, session, sql, &params, &mut out));
            }
        }
        Ok(out)
    }
}

fn show(row: &Row, settings: &TextSettings) -> String {
    let text = |value: &Value| value.to_string_text_in(settings);
    let texts = row.iter().map(|datum| datum.as_ref().map_or("NULL".to_string(), text));
    texts.collect::<Vec<_>>().join(" | ")
}

fn error(out: &mut String, error: &SqlError) {
    let position = error.position.map(|at| format!(" at {at}")).unwrap_or_default();
    writeln!(out, "ERROR {}{position}: {}", error.sqlstate, error.message).unwrap();
    for (name, text) in [("detail", &error.detail), ("hint", &error.hint), ("context", &error.context)] {
        if let Some(text) = text {
            writeln!(out, "  {name}: {text}").unwrap();
        }
    }
}

async fn statements(
    planner: &Planner,
    session: &Session,
    sql: &str,
    params: &[Option<String>],
    out: &mut String,
) {
    let all = match planner.split(session, sql).await {
        Ok(all) => all,
        Err(failed) => return error(out, &failed),
    };
    if all.is_empty() {
        writeln!(out, "empty").unwrap();
    }
    for statement in all {
        let failed = run(planner, session, &statement.sql, params, out).await.err();
        for notice in session.take_notices() {
            writeln!(out, "{}: {}", notice.severity, notice.message).unwrap();
            if let Some(detail) = notice.detail {
                writeln!(out, "  detail: {detail}").unwrap();
            }
        }
        for (name, value) in session.take_changed_parameters() {
            writeln!(out, "{name} is now {value}").unwrap();
        }
        if let Some(failed) = failed {
            return error(out, &failed);
        }
    }
}

async fn run(
    planner: &Planner,
    session: &Session,
    sql: &str,
    params: &[Option<String>],
    out: &mut String,
) -> Result<(), SqlError> {
    let prepared = planner.prepare(session, sql, &[]).await?;
    let mut values = Vec::new();
    for (at, ty) in prepared.parameter_types().iter().enumerate() {
        values.push(match params.get(at).cloned().flatten() {
            Some(text) => Some(Value::from_text_in(ty, &text, &session.text_settings())?),
            None => None,
        });
    }
    if !params.is_empty() {
        let types: Vec<String> = prepared.parameter_types().iter().map(ToString::to_string).collect();
        writeln!(out, "parameters: {}", types.join(", ")).unwrap();
    }
    match planner.execute(session, &prepared, values).await? {
        Execution::Empty => writeln!(out, "empty").unwrap(),
        Execution::Done { tag } => writeln!(out, "{tag}").unwrap(),
        Execution::Rows(mut rows) => {
            let columns: Vec<String> =
                rows.columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect();
            writeln!(out, "({})", columns.join(", ")).unwrap();
            let mut count = 0;
            while let Some(batch) = rows.rows.next().await? {
                count += batch.len() as u64;
                batch.iter().for_each(|row| writeln!(out, "{}", show(row, &rows.text)).unwrap());
            }
            writeln!(out, "{}", rows.tag(count)).unwrap();
        }
        Execution::CopyOut(mut copy) => {
            while let Some(lines) = copy.next().await? {
                for line in lines {
                    write!(out, "{}", String::from_utf8_lossy(&line).replace('\t', "<tab>")).unwrap();
                }
            }
            writeln!(out, "{}", copy.tag()).unwrap();
        }
        Execution::CopyIn(_) => writeln!(out, "use the command copy").unwrap(),
    }
    Ok(())
}

/// Feeds each piece of data as it is: pieces may end anywhere.
async fn copy(planner: &Planner, session: &Session, sql: &str, data: &[String], out: &mut String) {
    let fed = async {
        let prepared = planner.prepare(session, sql, &[]).await?;
        let Execution::CopyIn(mut copy) = planner.execute(session, &prepared, Vec::new()).await? else {
            return Ok("no COPY FROM".to_string());
        };
        for piece in data {
            // \xFF stands for a byte that is no UTF-8.
            let mut bytes = Vec::new();
            for c in piece.chars() {
                match c {
                    '\u{ff}' => bytes.push(0xff),
                    c => bytes.extend(c.to_string().bytes()),
                }
            }
            copy.push(&bytes).await?;
        }
        copy.finish().await
    };
    match fed.await {
        Ok(tag) => writeln!(out, "{tag}").unwrap(),
        Err(failed) => error(out, &failed),
    }
}

#[test]
fn golden_scripts() {
    golden::run_all(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata"), Script::new);
}
