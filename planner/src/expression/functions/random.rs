//! Functions that give another value each time.

use super::function::{Function, function};
use crate::types::Value;
use crate::types::declared::UUID;

pub(super) const FUNCTIONS: &[Function] =
    &[function("gen_random_uuid", &[], UUID, |_| Ok(Some(Value::Uuid(uuid::Uuid::new_v4())))).volatile()];
