//! Row keys: primary key values as bytes that sort like the values, one column after the other.
//!
//! | type | bytes |
//! |---|---|
//! | boolean | 0 or 1 |
//! | int2/4/8, date, time, timestamp, timestamptz | big-endian with the sign bit flipped |
//! | timetz | its time by UTC, then its offset to the west, both so |
//! | interval | its microseconds where a month has 30 days and a day 24 hours, in 16 bytes, so |
//! | real, double precision | IEEE bits; sign bit flipped, all bits flipped if negative; -0 is 0, NaN is one value, the largest |
//! | text, varchar, bytea | bytes with 00 written as 00 FF, then 00 01 |
//! | char(n) | as text, without the blanks at the end |
//! | uuid | 16 bytes |
//! | numeric | 1 negative, 2 zero, 3 positive, 4 NaN; then exponent and digits (complemented if negative), of infinity the largest exponent and no digits |
//!
//! Every encoding is self-delimiting and no encoding is a prefix of another of its type, so that the encoding of a
//! prefix of the key columns spans exactly the rows with those values. jsonb has no key encoding.

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigInt, Sign};
use bytes::Bytes;
use uuid::Uuid;

use crate::error::SqlError;
use crate::types::{Interval, Numeric, Type, Value, fit_bpchar, unpadded, utc};

/// May a column of this type be part of a primary key?
pub(crate) fn is_key_type(ty: &Type) -> bool {
    match ty {
        Type::Bool
        | Type::Int2
        | Type::Int4
        | Type::Int8
        | Type::Float4
        | Type::Float8
        | Type::Numeric(_)
        | Type::Text
        | Type::Bpchar(_)
        | Type::Varchar(_)
        | Type::Bytea
        | Type::Uuid
        | Type::Date
        | Type::Time(_)
        | Type::Timetz(_)
        | Type::Timestamp(_)
        | Type::Timestamptz(_)
        | Type::Interval(_) => true,
        Type::Json
        | Type::Jsonb
        | Type::Name
        | Type::Char
        | Type::Oid
        | Type::Regclass
        | Type::Regtype
        | Type::Opaque(..)
        | Type::Array(_)
        | Type::Unknown => false,
    }
}

/// Appends a value's encoding.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), SqlError> {
    match value {
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::Int2(v) => out.extend_from_slice(&(*v as u16 ^ 1 << 15).to_be_bytes()),
        Value::Int4(v) | Value::Date(v) => out.extend_from_slice(&(*v as u32 ^ 1 << 31).to_be_bytes()),
        Value::Int8(v) | Value::Time(v) | Value::Timestamp(v) | Value::Timestamptz(v) => {
            out.extend_from_slice(&(*v as u64 ^ 1 << 63).to_be_bytes());
        }
        Value::Timetz(v, east) => {
            out.extend_from_slice(&(utc(*v, *east) as u64 ^ 1 << 63).to_be_bytes());
            out.extend_from_slice(&(-east as u32 ^ 1 << 31).to_be_bytes());
        }
        Value::Float4(v) => {
            let v = if *v == 0.0 {
                0.0
            } else if v.is_nan() {
                f32::NAN.abs()
            } else {
                *v
            };
            let bits = v.to_bits();
            let bits = if bits >> 31 == 1 { !bits } else { bits ^ 1 << 31 };
            out.extend_from_slice(&bits.to_be_bytes());
        }
        Value::Interval(v) => out.extend_from_slice(&(v.span() as u128 ^ 1 << 127).to_be_bytes()),
        Value::Float8(v) => {
            let v = if *v == 0.0 {
                0.0
            } else if v.is_nan() {
                f64::NAN.abs()
            } else {
                *v
            };
            let bits = v.to_bits();
            let bits = if bits >> 63 == 1 { !bits } else { bits ^ 1 << 63 };
            out.extend_from_slice(&bits.to_be_bytes());
        }
        Value::Text(v) => escape(v.as_bytes(), out),
        Value::Bpchar(v) => escape(unpadded(v).as_bytes(), out),
        Value::Bytea(v) => escape(v, out),
        Value::Uuid(v) => out.extend_from_slice(v.as_bytes()),
        Value::Numeric(v) => numeric(v, out),
        Value::Json(_) | Value::Jsonb(_) | Value::Oid(_) | Value::Array(_) => {
            return Err(SqlError::internal(format!("{} in a key", value.natural_type())));
        }
    }
    Ok(())
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// Infinity as a key: positive, with an exponent that no number has.
const INFINITY: [u8; 6] = [3, 0xFF, 0xFF, 0xFF, 0xFF, 0];

