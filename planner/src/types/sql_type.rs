//! The types of SQL: their names and numbers, as clients and pg_type have them.

use std::fmt;

use super::datetime::IntervalLimit;

/// A type of SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// boolean.
    Bool,
    /// smallint.
    Int2,
    /// integer.
    Int4,
    /// bigint.
    Int8,
    /// real.
    Float4,
    /// double precision.
    Float8,
    /// numeric, with precision (1..=1000) and scale (-1000..=1000) if declared.
    Numeric(Option<(u16, i16)>),
    /// text.
    Text,
    /// character, with its length in characters if declared: `char(n)` is padded with blanks, which do not count in
    /// comparisons.
    Bpchar(Option<u32>),
    /// character varying, with its length limit in characters if declared.
    Varchar(Option<u32>),
    /// bytea.
    Bytea,
    /// uuid.
    Uuid,
    /// date.
    Date,
    /// time, with its digits of a second if declared.
    Time(Option<u8>),
    /// time with time zone, with its digits of a second if declared.
    Timetz(Option<u8>),
    /// timestamp, with its digits of a second if declared.
    Timestamp(Option<u8>),
    /// timestamp with time zone, with its digits of a second if declared.
    Timestamptz(Option<u8>),
    /// interval, with the fields and digits that it keeps if declared.
    Interval(Option<IntervalLimit>),
    /// json: the text as it was written.
    Json,
    /// jsonb.
    Jsonb,
    /// name: identifiers of the catalog.
    Name,
    /// "char": one-byte codes of the catalog.
    Char,
    /// oid.
    Oid,
    /// regclass: an oid that prints as a relation's name.
    Regclass,
    /// regtype: an oid that prints as a type's name.
    Regtype,
    /// Any other catalog type of which only the number and the name are known (pg_node_tree, aclitem, ..).
    Opaque(u32, &'static str),
    /// An array, of any number of dimensions.
    Array(Box<Type>),
    /// An untyped literal or parameter, before its context gives it a type.
    Unknown,
}

/// A type as pg_type lists it.
pub(crate) struct TypeEntry {
    /// The type, without length, precision or scale.
    pub(crate) ty: Type,
    /// Its number.
    pub(crate) oid: u32,
    /// The number of the type of its arrays.
    pub(crate) array_oid: u32,
    /// Bytes of a value; -1 if it varies.
    pub(crate) size: i16,
    /// pg_type's name of it ("int4").
    pub(crate) name: &'static str,
    /// The name in SQL ("integer").
    sql_name: &'static str,
}

const fn entry(
    ty: Type,
    oid: u32,
    array_oid: u32,
    size: i16,
    name: &'static str,
    sql_name: &'static str,
) -> TypeEntry {
    TypeEntry { ty, oid, array_oid, size, name, sql_name }
}

/// All types but arrays. (type, oid, oid of its arrays, size, name, name in SQL)
static TYPES: &[TypeEntry] = &[
    entry(Type::Bool, 16, 1000, 1, "bool", "boolean"),
    entry(Type::Bytea, 17, 1001, -1, "bytea", "bytea"),
    entry(Type::Char, 18, 1002, 1, "char", "\"char\""),
    entry(Type::Name, 19, 1003, 64, "name", "name"),
    entry(Type::Int8, 20, 1016, 8, "int8", "bigint"),
    entry(Type::Int2, 21, 1005, 2, "int2", "smallint"),
    entry(Type::Int4, 23, 1007, 4, "int4", "integer"),
    entry(Type::Text, 25, 1009, -1, "text", "text"),
    entry(Type::Oid, 26, 1028, 4, "oid", "oid"),
    entry(Type::Json, 114, 199, -1, "json", "json"),
    entry(Type::Float4, 700, 1021, 4, "float4", "real"),
    entry(Type::Float8, 701, 1022, 8, "float8", "double precision"),
    entry(Type::Bpchar(None), 1042, 1014, -1, "bpchar", "character"),
    entry(Type::Varchar(None), 1043, 1015, -1, "varchar", "character varying"),
    entry(Type::Date, 1082, 1182, 4, "date", "date"),
    entry(Type::Time(None), 1083, 1183, 8, "time", "time without time zone"),
    entry(Type::Timestamp(None), 1114, 1115, 8, "timestamp", "timestamp without time zone"),
    entry(Type::Timestamptz(None), 1184, 1185, 8, "timestamptz", "timestamp with time zone"),
    entry(Type::Interval(None), 1186, 1187, 16, "interval", "interval"),
    entry(Type::Timetz(None), 1266, 1270, 12, "timetz", "time with time zone"),
    entry(Type::Numeric(None), 1700, 1231, -1, "numeric", "numeric"),
    entry(Type::Regclass, 2205, 2210, 4, "regclass", "regclass"),
    entry(Type::Regtype, 2206, 2211, 4, "regtype", "regtype"),
    entry(Type::Uuid, 2950, 2951, 16, "uuid", "uuid"),
    entry(Type::Jsonb, 3802, 3807, -1, "jsonb", "jsonb"),
];

