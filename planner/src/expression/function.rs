//! Scalar functions: a table of names and types, and what they do.

use crate::error::{SqlError, sqlstate};
use crate::pg_catalog;
use crate::types::{Datum, MICROS_PER_DAY, Numeric, Type, Value, now_micros};

use super::Env;
use super::cast::{Strength, implicit, simple};

/// A scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    ArrayLength,
    ArrayPosition,
    ArrayToString,
    BackendPid,
    Btrim,
    Ceil,
    CharLength,
    ClockTimestamp,
    ColDescription,
    Concat,
    CurrentDate,
    CurrentSchemas,
    CurrentSetting,
    Database,
    DatePart,
    DateTrunc,
    DoNothing,
    EncodingName,
    ExpressionText,
    False,
    Floor,
    FormatType,
    GenRandomUuid,
    Greatest,
    Initcap,
    JsonbTypeof,
    Least,
    Left,
    Length,
    Lower,
    Lpad,
    Ltrim,
    Md5Unsupported,
    Mod,
    Now,
    Null,
    NullIf,
    ObjectDefinition,
    OctetLength,
    One,
    Power,
    QuoteIdent,
    QuoteLiteral,
    Repeat,
    Replace,
    Reverse,
    Right,
    Round,
    Rpad,
    Rtrim,
    Schema,
    ServerPort,
    SetConfig,
    Sign,
    SplitPart,
    Sqrt,
    StartsWith,
    Strpos,
    Substring,
    ToRegclass,
    ToRegtype,
    True,
    Trunc,
    Upper,
    User,
    UserById,
    Version,
    Zero,
}

use Function as F;

/// A type that takes anything.
const ANY: Type = Type::Unknown;
const TEXT: Type = Type::Text;
const INT: Type = Type::Int4;
const OID: Type = Type::Oid;
const FLOAT: Type = Type::Float8;
const NUMERIC: Type = Type::Numeric(None);

/// (name, function, argument types, how many of them are optional, result; `ANY` as result: the first argument's).
type Entry = (&'static str, Function, &'static [Type], usize, Type);

