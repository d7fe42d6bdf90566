//! Statements from the parser's tree into ours. What has no arm here is refused with 0A000.

use sqlparser::ast::{
    self, AssignmentTarget, ColumnOption, CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopyTarget,
    DiscardObject, Expr, FromTable, ObjectType, OnConflictAction, OnInsert, Reset, Set, TableConstraint,
    TableFactor, TableObject, TransactionAccessMode, TransactionMode,
};

use super::expression::{convert, data_type, fold, name};
use super::{Source, query};
use crate::error::{SqlError, sqlstate};
use crate::statement::{
    Assignment, ColumnDefinition, ConflictClause, ConflictTarget, Copy, CopyOptions, CopySource, CreateTable,
    Delete, Insert, Name, Statement, Syntax, Update,
};
use crate::types::Type;

/// Converts a statement.
pub(super) fn statement(
    source: &Source<'_>,
    statement: ast::Statement,
    upsert: bool,
    splits: Vec<Vec<Syntax>>,
) -> Result<Statement, SqlError> {
    use ast::Statement as Ast;
    Ok(match statement {
        Ast::Query(inner) => Statement::Query(query::query(source, *inner)?),
        Ast::Insert(inner) => Statement::Insert(insert(source, inner, upsert)?),
        Ast::Update(inner) => Statement::Update(update(source, inner)?),
        Ast::Delete(inner) => Statement::Delete(delete(source, inner)?),
        Ast::CreateTable(inner) => Statement::CreateTable(create_table(source, inner, splits)?),
        Ast::Drop { object_type: ObjectType::Table, if_exists, names, .. } => Statement::DropTable {
            names: names.iter().map(|own| name(source, own)).collect::<Result<_, _>>()?,
            if_exists,
        },
        Ast::Copy { source: from, to, target, options, legacy_options, .. } => {
            Statement::Copy(copy(source, from, to, target, options, legacy_options)?)
        }
        Ast::Explain { analyze, statement: inner, options, .. } => {
            let mut analyze = analyze;
            for option in options.unwrap_or_default() {
                let off =
                    option.arg.is_some_and(|arg| matches!(arg.to_string().as_str(), "false" | "off" | "0"));
                match fold(&option.name).as_str() {
                    "analyze" => analyze = !off,
                    "format" => return Err(SqlError::unsupported("EXPLAIN with a format but text")),
                    _ => {}
                }
            }
            let inner = self::statement(source, *inner, upsert, splits)?;
            Statement::Explain { analyze, statement: Box::new(inner) }
        }
        Ast::Set(inner) => set(source, inner)?,
        Ast::ShowVariable { variable } => {
            let words: Vec<String> = variable.iter().map(fold).collect();
            match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["all"] => Statement::Show(None),
                ["transaction", "isolation", "level"] => {
                    Statement::Show(Some("transaction_isolation".into()))
                }
                ["session", "authorization"] => Statement::Show(Some("session_authorization".into())),
                ["time", "zone"] => Statement::Show(Some("TimeZone".into())),
                words => Statement::Show(Some(words.join("."))),
            }
        }
        Ast::Reset(reset) => Statement::Reset(match reset.reset {
            Reset::ALL => None,
            Reset::ConfigurationParameter(own) => Some(name(source, &own)?.dotted()),
            Reset::SessionAuthorization => return Ok(Statement::Noise("RESET")),
        }),
        Ast::StartTransaction { modes, statements, .. } if statements.is_empty() => {
            Statement::Begin { read_only: read_only(&modes) }
        }
        Ast::Commit { chain: false, .. } => Statement::Commit,
        Ast::Rollback { chain: false, savepoint: None } => Statement::Rollback,
        Ast::Rollback { chain: false, savepoint: Some(own) } => Statement::RollbackTo(fold(&own)),
        Ast::Savepoint { name } => Statement::Savepoint(fold(&name)),
        Ast::ReleaseSavepoint { name } => Statement::Release(fold(&name)),
        Ast::Execute { name: Some(own), parameters, .. } => Statement::Execute {
            name: name(source, &own)?.dotted(),
            arguments: parameters.into_iter().map(|expr| convert(source, expr)).collect::<Result<_, _>>()?,
        },
        Ast::Deallocate { name, .. } => {
            let name = fold(&name);
            Statement::Deallocate((name != "all").then_some(name))
        }
        Ast::Discard { object_type: DiscardObject::ALL } => Statement::DiscardAll,
        Ast::Discard { object_type } => Statement::Noise(match object_type {
            DiscardObject::PLANS => "DISCARD PLANS",
            DiscardObject::SEQUENCES => "DISCARD SEQUENCES",
            _ => "DISCARD TEMP",
        }),
        other => return Err(refused(&other)),
    })
}

