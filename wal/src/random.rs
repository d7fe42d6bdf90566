//! Numbers that nobody else will ever draw: identities of disks, cohorts, clients and lives of a process.

/// Random bytes of the operating system, enough of them for the number that they are to become
/// (`u128::from_le_bytes(random())`).
///
/// # Panics
///
/// If the operating system has none. Identities would then no longer be unique, and nothing here would be safe; it
/// happens on no supported system after boot.
pub fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the operating system provides random numbers");
    bytes
}
