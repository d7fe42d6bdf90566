//! Statements from the parser's tree into ours. What has no arm here is refused with 0A000.

use sqlparser::ast::{
    self, ContextModifier, DiscardObject, Expr, Ident, Reset, Set, TransactionAccessMode, TransactionMode,
    UtilityOption,
};

use super::converter::{Converter, fold, is_default};
use super::data_type::interval_type;
use super::refuse::{foreign, unsupported};
use super::split::first_words;
use crate::error::{SqlError, sqlstate};
use crate::search_path::quote_ident;
use crate::settings::check_isolation;
use crate::statement::{Statement, Syntax};
use crate::types::Value;

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
            Ast::Insert(inner) => Statement::Insert(Box::new(self.insert(inner, upsert)?)),
            Ast::Update(inner) => Statement::Update(self.update(inner)?),
            Ast::Delete(inner) => Statement::Delete(self.delete(inner)?),
            Ast::Truncate(inner) => Statement::Truncate(self.truncate(inner)?),
            Ast::CreateTable(inner) => Statement::CreateTable(self.create_table(inner, splits)?),
            Ast::Explain {
                describe_alias,
                analyze,
                // Shows nothing more here.
                verbose: _,
                query_plan,
                estimate,
                statement: inner,
                format,
                options,
            } => {
                let describe = describe_alias != ast::DescribeAlias::Explain;
                foreign(&[(describe, "describe"), (query_plan, "query plan"), (estimate, "estimate")])?;
                unsupported(&[(format.is_some(), "EXPLAIN with a format but text")])?;
                let analyze = explains_by_running(analyze, options.unwrap_or_default())?;
                let inner = self.statement(*inner, upsert, splits)?;
                Statement::Explain { analyze, statement: Box::new(inner) }
            }
            other => return self.catalog(other),
        })
    }

    /// Converts a statement about the session.
    pub(super) fn session(&self, statement: ast::Statement) -> Result<Statement, SqlError> {
        use ast::Statement as Ast;
        Ok(match statement {
            Ast::Set(inner) => self.set(inner)?,
            Ast::ShowVariable { variable } => Statement::Show(shown(&variable)),
            Ast::Reset(reset) => Statement::Reset(match reset.reset {
                Reset::ALL => None,
                Reset::ConfigurationParameter(own) => Some(self.name(&own)?.dotted()),
                // It never changes.
                Reset::SessionAuthorization => return Ok(Statement::NoEffect("RESET")),
            }),
            Ast::Execute {
                name: Some(own),
                parameters,
                has_parentheses: _,
                immediate,
                into,
                using,
                output,
                default,
            } => {
                let other = immediate || !into.is_empty() || !using.is_empty() || output || default;
                foreign(&[(other, "execute")])?;
                let arguments = parameters.into_iter().map(|expr| self.expr(expr));
                Statement::Execute {
                    name: self.name(&own)?.dotted(),
                    arguments: arguments.collect::<Result<_, _>>()?,
                }
            }
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
            other => return self.transaction(other),
        })
    }

    /// Converts a statement about transaction blocks. What is left is refused.
    fn transaction(&self, statement: ast::Statement) -> Result<Statement, SqlError> {
        use ast::Statement as Ast;
        Ok(match statement {
            Ast::StartTransaction {
                modes,
                begin: _,
                transaction: _,
                modifier,
                statements,
                exception,
                has_end_keyword,
            } => {
                let block = !statements.is_empty() || exception.is_some() || has_end_keyword;
                foreign(&[(modifier.is_some(), "immediate"), (block, "begin")])?;
                Statement::Begin { read_only: access_mode(&modes)? }
            }
            Ast::Commit { chain, end: _, modifier } => {
                foreign(&[(modifier.is_some(), "commit")])?;
                unsupported(&[(chain, "AND CHAIN")])?;
                Statement::Commit
            }
            Ast::Rollback { chain, savepoint } => {
                unsupported(&[(chain, "AND CHAIN")])?;
                savepoint.map_or(Statement::Rollback, |own| Statement::RollbackTo(fold(&own)))
            }
            Ast::Savepoint { name } => Statement::Savepoint(fold(&name)),
            Ast::ReleaseSavepoint { name } => Statement::Release(fold(&name)),
            other => return Err(refused(self.text, &other)),
        })
    }

    fn set(&self, set: Set) -> Result<Statement, SqlError> {
        let is_local = |scope: &Option<ContextModifier>| matches!(scope, Some(ContextModifier::Local));
        let is_global = |scope: &Option<ContextModifier>| matches!(scope, Some(ContextModifier::Global));
        Ok(match set {
            Set::SingleAssignment { scope, hivevar, variable, values } => {
                foreign(&[(hivevar, "hivevar"), (is_global(&scope), "global")])?;
                let name = self.name(&variable)?.dotted();
                let value = match name.as_str() {
                    "search_path" => schema_list(&values)?,
                    _ => setting_value(&values)?,
                };
                Statement::Set { local: is_local(&scope), name, value }
            }
            Set::SetTimeZone { local, value } => {
                let value = match value {
                    Expr::Identifier(own) if own.quote_style.is_none() && fold(&own) == "local" => None,
                    value => setting_value(&[value])?,
                };
                Statement::Set { local, name: "TimeZone".into(), value }
            }
            Set::SetNames { charset_name, collation_name } => {
                foreign(&[(collation_name.is_some(), "collate")])?;
                Statement::Set {
                    local: false,
                    name: "client_encoding".into(),
                    value: Some(charset_name.value),
                }
            }
            Set::SetNamesDefault {} => {
                Statement::Set { local: false, name: "client_encoding".into(), value: None }
            }
            Set::SetTransaction { modes, snapshot, session } => {
                unsupported(&[(snapshot.is_some(), "SET TRANSACTION SNAPSHOT")])?;
                Statement::SetTransaction { read_only: access_mode(&modes)?, session }
            }
            // Both are settings that take the user of the session only.
            Set::SetSessionAuthorization(ast::SetSessionAuthorizationParam { scope, kind }) => {
                Statement::Set {
                    local: is_local(&Some(scope)),
                    name: "session_authorization".into(),
                    value: match kind {
                        ast::SetSessionAuthorizationParamKind::Default => None,
                        ast::SetSessionAuthorizationParamKind::User(own) => Some(fold(&own)),
                    },
                }
            }
            Set::SetRole { context_modifier, role_name } => Statement::Set {
                local: is_local(&context_modifier),
                name: "role".into(),
                value: role_name.map(|own| fold(&own)),
            },
            _ => return Err(SqlError::unsupported("this form of SET").hint("Use SET name = value.")),
        })
    }
}

