//! Both formats of every type, there and back; numeric and jsonb at their edges.

use proptest::prelude::*;

use super::sql_type::{Type, TypeEntry};
use super::value::Value;

/// Text to value to both formats and back.
fn both(ty: &Type, text: &str) {
    let value = Value::from_text(ty, text).unwrap();
    let mut shown = Vec::new();
    value.to_text(&mut shown);
    let again = Value::from_text(ty, std::str::from_utf8(&shown).unwrap()).unwrap();
    assert_eq!(value.compare(&again).unwrap(), std::cmp::Ordering::Equal, "{ty} {text}");
    let mut binary = Vec::new();
    value.to_binary(&mut binary);
    let back = Value::from_binary(ty, &binary).unwrap();
    assert_eq!(back.to_string_text(), value.to_string_text(), "{ty} {text}");
}

#[test]
fn formats_agree() {
    let array = |ty| Type::Array(Box::new(ty));
    let cases: &[(Type, &[&str])] = &[
        (Type::Bool, &["t", "false", "ON", "0"]),
        (Type::Int2, &["-32768", " 7 ", "+7"]),
        (Type::Int4, &["2147483647", "-1"]),
        (Type::Int8, &["-9223372036854775808", "0"]),
        (Type::Float4, &["0.1", "3.4028235e38", "1e-45", "-0", "NaN", "Infinity", "16777216"]),
        (Type::Float8, &["0.1", "1e300", "-0", "NaN", "-Infinity", "5e-324"]),
        (
            Type::Numeric(None),
            &[
                "0",
                "0.00",
                "-0.001",
                "10000",
                "99999999",
                "1.2300",
                "1e-10",
                "12345.6789",
                "NaN",
                "Infinity",
                "-Infinity",
            ],
        ),
        (Type::Numeric(Some((6, 2))), &["1234.565", "-0.005"]),
        (Type::Numeric(Some((3, -2))), &["12345", "-50", "0"]),
        (Type::Text, &["", "ä\n\\"]),
        (Type::Varchar(Some(3)), &["abc", "ab   "]),
        (Type::Bpchar(Some(3)), &["abc", "a", "", "ab    "]),
        (Type::Bpchar(None), &["a  "]),
        (Type::Bytea, &["\\x00ff", "a\\\\b\\001"]),
        (Type::Uuid, &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC999C0B4EF8BB6D6BB9BD380A11"]),
        (Type::Date, &["2026-02-28", "0001-01-01", "0044-03-15 BC", "infinity", "20260228"]),
        (
            Type::Timestamptz(None),
            &["2026-02-28 23:59:59.999999+05:30", "-infinity", "epoch", "1999-12-31T23:59:60Z"],
        ),
        (Type::Jsonb, &["{}", "[1, \"\\u00e4\\n\"]", "{\"b\": 1, \"aa\": {\"x\": null}}"]),
        (Type::Oid, &["4294967295"]),
        (array(Type::Int4), &["{}", "{1,NULL,3}"]),
        (array(Type::Text), &["{a,\"b,c\",\"NULL\",NULL,\"q\\\"\"}"]),
        (array(Type::Int4), &["{{1,2},{3,NULL}}", "[0:1]={5,6}", "[-1:0][2:2]={{1},{2}}", "{{{{{{1}}}}}}"]),
        (array(Type::Bpchar(Some(2))), &["{a,bc}"]),
        (array(Type::Float4), &["{1.5,-0}"]),
    ];
    for (ty, texts) in cases {
        texts.iter().for_each(|text| both(ty, text));
    }
}

#[test]
fn bad_values_get_their_codes() {
    let cases: &[(Type, &str, &str)] = &[
        (Type::Int2, "32768", "22003"),
        (Type::Int4, "1.5", "22P02"),
        (Type::Int8, "", "22P02"),
        (Type::Bool, "tru e", "22P02"),
        (Type::Float4, "1e39", "22003"),
        (Type::Float4, "1e-60", "22003"),
        (Type::Float8, "1e999", "22003"),
        (Type::Float8, "0x10", "22P02"),
        (Type::Numeric(Some((3, 1))), "99.95", "22003"),
        (Type::Numeric(None), "1e200000", "22003"),
        (Type::Numeric(None), "1.2.3", "22P02"),
        (Type::Numeric(Some((3, 1))), "inf", "22003"),
        (Type::Varchar(Some(2)), "abc", "22001"),
        (Type::Bpchar(Some(2)), "abc", "22001"),
        (Type::Uuid, "x", "22P02"),
        (Type::Date, "2026-13-01", "22008"),
        (Type::Date, "yesterdayish", "22007"),
        (Type::Timestamptz(None), "2026-01-01 25:00", "22008"),
        (Type::Jsonb, "{\"a\"}", "22P02"),
        (Type::Jsonb, "[1,]", "22P02"),
        (Type::Jsonb, "01", "22P02"),
        (Type::Text, "a\0b", "22021"),
        (Type::Bytea, "\\xabc", "22023"),
        (Type::Array(Box::new(Type::Int4)), "{1", "22P02"),
        (Type::Array(Box::new(Type::Int4)), "{{1},{2,3}}", "22P02"),
        (Type::Array(Box::new(Type::Int4)), "[1:3]={1,2}", "22P02"),
        (Type::Array(Box::new(Type::Int4)), "[2:1]={1,2}", "2202E"),
        (Type::Array(Box::new(Type::Int4)), "{{{{{{{1}}}}}}}", "54000"),
    ];
    for (ty, text, code) in cases {
        assert_eq!(Value::from_text(ty, text).unwrap_err().sqlstate, *code, "{ty} {text}");
    }
    assert_eq!(Value::from_binary(&Type::Text, &[0xff]).unwrap_err().sqlstate, "22021");
    assert_eq!(Value::from_binary(&Type::Int8, &[1]).unwrap_err().sqlstate, "22P03");
    assert_eq!(Value::from_binary(&Type::Numeric(None), &[0, 9]).unwrap_err().sqlstate, "22P03");
}

#[test]
fn jsonb_is_canonical() {
    let shown = |text: &str| Value::from_text(&Type::Jsonb, text).unwrap().to_string_text();
    assert_eq!(shown("{\"bb\":1,\"a\":2,\"a\":3}"), "{\"a\": 3, \"bb\": 1}");
    assert_eq!(shown("[1.50,1e2,-0.0]"), "[1.50, 100, 0.0]");
    assert_eq!(shown("\"\\ud83d\\ude00\\/\""), "\"😀/\"");
    assert_eq!(Value::from_text(&Type::Jsonb, &"[".repeat(100_000)).unwrap_err().sqlstate, "54001");
}

#[test]
fn binary_numeric_is_postgresqls() {
    let bytes = |text: &str| {
        let mut out = Vec::new();
        Value::from_text(&Type::Numeric(None), text).unwrap().to_binary(&mut out);
        out
    };
    // Digit count, weight, sign, scale, base-10000 digits, as PostgreSQL 15 sends them.
    assert_eq!(bytes("12345.678"), [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124]);
    assert_eq!(bytes("-0.001"), [0, 1, 255, 255, 64, 0, 0, 3, 0, 10]);
    assert_eq!(bytes("0.00"), [0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(bytes("Infinity"), [0, 0, 0, 0, 208, 0, 0, 0]);
}

proptest! {
    #[test]
    fn numerics_roundtrip(text in "-?[0-9]{1,30}(\\.[0-9]{1,20})?") {
        both(&Type::Numeric(None), &text);
    }

    #[test]
    fn floats_roundtrip(value: f64) {
        let mut out = Vec::new();
        Value::Float8(value).to_text(&mut out);
        let again = Value::from_text(&Type::Float8, std::str::from_utf8(&out).unwrap()).unwrap();
        prop_assert_eq!(Value::Float8(value).compare(&again).unwrap(), std::cmp::Ordering::Equal);
    }

    #[test]
    fn timestamps_roundtrip(micros in -60_000_000_000_000_000i64..200_000_000_000_000_000) {
        both(&Type::Timestamptz(None), &Value::Timestamptz(micros).to_string_text());
    }

    #[test]
    fn no_text_breaks_a_parser(text in "\\PC{0,20}") {
        for TypeEntry { ty, .. } in Type::catalogued() {
            let _ = Value::from_text(ty, &text);
            let _ = Value::from_text(&Type::Array(Box::new(ty.clone())), &text);
        }
    }

    #[test]
    fn no_bytes_break_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for TypeEntry { ty, .. } in Type::catalogued() {
            let _ = Value::from_binary(ty, &bytes);
            let _ = Value::from_binary(&Type::Array(Box::new(ty.clone())), &bytes);
        }
    }
}
