//! A write as the log holds it: all that a replica needs to apply it, and nothing that must be decided again.
//!
//! Conditions are gone: the leader has decided them ([exactly-once]). A *refusal* is a write without effect: it is
//! logged when a write whose earlier attempt may still be under way fails its conditions, so that the attempt,
//! should it arrive late, finds its outcome in the window and is not executed after its client was refused.
//!
//! ```text
//! | version u8 = 1 | flags u8 (1: refusal) | client u128 LE | sequence | key | count | mutation .. |
//! mutation: | 1 | column | value |   put          lengths and counts are LEB128 numbers,
//!           | 2 | column |           delete       byte strings are length and bytes
//!           | 3 |                    delete row
//! ```
//!
//! Integrity is the log's business (CRC and chain hash); what does not parse here is a bug or a newer version.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::encoding::{put_number, put_string, take_byte, take_number, take_string};
use crate::request::{Mutation, RequestId};

const VERSION: u8 = 1;
const REFUSAL: u8 = 1;

/// The content of an entry of kind `Write`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    /// Whose write, for the window.
    pub(crate) request: RequestId,
    /// Row key.
    pub(crate) key: Bytes,
    /// In order.
    pub(crate) mutations: Vec<Mutation>,
    /// The write was refused; it has no mutations.
    pub(crate) refused: bool,
}

/// The bytes are not a payload of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a write payload of a known version")]
pub(crate) struct BadPayload;

/// The most bytes that a write can take in the log.
pub(crate) fn encoded_bytes_max(key: &[u8], mutations: &[Mutation]) -> usize {
    let content = mutations.iter().map(|mutation| match mutation {
        Mutation::Put { column, value } => column.len() + value.len() + 12,
        Mutation::Delete { column } => column.len() + 6,
        Mutation::DeleteRow => 1,
    });
    48 + key.len() + content.sum::<usize>()
}

/// Encodes a write, or its refusal.
pub(crate) fn encode(request: RequestId, key: &[u8], mutations: &[Mutation], refused: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(encoded_bytes_max(key, mutations));
    out.put_u8(VERSION);
    out.put_u8(if refused { REFUSAL } else { 0 });
    out.put_u128_le(request.client);
    put_number(&mut out, request.sequence);
    put_string(&mut out, key);
    put_number(&mut out, mutations.len() as u64);
    for mutation in mutations {
        match mutation {
            Mutation::Put { column, value } => {
                out.put_u8(1);
                put_string(&mut out, column);
                put_string(&mut out, value);
            }
            Mutation::Delete { column } => {
                out.put_u8(2);
                put_string(&mut out, column);
            }
            Mutation::DeleteRow => out.put_u8(3),
        }
    }
    out.freeze()
}

/// Whether this program knows the version of these bytes. A newer form has another version.
pub(crate) fn is_known(bytes: &[u8]) -> bool {
    bytes.first() == Some(&VERSION)
}

/// Decodes; strings share the payload's memory.
pub(crate) fn decode(bytes: Bytes) -> Result<Payload, BadPayload> {
    parse(bytes).ok_or(BadPayload)
}

fn parse(mut bytes: Bytes) -> Option<Payload> {
    if bytes.len() < 18 || bytes.get_u8() != VERSION {
        return None;
    }
    let refused = match bytes.get_u8() {
        0 => false,
        REFUSAL => true,
        _ => return None,
    };
    let client = bytes.get_u128_le();
    let sequence = take_number(&mut bytes)?;
    let key = take_string(&mut bytes)?;
    let count = take_number(&mut bytes)?;
    let mut mutations = Vec::with_capacity(count.min(64) as usize);
    for _ in 0..count {
        mutations.push(match take_byte(&mut bytes)? {
            1 => Mutation::Put { column: take_string(&mut bytes)?, value: take_string(&mut bytes)? },
            2 => Mutation::Delete { column: take_string(&mut bytes)? },
            3 => Mutation::DeleteRow,
            _ => return None,
        });
    }
    let request = RequestId { client, sequence };
    bytes.is_empty().then_some(Payload { request, key, mutations, refused })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mutation() -> impl Strategy<Value = Mutation> {
        let string = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            (string(), string()).prop_map(|(column, value)| Mutation::Put { column, value }),
            string().prop_map(|column| Mutation::Delete { column }),
            Just(Mutation::DeleteRow),
        ]
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(
            client: u128, sequence: u64, refused: bool,
            key in prop::collection::vec(any::<u8>(), 0..200),
            mutations in prop::collection::vec(mutation(), 0..5),
        ) {
            let request = RequestId { client, sequence };
            let bytes = encode(request, &key, &mutations, refused);
            prop_assert!(bytes.len() <= encoded_bytes_max(&key, &mutations));
            let expected = Payload { request, key: key.into(), mutations, refused };
            prop_assert_eq!(decode(bytes.clone()), Ok(expected));
            // No prefix is a payload.
            prop_assert_eq!(decode(bytes.slice(..bytes.len() - 1)), Err(BadPayload));
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(bytes.into());
        }
    }
}