const FUNCTIONS: &[Entry] = &[
    ("abs", F::Abs, &[ANY], 0, ANY),
    ("array_length", F::ArrayLength, &[ANY, INT], 0, INT),
    ("array_position", F::ArrayPosition, &[ANY, ANY], 0, INT),
    ("array_to_string", F::ArrayToString, &[ANY, TEXT, TEXT], 1, TEXT),
    ("array_upper", F::ArrayLength, &[ANY, INT], 0, INT),
    ("btrim", F::Btrim, &[TEXT, TEXT], 1, TEXT),
    ("cardinality", F::ArrayLength, &[ANY], 0, INT),
    ("ceil", F::Ceil, &[FLOAT], 0, FLOAT),
    ("ceiling", F::Ceil, &[FLOAT], 0, FLOAT),
    ("char_length", F::CharLength, &[TEXT], 0, INT),
    ("character_length", F::CharLength, &[TEXT], 0, INT),
    ("clock_timestamp", F::ClockTimestamp, &[], 0, Type::Timestamptz),
    ("col_description", F::ColDescription, &[OID, INT], 0, TEXT),
    ("concat", F::Concat, &[ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY], 8, TEXT),
    ("current_catalog", F::Database, &[], 0, Type::Name),
    ("current_database", F::Database, &[], 0, Type::Name),
    ("current_date", F::CurrentDate, &[], 0, Type::Date),
    ("current_role", F::User, &[], 0, Type::Name),
    ("current_schema", F::Schema, &[], 0, Type::Name),
    ("current_setting", F::CurrentSetting, &[TEXT, Type::Bool], 1, TEXT),
    ("current_timestamp", F::Now, &[], 0, Type::Timestamptz),
    ("current_user", F::User, &[], 0, Type::Name),
    ("date_part", F::DatePart, &[TEXT, Type::Timestamptz], 0, FLOAT),
    ("date_trunc", F::DateTrunc, &[TEXT, Type::Timestamptz], 0, Type::Timestamptz),
    ("floor", F::Floor, &[FLOAT], 0, FLOAT),
    ("format_type", F::FormatType, &[OID, INT], 0, TEXT),
    ("gen_random_uuid", F::GenRandomUuid, &[], 0, Type::Uuid),
    ("has_any_column_privilege", F::True, &[ANY, ANY, ANY], 1, Type::Bool),
    ("has_column_privilege", F::True, &[ANY, ANY, ANY, ANY], 1, Type::Bool),
    ("has_database_privilege", F::True, &[ANY, ANY, ANY], 1, Type::Bool),
    ("has_function_privilege", F::True, &[ANY, ANY, ANY], 1, Type::Bool),
    ("has_schema_privilege", F::True, &[ANY, ANY, ANY], 1, Type::Bool),
    ("has_table_privilege", F::True, &[ANY, ANY, ANY], 1, Type::Bool),
    ("inet_server_addr", F::Null, &[], 0, TEXT),
    ("inet_server_port", F::ServerPort, &[], 0, INT),
    ("initcap", F::Initcap, &[TEXT], 0, TEXT),
    ("jsonb_typeof", F::JsonbTypeof, &[Type::Jsonb], 0, TEXT),
    ("left", F::Left, &[TEXT, INT], 0, TEXT),
    ("length", F::Length, &[ANY], 0, INT),
    ("lower", F::Lower, &[TEXT], 0, TEXT),
    ("lpad", F::Lpad, &[TEXT, INT, TEXT], 1, TEXT),
    ("ltrim", F::Ltrim, &[TEXT, TEXT], 1, TEXT),
    ("md5", F::Md5Unsupported, &[TEXT], 0, TEXT),
    ("mod", F::Mod, &[NUMERIC, NUMERIC], 0, NUMERIC),
    ("now", F::Now, &[], 0, Type::Timestamptz),
    ("nullif", F::NullIf, &[ANY, ANY], 0, ANY),
    ("obj_description", F::Null, &[OID, TEXT], 1, TEXT),
    ("octet_length", F::OctetLength, &[ANY], 0, INT),
    ("pg_advisory_unlock_all", F::DoNothing, &[], 0, TEXT),
    ("pg_backend_pid", F::BackendPid, &[], 0, INT),
    ("pg_collation_is_visible", F::True, &[OID], 0, Type::Bool),
    ("pg_encoding_to_char", F::EncodingName, &[INT], 0, Type::Name),
    ("pg_function_is_visible", F::True, &[OID], 0, Type::Bool),
    ("pg_get_constraintdef", F::ObjectDefinition, &[OID, Type::Bool], 1, TEXT),
    ("pg_get_expr", F::ExpressionText, &[TEXT, OID, Type::Bool], 1, TEXT),
    ("pg_get_indexdef", F::ObjectDefinition, &[OID, INT, Type::Bool], 2, TEXT),
    ("pg_get_partkeydef", F::Null, &[OID], 0, TEXT),
    ("pg_get_serial_sequence", F::Null, &[TEXT, TEXT], 0, TEXT),
    ("pg_get_statisticsobjdef_columns", F::Null, &[OID], 0, TEXT),
    ("pg_get_userbyid", F::UserById, &[OID], 0, Type::Name),
    ("pg_get_viewdef", F::Null, &[OID, Type::Bool], 1, TEXT),
    ("pg_is_in_recovery", F::False, &[], 0, Type::Bool),
    ("pg_is_other_temp_schema", F::False, &[OID], 0, Type::Bool),
    ("pg_my_temp_schema", F::Zero, &[], 0, OID),
    ("pg_opclass_is_visible", F::True, &[OID], 0, Type::Bool),
    ("pg_relation_is_publishable", F::False, &[ANY], 0, Type::Bool),
    ("pg_relation_size", F::Null, &[ANY, TEXT], 1, Type::Int8),
    ("pg_size_pretty", F::Null, &[ANY], 0, TEXT),
    ("pg_statistics_obj_is_visible", F::True, &[OID], 0, Type::Bool),
    ("pg_table_is_visible", F::True, &[OID], 0, Type::Bool),
    ("pg_table_size", F::Null, &[ANY], 0, Type::Int8),
    ("pg_total_relation_size", F::Null, &[ANY], 0, Type::Int8),
    ("pg_type_is_visible", F::True, &[OID], 0, Type::Bool),
    ("power", F::Power, &[FLOAT, FLOAT], 0, FLOAT),
    ("quote_ident", F::QuoteIdent, &[TEXT], 0, TEXT),
    ("quote_literal", F::QuoteLiteral, &[TEXT], 0, TEXT),
    ("repeat", F::Repeat, &[TEXT, INT], 0, TEXT),
    ("replace", F::Replace, &[TEXT, TEXT, TEXT], 0, TEXT),
    ("reverse", F::Reverse, &[TEXT], 0, TEXT),
    ("right", F::Right, &[TEXT, INT], 0, TEXT),
    ("round", F::Round, &[NUMERIC, INT], 1, NUMERIC),
    ("rpad", F::Rpad, &[TEXT, INT, TEXT], 1, TEXT),
    ("rtrim", F::Rtrim, &[TEXT, TEXT], 1, TEXT),
    ("session_user", F::User, &[], 0, Type::Name),
    ("set_config", F::SetConfig, &[TEXT, TEXT, Type::Bool], 0, TEXT),
    ("shobj_description", F::Null, &[OID, TEXT], 0, TEXT),
    ("sign", F::Sign, &[NUMERIC], 0, NUMERIC),
    ("split_part", F::SplitPart, &[TEXT, TEXT, INT], 0, TEXT),
    ("sqrt", F::Sqrt, &[FLOAT], 0, FLOAT),
    ("starts_with", F::StartsWith, &[TEXT, TEXT], 0, Type::Bool),
    ("statement_timestamp", F::Now, &[], 0, Type::Timestamptz),
    ("strpos", F::Strpos, &[TEXT, TEXT], 0, INT),
    ("substr", F::Substring, &[TEXT, INT, INT], 1, TEXT),
    ("substring", F::Substring, &[TEXT, INT, INT], 1, TEXT),
    ("to_regclass", F::ToRegclass, &[TEXT], 0, Type::Regclass),
    ("to_regtype", F::ToRegtype, &[TEXT], 0, Type::Regtype),
    ("transaction_timestamp", F::Now, &[], 0, Type::Timestamptz),
    ("trunc", F::Trunc, &[NUMERIC, INT], 1, NUMERIC),
    ("txid_current", F::One, &[], 0, Type::Int8),
    ("upper", F::Upper, &[TEXT], 0, TEXT),
    ("user", F::User, &[], 0, Type::Name),
    ("version", F::Version, &[], 0, TEXT),
];