fn numeric(value: &Numeric, out: &mut Vec<u8>) {
    let decimal = match value {
        Numeric::Finite(decimal) => decimal,
        Numeric::NaN => return out.push(4),
        Numeric::Infinity => return out.extend(INFINITY),
        Numeric::MinusInfinity => return out.extend(INFINITY.map(|byte| if byte == 3 { 1 } else { !byte })),
    };
    let (sign, exponent, digits) = Numeric::scientific(decimal);
    let class = match sign {
        Sign::Minus => 1,
        Sign::NoSign => 2,
        Sign::Plus => 3,
    };
    out.push(class);
    if sign == Sign::NoSign {
        return;
    }
    // The limits of numeric keep the exponent within 32 bits.
    let start = out.len();
    out.extend_from_slice(&(exponent as i32 as u32 ^ 1 << 31).to_be_bytes());
    out.extend(digits.iter().map(|digit| digit + 1));
    out.push(0);
    if sign == Sign::Minus {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

/// Takes eight bytes of a signed number off the front.
fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    Some((u64::from_be_bytes(take(bytes)?) ^ 1 << 63) as i64)
}

/// Takes a value of the type off the front of `bytes`; `None` if they are no encoding of it.
pub(crate) fn decode(ty: &Type, bytes: &mut &[u8]) -> Option<Value> {
    Some(match ty {
        Type::Bool => Value::Bool(take::<1>(bytes)?[0] != 0),
        Type::Int2 => Value::Int2((u16::from_be_bytes(take(bytes)?) ^ 1 << 15) as i16),
        Type::Int4 => Value::Int4((u32::from_be_bytes(take(bytes)?) ^ 1 << 31) as i32),
        Type::Date => Value::Date((u32::from_be_bytes(take(bytes)?) ^ 1 << 31) as i32),
        Type::Int8 => Value::Int8((u64::from_be_bytes(take(bytes)?) ^ 1 << 63) as i64),
        Type::Time(_) => Value::Time(take_i64(bytes)?),
        Type::Timestamp(_) => Value::Timestamp(take_i64(bytes)?),
        Type::Timestamptz(_) => Value::Timestamptz(take_i64(bytes)?),
        Type::Timetz(_) => {
            let micros = take_i64(bytes)?;
            let west = (u32::from_be_bytes(take(bytes)?) ^ 1 << 31) as i32;
            // The inverse of what the key holds.
            Value::Timetz(utc(micros, west), west.checked_neg()?)
        }
        Type::Float4 => {
            let bits = u32::from_be_bytes(take(bytes)?);
            Value::Float4(f32::from_bits(if bits >> 31 == 1 { bits ^ 1 << 31 } else { !bits }))
        }
        Type::Interval(_) => {
            Value::Interval(Interval::of_span((u128::from_be_bytes(take(bytes)?) ^ 1 << 127) as i128)?)
        }
        Type::Float8 => {
            let bits = u64::from_be_bytes(take(bytes)?);
            Value::Float8(f64::from_bits(if bits >> 63 == 1 { bits ^ 1 << 63 } else { !bits }))
        }
        Type::Text | Type::Varchar(_) => Value::Text(String::from_utf8(unescape(bytes)?).ok()?),
        Type::Bpchar(length) => {
            let text = String::from_utf8(unescape(bytes)?).ok()?;
            Value::Bpchar(fit_bpchar(&text, *length, false).ok()?)
        }
        Type::Bytea => Value::Bytea(Bytes::from(unescape(bytes)?)),
        Type::Uuid => Value::Uuid(Uuid::from_bytes(take(bytes)?)),
        Type::Numeric(limits) => {
            let value = take_numeric(bytes)?;
            Value::Numeric(match limits {
                // The key holds no trailing zeros: the declared scale brings them back.
                Some((precision, scale)) => value.fit(*precision, *scale).ok()?,
                None => value,
            })
        }
        _ => return None,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn unescape(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        match take::<1>(bytes)?[0] {
            0 => match take::<1>(bytes)?[0] {
                0xFF => out.push(0),
                1 => return Some(out),
                _ => return None,
            },
            byte => out.push(byte),
        }
    }
}

fn take_numeric(bytes: &mut &[u8]) -> Option<Numeric> {
    let flip = match take::<1>(bytes)?[0] {
        1 => 0xFF,
        2 => return Some(Numeric::from_i64(0)),
        3 => 0,
        4 => return Some(Numeric::NaN),
        _ => return None,
    };
    let exponent = take::<4>(bytes)?.map(|byte| byte ^ flip);
    let exponent = i64::from((u32::from_be_bytes(exponent) ^ 1 << 31) as i32);
    if exponent == i64::from(i32::MAX) {
        let infinity = if flip == 0 { Numeric::Infinity } else { Numeric::MinusInfinity };
        return (take::<1>(bytes)?[0] == flip).then_some(infinity);
    }
    let mut digits = String::new();
    loop {
        match take::<1>(bytes)?[0] ^ flip {
            0 => break,
            digit @ 1..=10 => digits.push(char::from(b'0' + digit - 1)),
            _ => return None,
        }
    }
    let scale = digits.len() as i64 - exponent;
    let magnitude: BigInt = digits.parse().ok()?;
    Numeric::new(BigDecimal::new(if flip == 0 { magnitude } else { -magnitude }, scale)).ok()
}

/// The first key after all keys that begin with `prefix`; `None` if there is none (only FF bytes, or empty).
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// Key bytes from `start` (inclusive) to `end` (exclusive; `None`: to the end of the table).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySpan {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

impl KeySpan {
    /// The keys from `first` to `last`, both inclusive.
    pub(crate) fn between(first: &[u8], last: &[u8]) -> KeySpan {
        // Nothing lies between a key and the same key with a zero byte behind it.
        KeySpan { start: first.to_vec(), end: Some([last, &[0]].concat()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out).unwrap();
        out
    }

    /// Bytes sort like values, and decode to what they were.
    fn check(ty: &Type, a: Value, b: Value) {
        let (ka, kb) = (key(&a), key(&b));
        assert_eq!(ka.cmp(&kb), a.compare(&b).unwrap(), "{a:?} {b:?}");
        let mut rest = [ka.clone(), kb].concat();
        let mut rest = std::mem::take(&mut rest);
        rest.push(7);
        let mut slice = rest.as_slice();
        assert_eq!(decode(ty, &mut slice).unwrap().compare(&a).unwrap(), std::cmp::Ordering::Equal);
        assert_eq!(decode(ty, &mut slice).unwrap().compare(&b).unwrap(), std::cmp::Ordering::Equal);
        assert_eq!(slice, [7]);
    }

    fn numeric(text: &str) -> Value {
        Value::from_text(&Type::Numeric(None), text).unwrap()
    }

    proptest! {
        #[test]
        fn int2_order(a: i16, b: i16) { check(&Type::Int2, Value::Int2(a), Value::Int2(b)); }
        #[test]
        fn int4_order(a: i32, b: i32) { check(&Type::Int4, Value::Int4(a), Value::Int4(b)); }
        #[test]
        fn int8_order(a: i64, b: i64) { check(&Type::Int8, Value::Int8(a), Value::Int8(b)); }
        #[test]
        fn bool_order(a: bool, b: bool) { check(&Type::Bool, Value::Bool(a), Value::Bool(b)); }
        #[test]
        fn date_order(a: i32, b: i32) { check(&Type::Date, Value::Date(a), Value::Date(b)); }
        #[test]
        fn timestamp_order(a: i64, b: i64) {
            check(&Type::Timestamptz(None), Value::Timestamptz(a), Value::Timestamptz(b));
            check(&Type::Timestamp(None), Value::Timestamp(a), Value::Timestamp(b));
            let interval = |micros: i64| {
                let (months, days) = (micros as i32 >> 3, (micros >> 32) as i32);
                Value::Interval(Interval { months, days, micros })
            };
            check(&Type::Interval(None), interval(a), interval(b));
        }
        #[test]
        fn time_order(a in 0..=86_400i64, b in 0..=86_400i64, c in -57_599..57_600i32, d in -57_599..57_600i32) {
            let (a, b) = (a * 1_000_000, b * 1_000_000);
            check(&Type::Time(None), Value::Time(a), Value::Time(b));
            check(&Type::Timetz(None), Value::Timetz(a, c), Value::Timetz(b, d));
            check(&Type::Timetz(None), Value::Timetz(a, c), Value::Timetz(a + i64::from(d - c) * 1_000_000, d));
        }
        #[test]
        fn float_order(a in prop::num::f64::ANY, b in prop::num::f64::ANY) {
            check(&Type::Float8, Value::Float8(a), Value::Float8(b));
        }
        #[test]
        fn text_order(a in "[\0\u{1}a-cé]{0,4}", b in "[\0\u{1}a-cé]{0,4}") {
            check(&Type::Text, Value::Text(a), Value::Text(b));
        }
        #[test]
        fn bytea_order(a in prop::collection::vec(0u8..4, 0..4), b in prop::collection::vec(0u8..4, 0..4)) {
            check(&Type::Bytea, Value::Bytea(a.into()), Value::Bytea(b.into()));
        }
        #[test]
        fn uuid_order(a: u128, b: u128) {
            check(&Type::Uuid, Value::Uuid(Uuid::from_u128(a)), Value::Uuid(Uuid::from_u128(b)));
        }
        #[test]
        fn numeric_order(a in "-?[0-9]{1,3}(\\.[0-9]{1,3})?(e-?[0-9]{1,2})?", b in "-?[0-9]{1,3}(\\.[0-9]{1,3})?(e-?[0-9]{1,2})?") {
            check(&Type::Numeric(None), numeric(&a), numeric(&b));
        }
        #[test]
        fn composite_order(a: (i32, String, i16), b: (i32, String, i16)) {
            let row = |(x, y, z): (i32, String, i16)| {
                [key(&Value::Int4(x)), key(&Value::Text(y)), key(&Value::Int2(z))].concat()
            };
            prop_assert_eq!(row(a.clone()).cmp(&row(b.clone())), a.cmp(&b));
        }
    }

    #[test]
    fn special_numbers() {
        check(&Type::Float8, Value::Float8(-0.0), Value::Float8(0.0));
        check(&Type::Float8, Value::Float8(f64::INFINITY), Value::Float8(f64::NAN));
        check(&Type::Float4, Value::Float4(-0.0), Value::Float4(0.0));
        check(&Type::Float4, Value::Float4(f32::NAN), Value::Float4(f32::INFINITY));
        check(&Type::Float4, Value::Float4(-1.5), Value::Float4(-1.25));
        check(&Type::Bpchar(None), Value::Bpchar("a ".into()), Value::Bpchar("a".into()));
        check(&Type::Bpchar(Some(3)), Value::Bpchar("a  ".into()), Value::Bpchar("a\u{1} ".into()));
        let sorted = ["-inf", "-1e1000", "-1", "0", "1e-1000", "1e1000", "inf", "NaN"].map(numeric);
        for pair in sorted.windows(2) {
            check(&Type::Numeric(None), pair[0].clone(), pair[1].clone());
        }
        check(&Type::Numeric(None), numeric("NaN"), numeric("1e100"));
        check(&Type::Numeric(None), numeric("1.0"), numeric("1.00"));
        check(&Type::Numeric(None), numeric("-0.1"), numeric("-0.11"));
        let mut bytes: &[u8] = &key(&numeric("5"));
        let shown = decode(&Type::Numeric(Some((5, 2))), &mut bytes).unwrap();
        assert_eq!(shown.to_string_text(), "5.00");
    }

    #[test]
    fn successors() {
        assert_eq!(successor(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(successor(&[1, 0xFF]), Some(vec![2]));
        assert_eq!(successor(&[0xFF]), None);
    }
}
