//! The values of SQL, and their order.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::datetime::Interval;
use super::numeric::Numeric;
use super::sql_type::Type;
use super::{float, json};
use crate::error::{SqlError, sqlstate};

/// A value that may be NULL.
pub type Datum = Option<Value>;

/// A row of values.
pub type Row = Vec<Datum>;

/// A value of SQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// boolean.
    Bool(bool),
    /// smallint.
    Int2(i16),
    /// integer.
    Int4(i32),
    /// bigint.
    Int8(i64),
    /// real.
    Float4(f32),
    /// double precision.
    Float8(f64),
    /// numeric.
    Numeric(Numeric),
    /// text, varchar, name, "char".
    Text(String),
    /// char(n), with its blanks at the end. They do not count in comparisons.
    Bpchar(String),
    /// bytea.
    Bytea(Bytes),
    /// uuid.
    Uuid(Uuid),
    /// date: days since 2000-01-01; `i32::MIN` and `i32::MAX` are -infinity and infinity.
    Date(i32),
    /// time: microseconds since midnight, at most a whole day.
    Time(i64),
    /// timetz: microseconds since midnight, and seconds east of UTC.
    Timetz(i64, i32),
    /// timestamp: microseconds since 2000-01-01 by local time; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// interval.
    Interval(Interval),
    /// timestamptz: microseconds since 2000-01-01 UTC; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamptz(i64),
    /// json, as it was written.
    Json(String),
    /// jsonb, in canonical text.
    Jsonb(String),
    /// oid, regclass, regtype.
    Oid(u32),
    /// An array.
    Array(Arc<Array>),
}

/// An array's elements and their type.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Element type.
    pub element: Type,
    /// Elements; of several dimensions those of the last dimension stand together.
    pub items: Vec<Datum>,
    /// The dimensions, the outermost first: their lengths multiply to the number of elements. None if there are no
    /// elements.
    pub dimensions: Vec<Dimension>,
}

/// A dimension of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension {
    /// Elements, or arrays of the next dimension: at least one.
    pub length: i32,
    /// The subscript of the first one: 1 if nothing else was asked for.
    pub lower: i32,
}

impl Array {
    /// Dimensions at most, as PostgreSQL has it.
    pub const DIMENSIONS_MAX: usize = 6;

    /// 54000 for an array of so many dimensions.
    pub(crate) fn too_many_dimensions(count: usize) -> SqlError {
        let text = format!(
            "number of array dimensions ({count}) exceeds the maximum allowed ({})",
            Self::DIMENSIONS_MAX
        );
        SqlError::new(sqlstate::LIMIT_EXCEEDED, text)
    }

    /// An array of one dimension, with subscripts from 1.
    pub fn new(element: Type, items: Vec<Datum>) -> Array {
        let dimension = Dimension { length: items.len() as i32, lower: 1 };
        let dimensions = if items.is_empty() { Vec::new() } else { vec![dimension] };
        Array { element, items, dimensions }
    }

    /// An array of values, or of arrays, which then are its outer dimension. 2202E if they are of different lengths.
    pub(crate) fn of(element: Type, items: Vec<Datum>) -> Result<Array, SqlError> {
        let is_array = |item: &Datum| matches!(item, Some(Value::Array(_)));
        if !items.iter().any(is_array) {
            return Ok(Array::new(element, items));
        }
        let failed = || {
            SqlError::new(
                sqlstate::ARRAY_SUBSCRIPT,
                "multidimensional arrays must have array expressions with matching dimensions",
            )
        };
        let mut dimensions = vec![Dimension { length: items.len() as i32, lower: 1 }];
        let mut all = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Some(Value::Array(inner)) = item else { return Err(failed()) };
            if at == 0 {
                dimensions.extend(&inner.dimensions);
            } else if dimensions[1..] != inner.dimensions {
                return Err(failed());
            }
            all.extend(inner.items.iter().cloned());
        }
        if dimensions.len() > Array::DIMENSIONS_MAX {
            return Err(Array::too_many_dimensions(dimensions.len()));
        }
        if all.is_empty() {
            dimensions.clear();
        }
        Ok(Array { element, items: all, dimensions })
    }

    /// SQL's order: by the elements, then by their number, then by the dimensions.
    fn compare(&self, other: &Array) -> Result<Ordering, SqlError> {
        for (x, y) in self.items.iter().zip(&other.items) {
            let order = match (x, y) {
                (Some(x), Some(y)) => x.compare(y)?,
                (x, y) => x.is_none().cmp(&y.is_none()),
            };
            if order != Ordering::Equal {
                return Ok(order);
            }
        }
        let lengths = |array: &Array| array.dimensions.iter().map(|own| own.length).collect::<Vec<_>>();
        let lowers = |array: &Array| array.dimensions.iter().map(|own| own.lower).collect::<Vec<_>>();
        Ok(self.items.len().cmp(&other.items.len()).then_with(|| {
            let dimensions = self.dimensions.len().cmp(&other.dimensions.len());
            dimensions
                .then_with(|| lengths(self).cmp(&lengths(other)))
                .then_with(|| lowers(self).cmp(&lowers(other)))
        }))
    }
}

