//! Statements from the parser's tree into ours. What has no arm here is refused with 0A000.

use sqlparser::ast::{
    self, DiscardObject, Expr, Ident, ObjectType, Reset, Set, TransactionAccessMode, TransactionMode,
    UtilityOption,
};

use super::converter::{Converter, fold, is_default};
use super::split::first_words;
use crate::error::{SqlError, sqlstate};
use crate::statement::{Statement, Syntax};

impl Converter<'_> {
    /// Converts a statement.
    pub(super) fn statement(
        &self,
        statement: ast::Statement,
        upsert: bool,
        splits: Vec<Vec<Syntax>>,
    ) -> Result<Statement, SqlError> {
        use ast::Statement as Ast;
        Ok(match statement {
            Ast::Query(inner) => Statement::Query(self.query(*inner)?),
            Ast::Insert(inner) => Statement::Insert(self.insert(inner, upsert)?),
            Ast::Update(inner) => Statement::Update(self.update(inner)?),
            Ast::Delete(inner) => Statement::Delete(self.delete(inner)?),
            Ast::CreateTable(inner) => Statement::CreateTable(self.create_table(inner, splits)?),
            Ast::Drop { object_type: ObjectType::Table, if_exists, names, .. } => Statement::DropTable {
                names: names.iter().map(|own| self.name(own)).collect::<Result<_, _>>()?,
                if_exists,
            },
            Ast::Copy { source: from, to, target, options, legacy_options, .. } => {
                Statement::Copy(self.copy(from, to, target, options, legacy_options)?)
            }
            Ast::Explain { analyze, statement: inner, options, .. } => {
                let analyze = explains_by_running(analyze, options.unwrap_or_default())?;
                let inner = self.statement(*inner, upsert, splits)?;
                Statement::Explain { analyze, statement: Box::new(inner) }
            }
            Ast::Set(inner) => self.set(inner)?,
            Ast::ShowVariable { variable } => Statement::Show(shown(&variable)),
            Ast::Reset(reset) => Statement::Reset(match reset.reset {
                Reset::ALL => None,
                Reset::ConfigurationParameter(own) => Some(self.name(&own)?.dotted()),
                Reset::SessionAuthorization => return Ok(Statement::NoEffect("RESET")),
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
                name: self.name(&own)?.dotted(),
                arguments: parameters.into_iter().map(|expr| self.expr(expr)).collect::<Result<_, _>>()?,
            },
            Ast::Deallocate { name, .. } => {
                let name = fold(&name);
                Statement::Deallocate((name != "all").then_some(name))
            }
            Ast::Discard { object_type: DiscardObject::ALL } => Statement::DiscardAll,
            Ast::Discard { object_type } => Statement::NoEffect(match object_type {
                DiscardObject::PLANS => "DISCARD PLANS",
                DiscardObject::SEQUENCES => "DISCARD SEQUENCES",
                _ => "DISCARD TEMP",
            }),
            other => return Err(refused(self.text, &other)),
        })
    }

    fn set(&self, set: Set) -> Result<Statement, SqlError> {
        let local_scope =
            |scope: &Option<ast::ContextModifier>| matches!(scope, Some(ast::ContextModifier::Local));
        Ok(match set {
            Set::SingleAssignment { scope, variable, values, .. } => Statement::Set {
                local: local_scope(&scope),
                name: self.name(&variable)?.dotted(),
                value: setting_value(&values)?,
            },
            Set::SetTimeZone { local, value } => {
                Statement::Set { local, name: "TimeZone".into(), value: setting_value(&[value])? }
            }
            Set::SetNames { charset_name, .. } => Statement::Set {
                local: false,
                name: "client_encoding".into(),
                value: Some(charset_name.value),
            },
            Set::SetNamesDefault {} => {
                Statement::Set { local: false, name: "client_encoding".into(), value: None }
            }
            Set::SetTransaction { modes, session, .. } => {
                Statement::SetTransaction { read_only: read_only(&modes), session }
            }
            Set::SetSessionAuthorization(_) | Set::SetRole { .. } => Statement::NoEffect("SET"),
            _ => return Err(SqlError::unsupported("this form of SET").hint("Use SET name = value.")),
        })
    }
}

/// Does EXPLAIN also run the statement? The last ANALYZE counts.
fn explains_by_running(mut analyze: bool, options: Vec<UtilityOption>) -> Result<bool, SqlError> {
    for option in options {
        let value = option.arg.as_ref().map(setting_word).transpose()?;
        let off = value.is_some_and(|value| matches!(value.as_str(), "false" | "off" | "0"));
        match fold(&option.name).as_str() {
            "analyze" => analyze = !off,
            "format" => return Err(SqlError::unsupported("EXPLAIN with a format but text")),
            _ => {}
        }
    }
    Ok(analyze)
}

/// The setting that SHOW names; `None`: all.
fn shown(words: &[Ident]) -> Option<String> {
    let words: Vec<String> = words.iter().map(fold).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["all"] => None,
        ["transaction", "isolation", "level"] => Some("transaction_isolation".into()),
        ["session", "authorization"] => Some("session_authorization".into()),
        ["time", "zone"] => Some("TimeZone".into()),
        words => Some(words.join(".")),
    }
}

fn read_only(modes: &[TransactionMode]) -> Option<bool> {
    modes.iter().rev().find_map(|mode| match mode {
        TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => Some(true),
        TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => Some(false),
        TransactionMode::IsolationLevel(_) => None,
    })
}

/// The text of a setting's value: a word, a string, a number, or a list of them.
fn setting_value(values: &[Expr]) -> Result<Option<String>, SqlError> {
    match values {
        [Expr::Identifier(ident)] if ident.quote_style.is_none() && is_default(&ident.value) => Ok(None),
        values => {
            let words = values.iter().map(setting_word).collect::<Result<Vec<_>, _>>()?;
            Ok(Some(words.join(", ")))
        }
    }
}

/// A word, a string or a number. 42601 for an expression.
fn setting_word(value: &Expr) -> Result<String, SqlError> {
    Ok(match value {
        Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => digits.clone(),
            ast::Value::Boolean(on) => if *on { "on" } else { "off" }.to_string(),
            value => value.clone().into_string().unwrap_or_else(|| value.to_string()),
        },
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => format!("-{}", setting_word(expr)?),
        _ => return Err(SqlError::new(sqlstate::SYNTAX, "a setting takes a word, a string or a number")),
    })
}

/// 0A000 with what is supported instead.
fn refused(sql: &str, statement: &ast::Statement) -> SqlError {
    use ast::Statement as Ast;
    // ALTER, CREATE and DROP say what only with their second word.
    let mut words = first_words(sql, 2);
    if !words.first().is_some_and(|word| matches!(word.as_str(), "ALTER" | "CREATE" | "DROP")) {
        words.truncate(1);
    }
    let what = words.join(" ");
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
