//! Finds rows by their values.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use crate::error::SqlError;
use crate::memory::Held;
use crate::row_order::same;
use crate::types::{Datum, Row};

/// What an entry takes, about.
const ENTRY_BYTES: u64 = 64;

/// The positions of rows in a list, by what they hold. NULL is a value like others.
#[derive(Debug, Default)]
pub(crate) struct RowIndex {
    state: RandomState,
    positions: HashMap<u64, Vec<usize>>,
}

impl RowIndex {
    /// The position of a row with these values; `rows` gives the row at a position.
    pub(crate) fn find<'r>(
        &self,
        values: &[Datum],
        rows: impl Fn(usize) -> &'r Row,
    ) -> Result<Option<usize>, SqlError> {
        for at in self.positions.get(&self.hash(values)).into_iter().flatten() {
            if same(rows(*at), values)? {
                return Ok(Some(*at));
            }
        }
        Ok(None)
    }

    /// The positions of all rows with these values, in the order in which they were added.
    pub(crate) fn find_all<'s, 'r: 's>(
        &'s self,
        values: &'s [Datum],
        rows: impl Fn(usize) -> &'r [Datum] + 's,
    ) -> impl Iterator<Item = Result<usize, SqlError>> + 's {
        let hash = self.hash(values);
        let candidates = self.positions.get(&hash).into_iter().flatten().copied();
        candidates.filter_map(move |at| match same(rows(at), values) {
            Ok(true) => Some(Ok(at)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Adds the row at a position.
    pub(crate) fn insert(&mut self, values: &[Datum], at: usize, held: &mut Held) -> Result<(), SqlError> {
        held.add(ENTRY_BYTES)?;
        let hash = self.hash(values);
        self.positions.entry(hash).or_default().push(at);
        Ok(())
    }

    fn hash(&self, values: &[Datum]) -> u64 {
        let mut hasher = self.state.build_hasher();
        for value in values {
            value.is_some().hash(&mut hasher);
            if let Some(value) = value {
                value.hash_equal(&mut hasher);
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use wal::Budget;

    use super::*;
    use crate::memory::Memory;
    use crate::types::{Type, Value};

    #[test]
    fn values_that_compare_as_equal_are_found() {
        let value = |ty: &Type, text: &str| Some(Value::from_text(ty, text).unwrap());
        let pairs = [
            (Type::Numeric(None), "1.0", "1.00"),
            (Type::Float8, "0", "-0"),
            (Type::Float8, "NaN", "nan"),
            (Type::Jsonb, "{\"a\": [1, 2e1]}", "{\"a\": [1.0, 20]}"),
            (Type::Array(Box::new(Type::Numeric(None))), "{1,NULL}", "{1.0,NULL}"),
        ];
        let mut held = Memory::of(&Budget::new("statements", 1 << 20)).hold();
        for (ty, first, second) in pairs {
            let rows = [vec![value(&ty, first), None]];
            let mut index = RowIndex::default();
            index.insert(&rows[0], 0, &mut held).unwrap();
            let found = index.find(&[value(&ty, second), None], |at| &rows[at]).unwrap();
            assert_eq!(found, Some(0), "{first} and {second}");
            assert_eq!(index.find(&[None, None], |at| &rows[at]).unwrap(), None);
        }
        let rows = [vec![Some(Value::Int4(5))]];
        let mut index = RowIndex::default();
        index.insert(&rows[0], 0, &mut held).unwrap();
        assert_eq!(index.find(&[Some(Value::Int8(5))], |at| &rows[at]).unwrap(), Some(0));
        index.insert(&rows[0], 0, &mut held).unwrap();
        let all: Result<Vec<usize>, _> = index.find_all(&rows[0], |at| &rows[at]).collect();
        assert_eq!(all.unwrap(), [0, 0]);
    }
}
