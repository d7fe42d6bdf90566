//! Reading everything again, slowly: a block that has rotted is found while other replicas still hold what was in it.
//!
//! It bypasses the block cache, so that the device is really read. Damage is noted as usual.

use wal::sync::lock;

use super::lsm::{Engine, ScrubPosition};

impl Engine {
    /// Checks the next blocks, about `bytes_max` of them and at least one; how many bytes. At the last table's end, and
    /// where damage is known, it is 0; the next call begins a new round.
    pub fn scrub(&self, bytes_max: u64) -> u64 {
        let mut at = lock(&self.scrubbed);
        let mut read = 0;
        let version = self.version();
        while read < bytes_max && !self.damage.any() {
            // By number: tables come and go meanwhile, the others keep theirs.
            let tables = version.levels.iter().flatten();
            let Some(table) =
                tables.filter(|table| table.number() >= at.table).min_by_key(|table| table.number())
            else {
                *at = ScrubPosition::default();
                break;
            };
            if table.number() > at.table || at.block >= table.blocks() {
                let passed = table.number() == at.table;
                *at = ScrubPosition { table: table.number() + u64::from(passed), block: 0 };
                continue;
            }
            let Ok(bytes) = table.verify_block(at.block) else { break };
            at.block += 1;
            read += bytes;
        }
        read
    }
}
