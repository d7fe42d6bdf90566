//! The aggregates: a table like those of the scalar functions. Code is an [`Accumulator`] that is given the rows of a
//! group one by one.

use std::cmp::Ordering;
use std::fmt::Debug;

use super::accumulator::Accumulator;
use super::json::key_text;
use super::json_build::{json_text, to_document};
use super::signature::Signature;
use super::statistics::{self, Pairs, Spread};
use crate::error::{SqlError, sqlstate};
use crate::expression::arithmetic;
use crate::expression::value_limit::check_value_bytes;
use crate::memory::heap_bytes;
use crate::statement::Operator;
use crate::types::declared::{
    ANY, ANYARRAY, ANYELEMENT, BOOL, FLOAT4, FLOAT8, INT2, INT4, INT8, JSON, JSONB, NUMERIC, TEXT,
};
use crate::types::{Array, Datum, DeclaredType, Json, Numeric, Type, Value, write_json_string};

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
    aggregate("bit_and", &[INT2], INT2, |ty| Box::new(Bits::new(ty, |a, b| a & b))),
    aggregate("bit_and", &[INT4], INT4, |ty| Box::new(Bits::new(ty, |a, b| a & b))),
    aggregate("bit_and", &[INT8], INT8, |ty| Box::new(Bits::new(ty, |a, b| a & b))),
    aggregate("bit_or", &[INT2], INT2, |ty| Box::new(Bits::new(ty, |a, b| a | b))),
    aggregate("bit_or", &[INT4], INT4, |ty| Box::new(Bits::new(ty, |a, b| a | b))),
    aggregate("bit_or", &[INT8], INT8, |ty| Box::new(Bits::new(ty, |a, b| a | b))),
    aggregate("bit_xor", &[INT2], INT2, |ty| Box::new(Bits::new(ty, |a, b| a ^ b))),
    aggregate("bit_xor", &[INT4], INT4, |ty| Box::new(Bits::new(ty, |a, b| a ^ b))),
    aggregate("bit_xor", &[INT8], INT8, |ty| Box::new(Bits::new(ty, |a, b| a ^ b))),
    aggregate("bool_and", &[BOOL], BOOL, |_| Box::new(Extreme::new(Ordering::Less))),
    aggregate("bool_or", &[BOOL], BOOL, |_| Box::new(Extreme::new(Ordering::Greater))),
    aggregate("corr", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::correlation))),
    // count(*).
    aggregate("count", &[], INT8, |_| Box::new(Count(0))),
    aggregate("count", &[ANY], INT8, |_| Box::new(Count(0))),
    aggregate("covar_pop", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::covariance))),
    aggregate("covar_samp", &[FLOAT8, FLOAT8], FLOAT8, |_| {
        Box::new(Pairs::new(statistics::sample_covariance))
    }),
    aggregate("every", &[BOOL], BOOL, |_| Box::new(Extreme::new(Ordering::Less))),
    aggregate("json_agg", &[ANY], JSON, |_| Box::new(JsonItems::new(false))).accepts_null(),
    aggregate("json_object_agg", &[ANY, ANY], JSON, |_| Box::new(JsonMembers::new(false))).accepts_null(),
    aggregate("jsonb_agg", &[ANY], JSONB, |_| Box::new(JsonItems::new(true))).accepts_null(),
    aggregate("jsonb_object_agg", &[ANY, ANY], JSONB, |_| Box::new(JsonMembers::new(true))).accepts_null(),
    aggregate("max", &[ANYELEMENT], ANYELEMENT, |_| Box::new(Extreme::new(Ordering::Greater))),
    aggregate("min", &[ANYELEMENT], ANYELEMENT, |_| Box::new(Extreme::new(Ordering::Less))),
    aggregate("regr_avgx", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::average_x))),
    aggregate("regr_avgy", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::average_y))),
    aggregate("regr_count", &[FLOAT8, FLOAT8], INT8, |_| Box::new(Pairs::new(statistics::pairs))),
    aggregate("regr_intercept", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::intercept))),
    aggregate("regr_r2", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::determination))),
    aggregate("regr_slope", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::slope))),
    aggregate("regr_sxx", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::squares_x))),
    aggregate("regr_sxy", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::products))),
    aggregate("regr_syy", &[FLOAT8, FLOAT8], FLOAT8, |_| Box::new(Pairs::new(statistics::squares_y))),
    aggregate("stddev", &[FLOAT8], FLOAT8, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev", &[INT2], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev", &[INT4], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev", &[INT8], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev", &[NUMERIC], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev_pop", &[FLOAT8], FLOAT8, |_| Box::new(Spread::new(true, false))),
    aggregate("stddev_pop", &[INT2], NUMERIC, |_| Box::new(Spread::new(true, false))),
    aggregate("stddev_pop", &[INT4], NUMERIC, |_| Box::new(Spread::new(true, false))),
    aggregate("stddev_pop", &[INT8], NUMERIC, |_| Box::new(Spread::new(true, false))),
    aggregate("stddev_pop", &[NUMERIC], NUMERIC, |_| Box::new(Spread::new(true, false))),
    aggregate("stddev_samp", &[FLOAT8], FLOAT8, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev_samp", &[INT2], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev_samp", &[INT4], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev_samp", &[INT8], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("stddev_samp", &[NUMERIC], NUMERIC, |_| Box::new(Spread::new(true, true))),
    aggregate("string_agg", &[TEXT, TEXT], TEXT, |_| Box::new(Joined(None))),
    aggregate("sum", &[FLOAT4], FLOAT4, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[FLOAT8], FLOAT8, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[INT2], INT8, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[INT4], INT8, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[INT8], NUMERIC, |ty| Box::new(Sum::new(ty))),
    aggregate("sum", &[NUMERIC], NUMERIC, |ty| Box::new(Sum::new(ty))),
    aggregate("var_pop", &[FLOAT8], FLOAT8, |_| Box::new(Spread::new(false, false))),
    aggregate("var_pop", &[INT2], NUMERIC, |_| Box::new(Spread::new(false, false))),
    aggregate("var_pop", &[INT4], NUMERIC, |_| Box::new(Spread::new(false, false))),
    aggregate("var_pop", &[INT8], NUMERIC, |_| Box::new(Spread::new(false, false))),
    aggregate("var_pop", &[NUMERIC], NUMERIC, |_| Box::new(Spread::new(false, false))),
    aggregate("var_samp", &[FLOAT8], FLOAT8, |_| Box::new(Spread::new(false, true))),
    aggregate("var_samp", &[INT2], NUMERIC, |_| Box::new(Spread::new(false, true))),
    aggregate("var_samp", &[INT4], NUMERIC, |_| Box::new(Spread::new(false, true))),
    aggregate("var_samp", &[INT8], NUMERIC, |_| Box::new(Spread::new(false, true))),
    aggregate("var_samp", &[NUMERIC], NUMERIC, |_| Box::new(Spread::new(false, true))),
    aggregate("variance", &[FLOAT8], FLOAT8, |_| Box::new(Spread::new(false, true))),
    aggregate("variance", &[INT2], NUMERIC, |_| Box::new(Spread::new(false, true))),
    aggregate("variance", &[INT4], NUMERIC, |_| Box::new(Spread::new(false, true))),
    aggregate("variance", &[INT8], NUMERIC, |_| Box::new(Spread::new(false, true))),
    aggregate("variance", &[NUMERIC], NUMERIC, |_| Box::new(Spread::new(false, true))),
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
#[derive(Clone)]
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
#[derive(Clone)]
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
#[derive(Clone)]
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
#[derive(Clone)]
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
#[derive(Clone)]
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
        Ok(Some(Value::Array(Array::of(*element, self.items)?.into())))
    }
}

