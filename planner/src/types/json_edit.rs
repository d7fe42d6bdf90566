//! What jsonb's operators do to documents: containment, concatenation, deletion, and changes along a path.

use super::json::{Json, key_order, order};
use crate::error::{SqlError, sqlstate};

fn invalid(text: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER, text)
}

impl Json {
    /// Is it an object or an array?
    fn is_container(&self) -> bool {
        matches!(self, Json::Array(_) | Json::Object(_))
    }

    /// Does it hold all of another document? As a whole, an array also holds a value that is one of its elements.
    pub(crate) fn contains(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Array(items), scalar) if !scalar.is_container() => {
                items.iter().any(|own| same(own, scalar))
            }
            (own, other) => own.holds(other),
        }
    }

    fn holds(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(wanted)) => {
                wanted.iter().all(|(key, value)| self.member(key).is_some_and(|own| own.holds(value)))
            }
            (Json::Array(items), Json::Array(wanted)) => {
                wanted.iter().all(|value| items.iter().any(|own| own.holds(value)))
            }
            (own, other) => !own.is_container() && !other.is_container() && same(own, other),
        }
    }

    /// The member of an object.
    pub(crate) fn member(&self, key: &str) -> Option<&Json> {
        let Json::Object(entries) = self else { return None };
        let at = entries.binary_search_by(|(own, _)| key_order(own, key)).ok()?;
        Some(&entries[at].1)
    }

    /// Is the text a key of the object, an element of the array, or the string itself?
    pub(crate) fn has(&self, key: &str) -> bool {
        match self {
            Json::Object(_) => self.member(key).is_some(),
            Json::Array(items) => items.iter().any(|item| matches!(item, Json::String(own) if own == key)),
            Json::String(own) => own == key,
            _ => false,
        }
    }

    /// The part at the end of a path of keys and, in arrays, positions.
    pub(crate) fn at_path(&self, path: &[&str]) -> Option<&Json> {
        path.iter().try_fold(self, |at, step| match at {
            Json::Object(_) => at.member(step),
            Json::Array(items) => items.get(position(step.trim().parse().ok()?, items.len())?),
            _ => None,
        })
    }

    /// `||`: objects together, otherwise the elements of both; what is no array counts as one of itself.
    pub(crate) fn concat(self, other: Json) -> Json {
        let items = |json| match json {
            Json::Array(items) => items,
            other => vec![other],
        };
        match (self, other) {
            (Json::Object(left), Json::Object(right)) => {
                Json::object(left.into_iter().chain(right).collect())
            }
            (left, right) => Json::Array(items(left).into_iter().chain(items(right)).collect()),
        }
    }

    /// Without the members, or the elements that are strings, of such names.
    pub(crate) fn without(self, keys: &[&str]) -> Result<Json, SqlError> {
        match self {
            Json::Object(entries) => Ok(Json::Object(
                entries.into_iter().filter(|(key, _)| !keys.contains(&key.as_str())).collect(),
            )),
            Json::Array(items) => {
                let named = |item: &Json| matches!(item, Json::String(own) if keys.contains(&own.as_str()));
                Ok(Json::Array(items.into_iter().filter(|item| !named(item)).collect()))
            }
            _ => Err(invalid("cannot delete from scalar")),
        }
    }

    /// Without an element of an array, counted from 0, or from the end if it is negative.
    pub(crate) fn without_element(self, at: i64) -> Result<Json, SqlError> {
        match self {
            Json::Object(_) => Err(invalid("cannot delete from object using integer index")),
            Json::Array(mut items) => {
                if let Some(at) = position(at, items.len()) {
                    items.remove(at);
                }
                Ok(Json::Array(items))
            }
            _ => Err(invalid("cannot delete from scalar")),
        }
    }

    /// Changes the part at the end of a path.
    pub(crate) fn edited(mut self, path: &[&str], edit: &Edit) -> Result<Json, SqlError> {
        if !self.is_container() {
            return Err(invalid(match edit {
                Edit::Delete => "cannot delete path in scalar",
                _ => "cannot set path in scalar",
            }));
        }
        if !path.is_empty() {
            self.edit(path, 1, edit)?;
        }
        Ok(self)
    }

    fn edit(&mut self, path: &[&str], level: usize, edit: &Edit) -> Result<(), SqlError> {
        let (step, rest) = path.split_first().ok_or_else(|| SqlError::internal("an empty path of JSON"))?;
        match self {
            Json::Object(entries) => {
                let found = entries.binary_search_by(|(own, _)| key_order(own, step));
                match (found, rest.is_empty(), edit) {
                    (Ok(at), false, _) => entries[at].1.edit(rest, level + 1, edit)?,
                    (Ok(at), true, Edit::Delete) => drop(entries.remove(at)),
                    (Ok(at), true, Edit::Set { value, .. }) => entries[at].1 = value.clone(),
                    (Ok(_), true, Edit::Insert { .. }) => {
                        return Err(invalid("cannot replace existing key")
                            .hint("Try using the function jsonb_set to replace key value."));
                    }
                    (Err(at), true, Edit::Set { value, create: true } | Edit::Insert { value, .. }) => {
                        entries.insert(at, (step.to_string(), value.clone()));
                    }
                    (Err(_), ..) => {}
                }
            }
            Json::Array(items) => {
                let at: i64 = step.trim().parse::<i32>().map(i64::from).map_err(|_| {
                    SqlError::new(
                        sqlstate::INVALID_TEXT,
                        format!("path element at position {level} is not an integer: \"{step}\""),
                    )
                })?;
                edit_array(items, at, rest, level, edit)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn edit_array(
    items: &mut Vec<Json>,
    at: i64,
    rest: &[&str],
    level: usize,
    edit: &Edit,
) -> Result<(), SqlError> {
    let outside = if at < 0 { 0 } else { items.len() };
    match (position(at, items.len()), rest.is_empty(), edit) {
        (Some(at), false, _) => items[at].edit(rest, level + 1, edit)?,
        (Some(at), true, Edit::Delete) => drop(items.remove(at)),
        (Some(at), true, Edit::Set { value, .. }) => items[at] = value.clone(),
        (Some(at), true, Edit::Insert { value, after }) => {
            items.insert(at + usize::from(*after), value.clone());
        }
        (None, true, Edit::Set { value, create: true } | Edit::Insert { value, .. }) => {
            items.insert(outside, value.clone());
        }
        (None, ..) => {}
    }
    Ok(())
}

/// What is done at the end of a path.
pub(crate) enum Edit {
    Delete,
    /// Put in place of what is there; `create` also where nothing is.
    Set {
        value: Json,
        create: bool,
    },
    /// Put before, or behind, what is there.
    Insert {
        value: Json,
        after: bool,
    },
}

/// A position from 0, or from the end if it is negative, in an array of so many elements.
fn position(at: i64, length: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(length as i64)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn same(a: &Json, b: &Json) -> bool {
    order(a, b).is_eq()
}