/// A function found for some argument types: itself, the types its arguments must be cast to (`Unknown`: as they
/// are), and its result.
pub(crate) type Resolved = (Function, Vec<Type>, Type);

/// Finds a function. `None` if there is none of that name and these arguments.
pub(crate) fn resolve(name: &str, arguments: &[Type]) -> Option<Resolved> {
    match name {
        "greatest" | "least" if !arguments.is_empty() => {
            let function = if name == "greatest" { F::Greatest } else { F::Least };
            let ty = arguments.iter().find(|ty| **ty != Type::Unknown).cloned().unwrap_or(TEXT);
            return Some((function, vec![ty.clone(); arguments.len()], ty));
        }
        "current_schemas" if arguments.len() == 1 => {
            return Some((F::CurrentSchemas, vec![Type::Bool], Type::Array(Box::new(Type::Name))));
        }
        _ => {}
    }
    let fits = |entry: &&Entry| {
        let (_, _, types, optional, _) = entry;
        let count = types.len() - optional..=types.len();
        let allowed = |(from, to): (&Type, &Type)| {
            *to == ANY || implicit(from, to, Strength::Implicit) || *to == TEXT && from.is_text()
        };
        count.contains(&arguments.len()) && arguments.iter().zip(types.iter()).all(allowed)
    };
    let (_, function, types, _, result) = FUNCTIONS.iter().filter(|entry| entry.0 == name).find(fits)?;
    let first = arguments.first().cloned().unwrap_or(Type::Unknown);
    // Rounding keeps double precision when it gets it.
    if matches!(function, F::Round | F::Trunc) && first == FLOAT && arguments.len() == 1 {
        return Some((*function, vec![FLOAT], FLOAT));
    }
    if matches!(function, F::Ceil | F::Floor) && (first.is_integer() || matches!(first, Type::Numeric(_))) {
        return Some((*function, vec![NUMERIC], NUMERIC));
    }
    if *function == F::Mod && arguments.iter().all(Type::is_integer) {
        return Some((*function, vec![Type::Int8, Type::Int8], Type::Int8));
    }
    let result = if *result == ANY { first } else { result.clone() };
    let mut targets: Vec<Type> = types.iter().take(arguments.len()).cloned().collect();
    if *function == F::NullIf {
        targets = vec![result.clone(), result.clone()];
    }
    Some((*function, targets, result))
}