/// string_agg: each text but the first behind its row's separator.
#[derive(Clone)]
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

/// bit_and, bit_or, bit_xor.
#[derive(Clone)]
struct Bits {
    ty: Type,
    code: fn(i64, i64) -> i64,
    bits: Option<i64>,
}

impl Bits {
    fn new(ty: &Type, code: fn(i64, i64) -> i64) -> Bits {
        Bits { ty: ty.clone(), code, bits: None }
    }
}

impl Accumulator for Bits {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let own = arguments.first().and_then(|value| value.as_ref()?.as_i64());
        if let Some(own) = own {
            self.bits = Some(self.bits.map_or(own, |bits| (self.code)(bits, own)));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        self.bits.map(|bits| arithmetic::integer(&self.ty, bits.into())).transpose()
    }
}

/// json_agg, jsonb_agg.
#[derive(Clone)]
struct JsonItems {
    binary: bool,
    text: String,
}

impl JsonItems {
    fn new(binary: bool) -> JsonItems {
        JsonItems { binary, text: String::new() }
    }
}

impl Accumulator for JsonItems {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let [value, ..] = arguments else { return Ok(()) };
        let item = match self.binary {
            true => to_document(value.as_ref())?.to_text(),
            false => json_text(value.as_ref()),
        };
        check_value_bytes(self.text.len() + item.len() + 2)?;
        self.text.push_str(if self.text.is_empty() { "[" } else { ", " });
        self.text.push_str(&item);
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.text.capacity() as u64
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let text = self.text + "]";
        Ok(Some(if self.binary { Value::Jsonb(text) } else { Value::Json(text) }))
    }
}

/// json_object_agg, jsonb_object_agg.
#[derive(Clone)]
struct JsonMembers {
    binary: bool,
    members: Vec<(String, Json)>,
    text: String,
    bytes: usize,
}

impl JsonMembers {
    fn new(binary: bool) -> JsonMembers {
        JsonMembers { binary, members: Vec::new(), text: String::new(), bytes: 0 }
    }
}

impl Accumulator for JsonMembers {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let [key, value, ..] = arguments else { return Ok(()) };
        let Some(key) = key else {
            return Err(SqlError::new(sqlstate::INVALID_PARAMETER, "field name must not be null"));
        };
        let key = key_text(key)?;
        if self.binary {
            let value = to_document(value.as_ref())?;
            // As text, and some more in memory.
            self.bytes += key.len() + value.to_text().len() + size_of::<(String, Json)>();
            check_value_bytes(self.bytes)?;
            self.members.push((key, value));
            return Ok(());
        }
        self.text.push_str(if self.text.is_empty() { "{ " } else { ", " });
        write_json_string(&key, &mut self.text);
        self.text.push_str(" : ");
        self.text.push_str(&json_text(value.as_ref()));
        check_value_bytes(self.text.len())
    }

    fn held_bytes(&self) -> u64 {
        (self.bytes * 2 + self.text.capacity()) as u64
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        if self.members.is_empty() && self.text.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.binary {
            true => Value::Jsonb(Json::object(self.members).to_text()),
            false => Value::Json(self.text + " }"),
        }))
    }
}