/// 0A000 with what is supported instead.
fn refused(statement: &ast::Statement) -> SqlError {
    use ast::Statement as Ast;
    let text = statement.to_string();
    // ALTER, CREATE and DROP say what only with their second word.
    let first = text.split_whitespace().next().unwrap_or("").to_uppercase();
    let two = matches!(first.as_str(), "ALTER" | "CREATE" | "DROP");
    let words: Vec<&str> = text.split_whitespace().take(if two { 2 } else { 1 }).collect();
    let what = words.join(" ").to_uppercase();
    let hint = match statement {
        Ast::AlterTable(_) => "Create a new table with the columns that you need, and copy the rows over.",
        Ast::CreateIndex(_) => "The primary key is the only index: choose it by the reads that you need.",
        Ast::Truncate(_) => "Drop the table and create it again.",
        Ast::CreateSequence { .. } => "Use uuid with DEFAULT gen_random_uuid().",
        Ast::CreateSchema { .. } => "There is one schema, public.",
        Ast::Declare { .. } | Ast::Fetch { .. } => {
            "Use a portal with a row limit (a server-side cursor of the driver), or read by key ranges."
        }
        _ => {
            "Supported: CREATE TABLE, DROP TABLE, SELECT, INSERT, UPSERT, UPDATE, DELETE, COPY, PREPARE, EXECUTE, \
             EXPLAIN, SET, SHOW, RESET, BEGIN, COMMIT, ROLLBACK, SAVEPOINT."
        }
    };
    SqlError::unsupported(what).hint(hint)
}

/// The table and alias of a FROM entry that must be a plain table.
fn plain_table(source: &Source<'_>, from: ast::TableWithJoins) -> Result<(Name, Option<String>), SqlError> {
    match from.relation {
        TableFactor::Table { name: own, alias, args: None, .. } if from.joins.is_empty() => {
            Ok((name(source, &own)?, alias.map(|alias| fold(&alias.name))))
        }
        _ => Err(SqlError::unsupported("a join in UPDATE or DELETE")),
    }
}

fn insert(source: &Source<'_>, insert: ast::Insert, upsert: bool) -> Result<Insert, SqlError> {
    let table = match insert.table {
        TableObject::TableName(own) => name(source, &own)?,
        _ => return Err(SqlError::unsupported("INSERT into a function or query")),
    };
    let on_conflict = match insert.on {
        None => None,
        Some(OnInsert::OnConflict(_)) if upsert => {
            return Err(SqlError::unsupported("UPSERT with ON CONFLICT").hint("Use INSERT .. ON CONFLICT."));
        }
        Some(OnInsert::OnConflict(conflict)) => Some(ConflictClause {
            target: match conflict.conflict_target {
                None => None,
                Some(ast::ConflictTarget::Columns(columns)) => {
                    Some(ConflictTarget::Columns(columns.iter().map(fold).collect()))
                }
                Some(ast::ConflictTarget::OnConstraint(own)) => {
                    Some(ConflictTarget::Constraint(name(source, &own)?.last().to_string()))
                }
            },
            update: match conflict.action {
                OnConflictAction::DoNothing => None,
                OnConflictAction::DoUpdate(update) => Some((
                    assignments(source, update.assignments)?,
                    update.selection.map(|filter| convert(source, filter)).transpose()?,
                )),
            },
        }),
        Some(_) => return Err(SqlError::unsupported("ON DUPLICATE KEY UPDATE").hint("Use ON CONFLICT.")),
    };
    Ok(Insert {
        upsert,
        table,
        alias: insert.table_alias.map(|alias| fold(&alias.alias)),
        columns: insert.columns.iter().map(|own| name(source, own)).collect::<Result<_, _>>()?,
        source: insert.source.map(|inner| query::query(source, *inner)).transpose()?,
        on_conflict,
        returning: insert.returning.map(|items| query::items(source, items)).transpose()?,
    })
}