fn text_of(value: &Value) -> String {
    value.to_string_text()
}

fn small(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn length(count: usize) -> Value {
    Value::Int4(i32::try_from(count).unwrap_or(i32::MAX))
}

impl Function {
    /// Does it give another value each time?
    pub(crate) fn is_volatile(self) -> bool {
        matches!(self, F::GenRandomUuid | F::ClockTimestamp | F::SetConfig)
    }

    /// Does it have an answer for NULL arguments (all others give NULL)?
    fn takes_null(self) -> bool {
        matches!(
            self,
            F::Concat
                | F::Greatest
                | F::Least
                | F::NullIf
                | F::FormatType
                | F::ArrayToString
                | F::True
                | F::Null
                | F::ArrayPosition
        )
    }

    /// Calls it.
    pub(crate) fn call(self, arguments: Vec<Datum>, env: &Env) -> Result<Datum, SqlError> {
        if self.takes_null() {
            return self.call_nullable(arguments, env);
        }
        let Some(values) = arguments.into_iter().collect::<Option<Vec<Value>>>() else { return Ok(None) };
        self.call_values(&values, env)
    }

    fn call_nullable(self, arguments: Vec<Datum>, env: &Env) -> Result<Datum, SqlError> {
        Ok(match self {
            F::Concat => Some(Value::Text(arguments.iter().flatten().map(text_of).collect())),
            F::Greatest | F::Least => {
                let mut best: Datum = None;
                for value in arguments.into_iter().flatten() {
                    best = match best {
                        None => Some(value),
                        Some(own) => {
                            let greater = value.compare(&own)?.is_gt();
                            Some(if greater == (self == F::Greatest) { value } else { own })
                        }
                    };
                }
                best
            }
            F::NullIf => match (&arguments[0], &arguments[1]) {
                (Some(a), Some(b)) if a.compare(b)?.is_eq() => None,
                (a, _) => a.clone(),
            },
            F::FormatType => match &arguments[0] {
                Some(Value::Oid(oid)) => {
                    let modifier = arguments[1].as_ref().map_or(-1, small);
                    Some(Value::Text(pg_catalog::format_type(*oid, modifier, env)))
                }
                _ => None,
            },
            F::ArrayToString => match (&arguments[0], &arguments[1]) {
                (Some(Value::Array(array)), Some(separator)) => {
                    let null = arguments.get(2).cloned().flatten().map(|null| text_of(&null));
                    let texts: Vec<String> = array
                        .items
                        .iter()
                        .filter_map(|item| item.as_ref().map(text_of).or_else(|| null.clone()))
                        .collect();
                    Some(Value::Text(texts.join(&text_of(separator))))
                }
                _ => None,
            },
            F::ArrayPosition => match (&arguments[0], &arguments[1]) {
                (Some(Value::Array(array)), Some(wanted)) => {
                    let wanted = text_of(wanted);
                    let at = array
                        .items
                        .iter()
                        .position(|item| item.as_ref().map(text_of).as_ref() == Some(&wanted));
                    at.map(|at| length(at + 1))
                }
                _ => None,
            },
            F::True => Some(Value::Bool(true)),
            _ => None,
        })
    }

    fn call_values(self, values: &[Value], env: &Env) -> Result<Datum, SqlError> {
        let text = |at: usize| values.get(at).map(text_of).unwrap_or_default();
        Ok(Some(match self {
            F::Lower => Value::Text(text(0).to_lowercase()),
            F::Upper => Value::Text(text(0).to_uppercase()),
            F::Initcap => {
                let mut start = true;
                let convert = |c: char| {
                    let out = if start { c.to_uppercase().next() } else { c.to_lowercase().next() };
                    start = !c.is_alphanumeric();
                    out.unwrap_or(c)
                };
                Value::Text(text(0).chars().map(convert).collect())
            }
            F::CharLength => length(text(0).chars().count()),
            F::Length => match &values[0] {
                Value::Bytea(bytes) => length(bytes.len()),
                other => length(text_of(other).chars().count()),
            },
            F::OctetLength => match &values[0] {
                Value::Bytea(bytes) => length(bytes.len()),
                other => length(text_of(other).len()),
            },
            F::Btrim | F::Ltrim | F::Rtrim => {
                let set: Vec<char> = if values.len() > 1 { text(1).chars().collect() } else { vec![' '] };
                let whole = text(0);
                Value::text(match self {
                    F::Btrim => whole.trim_matches(set.as_slice()),
                    F::Ltrim => whole.trim_start_matches(set.as_slice()),
                    _ => whole.trim_end_matches(set.as_slice()),
                })
            }
            F::Lpad | F::Rpad => {
                let fill = if values.len() > 2 { text(2) } else { " ".into() };
                Value::Text(pad(&text(0), small(&values[1]), &fill, self == F::Lpad)?)
            }
            F::Left | F::Right => {
                let chars: Vec<char> = text(0).chars().collect();
                let count = small(&values[1]);
                let kept =
                    if count < 0 { chars.len() as i64 + count } else { count }.clamp(0, chars.len() as i64);
                let kept = kept as usize;
                let part = if self == F::Left { &chars[..kept] } else { &chars[chars.len() - kept..] };
                Value::Text(part.iter().collect())
            }
            F::Substring => {
                let start = small(&values[1]);
                let end = match values.get(2).map(small) {
                    Some(count) if count < 0 => {
                        return Err(SqlError::new("22011", "negative substring length not allowed"));
                    }
                    Some(count) => start.saturating_add(count),
                    None => i64::MAX,
                };
                let in_range = |(at, _): &(usize, char)| {
                    let at = *at as i64 + 1;
                    at >= start && at < end
                };
                Value::Text(text(0).chars().enumerate().filter(in_range).map(|(_, c)| c).collect())
            }
            F::Strpos => {
                let whole = text(0);
                length(whole.find(&text(1)).map_or(0, |at| whole[..at].chars().count() + 1))
            }
            F::StartsWith => Value::Bool(text(0).starts_with(&text(1))),
            F::Replace if text(1).is_empty() => Value::Text(text(0)),
            F::Replace => Value::Text(bounded(text(0).replace(&text(1), &text(2)))?),
            F::Repeat => {
                let (unit, count) = (text(0), small(&values[1]).max(0) as usize);
                if unit.len().saturating_mul(count) > TEXT_BYTES_MAX {
                    return Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, "requested length too large"));
                }
                Value::Text(unit.repeat(count))
            }
            F::Reverse => Value::Text(text(0).chars().rev().collect()),
            F::SplitPart => {
                let (whole, at) = (text(0), small(&values[2]));
                let parts: Vec<&str> = whole.split(&text(1) as &str).collect();
                let at = match at {
                    0 => {
                        return Err(SqlError::new(
                            sqlstate::INVALID_PARAMETER,
                            "field position must not be zero",
                        ));
                    }
                    at if at < 0 => parts.len() as i64 + at,
                    at => at - 1,
                };
                Value::text(usize::try_from(at).ok().and_then(|at| parts.get(at)).copied().unwrap_or(""))
            }
            F::QuoteIdent => Value::Text(pg_catalog::quote_ident(&text(0))),
            F::QuoteLiteral => Value::Text(format!("'{}'", text(0).replace('\'', "''"))),
            F::Md5Unsupported => return Err(SqlError::unsupported("md5()")),
            F::Abs => match &values[0] {
                Value::Float8(v) => Value::Float8(v.abs()),
                value if value.as_i64().is_some_and(|v| v >= 0) => value.clone(),
                Value::Numeric(v) if *v >= Numeric::from_i64(0) => values[0].clone(),
                value => super::arithmetic::negate(value.clone())?,
            },
            F::Ceil | F::Floor | F::Round | F::Trunc => round(self, values)?,
            F::Sign => match &values[0] {
                Value::Numeric(v) => Value::Numeric(Numeric::from_i64(v.cmp(&Numeric::from_i64(0)) as i64)),
                other => other.clone(),
            },
            F::Mod => super::arithmetic::binary(
                crate::statement::Operator::Modulo,
                &values[0].natural_type(),
                values[0].clone(),
                values[1].clone(),
            )?,
            F::Power => super::arithmetic::binary(
                crate::statement::Operator::Power,
                &FLOAT,
                values[0].clone(),
                values[1].clone(),
            )?,
            F::Sqrt => match &values[0] {
                Value::Float8(v) if *v < 0.0 => {
                    return Err(SqlError::new("2201F", "cannot take square root of a negative number"));
                }
                Value::Float8(v) => Value::Float8(v.sqrt()),
                other => other.clone(),
            },
            F::ArrayLength => match &values[0] {
                Value::Array(array) if array.items.is_empty() && values.len() > 1 => return Ok(None),
                Value::Array(array) => length(array.items.len()),
                _ => return Ok(None),
            },
            F::JsonbTypeof => {
                let document = text(0);
                Value::text(match document.as_bytes().first() {
                    Some(b'{') => "object",
                    Some(b'[') => "array",
                    Some(b'"') => "string",
                    Some(b't' | b'f') => "boolean",
                    Some(b'n') => "null",
                    _ => "number",
                })
            }
            F::Now => Value::Timestamptz(env.now),
            F::ClockTimestamp => Value::Timestamptz(now_micros()),
            F::CurrentDate => Value::Date(env.now.div_euclid(MICROS_PER_DAY) as i32),
            F::DatePart => Value::Float8(date_part(&text(0), &values[1])?),
            F::DateTrunc => date_trunc(&text(0), &values[1])?,
            F::GenRandomUuid => Value::Uuid(uuid::Uuid::new_v4()),
            F::Version => Value::text(env.info.version.clone()),
            F::Schema => Value::text("public"),
            F::CurrentSchemas => {
                let all = if values[0] == Value::Bool(true) { "{pg_catalog,public}" } else { "{public}" };
                Value::from_text(&Type::Array(Box::new(Type::Name)), all)?
            }
            F::Database => Value::text(env.session.database()),
            F::User => Value::text(env.session.user()),
            F::UserById => Value::text(if small(&values[0]) == 10 {
                env.session.user().to_string()
            } else {
                format!("unknown (OID={})", small(&values[0]))
            }),
            F::BackendPid => Value::Int4(env.session.id() as i32),
            F::ServerPort => match env.info.port {
                Some(port) => Value::Int4(i32::from(port)),
                None => return Ok(None),
            },
            F::CurrentSetting => match env.session.show(&text(0)) {
                Ok(value) => Value::Text(value),
                Err(_) if values.get(1) == Some(&Value::Bool(true)) => return Ok(None),
                Err(error) => return Err(error),
            },
            F::SetConfig => {
                env.session.set(&text(0), Some(&text(1)), values[2] == Value::Bool(true))?;
                Value::Text(env.session.show(&text(0))?)
            }
            F::EncodingName => Value::text(if small(&values[0]) == 6 { "UTF8" } else { "" }),
            F::ExpressionText => values[0].clone(),
            F::ObjectDefinition => return Ok(pg_catalog::definition(values, env)),
            F::ToRegclass => return Ok(pg_catalog::to_regclass(&text(0), env).ok()),
            F::ToRegtype => return Ok(pg_catalog::to_regtype(&text(0)).ok()),
            F::False => Value::Bool(false),
            F::Zero => Value::Oid(0),
            F::One => Value::Int8(1),
            F::DoNothing => Value::text(""),
            F::ColDescription => return Ok(None),
            F::True
            | F::Null
            | F::Concat
            | F::Greatest
            | F::Least
            | F::NullIf
            | F::FormatType
            | F::ArrayToString
            | F::ArrayPosition => return Err(SqlError::internal("a function that takes NULL")),
        }))
    }
}

