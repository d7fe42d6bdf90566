//! Aggregates, and rows gathered into groups.

use std::sync::Arc;

use super::{Grouping, same};
use crate::error::SqlError;
use crate::expression::{Env, Expr, Scope};
use crate::statement::Operator;
use crate::types::{Array, Datum, Numeric, Row, Type, Value};

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    CountRows,
    Count,
    Min,
    Max,
    Sum,
    Avg,
    BoolAnd,
    BoolOr,
    ArrayAgg,
    StringAgg,
}

impl AggregateKind {
    /// The aggregate of that name.
    pub(crate) fn named(name: &str, star: bool) -> Option<AggregateKind> {
        Some(match name {
            "count" if star => AggregateKind::CountRows,
            "count" => AggregateKind::Count,
            "min" => AggregateKind::Min,
            "max" => AggregateKind::Max,
            "sum" => AggregateKind::Sum,
            "avg" => AggregateKind::Avg,
            "bool_and" | "every" => AggregateKind::BoolAnd,
            "bool_or" => AggregateKind::BoolOr,
            "array_agg" => AggregateKind::ArrayAgg,
            "string_agg" => AggregateKind::StringAgg,
            _ => return None,
        })
    }

    /// The type of its result for an argument of a type, and the type that the argument is cast to. `None`: not for
    /// this type.
    pub(crate) fn types(self, argument: &Type) -> Option<(Type, Type)> {
        use AggregateKind as K;
        let number = |to_int: Type, to_big: Type| match argument {
            Type::Int2 | Type::Int4 => Some((to_int, argument.clone())),
            Type::Int8 => Some((to_big, argument.clone())),
            Type::Numeric(_) => Some((Type::Numeric(None), Type::Numeric(None))),
            Type::Float4 | Type::Float8 => Some((Type::Float8, Type::Float8)),
            _ => None,
        };
        match self {
            K::CountRows | K::Count => Some((Type::Int8, argument.clone())),
            K::Min | K::Max if *argument == Type::Unknown => Some((Type::Text, Type::Text)),
            K::Min | K::Max => Some((argument.clone(), argument.clone())),
            K::Sum => number(Type::Int8, Type::Numeric(None)),
            K::Avg => number(Type::Numeric(None), Type::Numeric(None)),
            K::BoolAnd | K::BoolOr => (*argument == Type::Bool).then_some((Type::Bool, Type::Bool)),
            K::ArrayAgg => Some((Type::Array(Box::new(argument.clone())), argument.clone())),
            K::StringAgg => Some((Type::Text, Type::Text)),
        }
    }
}

/// An aggregate call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) kind: AggregateKind,
    pub(crate) argument: Option<Expr>,
    /// string_agg's separator.
    pub(crate) separator: Option<Expr>,
    pub(crate) distinct: bool,
    pub(crate) filter: Option<Expr>,
    /// Its result.
    pub(crate) ty: Type,
}

/// What has been gathered for one aggregate of one group.
struct Gathered {
    count: i64,
    value: Datum,
    /// Whole numbers are added exactly.
    sum: i128,
    items: Vec<Datum>,
    separator: String,
}

/// Rows gathered into groups, in order of first appearance.
pub(crate) struct Groups<'a> {
    grouping: &'a Grouping,
    groups: Vec<(Row, Vec<Gathered>)>,
}

fn empty() -> Gathered {
    Gathered { count: 0, value: None, sum: 0, items: Vec::new(), separator: String::new() }
}

