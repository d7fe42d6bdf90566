//! How much memory a node may take, and what for.

use std::fs;

/// Memory that a node takes if it is not told how much: so many hundredths of what the machine, or the control group of the
/// process, has.
const SHARE_PERCENT: u64 = 60;
/// If the system does not tell.
const UNKNOWN_BYTES: u64 = 1 << 30;
/// Least memory of a node.
pub(crate) const MEMORY_MIB_MIN: u64 = 64;

/// The memory of a node, divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// Memtables of all ranges together, in bytes: over this the largest are flushed before they are full.
    pub memtable_bytes: u64,
    /// Cached blocks of tables, in bytes.
    pub block_cache_bytes: u64,
}

impl MemoryConfig {
    /// Divides memory: a quarter for memtables, a quarter for cached blocks, the rest for scans and all that works.
    pub(crate) fn divide(total_bytes: u64) -> MemoryConfig {
        let quarter = total_bytes / 4;
        MemoryConfig { total_bytes, memtable_bytes: quarter, block_cache_bytes: quarter }
    }

    /// Memtables that are kept for open scans alone, in bytes: half of what memtables and cached blocks leave.
    pub(crate) fn kept_for_scans_bytes(&self) -> u64 {
        self.rest_bytes() / 2
    }

    /// Pages of scans on their way to whoever reads them, in bytes: a quarter of what memtables and cached blocks leave.
    pub(crate) fn scan_pages_bytes(&self) -> u64 {
        self.rest_bytes() / 4
    }

    fn rest_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.memtable_bytes).saturating_sub(self.block_cache_bytes)
    }

    /// The share of this machine, or of the control group of this process, that a node takes by itself.
    pub(crate) fn of_machine() -> MemoryConfig {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
        let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        // "max" is no number: there is no limit.
        let group = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let limits = groups.into_iter().filter_map(group).chain(machine);
        MemoryConfig::divide(limits.min().unwrap_or(UNKNOWN_BYTES) / 100 * SHARE_PERCENT)
    }
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_found_and_divided() {
        let text = "MemFree:  1 kB\nMemTotal:       24012345 kB\nBuffers: 2 kB\n";
        assert_eq!(machine_bytes(text), Some(24_012_345 << 10));
        assert_eq!(machine_bytes("nothing"), None);
        let memory = MemoryConfig::of_machine();
        assert!(memory.total_bytes > 0);
        let scans = memory.kept_for_scans_bytes() + memory.scan_pages_bytes();
        assert!(memory.memtable_bytes + memory.block_cache_bytes + scans <= memory.total_bytes);
        let least = MemoryConfig::divide(MEMORY_MIB_MIN << 20);
        assert_eq!((least.kept_for_scans_bytes(), least.scan_pages_bytes()), (16 << 20, 8 << 20));
    }
}
