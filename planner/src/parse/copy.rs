//! COPY from the parser's tree into ours.

use sqlparser::ast::{self, CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopyTarget, Ident};

use super::converter::{Converter, fold};
use super::refuse::unsupported;
use crate::error::{SqlError, sqlstate};
use crate::statement::{Copy, CopyOptions, CopySource, Name};

impl Converter<'_> {
    /// Converts COPY.
    pub(super) fn copy(
        &self,
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
                name: self.name(&table_name)?,
                columns: columns
                    .iter()
                    .map(|ident| Name { parts: vec![fold(ident)], position: self.position(ident.span.start) })
                    .collect(),
            },
            ast::CopySource::Query(inner) => CopySource::Query(self.query(*inner)?),
        };
        // Rows that come in are seen by all at once, frozen or not.
        let frozen = options.iter().any(|option| matches!(option, CopyOption::Freeze(true)));
        unsupported(&[(to && frozen, "COPY TO with FREEZE")])?;
        let mut out = CopyOptions::default();
        apply(options, &mut out)?;
        apply_legacy(legacy, &mut out)?;
        Ok(Copy { source: copy_source, from: !to, options: out })
    }
}

fn names(idents: &[Ident]) -> Vec<String> {
    idents.iter().map(fold).collect()
}

fn binary() -> SqlError {
    SqlError::unsupported("COPY in binary format").hint("Use text or csv.")
}

/// The options of WITH (..).
fn apply(options: Vec<CopyOption>, out: &mut CopyOptions) -> Result<(), SqlError> {
    for option in options {
        match option {
            CopyOption::Format(format) => match fold(&format).as_str() {
                "text" => out.csv = false,
                "csv" => out.csv = true,
                "binary" => {
                    return Err(binary());
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
    Ok(())
}

/// The options without parentheses, as before PostgreSQL 9.0.
fn apply_legacy(options: Vec<CopyLegacyOption>, out: &mut CopyOptions) -> Result<(), SqlError> {
    for option in options {
        match option {
            CopyLegacyOption::Binary => {
                return Err(binary());
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
    Ok(())
}
