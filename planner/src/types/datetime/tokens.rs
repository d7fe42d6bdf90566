//! The words of a date's or time's text, as PostgreSQL cuts it, and the words that it knows.

use super::fault::Fault;

/// What a word looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    /// Letters.
    Word,
    /// Numbers or words with separators: a date, or the name of a zone.
    Date,
    Time,
    /// A sign and digits: an offset, or a signed number of an interval.
    Signed,
    /// A sign and letters.
    Special,
}

/// A word, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// Words at most.
const TOKENS_MAX: usize = 25;
/// Characters of all words at most.
const CHARS_MAX: usize = 128;

/// Reads characters off the front of a text.
struct Reader<'a> {
    rest: &'a [u8],
    taken: String,
}

impl Reader<'_> {
    fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or(&[]);
    }

    fn take(&mut self) {
        self.taken.push(char::from(self.peek().to_ascii_lowercase()));
        self.skip();
    }

    fn take_while(&mut self, test: impl Fn(u8) -> bool) {
        while !self.rest.is_empty() && test(self.peek()) {
            self.take();
        }
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// C's isspace(), which takes the vertical tab, too.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Cuts a text into words.
pub(super) fn cut(text: &str) -> Result<Vec<Token>, Fault> {
    let mut reader = Reader { rest: text.as_bytes(), taken: String::new() };
    let mut tokens = Vec::new();
    let mut chars = 0;
    loop {
        while is_space(reader.peek()) {
            reader.skip();
        }
        if reader.rest.is_empty() {
            return Ok(tokens);
        }
        if tokens.len() >= TOKENS_MAX {
            return Err(Fault::Format);
        }
        let kind = match reader.peek() {
            byte if is_digit(byte) => number(&mut reader),
            b'.' => {
                reader.take();
                reader.take_while(is_digit);
                Kind::Number
            }
            byte if byte.is_ascii_alphabetic() => word(&mut reader),
            b'+' | b'-' => signed(&mut reader)?,
            byte if byte.is_ascii_punctuation() => {
                reader.skip();
                continue;
            }
            _ => return Err(Fault::Format),
        };
        chars += reader.taken.len() + 1;
        if chars > CHARS_MAX {
            return Err(Fault::Format);
        }
        tokens.push(Token { kind, text: std::mem::take(&mut reader.taken) });
    }
}

fn number(reader: &mut Reader<'_>) -> Kind {
    reader.take_while(is_digit);
    let separator = reader.peek();
    match separator {
        b':' => {
            reader.take();
            reader.take_while(|byte| is_digit(byte) || byte == b':' || byte == b'.');
            Kind::Time
        }
        b'-' | b'/' | b'.' => {
            reader.take();
            if !is_digit(reader.peek()) {
                reader.take_while(|byte| byte.is_ascii_alphanumeric() || byte == separator);
                return Kind::Date;
            }
            reader.take_while(is_digit);
            if reader.peek() != separator {
                return if separator == b'.' { Kind::Number } else { Kind::Date };
            }
            reader.take();
            reader.take_while(|byte| is_digit(byte) || byte == separator);
            Kind::Date
        }
        _ => Kind::Number,
    }
}

fn word(reader: &mut Reader<'_>) -> Kind {
    reader.take_while(|byte| byte.is_ascii_alphabetic());
    let goes_on = match reader.peek() {
        b'-' | b'/' | b'.' => true,
        b'+' | b'0'..=b'9' => word_of(&reader.taken).is_none(),
        _ => false,
    };
    if !goes_on {
        return Kind::Word;
    }
    reader.take_while(|byte| byte.is_ascii_alphanumeric() || b"+-/_.:".contains(&byte));
    Kind::Date
}

fn signed(reader: &mut Reader<'_>) -> Result<Kind, Fault> {
    reader.take();
    while is_space(reader.peek()) {
        reader.skip();
    }
    match reader.peek() {
        byte if is_digit(byte) => {
            reader.take_while(|byte| is_digit(byte) || b":.-".contains(&byte));
            Ok(Kind::Signed)
        }
        byte if byte.is_ascii_alphabetic() => {
            reader.take_while(|byte| byte.is_ascii_alphabetic());
            Ok(Kind::Special)
        }
        _ => Err(Fault::Format),
    }
}

/// A moment that a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Now,
    Yesterday,
    Today,
    Tomorrow,
    Midnight,
    Epoch,
    Infinity,
    MinusInfinity,
}

/// A part of a date that a letter in front of a number names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Julian,
    /// "t": the time follows.
    Time,
    /// Known as words, but of no use here.
    Other,
}

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Ignored,
    Named(Named),
    Month(i64),
    Weekday,
    Label(Label),
    Pm(bool),
    Bc(bool),
    /// "dst" behind the abbreviation of a zone.
    DaylightModifier,
    IsoTime,
}

/// The meaning of a word in lower case.
pub(super) fn word_of(text: &str) -> Option<Word> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let month = MONTHS.iter().position(|own| text == *own || text == &own[..3]);
    if let Some(at) = month.or((text == "sept").then_some(8)) {
        return Some(Word::Month(at as i64 + 1));
    }
    if DAYS.iter().any(|own| text == *own || text == &own[..3])
        || ["thur", "thurs", "tues", "weds"].contains(&text)
    {
        return Some(Word::Weekday);
    }
    Some(match text {
        "at" | "on" => Word::Ignored,
        "now" => Word::Named(Named::Now),
        "yesterday" => Word::Named(Named::Yesterday),
        "today" => Word::Named(Named::Today),
        "tomorrow" => Word::Named(Named::Tomorrow),
        "allballs" => Word::Named(Named::Midnight),
        "epoch" => Word::Named(Named::Epoch),
        "infinity" => Word::Named(Named::Infinity),
        "-infinity" => Word::Named(Named::MinusInfinity),
        "y" => Word::Label(Label::Year),
        "m" => Word::Label(Label::Month),
        "d" => Word::Label(Label::Day),
        "h" => Word::Label(Label::Hour),
        "mm" => Word::Label(Label::Minute),
        "s" => Word::Label(Label::Second),
        "j" | "jd" | "julian" => Word::Label(Label::Julian),
        "dow" | "doy" | "isodow" | "isoyear" => Word::Label(Label::Other),
        "am" => Word::Pm(false),
        "pm" => Word::Pm(true),
        "ad" => Word::Bc(false),
        "bc" => Word::Bc(true),
        "dst" => Word::DaylightModifier,
        "t" => Word::IsoTime,
        _ => return None,
    })
}