/// Bytes of a computed text at most.
const TEXT_BYTES_MAX: usize = 16 << 20;

fn bounded(text: String) -> Result<String, SqlError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, "requested length too large"));
    }
    Ok(text)
}

fn pad(text: &str, width: i64, fill: &str, left: bool) -> Result<String, SqlError> {
    let width = width.max(0) as usize;
    if width > TEXT_BYTES_MAX {
        return Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, "requested length too large"));
    }
    let count = text.chars().count();
    if count >= width || fill.is_empty() {
        return Ok(text.chars().take(width).collect());
    }
    let filling: String = fill.chars().cycle().take(width - count).collect();
    Ok(if left { filling + text } else { text.to_string() + &filling })
}

fn round(function: Function, values: &[Value]) -> Result<Value, SqlError> {
    use bigdecimal::RoundingMode as Mode;
    let mode = match function {
        F::Ceil => Mode::Ceiling,
        F::Floor => Mode::Floor,
        F::Trunc => Mode::Down,
        _ => Mode::HalfUp,
    };
    Ok(match &values[0] {
        Value::Float8(v) => Value::Float8(match function {
            F::Ceil => v.ceil(),
            F::Floor => v.floor(),
            F::Trunc => v.trunc(),
            _ => v.round_ties_even(),
        }),
        Value::Numeric(Numeric::Finite(v)) => {
            let scale = values.get(1).map_or(0, small).clamp(-1000, 1000);
            Value::Numeric(Numeric::new(v.with_scale_round(scale, mode))?)
        }
        other => other.clone(),
    })
}

