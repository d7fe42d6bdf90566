//! The aggregates: a table like those of the scalar functions. Code is an [`Accumulator`] that is given the rows of a
//! group one by one.

use std::cmp::Ordering;
use std::fmt::Debug;

use super::signature::Signature;
use crate::error::SqlError;
use crate::expression::arithmetic;
use crate::expression::value_limit::check_value_bytes;
use crate::memory::heap_bytes;
use crate::statement::Operator;
use crate::types::declared::{
    ANY, ANYARRAY, ANYELEMENT, BOOL, FLOAT4, FLOAT8, INT2, INT4, INT8, NUMERIC, TEXT,
};
use crate::types::{Array, Datum, DeclaredType, Numeric, Type, Value};

/// What an aggregate has gathered of one group.
pub(crate) trait Accumulator: Send {
    /// Takes the arguments of one row, in the types that the signature asks for.
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError>;

    /// Bytes that it has come to hold of all those arguments.
    fn held_bytes(&self) -> u64 {
        0
    }

    /// The result, of the type that it was started with.
    fn finish(self: Box<Self>) -> Result<Datum, SqlError>;
}

/// An aggregate function: an entry of the table.
#[derive(Debug)]
pub(crate) struct AggregateFunction {
    /// Its name and its types.
    pub(crate) signature: Signature,
    /// Does it take rows whose first argument is NULL? Otherwise they are passed over.
    pub(crate) accepts_null: bool,
    /// Makes the accumulator of a group, for a result of a type.
    pub(crate) start: fn(&Type) -> Box<dyn Accumulator>,
}

pub(super) const FUNCTIONS: &[AggregateFunction] = &[
    aggregate("array_agg", &[ANYELEMENT], ANYARRAY, |ty| {
        Box::new(Items { ty: ty.clone(), items: Vec::new(), bytes: 0 })
    })
    .accepts_null(),
    aggregate("avg", &[FLOAT8], FLOAT8, |ty| Box::new(Average(Sum::new(ty)))),
    aggregate("avg", &[INT2], NUMERIC, |ty| Box::new(Average(Sum::new(ty)))),
    aggregate("avg", &[INT4], NUMERIC, |ty| Box::new(Average(Sum::new(ty)))),
    aggregate("avg", &[INT8], NUMERIC, |ty| Box::new(Average(Sum::new(ty)))),
    aggregate("avg", &[NUMERIC], NUMERIC, |ty| Box::new(Average(Sum::new(ty)))),
    aggregate("bool_and", &[BOOL], BOOL, |_| Box::new(Extreme::new(Ordering::Less))),
    aggregate("bool_or", &[BOOL], BOOL, |_| Box::new(Extreme::new(Ordering::Greater))),
    // count(*).
    aggregate("count", &[], INT8, |_| Box::new(Count(0))),
    aggregate("count", &[ANY], INT8, |_| Box::new(Count(0))),
    aggregate("every", &[BOOL], BOOL, |_| Box::new(Extreme::new(Ordering::Less))),
    aggregate("max", &[ANYELEMENT], ANYELEMENT, |_| Box::new(Extreme::new(Ordering::Greater))),
    aggregate("min", &[ANYELEMENT], ANYELEMENT, |_| Box::new(Extreme::new(Ordering::Less))),
    aggregate("string_agg", &[TEXT, TEXT], TEXT, |_| Box::new(Joined(None))),
    aggregate("sum", &[FLOAT4], FLOAT4, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[FLOAT8], FLOAT8, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[INT2], INT8, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[INT4], INT8, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[INT8], NUMERIC, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[NUMERIC], NUMERIC, |ty| Box::new(Sum::new(ty))),
];

const fn aggregate(
    name: &'static str,
    arguments: &'static [DeclaredType],
    result: DeclaredType,
    start: fn(&Type) -> Box<dyn Accumulator>,
) -> AggregateFunction {
    let signature = Signature { name, arguments, optional: 0, variadic: false, result };
    AggregateFunction { signature, accepts_null: false, start }
}

