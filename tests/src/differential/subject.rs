//! A file of statements: one on a line, or a table of them.
//!
//! | line | meaning |
//! |---|---|
//! | `select 1` | a statement |
//! | `select $1::int \bind 7 ,, null` | with parameters, in text; the simple protocol is left out |
//! | `> 1,a` | a line of data for the COPY .. FROM STDIN above |
//! | `@each select {a} + {b}` | a statement for each combination of the values below |
//! | `@ a: 1 ;; 2` | the values of one place of the table above |
//! | `@session` | a new session from here on |
//! | `@one-way` | each statement goes by the simple protocol only (it leaves something behind) |
//! | `-- ..`, empty | nothing |

use std::path::Path;

/// One statement as both servers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text; a statement with parameters has them at its end as the file says them.
    pub text: String,
    /// What `\bind` gave.
    pub parameters: Option<Vec<Option<String>>>,
    /// Data of a COPY.
    pub data: Vec<String>,
}

/// A step of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Runs at both servers.
    Statement(Statement),
    /// Both sessions end and new ones begin.
    Session,
}

/// A file of statements about one subject.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The file's name without `.sql`.
    pub name: String,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// Only by the simple protocol.
    pub one_way: bool,
}

impl Statement {
    fn new(text: &str) -> Statement {
        let parameters = text.split_once(" \\bind ").map(|(_, values)| {
            let values = values.split(",,").map(str::trim);
            values.map(|value| (value != "null").then(|| value.to_owned())).collect()
        });
        Statement { text: text.to_owned(), parameters, data: Vec::new() }
    }

    /// What is sent.
    pub fn sql(&self) -> &str {
        self.text.split_once(" \\bind ").map_or(&self.text, |(sql, _)| sql)
    }
}

impl Subject {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Subject, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Subject::parse(&name, &text).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn parse(name: &str, text: &str) -> Result<Subject, String> {
        let mut subject = Subject { name: name.to_owned(), steps: Vec::new(), one_way: false };
        let mut table: Option<Vec<String>> = None;
        for line in text.lines() {
            let values = line.strip_prefix("@ ");
            if let (None, Some(texts)) = (values, table.take_if(|_| values.is_none())) {
                subject.add(&texts);
            }
            match (line, values) {
                (_, Some(values)) => {
                    let (place, values) =
                        values.split_once(": ").ok_or_else(|| format!("no values: {line}"))?;
                    let texts = table.as_mut().ok_or_else(|| format!("no @each above: {line}"))?;
                    *texts = fill(texts, place, values);
                }
                ("@session", _) => subject.steps.push(Step::Session),
                ("@one-way", _) => subject.one_way = true,
                _ if line.trim().is_empty() || line.starts_with("--") => {}
                _ => match (line.strip_prefix("@each "), line.strip_prefix("> ")) {
                    (Some(template), _) => table = Some(vec![template.to_owned()]),
                    (_, Some(data)) => match subject.steps.last_mut() {
                        Some(Step::Statement(statement)) => statement.data.push(data.to_owned()),
                        _ => return Err(format!("no COPY above: {line}")),
                    },
                    (None, None) if line.starts_with('@') => {
                        return Err(format!("unknown directive: {line}"));
                    }
                    (None, None) => subject.add(&[line.to_owned()]),
                },
            }
        }
        table.iter().for_each(|texts| subject.add(texts));
        Ok(subject)
    }

    fn add(&mut self, texts: &[String]) {
        self.steps.extend(texts.iter().map(|text| Step::Statement(Statement::new(text))));
    }
}

/// Each text once for each value of a place.
fn fill(texts: &[String], place: &str, values: &str) -> Vec<String> {
    let place = format!("{{{place}}}");
    let values: Vec<&str> = values.split(";;").map(str::trim).collect();
    texts.iter().flat_map(|text| values.iter().map(|value| text.replace(&place, value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_give_a_statement_for_each_combination() {
        let subject = Subject::parse("s", "@each select {a} + {b}\n@ a: 1 ;; 2\n@ b: x\nselect 3").unwrap();
        let texts: Vec<&str> = subject
            .steps
            .iter()
            .map(|step| match step {
                Step::Statement(statement) => statement.text.as_str(),
                Step::Session => "",
            })
            .collect();
        assert_eq!(texts, ["select 1 + x", "select 2 + x", "select 3"]);
        assert!(Subject::parse("s", "@ a: 1").is_err());
        assert!(Subject::parse("s", "@nothing").is_err());
    }

    #[test]
    fn parameters_and_data_belong_to_a_statement() {
        let subject = Subject::parse("s", "select $1 \\bind a ,, null\ncopy t from stdin\n> 1,2").unwrap();
        let [Step::Statement(first), Step::Statement(second)] = &subject.steps[..] else { panic!() };
        assert_eq!(first.sql(), "select $1");
        assert_eq!(first.parameters, Some(vec![Some("a".to_owned()), None]));
        assert_eq!(second.data, ["1,2"]);
    }
}
