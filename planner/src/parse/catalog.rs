//! Statements that change the catalog, but for CREATE TABLE, from the parser's tree into ours.

use sqlparser::ast::{self, ObjectType, SchemaName};

use super::converter::Converter;
use super::refuse::foreign;
use crate::error::{SqlError, sqlstate};
use crate::statement::{CreateSchema, Drop, DropKind, Statement};

impl Converter<'_> {
    /// Converts a statement that changes the catalog. What is left is about the session.
    pub(super) fn catalog(&self, statement: ast::Statement) -> Result<Statement, SqlError> {
        use ast::Statement as Ast;
        Ok(match statement {
            Ast::Drop {
                object_type: object @ (ObjectType::Table | ObjectType::Schema),
                if_exists,
                names,
                cascade,
                restrict: _,
                purge,
                temporary,
                table,
            } => {
                foreign(&[(purge, "purge"), (temporary, "temporary"), (table.is_some(), "on")])?;
                let names = names.iter().map(|own| self.name(own)).collect::<Result<_, _>>()?;
                let kind = if object == ObjectType::Table { DropKind::Table } else { DropKind::Schema };
                Statement::Drop(Drop { kind, names, if_exists, cascade })
            }
            Ast::CreateSchema {
                schema_name,
                if_not_exists,
                with,
                options,
                default_collate_spec,
                clone,
                or_replace,
            } => {
                let other = with.is_some() || options.is_some() || default_collate_spec.is_some();
                foreign(&[(other || or_replace || clone.is_some(), "schema")])?;
                let name = match schema_name {
                    SchemaName::Simple(name) | SchemaName::NamedAuthorization(name, _) => self.name(&name)?,
                    SchemaName::UnnamedAuthorization(user) => self.idents_name(&[user]),
                };
                if name.parts.len() > 1 {
                    let message =
                        format!("improper qualified name (too many dotted names): {}", name.dotted());
                    return Err(SqlError::new(sqlstate::SYNTAX, message));
                }
                Statement::CreateSchema(CreateSchema { name: name.last().into(), if_not_exists })
            }
            other => return self.session(other),
        })
    }
}
