//! The tables themselves: no entry hides another, and a call finds the nearest.

use super::*;
use crate::types::DeclaredType;

fn signatures() -> impl Iterator<Item = &'static signature::Signature> {
    let scalar = FAMILIES.iter().copied().flatten().map(|own| &own.signature);
    scalar.chain(aggregate::FUNCTIONS.iter().map(|own| &own.signature))
}

#[test]
fn tables_are_sorted_by_name() {
    for family in FAMILIES {
        let names: Vec<&str> = family.iter().map(|own| own.signature.name).collect();
        assert!(names.is_sorted(), "not sorted by name: {names:?}");
    }
}

#[test]
fn no_signature_stands_twice() {
    let all: Vec<_> = signatures().collect();
    for (at, own) in all.iter().enumerate() {
        let twice = all[..at].iter().any(|other| other.name == own.name && other.arguments == own.arguments);
        assert!(!twice, "{}{:?} stands twice", own.name, own.arguments);
    }
}

#[test]
fn a_result_is_declared() {
    for own in signatures() {
        let polymorphic = |ty: &DeclaredType| matches!(ty, DeclaredType::AnyElement | DeclaredType::AnyArray);
        assert_ne!(own.result, DeclaredType::Any, "{} has no type of its result", own.name);
        if polymorphic(&own.result) {
            assert!(own.arguments.iter().any(polymorphic), "nothing says what type {} gives", own.name);
        }
        assert!(
            own.optional <= own.arguments.len(),
            "{} has more optional arguments than arguments",
            own.name
        );
    }
}

#[test]
fn a_call_finds_the_nearest_signature() {
    let result = |name: &str, given: &[Type]| resolve(name, given).map(|found| found.result);
    assert_eq!(result("ceil", &[Type::Int4]), Some(Type::Float8));
    assert_eq!(result("ceil", &[Type::Numeric(None)]), Some(Type::Numeric(None)));
    assert_eq!(result("ceil", &[Type::Float8]), Some(Type::Float8));
    assert_eq!(result("ceil", &[Type::Unknown]), Some(Type::Float8));
    assert_eq!(result("abs", &[Type::Int2]), Some(Type::Int2));
    assert_eq!(result("greatest", &[Type::Int4, Type::Float8, Type::Unknown]), Some(Type::Float8));
    assert_eq!(result("greatest", &[Type::Int4, Type::Text]), None);
    assert_eq!(result("array_length", &[Type::Int4, Type::Int4]), None);
    assert_eq!(result("lower", &[Type::Varchar(Some(3))]), Some(Type::Text));
}