impl Value {
    /// Text as a value.
    pub(crate) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// The type that the value has by itself.
    pub(crate) fn natural_type(&self) -> Type {
        match self {
            Value::Bool(_) => Type::Bool,
            Value::Int2(_) => Type::Int2,
            Value::Int4(_) => Type::Int4,
            Value::Int8(_) => Type::Int8,
            Value::Float4(_) => Type::Float4,
            Value::Float8(_) => Type::Float8,
            Value::Numeric(_) => Type::Numeric(None),
            Value::Text(_) => Type::Text,
            Value::Bpchar(_) => Type::Bpchar(None),
            Value::Bytea(_) => Type::Bytea,
            Value::Uuid(_) => Type::Uuid,
            Value::Date(_) => Type::Date,
            Value::Time(_) => Type::Time(None),
            Value::Timetz(..) => Type::Timetz(None),
            Value::Timestamp(_) => Type::Timestamp(None),
            Value::Timestamptz(_) => Type::Timestamptz(None),
            Value::Interval(_) => Type::Interval(None),
            Value::Json(_) => Type::Json,
            Value::Jsonb(_) => Type::Jsonb,
            Value::Oid(_) => Type::Oid,
            Value::Array(array) => Type::Array(Box::new(array.element.clone())),
        }
    }

    /// The value as a whole number, if it is one.
    pub(crate) fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int2(v) => Some(i64::from(*v)),
            Value::Int4(v) => Some(i64::from(*v)),
            Value::Int8(v) => Some(*v),
            Value::Oid(v) => Some(i64::from(*v)),
            _ => None,
        }
    }

    /// SQL's order of two values of the same type (NaN is the largest and equal to itself, as in PostgreSQL).
    pub(crate) fn compare(&self, other: &Value) -> Result<Ordering, SqlError> {
        Ok(match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int2(a), Value::Int2(b)) => a.cmp(b),
            (Value::Int4(a), Value::Int4(b)) => a.cmp(b),
            (Value::Int8(a), Value::Int8(b)) => a.cmp(b),
            (Value::Float4(a), Value::Float4(b)) => float::compare(f64::from(*a), f64::from(*b)),
            (Value::Float8(a), Value::Float8(b)) => float::compare(*a, *b),
            (Value::Numeric(a), Value::Numeric(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Bpchar(a), Value::Bpchar(b)) => unpadded(a).as_bytes().cmp(unpadded(b).as_bytes()),
            (Value::Bytea(a), Value::Bytea(b)) => a.cmp(b),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Timetz(a, east), Value::Timetz(b, other)) => {
                (utc(*a, *east), -east).cmp(&(utc(*b, *other), -other))
            }
            (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            (Value::Timestamptz(a), Value::Timestamptz(b)) => a.cmp(b),
            (Value::Interval(a), Value::Interval(b)) => a.compare(b),
            (Value::Jsonb(a), Value::Jsonb(b)) => json::compare(a, b),
            (Value::Oid(a), Value::Oid(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) => a.compare(b)?,
            (a, b) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => {
                    return Err(SqlError::new(
                        sqlstate::UNDEFINED_FUNCTION,
                        format!("cannot compare {} with {}", a.natural_type(), b.natural_type()),
                    ));
                }
            },
        })
    }

    /// Hashes what [`Value::compare`] looks at: values that compare as equal hash alike.
    pub(crate) fn hash_equal(&self, hasher: &mut impl Hasher) {
        if let Some(number) = self.as_i64() {
            return number.hash(hasher);
        }
        match self {
            Value::Float4(number) => float::hash_bits(f64::from(*number)).hash(hasher),
            Value::Float8(number) => float::hash_bits(*number).hash(hasher),
            Value::Numeric(number) => number.finite().hash(hasher),
            Value::Text(text) | Value::Json(text) => text.hash(hasher),
            Value::Bpchar(text) => unpadded(text).hash(hasher),
            Value::Bytea(bytes) => bytes.hash(hasher),
            Value::Uuid(uuid) => uuid.hash(hasher),
            Value::Bool(value) => value.hash(hasher),
            Value::Date(days) => days.hash(hasher),
            Value::Time(micros) | Value::Timestamp(micros) | Value::Timestamptz(micros) => {
                micros.hash(hasher)
            }
            Value::Timetz(micros, east) => (micros, east).hash(hasher),
            Value::Interval(interval) => interval.span().hash(hasher),
            // Documents that are equal differ in the digits of numbers only (1 and 1.0).
            Value::Jsonb(text) => {
                let others = text.bytes().filter(|byte| !byte.is_ascii_digit() && !b".eE+-".contains(byte));
                others.for_each(|byte| hasher.write_u8(byte));
            }
            Value::Array(array) => {
                array.items.len().hash(hasher);
                for item in &array.items {
                    item.is_some().hash(hasher);
                    if let Some(item) = item {
                        item.hash_equal(hasher);
                    }
                }
            }
            Value::Int2(_) | Value::Int4(_) | Value::Int8(_) | Value::Oid(_) => {}
        }
    }
}

/// The text of char(n) without its blanks at the end.
pub(crate) fn unpadded(text: &str) -> &str {
    text.trim_end_matches(' ')
}

/// The microseconds of a timetz by UTC: before midnight they are negative.
pub(crate) fn utc(micros: i64, east: i32) -> i64 {
    micros - i64::from(east) * 1_000_000
}
