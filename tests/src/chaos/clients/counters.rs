//! Counters: `SET n = n + 1` from all nodes at once, and another column that is set to NULL and back meanwhile. In the
//! end the count lies between what was acknowledged and that plus what may have been done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::shared::{Counts, Found, LETTERS, Shared};
use super::sql::{Failure, Sql};

/// Works until the trial ends.
pub(super) async fn work(shared: Arc<Shared>, home: usize) -> Found {
    let (mut sql, mut found) = (Sql::at(home), Found::default());
    for number in 0_usize.. {
        if shared.stopping() {
            break;
        }
        let key = format!("{}counter-{}", LETTERS[number % 3], shared.trial);
        let statement = match number % 4 {
            0 => format!("INSERT INTO chaos_counters (k, n) VALUES ('{key}', 0) ON CONFLICT DO NOTHING"),
            1 => format!("UPDATE chaos_counters SET m = NULL WHERE k = '{key}'"),
            2 => format!("UPDATE chaos_counters SET n = n + 1, m = {number} WHERE k = '{key}'"),
            _ => format!("UPDATE chaos_counters SET n = n + 1 WHERE k = '{key}'"),
        };
        let counts = number % 4 >= 2;
        match sql.execute(&statement).await {
            Ok(1) if counts => *found.counts.acknowledged.entry(key).or_default() += 1,
            Err(Failure::Unknown(_)) if counts => *found.counts.unknown.entry(key).or_default() += 1,
            Ok(_) | Err(Failure::NotDone(_) | Failure::Unknown(_)) => {}
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    found
}

/// What is wrong with the counters of a trial.
pub(super) async fn compare(trial: u64, counts: &Counts) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    for letter in LETTERS {
        let key = format!("{letter}counter-{trial}");
        let rows = Sql::at(1).query(&format!("SELECT n FROM chaos_counters WHERE k = '{key}'")).await?;
        let count = |of: &BTreeMap<String, u64>| of.get(&key).copied().unwrap_or(0);
        let (least, unknown) = (count(&counts.acknowledged), count(&counts.unknown));
        let value = rows.first().and_then(|row| row.first()?.as_deref()?.parse::<u64>().ok());
        if value.is_none() && least == 0 {
            continue;
        }
        if !value.is_some_and(|value| (least..=least + unknown).contains(&value)) {
            wrong.push(format!(
                "{key} is {value:?}; {least} increments were acknowledged, {unknown} are unknown"
            ));
        }
    }
    Ok(wrong)
}