impl AggregateFunction {
    const fn accepts_null(mut self) -> AggregateFunction {
        self.accepts_null = true;
        self
    }
}

/// Functions are entries of tables: one is equal to itself only.
impl PartialEq for AggregateFunction {
    fn eq(&self, other: &AggregateFunction) -> bool {
        std::ptr::eq(self, other)
    }
}

/// count: rows.
struct Count(i64);

impl Accumulator for Count {
    fn add(&mut self, _: &[Datum]) -> Result<(), SqlError> {
        self.0 += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        Ok(Some(Value::Int8(self.0)))
    }
}

/// min, max, bool_and (false is less than true), bool_or: the value that compares to all others so.
struct Extreme {
    wanted: Ordering,
    best: Datum,
}

impl Extreme {
    fn new(wanted: Ordering) -> Extreme {
        Extreme { wanted, best: None }
    }
}

impl Accumulator for Extreme {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let Some(Some(value)) = arguments.first() else { return Ok(()) };
        let better = match &self.best {
            None => true,
            Some(best) => value.compare(best)? == self.wanted,
        };
        if better {
            self.best = Some(value.clone());
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        Ok(self.best)
    }
}

/// sum: whole numbers exactly, others in their own type.
struct Sum {
    ty: Type,
    count: i64,
    whole: i128,
    other: Datum,
}

impl Sum {
    fn new(ty: &Type) -> Sum {
        Sum { ty: ty.clone(), count: 0, whole: 0, other: None }
    }

    fn total(self) -> Result<Value, SqlError> {
        match self.other {
            Some(total) => Ok(total),
            None if self.ty == Type::Int8 => arithmetic::integer(&Type::Int8, self.whole),
            None => Numeric::parse(&self.whole.to_string()).map(Value::Numeric),
        }
    }
}

impl Accumulator for Sum {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let Some(Some(value)) = arguments.first() else { return Ok(()) };
        self.count += 1;
        if let Some(number) = value.as_i64() {
            self.whole += i128::from(number);
            return Ok(());
        }
        let value = value.clone();
        self.other = Some(match self.other.take() {
            None => value,
            Some(total) => arithmetic::binary(Operator::Plus, &self.ty, total, value)?,
        });
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        if self.count == 0 { Ok(None) } else { self.total().map(Some) }
    }
}

/// avg.
struct Average(Sum);

impl Accumulator for Average {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        self.0.add(arguments)
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        let count = self.0.count;
        if count == 0 {
            return Ok(None);
        }
        match self.0.total()? {
            Value::Float8(sum) => Ok(Some(Value::Float8(sum / count as f64))),
            Value::Numeric(sum) => Ok(Some(Value::Numeric(sum.divide(&Numeric::from_i64(count))?))),
            _ => Err(SqlError::internal("avg over values that are not numbers")),
        }
    }
}

/// array_agg.
struct Items {
    ty: Type,
    items: Vec<Datum>,
    bytes: u64,
}

impl Accumulator for Items {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        if let Some(item) = arguments.first() {
            // The array doubles as it grows.
            self.bytes += 2 * size_of::<Datum>() as u64 + heap_bytes(item);
            self.items.push(item.clone());
        }
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        let (Type::Array(element), false) = (self.ty, self.items.is_empty()) else { return Ok(None) };
        Ok(Some(Value::Array(Array::new(*element, self.items).into())))
    }
}

/// string_agg: each text but the first behind its row's separator.
struct Joined(Option<String>);

impl Accumulator for Joined {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let [Some(value), separator] = arguments else { return Ok(()) };
        match (&mut self.0, separator) {
            (None, _) => self.0 = Some(value.to_string_text()),
            (Some(joined), separator) => {
                let separator = separator.as_ref().map_or(String::new(), Value::to_string_text);
                let value = value.to_string_text();
                check_value_bytes(joined.len() + separator.len() + value.len())?;
                joined.push_str(&separator);
                joined.push_str(&value);
            }
        }
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |joined| joined.capacity() as u64)
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        Ok(self.0.map(Value::Text))
    }
}
