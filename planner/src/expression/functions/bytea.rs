//! Functions on bytea: parts, bits, encodings, digests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};

use super::function::{Arguments, Function, count, function, text};
use super::text::part;
use crate::error::{SqlError, sqlstate};
use crate::expression::value_limit::check_value_bytes;
use crate::types::declared::{BYTEA, INT4, INT8, TEXT};
use crate::types::{Datum, Type, Value, bad_utf8};

pub(super) const FUNCTIONS: &[Function] = &[
    function("bit_count", &[BYTEA], INT8, bit_count),
    function("bit_length", &[BYTEA], INT4, |a| count(bytes(a, 0).len() * 8)),
    function("btrim", &[BYTEA, BYTEA], BYTEA, btrim),
    function("convert_from", &[BYTEA, TEXT], TEXT, convert_from),
    function("convert_to", &[TEXT, TEXT], BYTEA, convert_to),
    function("decode", &[TEXT, TEXT], BYTEA, decode),
    function("encode", &[BYTEA, TEXT], TEXT, encode),
    function("get_bit", &[BYTEA, INT8], INT4, get_bit),
    function("get_byte", &[BYTEA, INT4], INT4, get_byte),
    function("length", &[BYTEA], INT4, |a| count(bytes(a, 0).len())),
    function("md5", &[TEXT], TEXT, |a| text(hex(&Md5::digest(a.text(0).as_bytes())))),
    function("md5", &[BYTEA], TEXT, |a| text(hex(&Md5::digest(bytes(a, 0))))),
    function("octet_length", &[BYTEA], INT4, |a| count(bytes(a, 0).len())),
    function("overlay", &[BYTEA, BYTEA, INT4, INT4], BYTEA, overlay).optional(1),
    function("position", &[BYTEA, BYTEA], INT4, |a| position(bytes(a, 1), bytes(a, 0))),
    function("set_bit", &[BYTEA, INT8, INT4], BYTEA, set_bit),
    function("set_byte", &[BYTEA, INT4, INT4], BYTEA, set_byte),
    function("sha224", &[BYTEA], BYTEA, |a| result(sha2::Sha224::digest(bytes(a, 0)).to_vec())),
    function("sha256", &[BYTEA], BYTEA, |a| result(sha2::Sha256::digest(bytes(a, 0)).to_vec())),
    function("sha384", &[BYTEA], BYTEA, |a| result(sha2::Sha384::digest(bytes(a, 0)).to_vec())),
    function("sha512", &[BYTEA], BYTEA, |a| result(sha2::Sha512::digest(bytes(a, 0)).to_vec())),
    function("strpos", &[BYTEA, BYTEA], INT4, |a| position(bytes(a, 0), bytes(a, 1))),
    function("substr", &[BYTEA, INT4, INT4], BYTEA, substring).optional(1),
    function("substring", &[BYTEA, INT4, INT4], BYTEA, substring).optional(1),
];

fn bytes<'a>(a: &Arguments<'a>, at: usize) -> &'a [u8] {
    match a.value(at) {
        Some(Value::Bytea(bytes)) => bytes,
        _ => &[],
    }
}

fn result(bytes: Vec<u8>) -> Result<Datum, SqlError> {
    check_value_bytes(bytes.len())?;
    Ok(Some(Value::Bytea(Bytes::from(bytes))))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bit_count(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    Ok(Some(Value::Int8(bytes(a, 0).iter().map(|byte| i64::from(byte.count_ones())).sum())))
}

fn btrim(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (mut whole, set) = (bytes(a, 0), bytes(a, 1));
    while let [first, rest @ ..] = whole
        && set.contains(first)
    {
        whole = rest;
    }
    while let [rest @ .., last] = whole
        && set.contains(last)
    {
        whole = rest;
    }
    result(whole.to_vec())
}

/// Is it a name of UTF-8? Other encodings are not supported.
fn utf8(name: &str) -> Result<(), SqlError> {
    match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(SqlError::unsupported(format!("the encoding \"{name}\""))),
    }
}

fn convert_from(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    utf8(&a.text(1))?;
    match std::str::from_utf8(bytes(a, 0)) {
        Ok(whole) if !whole.contains('\0') => text(whole),
        Ok(_) => Err(bad_utf8(&[0])),
        Err(error) => Err(bad_utf8(&bytes(a, 0)[error.valid_up_to()..])),
    }
}

fn convert_to(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    utf8(&a.text(1))?;
    result(a.text(0).as_bytes().to_vec())
}