fn assignments(source: &Source<'_>, all: Vec<ast::Assignment>) -> Result<Vec<Assignment>, SqlError> {
    let mut out = Vec::with_capacity(all.len());
    for assignment in all {
        match (assignment.target, assignment.value) {
            (AssignmentTarget::ColumnName(own), value) => {
                out.push(Assignment { column: name(source, &own)?, value: convert(source, value)? });
            }
            (AssignmentTarget::Tuple(columns), Expr::Tuple(values)) if columns.len() == values.len() => {
                for (own, value) in columns.iter().zip(values) {
                    out.push(Assignment { column: name(source, own)?, value: convert(source, value)? });
                }
            }
            _ => return Err(SqlError::unsupported("this form of SET (a, b) = ..")),
        }
    }
    Ok(out)
}

fn update(source: &Source<'_>, update: ast::Update) -> Result<Update, SqlError> {
    if update.from.is_some() {
        return Err(SqlError::unsupported("UPDATE .. FROM"));
    }
    let (table, alias) = plain_table(source, update.table)?;
    Ok(Update {
        table,
        alias,
        assignments: assignments(source, update.assignments)?,
        filter: update.selection.map(|filter| convert(source, filter)).transpose()?,
        returning: update.returning.map(|items| query::items(source, items)).transpose()?,
    })
}

fn delete(source: &Source<'_>, delete: ast::Delete) -> Result<Delete, SqlError> {
    if delete.using.is_some() {
        return Err(SqlError::unsupported("DELETE .. USING"));
    }
    let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = delete.from;
    let Some(first) = from.pop().filter(|_| from.is_empty()) else {
        return Err(SqlError::unsupported("DELETE from several tables"));
    };
    let (table, alias) = plain_table(source, first)?;
    Ok(Delete {
        table,
        alias,
        filter: delete.selection.map(|filter| convert(source, filter)).transpose()?,
        returning: delete.returning.map(|items| query::items(source, items)).transpose()?,
    })
}