fn date_part(field: &str, value: &Value) -> Result<f64, SqlError> {
    let Value::Timestamptz(micros) = value else { return Ok(0.0) };
    let text = crate::types::timestamp_to_text(*micros);
    let number =
        |from: usize, to: usize| text.get(from..to).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    Ok(match field {
        "year" => number(0, 4),
        "month" => number(5, 7),
        "day" => number(8, 10),
        "hour" => (of_day / 3_600_000_000) as f64,
        "minute" => (of_day / 60_000_000 % 60) as f64,
        "second" => (of_day % 60_000_000) as f64 / 1e6,
        "epoch" => *micros as f64 / 1e6 + 946_684_800.0,
        // 2000-01-01 was a Saturday.
        "dow" => ((micros.div_euclid(MICROS_PER_DAY) + 6).rem_euclid(7)) as f64,
        other => return Err(SqlError::unsupported(format!("the field \"{other}\" of a timestamp"))),
    })
}

fn date_trunc(field: &str, value: &Value) -> Result<Value, SqlError> {
    let Value::Timestamptz(micros) = value else { return Ok(value.clone()) };
    let unit = match field {
        "microseconds" => 1,
        "milliseconds" => 1000,
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => MICROS_PER_DAY,
        "month" | "year" => {
            let text = crate::types::timestamp_to_text(*micros);
            let start =
                if field == "year" { format!("{}-01-01", &text[..4]) } else { format!("{}-01", &text[..7]) };
            return simple(Value::Text(start), &Type::Timestamptz, true);
        }
        other => return Err(SqlError::unsupported(format!("truncating a timestamp to \"{other}\""))),
    };
    Ok(Value::Timestamptz(micros - micros.rem_euclid(unit)))
}
