//! The promises, each checked by a file of its own that knows nothing but the history.

mod alarms;
mod durability;
mod epochs;
mod linearizability;
mod once;
mod replicas;
mod scans;
mod sessions;
mod staleness;
mod versions;
mod wing_gong;

#[cfg(feature = "chaos")]
pub(crate) use self::sessions::Sessions;
#[cfg(feature = "chaos")]
pub(crate) use self::wing_gong::WingGong;
use super::history::Checker;
use super::options::Options;

/// All checkers of a run.
pub fn all(options: &Options) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(epochs::Epochs::default()),
        Box::new(alarms::Alarms::default()),
        Box::new(durability::Durability::new(options)),
        Box::new(replicas::Replicas::default()),
        Box::new(once::Once::default()),
        Box::new(sessions::Sessions::default()),
        Box::new(staleness::Staleness::new(options.drift_per_mille)),
        Box::new(scans::Scans::default()),
        Box::new(versions::Versions::default()),
        Box::new(linearizability::Linearizability::default()),
        Box::new(wing_gong::WingGong::default()),
    ]
}