/// 22023 for the name of no encoding.
fn no_encoding(name: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER, format!("unrecognized encoding: \"{name}\""))
}

fn encode(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (bytes, name) = (bytes(a, 0), a.text(1));
    check_value_bytes(bytes.len().saturating_mul(4))?;
    match name.to_ascii_lowercase().as_str() {
        "hex" => text(hex(bytes)),
        "escape" => text(bytes.iter().map(|byte| escaped(*byte)).collect::<String>()),
        "base64" => {
            let whole = STANDARD.encode(bytes);
            let lines: Vec<&str> =
                (0..whole.len()).step_by(76).map(|at| &whole[at..whole.len().min(at + 76)]).collect();
            text(lines.join("\n"))
        }
        _ => Err(no_encoding(&name)),
    }
}

fn escaped(byte: u8) -> String {
    match byte {
        b'\\' => "\\\\".into(),
        0 | 0x80.. => format!("\\{byte:03o}"),
        other => char::from(other).into(),
    }
}

fn decode(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (whole, name) = (a.text(0), a.text(1));
    match name.to_ascii_lowercase().as_str() {
        "hex" => Value::from_text(&Type::Bytea, &format!("\\x{whole}")).map(Some),
        // A text that begins as the hexadecimal form does is not one here.
        "escape" if !whole.starts_with("\\x") => Value::from_text(&Type::Bytea, &whole).map(Some),
        "escape" => Err(SqlError::new(sqlstate::INVALID_TEXT, "invalid input syntax for type bytea")),
        "base64" => {
            let symbols: String = whole.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let is_symbol = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
            if let Some(other) = symbols.chars().find(|c| !is_symbol(*c)) {
                let text = format!("invalid symbol \"{other}\" found while decoding base64 sequence");
                return Err(SqlError::new(sqlstate::INVALID_PARAMETER, text));
            }
            let bytes = STANDARD.decode(symbols).map_err(|_| {
                SqlError::new(sqlstate::INVALID_PARAMETER, "invalid base64 end sequence")
                    .hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
            })?;
            result(bytes)
        }
        _ => Err(no_encoding(&name)),
    }
}

/// A position within so many. 2202E if it is outside.
fn within(at: i64, length: usize) -> Result<usize, SqlError> {
    let outside = || {
        let text = format!("index {at} out of valid range, 0..{}", length as i64 - 1);
        SqlError::new(sqlstate::ARRAY_SUBSCRIPT, text)
    };
    usize::try_from(at).ok().filter(|at| *at < length).ok_or_else(outside)
}

fn get_byte(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let bytes = bytes(a, 0);
    count(bytes[within(a.integer(1), bytes.len())?].into())
}

fn get_bit(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let bytes = bytes(a, 0);
    let at = within(a.integer(1), bytes.len() * 8)?;
    count(usize::from(bytes[at / 8] >> (at % 8) & 1))
}

fn set_byte(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut bytes = bytes(a, 0).to_vec();
    let at = within(a.integer(1), bytes.len())?;
    bytes[at] = a.integer(2) as u8;
    result(bytes)
}

fn set_bit(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut bytes = bytes(a, 0).to_vec();
    let at = within(a.integer(1), bytes.len() * 8)?;
    match a.integer(2) {
        0 => bytes[at / 8] &= !(1 << (at % 8)),
        1 => bytes[at / 8] |= 1 << (at % 8),
        _ => return Err(SqlError::new(sqlstate::INVALID_PARAMETER, "new bit must be 0 or 1")),
    }
    result(bytes)
}

fn position(whole: &[u8], part: &[u8]) -> Result<Datum, SqlError> {
    if part.is_empty() {
        return count(1);
    }
    count(whole.windows(part.len()).position(|window| window == part).map_or(0, |at| at + 1))
}

fn substring(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (skipped, taken) = part(a.integer(1), a.value(2).map(|_| a.integer(2)))?;
    result(bytes(a, 0).iter().copied().skip(skipped).take(taken).collect())
}

fn overlay(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (whole, new, start) = (bytes(a, 0), bytes(a, 1), a.integer(2));
    let length = if a.values.len() > 3 { a.integer(3) } else { new.len() as i64 };
    if start <= 0 {
        return Err(SqlError::new("22011", "negative substring length not allowed"));
    }
    let before = &whole[..whole.len().min(start as usize - 1)];
    let skipped = usize::try_from(start.saturating_add(length).saturating_sub(1)).unwrap_or(0);
    result([before, new, &whole[whole.len().min(skipped)..]].concat())
}
