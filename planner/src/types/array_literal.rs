//! The text of an array, `{1,NULL,"a b"}` or `[0:1]={{1,2},{3,4}}`, taken apart into texts of its elements and put
//! together.

use std::iter::Peekable;
use std::str::Chars;

use super::value::{Array, Dimension};
use crate::error::{SqlError, sqlstate};

/// An array's text taken apart.
pub(super) struct Literal {
    /// The texts of the elements; `None` is NULL.
    pub(super) items: Vec<Option<String>>,
    /// As [`Array::dimensions`].
    pub(super) dimensions: Vec<Dimension>,
}

/// Takes an array's text apart. 22P02 if it is none, 54000 if it has too many dimensions.
pub(super) fn split(text: &str) -> Result<Literal, SqlError> {
    let failed = |why: String| {
        SqlError::new(sqlstate::INVALID_TEXT, format!("malformed array literal: \"{text}\"")).detail(why)
    };
    let mut chars = text.chars().peekable();
    let declared = declared_dimensions(&mut chars)?.map_err(failed)?;
    skip_space(&mut chars);
    if chars.next_if_eq(&'{').is_none() {
        let why = match declared.is_empty() {
            true => "Array value must start with \"{\" or dimension information.",
            false => "Array contents must start with \"{\".",
        };
        return Err(failed(why.into()));
    }
    let mut reader = Reader { chars, items: Vec::new(), lengths: Vec::new(), depth_of_items: None };
    reader.level(0)?.map_err(failed)?;
    skip_space(&mut reader.chars);
    if reader.chars.next().is_some() {
        return Err(failed("Junk after closing right brace.".into()));
    }
    let Reader { items, lengths, .. } = reader;
    if items.is_empty() {
        return Ok(Literal { items, dimensions: Vec::new() });
    }
    let lengths = lengths.into_iter().flatten();
    let found: Vec<Dimension> = lengths.map(|length| Dimension { length, lower: 1 }).collect();
    if declared.is_empty() {
        return Ok(Literal { items, dimensions: found });
    }
    let equal = declared.len() == found.len()
        && declared.iter().zip(&found).all(|(declared, found)| declared.length == found.length);
    match equal {
        true => Ok(Literal { items, dimensions: declared }),
        false => Err(failed("Specified array dimensions do not match array contents.".into())),
    }
}

/// What a part of the text gives, or why the text is no array. The outer error is one of another kind.
type Parsed<T> = Result<Result<T, String>, SqlError>;

/// `[1:2][0:3]=` in front of the braces, if it is there.
fn declared_dimensions(chars: &mut Peekable<Chars<'_>>) -> Parsed<Vec<Dimension>> {
    let mut dimensions = Vec::new();
    loop {
        skip_space(chars);
        if chars.next_if_eq(&'[').is_none() {
            break;
        }
        if dimensions.len() == Array::DIMENSIONS_MAX {
            return Err(Array::too_many_dimensions(dimensions.len() + 1));
        }
        let Some(first) = bound(chars) else { return Ok(Err("Missing array dimension value.".into())) };
        let (lower, upper) = match chars.next_if_eq(&':') {
            None => (1, first),
            Some(_) => match bound(chars) {
                Some(upper) => (first, upper),
                None => return Ok(Err("Missing array dimension value.".into())),
            },
        };
        if chars.next_if_eq(&']').is_none() {
            return Ok(Err("Missing \"]\" after array dimensions.".into()));
        }
        if upper < lower {
            return Err(SqlError::new(
                sqlstate::ARRAY_SUBSCRIPT,
                "upper bound cannot be less than lower bound",
            ));
        }
        let fits = (upper - lower + 1, i32::try_from(lower));
        let (Ok(length), Ok(lower)) = (i32::try_from(fits.0), fits.1) else {
            return Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, "array size exceeds the maximum allowed"));
        };
        dimensions.push(Dimension { length, lower });
    }
    if !dimensions.is_empty() && chars.next_if_eq(&'=').is_none() {
        return Ok(Err("Missing \"=\" after array dimensions.".into()));
    }
    Ok(Ok(dimensions))
}

fn bound(chars: &mut Peekable<Chars<'_>>) -> Option<i64> {
    let mut digits = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_digit() || *c == '-' || *c == '+') {
        digits.push(c);
    }
    digits.parse::<i32>().ok().map(i64::from)
}

/// What is read of the braces so far.
struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    items: Vec<Option<String>>,
    /// Of each dimension the length, once one array of it has been read.
    lengths: Vec<Option<i32>>,
    /// How deep elements stand, once one has been read.
    depth_of_items: Option<usize>,
}

