//! CREATE TABLE from the parser's tree into ours.

use sqlparser::ast::{self, ColumnOption, Expr, TableConstraint};

use super::converter::{Converter, fold};
use super::data_type::data_type;
use crate::error::{SqlError, sqlstate};
use crate::statement::{ColumnDefinition, CreateTable, Syntax};
use crate::types::Type;

impl Converter<'_> {
    pub(super) fn create_table(
        &self,
        table: ast::CreateTable,
        splits: Vec<Vec<Syntax>>,
    ) -> Result<CreateTable, SqlError> {
        if table.temporary {
            return Err(SqlError::unsupported("a temporary table"));
        }
        if table.query.is_some()
            || table.like.is_some()
            || table.inherits.is_some()
            || table.partition_by.is_some()
        {
            return Err(SqlError::unsupported("CREATE TABLE with AS, LIKE, INHERITS or PARTITION BY")
                .hint("List the columns; SPLIT AT VALUES divides the table into ranges."));
        }
        let mut result = CreateTable {
            name: self.name(&table.name)?,
            if_not_exists: table.if_not_exists,
            columns: Vec::with_capacity(table.columns.len()),
            primary_key: Vec::new(),
            key_name: None,
            splits,
        };
        let second_key =
            || SqlError::new(sqlstate::INVALID_TABLE, "multiple primary keys for a table are not allowed");
        for column in table.columns {
            let own = fold(&column.name);
            let mut definition = ColumnDefinition {
                name: own.clone(),
                // real columns hold double precision.
                ty: match data_type(&column.data_type)? {
                    Type::Float4 => Type::Float8,
                    Type::Json => {
                        return Err(SqlError::unsupported("type json").hint("Use jsonb."));
                    }
                    ty => ty,
                },
                not_null: false,
                default: None,
            };
            for option in column.options {
                match option.option {
                    ColumnOption::Null => {}
                    ColumnOption::NotNull => definition.not_null = true,
                    ColumnOption::Default(expr) => {
                        definition.default = Some((expr.to_string(), self.expr(expr)?));
                    }
                    ColumnOption::PrimaryKey(_) => {
                        if !result.primary_key.is_empty() {
                            return Err(second_key());
                        }
                        result.primary_key.push(own.clone());
                        result.key_name = option.name.as_ref().map(fold);
                    }
                    ColumnOption::Collation(_) => {}
                    ColumnOption::Unique(_) => {
                        return Err(SqlError::unsupported("UNIQUE").hint("Only the primary key is unique."));
                    }
                    ColumnOption::ForeignKey(_) => return Err(SqlError::unsupported("a foreign key")),
                    ColumnOption::Check(_) => return Err(SqlError::unsupported("CHECK")),
                    ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                        return Err(SqlError::unsupported("a generated column")
                            .hint("Use uuid with DEFAULT gen_random_uuid()."));
                    }
                    other => return Err(SqlError::unsupported(format!("the column option {other}"))),
                }
            }
            result.columns.push(definition);
        }
        for constraint in table.constraints {
            match constraint {
                TableConstraint::PrimaryKey(key) => {
                    if !result.primary_key.is_empty() {
                        return Err(second_key());
                    }
                    for column in key.columns {
                        match (column.column.expr, column.column.options.sort) {
                            (Expr::Identifier(ident), None | Some(ast::OrderBySort::Asc)) => {
                                result.primary_key.push(fold(&ident));
                            }
                            _ => {
                                return Err(SqlError::unsupported(
                                    "a primary key of anything but columns ascending",
                                ));
                            }
                        }
                    }
                    result.key_name = key.name.as_ref().map(fold);
                }
                TableConstraint::Unique(_) => {
                    return Err(SqlError::unsupported("UNIQUE").hint("Only the primary key is unique."));
                }
                TableConstraint::ForeignKey(_) => return Err(SqlError::unsupported("a foreign key")),
                other => return Err(SqlError::unsupported(format!("the constraint {other}"))),
            }
        }
        Ok(result)
    }
}