/// Does EXPLAIN also run the statement? The last ANALYZE counts.
fn explains_by_running(mut analyze: bool, options: Vec<UtilityOption>) -> Result<bool, SqlError> {
    for option in options {
        let value = option.arg.as_ref().map(setting_word).transpose()?;
        let off = value.as_deref().is_some_and(|value| matches!(value, "false" | "off" | "0"));
        match fold(&option.name).as_str() {
            "analyze" => analyze = !off,
            "format" if value.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("text")) => {}
            "format" => return Err(SqlError::unsupported("EXPLAIN with a format but text")),
            // They show more of a plan that PostgreSQL has and this server has not.
            "verbose" | "costs" | "buffers" | "wal" | "timing" | "summary" | "settings" => {}
            other => {
                return Err(SqlError::new(
                    sqlstate::SYNTAX,
                    format!("unrecognized EXPLAIN option \"{other}\""),
                ));
            }
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

/// READ ONLY or READ WRITE. 0A000 for an isolation level that is not kept.
fn access_mode(modes: &[TransactionMode]) -> Result<Option<bool>, SqlError> {
    let mut read_only = None;
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => read_only = Some(true),
            TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => read_only = Some(false),
            TransactionMode::IsolationLevel(level) => check_isolation(&level.to_string())?,
        }
    }
    Ok(read_only)
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

/// The text of a search_path: its elements as identifiers.
fn schema_list(values: &[Expr]) -> Result<Option<String>, SqlError> {
    let word = |value: &Expr| match value {
        Expr::Identifier(ident) => Ok(quote_ident(&fold(ident))),
        value => setting_word(value).map(|word| quote_ident(&word)),
    };
    if setting_value(values)?.is_none() {
        return Ok(None);
    }
    let words = values.iter().map(word).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(words.join(", ")))
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
        // Of a time zone: its text without fields means the same.
        Expr::Interval(interval) => {
            let value = Value::from_text(&interval_type(interval)?, &setting_word(&interval.value)?)?;
            format!("INTERVAL '{}'", value.to_string_text())
        }
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => format!("-{}", setting_word(expr)?),
        _ => return Err(SqlError::new(sqlstate::SYNTAX, "a setting takes a word, a string or a number")),
    })
}

/// Commands of PostgreSQL that the parser does not know, or only in forms of other systems.
const UNKNOWN_TO_PARSER: &[&str] =
    &["CLUSTER", "DO", "IMPORT", "LOAD", "REASSIGN", "REFRESH", "REINDEX", "SECURITY"];

/// Commands that the parser knows and PostgreSQL does not.
const UNKNOWN_TO_POSTGRESQL: &[&str] = &[
    "ASSERT", "ATTACH", "CACHE", "DESC", "DESCRIBE", "DETACH", "EXPORT", "FLUSH", "FROM", "IF", "INSTALL",
    "KILL", "MSCK", "OPEN", "OPTIMIZE", "PRAGMA", "PRINT", "RAISE", "RENAME", "REPLACE", "RETURN", "THROW",
    "UNCACHE", "UNLOAD", "UNLOCK", "USE", "WAITFOR", "WHILE",
];

/// 0A000 or 42601 for commands that are not left to the parser.
pub(super) fn check_command(sql: &str) -> Result<(), SqlError> {
    let words = first_words(sql, 1);
    let Some(word) = words.first() else { return Ok(()) };
    if UNKNOWN_TO_PARSER.contains(&word.as_str()) {
        return Err(SqlError::unsupported(word).hint(hint(word)));
    }
    foreign(&[(UNKNOWN_TO_POSTGRESQL.contains(&word.as_str()), &word.to_lowercase())])
}

/// What there is in place of a command, by its first word.
fn hint(word: &str) -> &'static str {
    match word {
        "LISTEN" | "NOTIFY" => "There are no notifications between sessions: poll a table.",
        "DO" => "There is no procedural language: run the statements one by one.",
        _ => {
            "Supported: CREATE and DROP TABLE and SCHEMA, SELECT, INSERT, UPSERT, UPDATE, DELETE, COPY, PREPARE, EXECUTE, \
             EXPLAIN, SET, SHOW, RESET, BEGIN, COMMIT, ROLLBACK, SAVEPOINT."
        }
    }
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
        Ast::AlterTable(_) => {
            "ALTER TABLE renames tables and columns, one at a time, and drops defaults. Create a new table with the \
             columns that you need, and copy the rows over."
        }
        Ast::CreateIndex(_) => "The primary key is the only index: choose it by the reads that you need.",
        Ast::CreateSequence { .. } => "Use uuid with DEFAULT gen_random_uuid().",
        _ => hint(words.first().map_or("", String::as_str)),
    };
    SqlError::unsupported(what).hint(hint)
}
