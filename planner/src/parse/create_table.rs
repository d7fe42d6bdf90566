//! CREATE TABLE from the parser's tree into ours.

use sqlparser::ast::{self, ColumnDef, ColumnOption, Expr, Ident, IndexColumn, TableConstraint};

use super::converter::{Converter, fold};
use super::data_type::data_type;
use crate::depth::with_stack;
use crate::error::{SqlError, sqlstate};
use crate::statement::{ColumnDefinition, CreateTable, Syntax};
use crate::types::Type;

/// Levels of a default's expression at most: it is bound with each INSERT.
const DEFAULT_DEPTH_MAX: u32 = 100;
/// Stack for printing it.
const PRINT_BYTES: usize = 2 << 20;

impl Converter<'_> {
    /// Converts CREATE TABLE; `splits` are the values of SPLIT AT.
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
        for column in table.columns {
            let definition = self.column(column, &mut result)?;
            result.columns.push(definition);
        }
        for constraint in table.constraints {
            match constraint {
                TableConstraint::PrimaryKey(key) => {
                    let columns = key.columns.into_iter().map(key_column).collect::<Result<_, _>>()?;
                    set_primary_key(&mut result, columns, key.name.as_ref())?;
                }
                TableConstraint::Unique(_) => return Err(unique()),
                TableConstraint::ForeignKey(_) => return Err(SqlError::unsupported("a foreign key")),
                TableConstraint::Check(_) => return Err(SqlError::unsupported("CHECK")),
                _ => return Err(SqlError::unsupported("this constraint of a table")),
            }
        }
        Ok(result)
    }

    /// Converts a column. It may be the primary key of its `table`.
    fn column(&self, column: ColumnDef, table: &mut CreateTable) -> Result<ColumnDefinition, SqlError> {
        let mut definition = ColumnDefinition {
            name: fold(&column.name),
            // real columns hold double precision.
            ty: match data_type(&column.data_type)? {
                Type::Float4 => Type::Float8,
                Type::Json => return Err(SqlError::unsupported("type json").hint("Use jsonb.")),
                ty => ty,
            },
            not_null: false,
            default: None,
        };
        for option in column.options {
            match option.option {
                ColumnOption::Null | ColumnOption::Collation(_) => {}
                ColumnOption::NotNull => definition.not_null = true,
                ColumnOption::Default(expr) => {
                    let tree = self.shallow(DEFAULT_DEPTH_MAX, || self.expr(expr.clone()))?;
                    definition.default = Some((with_stack(PRINT_BYTES, || expr.to_string()), tree));
                }
                ColumnOption::PrimaryKey(_) => {
                    set_primary_key(table, vec![definition.name.clone()], option.name.as_ref())?;
                }
                ColumnOption::Unique(_) => return Err(unique()),
                ColumnOption::ForeignKey(_) => return Err(SqlError::unsupported("a foreign key")),
                ColumnOption::Check(_) => return Err(SqlError::unsupported("CHECK")),
                ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                    return Err(SqlError::unsupported("a generated column")
                        .hint("Use uuid with DEFAULT gen_random_uuid()."));
                }
                _ => return Err(SqlError::unsupported("this option of a column")),
            }
        }
        Ok(definition)
    }
}

/// A column named in PRIMARY KEY (..).
fn key_column(column: IndexColumn) -> Result<String, SqlError> {
    match (column.column.expr, column.column.options.sort) {
        (Expr::Identifier(ident), None | Some(ast::OrderBySort::Asc)) => Ok(fold(&ident)),
        _ => Err(SqlError::unsupported("a primary key of anything but columns ascending")),
    }
}

/// 42P16 if the table has a primary key already.
fn set_primary_key(
    table: &mut CreateTable,
    columns: Vec<String>,
    name: Option<&Ident>,
) -> Result<(), SqlError> {
    if !table.primary_key.is_empty() {
        return Err(SqlError::new(
            sqlstate::INVALID_TABLE,
            "multiple primary keys for a table are not allowed",
        ));
    }
    table.primary_key = columns;
    table.key_name = name.map(fold);
    Ok(())
}

fn unique() -> SqlError {
    SqlError::unsupported("UNIQUE").hint("Only the primary key is unique.")
}
