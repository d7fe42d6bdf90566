//! Types as the tables of functions and of system relations declare them: in constants, where an array's type cannot
//! stand, and with PostgreSQL's polymorphic types.

use super::sql_type::Type;

/// The type of an argument, a result or a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DeclaredType {
    /// This type.
    Is(&'static Type),
    /// An array of this type.
    ArrayOf(&'static Type),
    /// Any type; the value comes as it is ("any").
    Any,
    /// Any type, the same for all arguments that are declared so (anyelement): the one that all given types share.
    AnyElement,
    /// An array of what [`DeclaredType::AnyElement`] stands for (anyarray).
    AnyArray,
}

impl DeclaredType {
    /// The type, where `element` is what [`DeclaredType::AnyElement`] stands for. `Unknown` for
    /// [`DeclaredType::Any`].
    pub(crate) fn resolved(self, element: &Type) -> Type {
        match self {
            DeclaredType::Is(ty) => ty.clone(),
            DeclaredType::ArrayOf(ty) => Type::Array(Box::new(ty.clone())),
            DeclaredType::Any => Type::Unknown,
            DeclaredType::AnyElement => element.clone(),
            // An array of arrays is one of more dimensions.
            DeclaredType::AnyArray if matches!(element, Type::Array(_)) => element.clone(),
            DeclaredType::AnyArray => Type::Array(Box::new(element.clone())),
        }
    }
}

pub(crate) const ANY: DeclaredType = DeclaredType::Any;
pub(crate) const ANYARRAY: DeclaredType = DeclaredType::AnyArray;
pub(crate) const ANYELEMENT: DeclaredType = DeclaredType::AnyElement;
pub(crate) const BPCHAR: DeclaredType = DeclaredType::Is(&Type::Bpchar(None));
pub(crate) const BOOL: DeclaredType = DeclaredType::Is(&Type::Bool);
pub(crate) const CHAR: DeclaredType = DeclaredType::Is(&Type::Char);
pub(crate) const DATE: DeclaredType = DeclaredType::Is(&Type::Date);
pub(crate) const FLOAT4: DeclaredType = DeclaredType::Is(&Type::Float4);
pub(crate) const FLOAT8: DeclaredType = DeclaredType::Is(&Type::Float8);
pub(crate) const INT2: DeclaredType = DeclaredType::Is(&Type::Int2);
pub(crate) const INT2S: DeclaredType = DeclaredType::ArrayOf(&Type::Int2);
pub(crate) const INT4: DeclaredType = DeclaredType::Is(&Type::Int4);
pub(crate) const INT4S: DeclaredType = DeclaredType::ArrayOf(&Type::Int4);
pub(crate) const INT8: DeclaredType = DeclaredType::Is(&Type::Int8);
pub(crate) const JSON: DeclaredType = DeclaredType::Is(&Type::Json);
pub(crate) const JSONB: DeclaredType = DeclaredType::Is(&Type::Jsonb);
pub(crate) const NAME: DeclaredType = DeclaredType::Is(&Type::Name);
pub(crate) const NAMES: DeclaredType = DeclaredType::ArrayOf(&Type::Name);
pub(crate) const NUMERIC: DeclaredType = DeclaredType::Is(&Type::Numeric(None));
pub(crate) const OID: DeclaredType = DeclaredType::Is(&Type::Oid);
pub(crate) const OIDS: DeclaredType = DeclaredType::ArrayOf(&Type::Oid);
pub(crate) const REGCLASS: DeclaredType = DeclaredType::Is(&Type::Regclass);
pub(crate) const REGTYPE: DeclaredType = DeclaredType::Is(&Type::Regtype);
pub(crate) const TEXT: DeclaredType = DeclaredType::Is(&Type::Text);
pub(crate) const BYTEA: DeclaredType = DeclaredType::Is(&Type::Bytea);
pub(crate) const TEXTS: DeclaredType = DeclaredType::ArrayOf(&Type::Text);
pub(crate) const TIME: DeclaredType = DeclaredType::Is(&Type::Time(None));
pub(crate) const TIMETZ: DeclaredType = DeclaredType::Is(&Type::Timetz(None));
pub(crate) const TIMESTAMP: DeclaredType = DeclaredType::Is(&Type::Timestamp(None));
pub(crate) const TIMESTAMPTZ: DeclaredType = DeclaredType::Is(&Type::Timestamptz(None));
pub(crate) const INTERVAL: DeclaredType = DeclaredType::Is(&Type::Interval(None));
pub(crate) const UUID: DeclaredType = DeclaredType::Is(&Type::Uuid);
