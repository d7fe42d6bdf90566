//! Statements that change the catalog, but for CREATE TABLE, from the parser's tree into ours.

use sqlparser::ast::{
    self, AlterColumnOperation, AlterTableOperation, ObjectType, Owner, RenameTableNameKind, SchemaName,
};

use super::converter::{Converter, fold};
use super::refuse::foreign;
use crate::error::{SqlError, sqlstate};
use crate::statement::{AlterTable, CreateSchema, Drop, DropKind, Statement, TableChange};

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
            Ast::AlterTable(alter) => match self.alter_table(&alter)? {
                Some(alter) => Statement::AlterTable(alter),
                None => return self.session(Ast::AlterTable(alter)),
            },
            other => return self.session(other),
        })
    }

    /// Converts ALTER TABLE; `None` if it is a form that is refused.
    fn alter_table(&self, alter: &ast::AlterTable) -> Result<Option<AlterTable>, SqlError> {
        // Parts of a table are not tables of their own, so ONLY says nothing.
        let [operation] = &alter.operations[..] else { return Ok(None) };
        let other = alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some();
        foreign(&[(other, "alter")])?;
        let change = match operation {
            AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(name) } => {
                let name = self.name(name)?;
                if name.parts.len() > 1 {
                    let error = SqlError::new(sqlstate::SYNTAX, "syntax error at or near \".\"");
                    return Err(error.at_if_known(name.position));
                }
                TableChange::Rename(name.last().into())
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                TableChange::RenameColumn { from: fold(old_column_name), to: fold(new_column_name) }
            }
            AlterTableOperation::AlterColumn { column_name, op: AlterColumnOperation::DropDefault } => {
                TableChange::DropDefault(fold(column_name))
            }
            AlterTableOperation::OwnerTo { new_owner: Owner::Ident(user) } => {
                TableChange::Owner(Some(fold(user)))
            }
            AlterTableOperation::OwnerTo { .. } => TableChange::Owner(None),
            _ => return Ok(None),
        };
        Ok(Some(AlterTable { table: self.name(&alter.name)?, if_exists: alter.if_exists, change }))
    }
}