impl<'a> Groups<'a> {
    /// No groups; one empty group if there are no keys.
    pub(crate) fn new(grouping: &'a Grouping) -> Groups<'a> {
        let mut groups = Groups { grouping, groups: Vec::new() };
        if grouping.keys.is_empty() {
            groups.groups.push((Vec::new(), grouping.aggregates.iter().map(|_| empty()).collect()));
        }
        groups
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, scope: &Scope<'_>, env: &Env) -> Result<(), SqlError> {
        let grouping = self.grouping;
        let at = if grouping.keys.is_empty() {
            0
        } else {
            let key: Row = grouping.keys.iter().map(|key| key.eval(scope, env)).collect::<Result<_, _>>()?;
            let mut found = None;
            for (at, (own, _)) in self.groups.iter().enumerate() {
                if same(own, &key)? {
                    found = Some(at);
                    break;
                }
            }
            found.unwrap_or_else(|| {
                self.groups.push((key, grouping.aggregates.iter().map(|_| empty()).collect()));
                self.groups.len() - 1
            })
        };
        for (aggregate, gathered) in grouping.aggregates.iter().zip(&mut self.groups[at].1) {
            gathered.add(aggregate, scope, env)?;
        }
        Ok(())
    }

    /// One row for each group: its keys, then its aggregates.
    pub(crate) fn finish(self, _env: &Env) -> Result<Vec<Row>, SqlError> {
        let mut rows = Vec::with_capacity(self.groups.len());
        for (mut row, gathered) in self.groups {
            for (aggregate, gathered) in self.grouping.aggregates.iter().zip(gathered) {
                row.push(gathered.finish(aggregate)?);
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

impl Gathered {
    fn add(&mut self, aggregate: &Aggregate, scope: &Scope<'_>, env: &Env) -> Result<(), SqlError> {
        if let Some(filter) = &aggregate.filter
            && !filter.holds(scope, env)?
        {
            return Ok(());
        }
        let value = match &aggregate.argument {
            None => {
                self.count += 1;
                return Ok(());
            }
            Some(argument) => argument.eval(scope, env)?,
        };
        if aggregate.distinct {
            for item in &self.items {
                if same(std::slice::from_ref(item), std::slice::from_ref(&value))? {
                    return Ok(());
                }
            }
            self.items.push(value.clone());
        } else if aggregate.kind == AggregateKind::ArrayAgg {
            self.items.push(value.clone());
        }
        let Some(value) = value else { return Ok(()) };
        self.count += 1;
        match aggregate.kind {
            AggregateKind::CountRows | AggregateKind::Count | AggregateKind::ArrayAgg => {}
            AggregateKind::Min | AggregateKind::Max => {
                let better = match &self.value {
                    None => true,
                    Some(own) => value.compare(own)?.is_lt() == (aggregate.kind == AggregateKind::Min),
                };
                if better {
                    self.value = Some(value);
                }
            }
            AggregateKind::Sum | AggregateKind::Avg => match value.as_i64() {
                Some(number) => self.sum += i128::from(number),
                None => {
                    let ty = value.natural_type();
                    self.value = Some(match self.value.take() {
                        None => value,
                        Some(own) => crate::expression::add(Operator::Plus, &ty, own, value)?,
                    });
                }
            },
            AggregateKind::BoolAnd | AggregateKind::BoolOr => {
                let own = self.value == Some(Value::Bool(true));
                let new = value == Value::Bool(true);
                let result = match (aggregate.kind, self.count) {
                    (_, 1) => new,
                    (AggregateKind::BoolAnd, _) => own && new,
                    _ => own || new,
                };
                self.value = Some(Value::Bool(result));
            }
            AggregateKind::StringAgg => {
                if let Some(separator) = &aggregate.separator {
                    self.separator =
                        separator.eval(scope, env)?.map(|v| v.to_string_text()).unwrap_or_default();
                }
                let mut text = match self.value.take() {
                    Some(own) => own.to_string_text() + &self.separator,
                    None => String::new(),
                };
                text.push_str(&value.to_string_text());
                self.value = Some(Value::Text(text));
            }
        }
        Ok(())
    }

    fn finish(self, aggregate: &Aggregate) -> Result<Datum, SqlError> {
        let total = || match &self.value {
            Some(value) => Ok(value.clone()),
            None => match aggregate.ty {
                Type::Int8 => crate::expression::integer(&Type::Int8, self.sum),
                _ => Numeric::parse(&self.sum.to_string()).map(Value::Numeric),
            },
        };
        Ok(match aggregate.kind {
            AggregateKind::CountRows | AggregateKind::Count => Some(Value::Int8(self.count)),
            AggregateKind::ArrayAgg if self.items.is_empty() => None,
            AggregateKind::ArrayAgg => {
                let element = match &aggregate.ty {
                    Type::Array(element) => (**element).clone(),
                    other => other.clone(),
                };
                Some(Value::Array(Arc::new(Array { element, items: self.items })))
            }
            _ if self.count == 0 => None,
            AggregateKind::Sum => Some(total()?),
            AggregateKind::Avg => match total()? {
                Value::Float8(sum) => Some(Value::Float8(sum / self.count as f64)),
                Value::Numeric(sum) => Some(Value::Numeric(sum.divide(&Numeric::from_i64(self.count))?)),
                _ => return Err(SqlError::internal("an average of no numbers")),
            },
            _ => self.value,
        })
    }
}
