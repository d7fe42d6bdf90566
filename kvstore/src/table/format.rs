//! Bytes of a table: frames, footer, and what can be wrong with them.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use wal::disk::DiskFile;

/// Last bytes of a table.
pub(crate) const MAGIC: &[u8; 8] = b"SPNKTBL1";
/// Version of the tables that this program writes and reads.
pub(crate) const VERSION: u32 = 2;
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
    /// A checksum does not match, or the content does not parse: the block is not served.
    #[error("{file} is corrupt at offset {offset}: {what}")]
    Corrupt {
        /// Which file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The file is sound, and of a version that this program does not read.
    #[error(
        "{file} has format version {found}, this program reads version {known} only: start the {} program that wrote \
         it, or give the node an empty data directory and start it with --rebuild",
        if .found < .known { "older" } else { "newer" }
    )]
    Version {
        /// Which file.
        file: String,
        /// The file's version.
        found: u32,
        /// The version that this program writes and reads.
        known: u32,
    },
}

impl TableError {
    /// Whether the disk has no space: it may work once some is freed.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, TableError::Io { error, .. } if wal::disk::is_full(error))
    }

    /// Whether the file itself is not as it was written: trying again will not help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            TableError::Corrupt { .. } => true,
            TableError::Version { .. } => false,
            TableError::Io { error, .. } => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
            }
        }
    }
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
    let mut framed = buffer(name, offset, len)?;
    file.read_exact_at(&mut framed, offset).map_err(|error| io_error(name, error))?;
    unframe(framed.into()).map_err(|what| TableError::Corrupt { file: name.to_owned(), offset, what })
}

/// The same, if that needs no wait for the device.
pub(crate) fn read_frame_at_hand(
    file: &dyn DiskFile,
    name: &str,
    offset: u64,
    len: u64,
) -> Result<Option<Bytes>, TableError> {
    let mut framed = buffer(name, offset, len)?;
    if !file.read_at_hand(&mut framed, offset).map_err(|error| io_error(name, error))? {
        return Ok(None);
    }
    let unframed = unframe(framed.into());
    unframed.map(Some).map_err(|what| TableError::Corrupt { file: name.to_owned(), offset, what })
}

/// Room for a frame. The caller has checked offset and length against the file, so a flipped bit cannot ask for terabytes.
fn buffer(name: &str, offset: u64, len: u64) -> Result<Vec<u8>, TableError> {
    let too_long = |_| TableError::Corrupt { file: name.to_owned(), offset, what: "too long" };
    Ok(vec![0; usize::try_from(len).map_err(too_long)?])
}

/// The path of the table `number` in `dir`.
pub(crate) fn file_name(dir: &str, number: u64) -> String {
    format!("{dir}/{number:06}.sst")
}

/// The device's error with the file's name.
pub(crate) fn io_error(name: &str, error: io::Error) -> TableError {
    TableError::Io { file: name.to_owned(), error: Arc::new(error) }
}
