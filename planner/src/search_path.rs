//! The schemas in which names without a schema are looked up, and the parts of names with one.

use crate::error::{SqlError, sqlstate};

/// The schema of system relations; searched first where search_path does not name it.
pub(crate) const PG_CATALOG: &str = "pg_catalog";
/// The schema that always stands.
pub(crate) const PUBLIC: &str = "public";

/// Words of the grammar that must be quoted to be names, sorted.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "between",
    "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character", "check", "coalesce",
    "collate", "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog",
    "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "dec",
    "decimal", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists", "extract",
    "false", "fetch", "float", "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group",
    "grouping", "having", "ilike", "in", "initially", "inner", "inout", "int", "integer", "intersect", "interval",
    "into", "is", "isnull", "join", "lateral", "leading", "least", "left", "like", "limit", "localtime",
    "localtimestamp", "national", "natural", "nchar", "none", "normalize", "not", "notnull", "null", "nullif",
    "numeric", "offset", "on", "only", "or", "order", "out", "outer", "overlaps", "overlay", "placing",
    "position", "precision", "primary", "real", "references", "returning", "right", "row", "select",
    "session_user", "setof", "similar", "smallint", "some", "substring", "symmetric", "table", "tablesample",
    "then", "time", "timestamp", "to", "trailing", "treat", "trim", "true", "union", "unique", "user", "using",
    "values", "varchar", "variadic", "verbose", "when", "where", "window", "with", "xmlattributes", "xmlconcat",
    "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize",
    "xmltable"
];

/// An identifier as it stands in a statement: quoted if it must be.
pub(crate) fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && KEYWORDS.binary_search(&name).is_err();
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// How a session finds what a name means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SearchPath {
    /// The database of the session: the only one that names may mention.
    database: String,
    /// As set, with the user's name for `$user`. Not all of them need to exist.
    schemas: Vec<String>,
    /// In which relations are looked up: with pg_catalog in front if it is not among them.
    searched: Vec<String>,
}

impl SearchPath {
    /// From the text of the setting, which was checked by [`list`].
    pub(crate) fn new(setting: &str, user: &str, database: &str) -> SearchPath {
        let mut schemas = list(setting).unwrap_or_default();
        schemas.iter_mut().filter(|schema| *schema == "$user").for_each(|schema| user.clone_into(schema));
        // There are no temporary tables, and "" is no schema.
        schemas.retain(|schema| !schema.is_empty() && schema != "pg_temp");
        let mut searched = schemas.clone();
        if !searched.iter().any(|schema| schema == PG_CATALOG) {
            searched.insert(0, PG_CATALOG.into());
        }
        SearchPath { database: database.into(), schemas, searched }
    }

    /// As set: the first that exists is where things are made.
    pub(crate) fn schemas(&self) -> &[String] {
        &self.schemas
    }

    /// In which relations are looked up.
    pub(crate) fn searched(&self) -> &[String] {
        &self.searched
    }

    /// The schemas in which a name is looked up: the one that it mentions, or the searched ones.
    pub(crate) fn candidates<'a>(&'a self, schema: Option<&'a str>) -> Vec<&'a str> {
        match schema {
            Some(schema) => vec![schema],
            None => self.searched.iter().map(String::as_str).collect(),
        }
    }

    /// The schema, if it mentions one, and the name itself. 0A000 for another database, 42601 for too many parts.
    pub(crate) fn split<'a>(&self, parts: &'a [String]) -> Result<(Option<&'a str>, &'a str), SqlError> {
        match parts {
            [name] => Ok((None, name)),
            [schema, name] => Ok((Some(schema), name)),
            [database, schema, name] if *database == self.database => Ok((Some(schema), name)),
            [_, _, _] => Err(SqlError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("cross-database references are not implemented: \"{}\"", parts.join(".")),
            )),
            _ => Err(SqlError::new(
                sqlstate::SYNTAX,
                format!("improper qualified name (too many dotted names): {}", parts.join(".")),
            )),
        }
    }
}

/// The elements of a list of identifiers, folded; `None` if it is none.
pub(crate) fn list(text: &str) -> Option<Vec<String>> {
    separated(text, ',')
}

/// The parts of a dotted name in a text; `None` if it is none.
pub(crate) fn dotted(text: &str) -> Option<Vec<String>> {
    separated(text, '.').filter(|parts| !parts.is_empty())
}

fn separated(text: &str, separator: char) -> Option<Vec<String>> {
    let mut rest = text.trim();
    let mut parts = Vec::new();
    if rest.is_empty() {
        return Some(parts);
    }
    loop {
        let part = if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') if quoted[at + 1..].starts_with('"') => {
                        chars.next();
                        part.push('"');
                    }
                    (at, '"') => break at + 1,
                    (_, c) => part.push(c),
                }
            };
            rest = quoted[end..].trim_start();
            part
        } else {
            let end = rest.find(|c: char| c == separator || c.is_whitespace()).unwrap_or(rest.len());
            let part = rest[..end].to_lowercase();
            rest = rest[end..].trim_start();
            if part.is_empty() {
                return None;
            }
            part
        };
        parts.push(part);
        if rest.is_empty() {
            return Some(parts);
        }
        rest = rest.strip_prefix(separator)?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_postgresql_reads_them() {
        let parts = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(list("Foo, \"Bar\" ,\"a\"\"b\",\"\""), parts(&["foo", "Bar", "a\"b", ""]));
        assert_eq!(list(""), parts(&[]));
        assert_eq!(dotted("S.\"T.u\""), parts(&["s", "T.u"]));
        for junk in ["a,", ",a", "a b", "\"a"] {
            assert_eq!(list(junk), None, "{junk}");
        }
    }

    #[test]
    fn the_user_and_pg_catalog_are_filled_in() {
        let path = SearchPath::new("\"$user\", public", "root", "db");
        assert_eq!(path.searched(), ["pg_catalog", "root", "public"]);
        assert_eq!(SearchPath::new("public, pg_catalog", "root", "db").searched(), ["public", "pg_catalog"]);
        assert!(SearchPath::new("\"\"", "root", "db").schemas().is_empty());
    }
}
