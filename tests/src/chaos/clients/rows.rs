//! Rows inserted once: what was acknowledged is there in the end, what was refused is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::shared::{Found, LETTERS, Shared, Written};
use super::sql::{Failure, Sql};

/// Works until the trial ends.
pub(super) async fn work(shared: Arc<Shared>, home: usize) -> Found {
    let (mut sql, mut found) = (Sql::at(home), Found::default());
    for number in 0_usize.. {
        if shared.stopping() {
            break;
        }
        let key = format!("{}{}-{home}-{number:06}", LETTERS[number % 3], prefix(shared.trial));
        match sql.execute(&format!("INSERT INTO chaos_rows (k, v) VALUES ('{key}', {number})")).await {
            Ok(1) => drop(found.rows.acknowledged.insert(key)),
            Ok(rows) => found.violations.push(format!("INSERT of {key} says that it inserted {rows} rows")),
            Err(Failure::NotDone(why)) if why.starts_with("23505") => {
                found.violations.push(format!("INSERT of {key}, which is new: {why}"));
            }
            Err(Failure::NotDone(_)) => {}
            Err(Failure::Unknown(_)) => drop(found.rows.unknown.insert(key)),
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    found
}

/// What is wrong with the rows of a trial, read through each node.
pub(super) async fn compare(trial: u64, written: &Written) -> Result<Vec<String>, String> {
    let mut there = BTreeSet::new();
    for letter in LETTERS {
        let (from, to) = (format!("{letter}{}-", prefix(trial)), format!("{letter}{}.", prefix(trial)));
        let query = format!("SELECT k FROM chaos_rows WHERE k >= '{from}' AND k < '{to}'");
        let rows = Sql::at(0).query(&query).await?;
        there.extend(rows.into_iter().filter_map(|mut row| row.pop().flatten()));
    }
    let mut wrong = Vec::new();
    let lost: Vec<&String> = written.acknowledged.difference(&there).collect();
    if !lost.is_empty() {
        wrong.push(format!("{} acknowledged rows are lost: {lost:?}", lost.len()));
    }
    let known = |key: &&String| !written.acknowledged.contains(*key) && !written.unknown.contains(*key);
    let surplus: Vec<&String> = there.iter().filter(known).collect();
    if !surplus.is_empty() {
        wrong.push(format!("{} rows are there though their INSERT was refused: {surplus:?}", surplus.len()));
    }
    Ok(wrong)
}

fn prefix(trial: u64) -> String {
    format!("row-{trial:06}")
}