fn create_table(
    source: &Source<'_>,
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
        name: name(source, &table.name)?,
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
                    definition.default = Some((expr.to_string(), convert(source, expr)?));
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

fn copy(
    source: &Source<'_>,
    from: ast::CopySource,
    to: bool,
    target: CopyTarget,
    options: Vec<CopyOption>,
    legacy: Vec<CopyLegacyOption>,
) -> Result<Copy, SqlError> {
    match target {
        CopyTarget::Stdin if !to => {}
        CopyTarget::Stdout if to => {}
        _ => {
            return Err(SqlError::unsupported("COPY with a file or program of the server")
                .hint("Use COPY .. FROM STDIN / TO STDOUT, or psql's \\copy."));
        }
    }
    let copy_source = match from {
        ast::CopySource::Table { table_name, columns } => CopySource::Table {
            name: name(source, &table_name)?,
            columns: columns
                .iter()
                .map(|ident| Name { parts: vec![fold(ident)], position: source.position(ident.span.start) })
                .collect(),
        },
        ast::CopySource::Query(inner) => CopySource::Query(query::query(source, *inner)?),
    };
    let mut out = CopyOptions::default();
    let names = |idents: &[ast::Ident]| idents.iter().map(fold).collect::<Vec<_>>();
    for option in options {
        match option {
            CopyOption::Format(format) => match fold(&format).as_str() {
                "text" => out.csv = false,
                "csv" => out.csv = true,
                "binary" => {
                    return Err(SqlError::unsupported("COPY in binary format").hint("Use text or csv."));
                }
                other => {
                    return Err(SqlError::new(
                        sqlstate::INVALID_PARAMETER,
                        format!("COPY format \"{other}\" not recognized"),
                    ));
                }
            },
            CopyOption::Freeze(_) => {}
            CopyOption::Delimiter(c) => out.delimiter = Some(c),
            CopyOption::Null(text) => out.null = Some(text),
            CopyOption::Header(on) => out.header = on,
            CopyOption::Quote(c) => out.quote = Some(c),
            CopyOption::Escape(c) => out.escape = Some(c),
            CopyOption::ForceQuote(columns) => out.force_quote = names(&columns),
            CopyOption::ForceNotNull(columns) => out.force_not_null = names(&columns),
            CopyOption::ForceNull(columns) => out.force_null = names(&columns),
            CopyOption::Encoding(encoding) if encoding.to_lowercase().replace('-', "") == "utf8" => {}
            CopyOption::Encoding(_) => return Err(SqlError::unsupported("an encoding other than UTF8")),
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Binary => {
                return Err(SqlError::unsupported("COPY in binary format").hint("Use text or csv."));
            }
            CopyLegacyOption::Delimiter(c) => out.delimiter = Some(c),
            CopyLegacyOption::Null(text) => out.null = Some(text),
            CopyLegacyOption::Header => out.header = true,
            CopyLegacyOption::Csv(csv) => {
                out.csv = true;
                for option in csv {
                    match option {
                        CopyLegacyCsvOption::Header => out.header = true,
                        CopyLegacyCsvOption::Quote(c) => out.quote = Some(c),
                        CopyLegacyCsvOption::Escape(c) => out.escape = Some(c),
                        CopyLegacyCsvOption::ForceQuote(columns) => out.force_quote = names(&columns),
                        CopyLegacyCsvOption::ForceNotNull(columns) => out.force_not_null = names(&columns),
                    }
                }
            }
            _ => return Err(SqlError::unsupported("this option of COPY")),
        }
    }
    Ok(Copy { source: copy_source, from: !to, options: out })
}

fn read_only(modes: &[TransactionMode]) -> Option<bool> {
    modes.iter().rev().find_map(|mode| match mode {
        TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => Some(true),
        TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => Some(false),
        TransactionMode::IsolationLevel(_) => None,
    })
}

/// The text of a setting's value: a word, a string, a number, or a list of them.
fn setting_value(values: &[Expr]) -> Option<String> {
    let text = |value: &Expr| match value {
        Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => digits.clone(),
            ast::Value::Boolean(on) => if *on { "on" } else { "off" }.to_string(),
            value => value.clone().into_string().unwrap_or_else(|| value.to_string()),
        },
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    };
    match values {
        [Expr::Identifier(ident)] if ident.quote_style.is_none() && super::is_default(&ident.value) => None,
        values => Some(values.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

fn set(source: &Source<'_>, set: Set) -> Result<Statement, SqlError> {
    let local_scope =
        |scope: &Option<ast::ContextModifier>| matches!(scope, Some(ast::ContextModifier::Local));
    Ok(match set {
        Set::SingleAssignment { scope, variable, values, .. } => Statement::Set {
            local: local_scope(&scope),
            name: name(source, &variable)?.dotted(),
            value: setting_value(&values),
        },
        Set::SetTimeZone { local, value } => {
            Statement::Set { local, name: "TimeZone".into(), value: setting_value(&[value]) }
        }
        Set::SetNames { charset_name, .. } => {
            Statement::Set { local: false, name: "client_encoding".into(), value: Some(charset_name.value) }
        }
        Set::SetNamesDefault {} => {
            Statement::Set { local: false, name: "client_encoding".into(), value: None }
        }
        Set::SetTransaction { modes, session, .. } => {
            Statement::SetTransaction { read_only: read_only(&modes), session }
        }
        Set::SetSessionAuthorization(_) | Set::SetRole { .. } => Statement::Noise("SET"),
        _ => return Err(SqlError::unsupported("this form of SET").hint("Use SET name = value.")),
    })
}
