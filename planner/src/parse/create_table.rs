//! CREATE TABLE from the parser's tree into ours.

use std::mem::take;

use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    self, ColumnDef, ColumnOption, CreateTableOptions, Expr, Ident, IndexColumn, SqlOption, TableConstraint,
};

use super::converter::{Converter, fold};
use super::data_type::data_type;
use super::refuse::{collation, foreign, foreign_word, unsupported};
use crate::depth::with_stack;
use crate::error::{SqlError, sqlstate};
use crate::statement::{ColumnDefinition, CreateTable, Syntax};

/// Levels of a default's expression at most: it is bound with each INSERT.
const DEFAULT_DEPTH_MAX: u32 = 100;
/// Stack for printing it.
const PRINT_BYTES: usize = 2 << 20;

impl Converter<'_> {
    /// Converts CREATE TABLE; `splits` are the values of SPLIT AT.
    pub(super) fn create_table(
        &self,
        mut table: ast::CreateTable,
        splits: Vec<Vec<Syntax>>,
    ) -> Result<CreateTable, SqlError> {
        check_form(&table)?;
        let (columns, constraints) = (take(&mut table.columns), take(&mut table.constraints));
        storage_options(take(&mut table.table_options))?;
        let mut result = CreateTable {
            name: self.name(&table.name)?,
            if_not_exists: take(&mut table.if_not_exists),
            columns: Vec::with_capacity(columns.len()),
            primary_key: Vec::new(),
            key_name: None,
            splits,
        };
        // UNLOGGED is logged all the same. All the rest belongs to other systems: nothing of it may be there.
        (table.unlogged, table.hive_formats) = (false, None);
        if table != CreateTableBuilder::new(table.name.clone()).build() {
            return Err(SqlError::unsupported("this form of CREATE TABLE"));
        }
        for column in columns {
            let definition = self.column(column, &mut result)?;
            result.columns.push(definition);
        }
        for constraint in constraints {
            match constraint {
                TableConstraint::PrimaryKey(key) => {
                    let deferred = key.characteristics.is_some();
                    unsupported(&[
                        (!key.include.is_empty(), "INCLUDE"),
                        (deferred, "a deferrable primary key"),
                    ])?;
                    let named = key.index_name.is_some() || key.index_type.is_some();
                    foreign(&[(named || !key.index_options.is_empty(), "using")])?;
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
            ty: data_type(&column.data_type)?,
            not_null: false,
            default: None,
        };
        for option in column.options {
            match option.option {
                ColumnOption::Null => {}
                ColumnOption::Collation(own) => collation(self.name(&own)?.last())?,
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

/// 0A000 for a table that is not made of columns of its own.
fn check_form(table: &ast::CreateTable) -> Result<(), SqlError> {
    let temporary = table.temporary || table.global.is_some() || table.on_commit.is_some();
    unsupported(&[(temporary, "a temporary table")])?;
    let derived = table.query.is_some() || table.like.is_some() || table.inherits.is_some();
    if derived || table.partition_by.is_some() || table.partition_of.is_some() || table.for_values.is_some() {
        return Err(SqlError::unsupported("CREATE TABLE with AS, LIKE, INHERITS or PARTITION")
            .hint("List the columns; SPLIT AT VALUES divides the table into ranges."));
    }
    Ok(())
}

/// WITH (..). 22023 for what is no storage parameter of PostgreSQL. Those are about files that tables here do not have.
fn storage_options(options: CreateTableOptions) -> Result<(), SqlError> {
    let options = match options {
        CreateTableOptions::None => return Ok(()),
        CreateTableOptions::With(options) => options,
        _ => return Err(foreign_word("options")),
    };
    for option in options {
        let name = match &option {
            SqlOption::KeyValue { key, .. } => fold(key),
            SqlOption::Ident(key) => fold(key),
            _ => return Err(foreign_word("with")),
        };
        let known = matches!(
            name.as_str(),
            "fillfactor"
                | "toast_tuple_target"
                | "parallel_workers"
                | "vacuum_truncate"
                | "oids"
                | "user_catalog_table"
        );
        if !known && !name.starts_with("autovacuum_") && !name.starts_with("toast.") {
            return Err(SqlError::new(
                sqlstate::INVALID_PARAMETER,
                format!("unrecognized parameter \"{name}\""),
            ));
        }
    }
    Ok(())
}

/// A column named in PRIMARY KEY (..).
fn key_column(column: IndexColumn) -> Result<String, SqlError> {
    let plain = column.operator_class.is_none() && column.column.options.nulls_first.is_none();
    match (column.column.expr, column.column.options.sort) {
        (Expr::Identifier(ident), None | Some(ast::OrderBySort::Asc)) if plain => Ok(fold(&ident)),
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