impl Reader<'_> {
    /// Reads what stands in braces, the opening one already taken.
    fn level(&mut self, depth: usize) -> Parsed<()> {
        if depth == Array::DIMENSIONS_MAX {
            return Err(Array::too_many_dimensions(depth + 1));
        }
        if self.lengths.len() == depth {
            self.lengths.push(None);
        }
        let mut count = 0;
        skip_space(&mut self.chars);
        if self.chars.next_if_eq(&'}').is_some() {
            // Only the whole may be empty.
            return Ok(match depth {
                0 => self.close(depth, count),
                _ => Err("Unexpected \"}\" character.".into()),
            });
        }
        loop {
            skip_space(&mut self.chars);
            if self.chars.next_if_eq(&'{').is_some() {
                if self.depth_of_items.is_some_and(|items| items <= depth) {
                    return Ok(Err("Unexpected \"{\" character.".into()));
                }
                if let Err(why) = self.level(depth + 1)? {
                    return Ok(Err(why));
                }
            } else {
                match self.item() {
                    Ok(item) => self.items.push(item),
                    Err(why) => return Ok(Err(why)),
                }
                if *self.depth_of_items.get_or_insert(depth) != depth || self.lengths.len() > depth + 1 {
                    return Ok(Err("Unexpected array element.".into()));
                }
            }
            count += 1;
            skip_space(&mut self.chars);
            match self.chars.next() {
                Some(',') => {}
                Some('}') => return Ok(self.close(depth, count)),
                Some(c @ '{') => return Ok(Err(format!("Unexpected \"{c}\" character."))),
                Some(_) => return Ok(Err("Unexpected array element.".into())),
                None => return Ok(Err("Unexpected end of input.".into())),
            }
        }
    }

    /// An array of a dimension ends: all of one dimension are as long as each other.
    fn close(&mut self, depth: usize, count: i32) -> Result<(), String> {
        match self.lengths[depth].replace(count) {
            Some(before) if before != count => Err(MISMATCH.into()),
            _ => Ok(()),
        }
    }

    fn item(&mut self) -> Result<Option<String>, String> {
        if self.chars.next_if_eq(&'"').is_some() {
            return self.quoted().map(Some).ok_or_else(|| "Unexpected end of input.".into());
        }
        let (mut item, mut kept, mut escaped) = (String::new(), 0, false);
        while let Some(c) = self.chars.next_if(|c| *c != ',' && *c != '}') {
            match c {
                '{' => return Err("Unexpected \"{\" character.".into()),
                '"' => return Err("Unexpected array element.".into()),
                '\\' => {
                    item.push(self.chars.next().ok_or("Unexpected end of input.")?);
                    (kept, escaped) = (item.len(), true);
                }
                c => {
                    item.push(c);
                    if !c.is_ascii_whitespace() {
                        kept = item.len();
                    }
                }
            }
        }
        item.truncate(kept);
        match self.chars.peek() {
            None => Err("Unexpected end of input.".into()),
            Some(c) if item.is_empty() => Err(format!("Unexpected \"{c}\" character.")),
            Some(_) => Ok((escaped || !item.eq_ignore_ascii_case("null")).then_some(item)),
        }
    }

    /// The rest of a quoted element; `None` if its end is missing.
    fn quoted(&mut self) -> Option<String> {
        let mut item = String::new();
        loop {
            match self.chars.next()? {
                '"' => return Some(item),
                '\\' => item.push(self.chars.next()?),
                c => item.push(c),
            }
        }
    }
}

const MISMATCH: &str = "Multidimensional arrays must have sub-arrays with matching dimensions.";

fn skip_space(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
}

/// The text of an array whose elements have these texts; `None` is NULL.
pub(super) fn join(items: &mut dyn Iterator<Item = Option<String>>, dimensions: &[Dimension]) -> String {
    let mut out = String::new();
    if dimensions.iter().any(|dimension| dimension.lower != 1) {
        for Dimension { length, lower } in dimensions {
            let upper = i64::from(*lower) + i64::from(*length) - 1;
            out.push_str(&format!("[{lower}:{upper}]"));
        }
        out.push('=');
    }
    braces(items, dimensions, &mut out);
    out
}

fn braces(items: &mut dyn Iterator<Item = Option<String>>, dimensions: &[Dimension], out: &mut String) {
    out.push('{');
    if let Some((first, rest)) = dimensions.split_first() {
        for at in 0..first.length {
            if at > 0 {
                out.push(',');
            }
            match rest.is_empty() {
                true => push_item(items.next().flatten(), out),
                false => braces(items, rest, out),
            }
        }
    }
    out.push('}');
}

fn push_item(item: Option<String>, out: &mut String) {
    match item {
        None => out.push_str("NULL"),
        Some(text) if is_plain(&text) => out.push_str(&text),
        Some(text) => {
            out.push('"');
            for c in text.chars() {
                if c == '"' || c == '\\' {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('"');
        }
    }
}

/// Can an element's text stand without quotes?
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text.contains(|c: char| c.is_ascii_whitespace() || c == '\u{b}' || "{},\"\\".contains(c))
}
