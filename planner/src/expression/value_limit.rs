//! How large a computed value may be.

use crate::error::{SqlError, sqlstate};

/// Bytes of a computed value at most.
pub(super) const VALUE_BYTES_MAX: usize = 16 << 20;

/// 54000 if a value of so many bytes would be too large. To be asked before the value is made.
pub(super) fn check_value_bytes(bytes: usize) -> Result<(), SqlError> {
    if bytes <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, "requested length too large")
        .detail(format!("A computed value may have {VALUE_BYTES_MAX} bytes at most.")))
}