impl Type {
    /// The types that pg_type lists.
    pub(crate) fn catalogued() -> impl Iterator<Item = &'static TypeEntry> {
        TYPES.iter()
    }

    /// This type without its length, precision or scale.
    pub(crate) fn plain(&self) -> Type {
        match self {
            Type::Bpchar(_) => Type::Bpchar(None),
            Type::Varchar(_) => Type::Varchar(None),
            Type::Numeric(_) => Type::Numeric(None),
            Type::Time(_) => Type::Time(None),
            Type::Timetz(_) => Type::Timetz(None),
            Type::Timestamp(_) => Type::Timestamp(None),
            Type::Timestamptz(_) => Type::Timestamptz(None),
            Type::Interval(_) => Type::Interval(None),
            other => other.clone(),
        }
    }

    fn entry(&self) -> Option<&'static TypeEntry> {
        let plain = self.plain();
        TYPES.iter().find(|entry| entry.ty == plain)
    }

    /// PostgreSQL's number of the type.
    pub fn oid(&self) -> u32 {
        match self {
            Type::Unknown => 705,
            Type::Opaque(oid, _) => *oid,
            Type::Array(element) => element.entry().map_or(2277, |entry| entry.array_oid),
            other => other.entry().map_or(705, |entry| entry.oid),
        }
    }

    /// Bytes of a value, -1 if it varies (RowDescription's type size).
    pub fn size(&self) -> i16 {
        match self {
            Type::Unknown => -2,
            Type::Opaque(..) | Type::Array(_) => -1,
            other => other.entry().map_or(-1, |entry| entry.size),
        }
    }

    /// RowDescription's type modifier, -1 if there is none.
    pub fn modifier(&self) -> i32 {
        match self {
            Type::Varchar(Some(length)) | Type::Bpchar(Some(length)) => *length as i32 + 4,
            Type::Numeric(Some((precision, scale))) => {
                ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7FF)) + 4
            }
            Type::Time(Some(digits))
            | Type::Timetz(Some(digits))
            | Type::Timestamp(Some(digits))
            | Type::Timestamptz(Some(digits)) => i32::from(*digits),
            Type::Interval(Some(limit)) => limit.modifier(),
            _ => -1,
        }
    }

    /// The type of a wire number. Types that PostgreSQL has and this server lacks map to the nearest one where
    /// their formats agree; 0 and unknown give `Unknown`.
    pub fn from_oid(oid: u32) -> Option<Type> {
        match oid {
            0 | 705 => return Some(Type::Unknown),
            _ => {}
        }
        TYPES.iter().find_map(|entry| {
            if entry.oid == oid {
                Some(entry.ty.clone())
            } else if entry.array_oid == oid {
                Some(Type::Array(Box::new(entry.ty.clone())))
            } else {
                None
            }
        })
    }

    /// pg_type's name of it ("int4").
    pub fn name(&self) -> String {
        match self {
            Type::Unknown => "unknown".into(),
            Type::Opaque(_, name) => (*name).into(),
            Type::Array(element) => format!("_{}", element.name()),
            other => other.entry().map_or("unknown", |entry| entry.name).into(),
        }
    }

    /// Is it text-like: text, varchar, char(n), name, "char"?
    pub(crate) fn is_text(&self) -> bool {
        matches!(
            self,
            Type::Text | Type::Varchar(_) | Type::Bpchar(_) | Type::Name | Type::Char | Type::Opaque(..)
        )
    }

    /// Is it a whole number?
    pub(crate) fn is_integer(&self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    /// Is it a number?
    pub(crate) fn is_number(&self) -> bool {
        self.is_integer() || matches!(self, Type::Float4 | Type::Float8 | Type::Numeric(_))
    }

    /// Is it a date, a time, a timestamp or an interval, or an array of them? How their texts are read and written
    /// depends on the session's settings.
    pub(crate) fn is_datetime(&self) -> bool {
        match self {
            Type::Array(element) => element.is_datetime(),
            Type::Date
            | Type::Time(_)
            | Type::Timetz(_)
            | Type::Timestamp(_)
            | Type::Timestamptz(_)
            | Type::Interval(_) => true,
            _ => false,
        }
    }

    /// Is it oid or one of its aliases?
    pub(crate) fn is_oid(&self) -> bool {
        matches!(self, Type::Oid | Type::Regclass | Type::Regtype)
    }
}

/// The name that format_type gives ("character varying(10)").
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Varchar(Some(length)) => write!(f, "character varying({length})"),
            Type::Bpchar(Some(length)) => write!(f, "character({length})"),
            Type::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            Type::Time(Some(digits)) => write!(f, "time({digits}) without time zone"),
            Type::Timetz(Some(digits)) => write!(f, "time({digits}) with time zone"),
            Type::Timestamp(Some(digits)) => write!(f, "timestamp({digits}) without time zone"),
            Type::Timestamptz(Some(digits)) => write!(f, "timestamp({digits}) with time zone"),
            Type::Interval(Some(limit)) => write!(f, "interval{}", limit.suffix()),
            Type::Unknown => f.write_str("unknown"),
            Type::Opaque(_, name) => f.write_str(name),
            Type::Array(element) => write!(f, "{element}[]"),
            other => f.write_str(other.entry().map_or("unknown", |entry| entry.sql_name)),
        }
    }
}
