//! Bytes of a table: numbers, frames, footer.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use wal::disk::DiskFile;

/// Last bytes of a table.
pub(crate) const MAGIC: &[u8; 8] = b"SPNKTBL1";
pub(crate) const VERSION: u32 = 1;
/// Index offset and length, filter offset and length, version, checksum, magic.
pub(crate) const FOOTER: usize = 8 * 4 + 4 + 4 + 8;
/// Raw length, kind and checksum behind a frame's body.
pub(crate) const TRAILER: usize = 9;

/// Why a table cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TableError {
    /// The device failed.
    #[error("{file}: {error}")]
    Io {
        /// Which file.
        file: String,
        /// What it said.
        error: Arc<io::Error>,
    },
    /// A checksum does not match, or the content makes no sense: the block is not served.
    #[error("{file} is corrupt at offset {offset}: {what}")]
    Corrupt {
        /// Which file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl TableError {
    /// Whether the file itself is not as it was written: trying again will not help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            TableError::Corrupt { .. } => true,
            TableError::Io { error, .. } => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
            }
        }
    }
}

/// Appends a LEB128 number.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends length and bytes.
pub(crate) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    put_number(out, string.len() as u64);
    out.extend_from_slice(string);
}

/// Takes a LEB128 number; `None` if the bytes end or overflow.
pub(crate) fn take_number(bytes: &mut Bytes) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        if bytes.is_empty() {
            return None;
        }
        let byte = bytes.get_u8();
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Takes length and bytes, sharing the memory.
pub(crate) fn take_string(bytes: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(take_number(bytes)?).ok()?;
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

/// Wraps a body into a frame, compressed if asked for and if that pays.
pub(crate) fn frame(body: &[u8], compress: bool) -> Vec<u8> {
    let packed = compress.then(|| lz4_flex::block::compress(body)).filter(|packed| packed.len() < body.len());
    let kind = u8::from(packed.is_some());
    let mut out = packed.unwrap_or_else(|| body.to_vec());
    out.put_u32_le(body.len() as u32);
    out.put_u8(kind);
    let checksum = crc32c::crc32c(&out);
    out.put_u32_le(checksum);
    out
}

/// The body of a frame; the error says what is wrong.
pub(crate) fn unframe(framed: Bytes) -> Result<Bytes, &'static str> {
    if framed.len() < TRAILER {
        return Err("too short for a frame");
    }
    let covered = framed.len() - 4;
    if crc32c::crc32c(&framed[..covered]) != framed.slice(covered..).get_u32_le() {
        return Err("the checksum does not match");
    }
    let mut trailer = framed.slice(framed.len() - TRAILER..);
    let (len, kind) = (trailer.get_u32_le() as usize, trailer.get_u8());
    let body = framed.slice(..framed.len() - TRAILER);
    match kind {
        0 if body.len() == len => Ok(body),
        1 => match lz4_flex::block::decompress(&body, len) {
            Ok(raw) if raw.len() == len => Ok(raw.into()),
            Ok(_) | Err(_) => Err("it does not decompress"),
        },
        _ => Err("a frame of an unknown kind"),
    }
}

/// Reads and unwraps the frame at `offset`.
pub(crate) fn read_frame(
    file: &dyn DiskFile,
    name: &str,
    offset: u64,
    len: u64,
) -> Result<Bytes, TableError> {
    let corrupt = |what| TableError::Corrupt { file: name.to_owned(), offset, what };
    // The caller has checked offset and length against the file, so a flipped bit cannot ask for terabytes.
    let mut framed = vec![0; usize::try_from(len).map_err(|_| corrupt("too long"))?];
    file.read_exact_at(&mut framed, offset).map_err(|error| io_error(name, error))?;
    unframe(framed.into()).map_err(corrupt)
}

/// The device's error with the file's name.
pub(crate) fn io_error(name: &str, error: io::Error) -> TableError {
    TableError::Io { file: name.to_owned(), error: Arc::new(error) }
}
