//! Functions that give another value each time.

use super::function::{Function, function};
use crate::types::Value;
use crate::types::declared::{FLOAT8, UUID};

pub(super) const FUNCTIONS: &[Function] = &[
    function("gen_random_uuid", &[], UUID, |_| Ok(Some(Value::Uuid(uuid::Uuid::new_v4())))).volatile(),
    function("random", &[], FLOAT8, |_| Ok(Some(Value::Float8(random())))).volatile(),
];

/// A number from 0 up to 1, of 53 random bits.
fn random() -> f64 {
    const BITS: u32 = 53;
    // The low bits of such a uuid are all random.
    let bits = uuid::Uuid::new_v4().as_u128() & ((1 << BITS) - 1);
    bits as f64 / (1u64 << BITS) as f64
}
