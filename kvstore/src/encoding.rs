//! Numbers, strings and LSNs as bytes: LEB128 numbers, strings as length and bytes, an LSN as two numbers.
//!
//! The one encoding of tables, manifests, snapshots and log payloads. Taking never panics: whatever bytes come, they are
//! understood or answered with `None`.

use bytes::{Buf, BufMut, Bytes};
use wal::{Epoch, Lsn};

/// Appends a LEB128 number.
pub(crate) fn put_number(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Appends length and bytes.
pub(crate) fn put_string(out: &mut impl BufMut, string: &[u8]) {
    put_number(out, string.len() as u64);
    out.put_slice(string);
}

/// Appends epoch and sequence number.
pub(crate) fn put_lsn(out: &mut impl BufMut, lsn: Lsn) {
    put_number(out, lsn.epoch.0.into());
    put_number(out, lsn.seq);
}

/// Takes one byte; `None` if there is none.
pub(crate) fn take_byte(bytes: &mut Bytes) -> Option<u8> {
    (!bytes.is_empty()).then(|| bytes.get_u8())
}

/// Takes a LEB128 number; `None` if the bytes end or overflow.
pub(crate) fn take_number(bytes: &mut Bytes) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Takes a string, which shares the memory of `bytes`.
pub(crate) fn take_string(bytes: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(take_number(bytes)?).ok()?;
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

/// Takes an LSN.
pub(crate) fn take_lsn(bytes: &mut Bytes) -> Option<Lsn> {
    Some(Lsn { epoch: Epoch(u32::try_from(take_number(bytes)?).ok()?), seq: take_number(bytes)? })
}
