//! Names and types of functions, and which one a call means.

use crate::expression::cast::{Strength, castable, common_type, number_rank};
use crate::types::{DeclaredType, Type};

/// What a call of a function looks like.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Its name, in lower case.
    pub(crate) name: &'static str,
    /// The types of its arguments.
    pub(crate) arguments: &'static [DeclaredType],
    /// How many of the last arguments may be left out.
    pub(crate) optional: usize,
    /// May the last argument be given several times?
    pub(crate) variadic: bool,
    /// The type of its result.
    pub(crate) result: DeclaredType,
}

/// How a signature takes a call.
pub(super) struct Match {
    /// The types that the arguments must be cast to; `Unknown`: as they are.
    pub(super) arguments: Vec<Type>,
    /// The type of the result.
    pub(super) result: Type,
    /// How far the given types are from the declared ones: 0 if they are the same.
    distance: usize,
}

impl Signature {
    /// How this takes a call with arguments of the types; `None` if it does not.
    pub(super) fn matches(&self, given: &[Type]) -> Option<Match> {
        let least = self.arguments.len() - self.optional;
        if given.len() < least || given.len() > self.arguments.len() && !self.variadic {
            return None;
        }
        let last = self.arguments.last();
        let declared = || given.iter().zip(self.arguments.iter().chain(last.into_iter().cycle()));
        let element = element(declared())?;
        let mut found = Match {
            arguments: Vec::with_capacity(given.len()),
            result: self.result.resolved(&element),
            distance: 0,
        };
        for (from, declared) in declared() {
            let to = declared.resolved(&element);
            if !castable(from, &to, Strength::Implicit) && !matches!(declared, DeclaredType::AnyElement) {
                return None;
            }
            found.distance += distance(from, &to);
            found.arguments.push(to);
        }
        Some(found)
    }
}

/// The type that all arguments share which are declared as anyelement, or as its array: text if nothing says. `None` if
/// they share none.
fn element<'a>(arguments: impl Iterator<Item = (&'a Type, &'a DeclaredType)>) -> Option<Type> {
    let mut common = Type::Unknown;
    for (given, declared) in arguments {
        let own = match (declared, given) {
            (DeclaredType::AnyElement, own) => own,
            (DeclaredType::AnyArray, Type::Array(own)) => own,
            (DeclaredType::AnyArray, Type::Unknown) => &Type::Unknown,
            (DeclaredType::AnyArray, _) => return None,
            _ => continue,
        };
        common = common_type(&common, own)?;
    }
    Some(if common == Type::Unknown { Type::Text } else { common.plain() })
}

/// How far a cast goes: nothing for the same type or an untyped value, among numbers the steps up, else one.
fn distance(from: &Type, to: &Type) -> usize {
    if from.plain() == to.plain() || *from == Type::Unknown || *to == Type::Unknown {
        return 0;
    }
    match (number_rank(from), number_rank(to)) {
        (Some(from), Some(to)) => usize::from(from.abs_diff(to)),
        _ => 1,
    }
}

/// The nearest of several signatures for a call; of equally near ones the first.
pub(super) fn nearest<T>(
    candidates: impl Iterator<Item = T>,
    signature: impl Fn(&T) -> &Signature,
    given: &[Type],
) -> Option<(T, Match)> {
    candidates
        .filter_map(|candidate| {
            let found = signature(&candidate).matches(given)?;
            Some((candidate, found))
        })
        .min_by_key(|(_, found)| found.distance)
}
