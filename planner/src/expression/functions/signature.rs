//! Names and types of functions, and which one a call means.

use crate::expression::cast::{Strength, castable, common_type};
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
    /// How the given types suit the declared ones.
    fits: Vec<Fit>,
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
            fits: Vec::with_capacity(given.len()),
        };
        for (from, declared) in declared() {
            let to = declared.resolved(&element);
            if !castable(from, &to, Strength::Implicit) && !matches!(declared, DeclaredType::AnyElement) {
                return None;
            }
            found.fits.push(fit(from, declared, &to));
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

/// How a given type suits a declared one: exactly, by a preferred type of its kind, or by another cast.
fn fit(from: &Type, declared: &DeclaredType, to: &Type) -> Fit {
    let polymorphic = !matches!(declared, DeclaredType::Is(_) | DeclaredType::ArrayOf(_));
    if !polymorphic && *from != Type::Unknown && from.plain() == to.plain() {
        return Fit::Exact;
    }
    let same_kind = *from == Type::Unknown || kind(from) == kind(to);
    if same_kind && !polymorphic && is_preferred(to) { Fit::Preferred } else { Fit::Cast }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Exact,
    Preferred,
    Cast,
}

/// PostgreSQL's category of a type, as far as functions are chosen by it.
fn kind(ty: &Type) -> u8 {
    match ty {
        Type::Array(_) => b'A',
        ty if ty.is_number() || ty.is_oid() => b'N',
        ty if ty.is_text() => b'S',
        Type::Bool => b'B',
        Type::Interval(_) => b'T',
        ty if ty.is_datetime() => b'D',
        _ => b'U',
    }
}

/// Is it the type that PostgreSQL prefers among those of its category?
fn is_preferred(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Float8 | Type::Oid | Type::Text | Type::Bool | Type::Timestamptz(_) | Type::Interval(_)
    )
}

/// The signature that PostgreSQL would choose for a call: with the most exact types, then with the most preferred ones;
/// for untyped values one that takes text, then a preferred one. Of equally good ones the first.
pub(super) fn nearest<T>(
    candidates: impl Iterator<Item = T>,
    signature: impl Fn(&T) -> &Signature,
    given: &[Type],
) -> Option<(T, Match)> {
    let mut all: Vec<(T, Match)> = candidates
        .filter_map(|candidate| {
            let found = signature(&candidate).matches(given)?;
            Some((candidate, found))
        })
        .collect();
    keep_most(&mut all, |found| found.fits.iter().filter(|fit| **fit == Fit::Exact).count());
    let known = |found: &Match, at: usize| given[at] != Type::Unknown && found.fits[at] != Fit::Cast;
    keep_most(&mut all, |found| (0..given.len()).filter(|at| known(found, *at)).count());
    for (at, _) in given.iter().enumerate().filter(|(_, ty)| **ty == Type::Unknown) {
        let takes_text = all.iter().any(|(_, found)| kind(&found.arguments[at]) == b'S');
        if takes_text {
            all.retain(|(_, found)| kind(&found.arguments[at]) == b'S');
        }
        keep_most(&mut all, |found| usize::from(found.fits[at] == Fit::Preferred));
    }
    // An untyped value beside others of one type is of that type as well.
    let mut types = given.iter().filter(|ty| **ty != Type::Unknown);
    if let Some(only) = types.next()
        && types.all(|ty| ty == only)
    {
        let same = |found: &Match| found.arguments.iter().filter(|own| own.plain() == only.plain()).count();
        keep_most(&mut all, same);
    }
    (!all.is_empty()).then(|| all.swap_remove(0))
}

/// Keeps the candidates of which something is counted most.
fn keep_most<T>(all: &mut Vec<(T, Match)>, counted: impl Fn(&Match) -> usize) {
    let most = all.iter().map(|(_, found)| counted(found)).max().unwrap_or(0);
    all.retain(|(_, found)| counted(found) == most);
}
