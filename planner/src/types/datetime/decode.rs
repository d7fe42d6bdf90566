//! The text of a date, timestamp or time as fields, by PostgreSQL's rules.

use super::calendar::{Civil, MICROS_PER_DAY, days_of_month, julian_of_day};
use super::fault::Fault;
use super::numbers::{self, leading};
use super::style::{DateOrder, TextSettings};
use super::tokens::{Kind, Label, Named, Token, Word, cut, word_of};
use super::zone::{Zone, ZoneName};

/// Which fields a text has given. Each may be given once.
pub(super) type Mask = u32;
pub(super) const MONTH: Mask = 1 << 1;
pub(super) const YEAR: Mask = 1 << 2;
pub(super) const DAY: Mask = 1 << 3;
const ZONE: Mask = 1 << 5;
const AMPM: Mask = 1 << 9;
pub(super) const HOUR: Mask = 1 << 10;
pub(super) const MINUTE: Mask = 1 << 11;
pub(super) const SECOND: Mask = 1 << 12;
const FRACTION: Mask = 1 << 13;
const DAY_OF_YEAR: Mask = 1 << 15;
const WEEKDAY: Mask = 1 << 16;
const ERA: Mask = 1 << 18;
const DAYLIGHT: Mask = 1 << 28;
pub(super) const SECONDS: Mask = SECOND | FRACTION;
pub(super) const DATE: Mask = YEAR | MONTH | DAY;
pub(super) const TIME: Mask = HOUR | MINUTE | SECONDS;

/// What a text says of the zone.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Nothing,
    /// Seconds east of UTC.
    East(i64),
    Name(ZoneName),
    Zone(Zone),
}

/// What a text stands for.
pub(super) enum Decoded {
    /// Fields, and their offset in seconds east of UTC.
    Civil(Civil, i64),
    Epoch,
    Infinity,
    MinusInfinity,
}

/// Fields as they are gathered from a text.
pub(super) struct Decoder<'a> {
    settings: &'a TextSettings,
    /// Is it the text of a time, in which a date matters only for the zone?
    time_only: bool,
    pub(super) civil: Civil,
    mask: Mask,
    given: Given,
    special: Option<Decoded>,
    day_of_year: i64,
    month_is_text: bool,
    is_julian: bool,
    two_digits: bool,
    before_christ: bool,
    pm: Option<bool>,
    label: Option<Label>,
}

/// Reads the text of a date or timestamp.
pub(super) fn decode(text: &str, settings: &TextSettings) -> Result<Decoded, Fault> {
    let mut decoder = Decoder::new(settings, false);
    decoder.tokens(&cut(text)?)?;
    decoder.validate_date()?;
    decoder.apply_noon()?;
    if let Some(special) = decoder.special {
        return Ok(special);
    }
    if decoder.mask & DATE != DATE {
        return Err(Fault::Format);
    }
    let east = decoder.east(decoder.civil)?;
    Ok(Decoded::Civil(decoder.civil, east))
}

/// Reads the text of a time: its fields, and its offset in seconds east of UTC.
pub(super) fn decode_time(text: &str, settings: &TextSettings) -> Result<(Civil, i64), Fault> {
    let mut decoder = Decoder::new(settings, true);
    decoder.tokens(&cut(text)?)?;
    decoder.validate_date()?;
    decoder.apply_noon()?;
    check_time(&decoder.civil)?;
    if decoder.mask & TIME != TIME {
        return Err(Fault::Format);
    }
    let east = decoder.east_of_time()?;
    Ok((decoder.civil, east))
}

/// 24:00:00 is the latest time.
fn check_time(civil: &Civil) -> Result<(), Fault> {
    let fits = civil.hour <= 24 && civil.minute <= 59 && civil.second <= 60 && civil.time() <= MICROS_PER_DAY;
    if fits { Ok(()) } else { Err(Fault::Field) }
}

impl<'a> Decoder<'a> {
    pub(super) fn new(settings: &'a TextSettings, time_only: bool) -> Decoder<'a> {
        Decoder {
            settings,
            time_only,
            civil: Civil::default(),
            mask: 0,
            given: Given::Nothing,
            special: None,
            day_of_year: 0,
            month_is_text: false,
            is_julian: false,
            two_digits: false,
            before_christ: false,
            pm: None,
            label: None,
        }
    }

    fn has(&self, mask: Mask) -> bool {
        self.mask & mask == mask
    }

    /// The fields that matter for numbers that run together: those of a time stand behind a date.
    fn mask_for_numbers(&self) -> Mask {
        if self.time_only { self.mask | DATE } else { self.mask }
    }

    fn tokens(&mut self, tokens: &[Token]) -> Result<(), Fault> {
        for (at, token) in tokens.iter().enumerate() {
            let own = match token.kind {
                Kind::Date => self.date_token(tokens, at)?,
                Kind::Time => {
                    if self.label.take().is_some_and(|label| label != Label::Time) {
                        return Err(Fault::Format);
                    }
                    let mask = self.time(&token.text)?;
                    if !self.time_only {
                        check_time(&self.civil)?;
                    }
                    mask
                }
                Kind::Signed => {
                    self.given = Given::East(numbers::offset(&token.text)?);
                    ZONE
                }
                Kind::Number => match self.label.take() {
                    Some(label) => self.labelled(label, &token.text)?,
                    None => self.number_token(tokens, at)?,
                },
                Kind::Word | Kind::Special => match self.word(tokens, at)? {
                    Some(mask) => mask,
                    None => continue,
                },
            };
            if own & self.mask != 0 {
                return Err(Fault::Format);
            }
            self.mask |= own;
        }
        Ok(())
    }

    /// A token with separators: a date, a time that runs together with its offset, or the name of a zone.
    fn date_token(&mut self, tokens: &[Token], at: usize) -> Result<Mask, Fault> {
        let text = &tokens[at].text;
        let is_number = text.starts_with(|c: char| c.is_ascii_digit());
        if self.time_only {
            let last = tokens.last().map(|token| token.kind);
            if at == 0 && tokens.len() >= 2 && (last == Some(Kind::Date) || tokens[1].kind == Kind::Time) {
                return self.date(text);
            }
        } else if self.label == Some(Label::Julian) {
            self.label = None;
            let (day, rest) = leading(text)?;
            self.take_julian(day);
            self.given = Given::East(numbers::offset(rest)?);
            return Ok(DATE | TIME | ZONE);
        } else if self.label.is_none() && !self.has(MONTH | DAY) {
            return self.date(text);
        }
        if is_number || self.label.is_some() {
            if self.label.take().is_some_and(|label| label != Label::Time) || self.has(TIME) {
                return Err(Fault::Format);
            }
            let dash = text.find('-').ok_or(Fault::Format)?;
            self.given = Given::East(numbers::offset(&text[dash..])?);
            let mask = self.mask_for_numbers();
            return Ok(self.run_together(&text[..dash], mask)? | ZONE);
        }
        self.given = Given::Zone(Zone::find(text).ok_or_else(|| Fault::Zone(text.clone()))?);
        Ok(ZONE)
    }

    fn take_julian(&mut self, day: i64) {
        let Civil { year, month, day, .. } = Civil::of_julian(day);
        (self.civil.year, self.civil.month, self.civil.day) = (year, month, day);
        self.is_julian = true;
    }

    /// A number behind a letter: "y2024m02d29".
    fn labelled(&mut self, label: Label, text: &str) -> Result<Mask, Fault> {
        let (value, rest) = leading(text)?;
        let fraction = rest.starts_with('.');
        let may_have_fraction = matches!(label, Label::Julian | Label::Time | Label::Second);
        if !(rest.is_empty() || fraction && may_have_fraction) {
            return Err(Fault::Format);
        }
        let civil = &mut self.civil;
        Ok(match label {
            Label::Year => {
                civil.year = value;
                YEAR
            }
            Label::Month if self.mask & MONTH != 0 && self.mask & HOUR != 0 => {
                civil.minute = value;
                MINUTE
            }
            Label::Month => {
                civil.month = value;
                MONTH
            }
            Label::Day => {
                civil.day = value;
                DAY
            }
            Label::Hour => {
                civil.hour = value;
                HOUR
            }
            Label::Minute => {
                civil.minute = value;
                MINUTE
            }
            Label::Second => {
                civil.second = value;
                if !fraction {
                    return Ok(SECOND);
                }
                civil.micros = numbers::fraction_micros(rest)?;
                SECONDS
            }
            Label::Julian => {
                self.take_julian(value);
                if !fraction {
                    return Ok(DATE);
                }
                let time = numbers::fraction(rest)? * MICROS_PER_DAY as f64;
                self.civil.set_time(time as i64);
                DATE | TIME
            }
            Label::Time => match self.run_together(text, self.mask | DATE)? {
                TIME => TIME,
                _ => return Err(Fault::Format),
            },
            Label::Other => return Err(Fault::Format),
        })
    }

    /// A number without a letter in front.
    fn number_token(&mut self, tokens: &[Token], at: usize) -> Result<Mask, Fault> {
        let text = &tokens[at].text;
        let point = text.find('.');
        let mask = self.mask_for_numbers();
        if self.time_only {
            return match point {
                Some(_)
                    if at == 0
                        && tokens.len() >= 2
                        && tokens.last().is_some_and(|token| token.kind == Kind::Date) =>
                {
                    self.date(text)
                }
                Some(point) if point > 2 => self.run_together(text, mask),
                Some(_) => Err(Fault::Format),
                None if text.len() > 4 => self.run_together(text, mask),
                None => self.number(text, mask),
            };
        }
        match point {
            Some(_) if self.mask & DATE == 0 => self.date(text),
            Some(point) if point > 2 => self.run_together(text, mask),
            _ if text.len() >= 6 && !(self.has(DATE) && self.has(TIME)) => self.run_together(text, mask),
            _ => self.number(text, mask),
        }
    }

    /// A word; `None`: it changes nothing by itself.
    fn word(&mut self, tokens: &[Token], at: usize) -> Result<Option<Mask>, Fault> {
        let text = &tokens[at].text;
        if let Some(name) = ZoneName::abbreviation(text) {
            let mask = if matches!(name, ZoneName::Standard(_)) { ZONE } else { ZONE | 1 << 6 };
            self.given = Given::Name(name);
            return Ok(Some(mask));
        }
        let Some(word) = word_of(text) else {
            self.given = Given::Zone(Zone::find(text).ok_or(Fault::Format)?);
            return Ok(Some(ZONE));
        };
        Ok(Some(match word {
            Word::Ignored => return Ok(None),
            Word::Named(named) => self.named(named)?,
            Word::Month(_) | Word::Weekday if self.time_only => return Err(Fault::Format),
            Word::Month(month) => {
                let mut mask = MONTH;
                if self.mask & MONTH != 0
                    && !self.month_is_text
                    && self.mask & DAY == 0
                    && (1..=31).contains(&self.civil.month)
                {
                    self.civil.day = self.civil.month;
                    mask = DAY;
                }
                self.month_is_text = true;
                self.civil.month = month;
                mask
            }
            Word::Weekday => WEEKDAY,
            Word::Pm(pm) => {
                self.pm = Some(pm);
                AMPM
            }
            Word::Bc(bc) => {
                self.before_christ = bc;
                ERA
            }
            Word::DaylightModifier => {
                self.given = match &self.given {
                    Given::Nothing => Given::East(3600),
                    Given::East(east) => Given::East(east + 3600),
                    Given::Name(ZoneName::Standard(east) | ZoneName::Daylight(east)) => {
                        Given::East(east + 3600)
                    }
                    _ => return Err(Fault::Format),
                };
                DAYLIGHT
            }
            Word::Label(label) => {
                self.label = Some(label);
                0
            }
            Word::IsoTime => {
                let next = tokens.get(at + 1).map(|token| token.kind);
                let fits = matches!(next, Some(Kind::Number | Kind::Time | Kind::Date));
                if !fits || !self.time_only && !self.has(DATE) {
                    return Err(Fault::Format);
                }
                self.label = Some(Label::Time);
                0
            }
        }))
    }

    fn named(&mut self, named: Named) -> Result<Mask, Fault> {
        let now = || self.settings.zone.local(self.settings.now);
        let day = |days: i64| Civil::of_micros(now().saturating_add(days * MICROS_PER_DAY));
        let (civil, mask) = match named {
            Named::Now => (day(0), DATE | TIME | ZONE),
            Named::Midnight => {
                self.civil.set_time(0);
                self.given = Given::East(0);
                return Ok(TIME | ZONE);
            }
            _ if self.time_only => return Err(Fault::Format),
            Named::Today => (day(0), DATE),
            Named::Yesterday => (day(-1), DATE),
            Named::Tomorrow => (day(1), DATE),
            Named::Epoch | Named::Infinity | Named::MinusInfinity => {
                self.special = Some(match named {
                    Named::Epoch => Decoded::Epoch,
                    Named::Infinity => Decoded::Infinity,
                    _ => Decoded::MinusInfinity,
                });
                return Ok(DATE | TIME | ZONE);
            }
        };
        if named == Named::Now {
            self.civil.set_time(civil.time());
            if self.time_only {
                return Ok(TIME);
            }
            self.given = Given::East(self.settings.zone.offset(self.settings.now));
        }
        (self.civil.year, self.civil.month, self.civil.day) = (civil.year, civil.month, civil.day);
        // What stands there is a whole year, whatever its digits.
        self.is_julian = true;
        Ok(mask)
    }

    /// `hh:mm[:ss[.f]]`, or `mm:ss.f`.
    fn time(&mut self, text: &str) -> Result<Mask, Fault> {
        let fields = numbers::clock(text, false)?;
        self.civil.hour = i64::from(i32::try_from(fields.hour).map_err(|_| Fault::Field)?);
        (self.civil.minute, self.civil.second, self.civil.micros) =
            (fields.minute, fields.second, fields.micros);
        Ok(TIME)
    }

    /// A date with separators.
    fn date(&mut self, text: &str) -> Result<Mask, Fault> {
        let mut fields = date_fields(text)?;
        let mut gathered = 0;
        let mut numbers = Vec::new();
        for field in fields.drain(..) {
            if field.starts_with(|c: char| c.is_ascii_digit()) {
                numbers.push(field);
                continue;
            }
            match word_of(field) {
                Some(Word::Ignored) => {}
                Some(Word::Month(month)) if (self.mask | gathered) & MONTH == 0 => {
                    self.civil.month = month;
                    gathered |= MONTH;
                }
                _ => return Err(Fault::Format),
            }
        }
        let text_month = gathered != 0;
        for field in numbers {
            let before = self.mask | gathered;
            let own = self.number_as(field, text_month, before)?;
            if before & own != 0 {
                return Err(Fault::Format);
            }
            gathered |= own;
        }
        if (self.mask | gathered) & !(DAY_OF_YEAR | ZONE) != DATE {
            return Err(Fault::Format);
        }
        Ok(gathered)
    }

    fn number(&mut self, text: &str, mask: Mask) -> Result<Mask, Fault> {
        self.number_as(text, self.month_is_text, mask)
    }

    /// A number by itself: year, month or day, by what there is already and by the order of dates.
    fn number_as(&mut self, text: &str, text_month: bool, mask: Mask) -> Result<Mask, Fault> {
        let (value, rest) = leading(text)?;
        if rest.starts_with('.') {
            if text.len() - rest.len() > 2 {
                return self.run_together(text, mask | DATE);
            }
            self.civil.micros = numbers::fraction_micros(rest)?;
        } else if !rest.is_empty() {
            return Err(Fault::Format);
        }
        if text.len() == 3 && mask & DATE == YEAR && (1..=366).contains(&value) {
            self.day_of_year = value;
            return Ok(DAY_OF_YEAR | MONTH | DAY);
        }
        let order = self.settings.order;
        let long = text.len() >= 3;
        let field = match mask & DATE {
            0 if long || order == DateOrder::Ymd => YEAR,
            0 if order == DateOrder::Dmy => DAY,
            0 => MONTH,
            YEAR => MONTH,
            MONTH if text_month && (long || order == DateOrder::Ymd) => YEAR,
            MONTH => DAY,
            known if known == YEAR | MONTH => {
                if text_month && long && self.two_digits {
                    // The first number was the day.
                    (self.civil.day, self.civil.year) = (self.civil.year, value);
                    self.two_digits = false;
                    return Ok(DAY);
                }
                DAY
            }
            DAY => MONTH,
            known if known == MONTH | DAY => YEAR,
            DATE => return self.run_together(text, mask),
            _ => return Err(Fault::Format),
        };
        match field {
            YEAR => {
                self.civil.year = value;
                self.two_digits = text.len() <= 2;
            }
            MONTH => self.civil.month = value,
            _ => self.civil.day = value,
        }
        Ok(field)
    }

    /// Digits of several fields: `yyyymmdd`, `yymmdd`, `hhmmss` or `hhmm`, the last two with a fraction perhaps.
    fn run_together(&mut self, text: &str, mask: Mask) -> Result<Mask, Fault> {
        let (digits, point) = text.split_at(text.find('.').unwrap_or(text.len()));
        let field = |text: &str| text.parse::<i64>().unwrap_or(0);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::Format);
        }
        if !point.is_empty() {
            self.civil.micros = numbers::fraction_micros(point)?;
        } else if mask & DATE != DATE && digits.len() >= 6 {
            let (year, day) = digits.split_at(digits.len() - 4);
            let year_value = year.parse::<i32>().map_err(|_| Fault::Field)?;
            (self.civil.year, self.civil.month, self.civil.day) =
                (year_value.into(), field(&day[..2]), field(&day[2..]));
            self.two_digits |= year.len() == 2;
            return Ok(DATE);
        }
        if mask & TIME == TIME {
            return Err(Fault::Format);
        }
        self.civil.second = match digits.len() {
            6 => field(&digits[4..]),
            4 => 0,
            _ => return Err(Fault::Format),
        };
        (self.civil.hour, self.civil.minute) = (field(&digits[..2]), field(&digits[2..4]));
        Ok(TIME)
    }

    /// Checks year, month and day, and completes them.
    fn validate_date(&mut self) -> Result<(), Fault> {
        let civil = &mut self.civil;
        if self.mask & YEAR != 0 && !self.is_julian && self.special.is_none() {
            if self.before_christ || !self.two_digits {
                if civil.year <= 0 {
                    return Err(Fault::Field);
                }
                if self.before_christ {
                    civil.year = 1 - civil.year;
                }
            } else if civil.year < 70 {
                civil.year += 2000;
            } else if civil.year < 100 {
                civil.year += 1900;
            }
        }
        if self.special.is_some() {
            return Ok(());
        }
        if self.mask & DAY_OF_YEAR != 0 {
            let found = Civil::of_julian(julian_of_day(civil.year, 1, 1) + self.day_of_year - 1);
            (civil.year, civil.month, civil.day) = (found.year, found.month, found.day);
        }
        if self.mask & MONTH != 0 && !(1..=12).contains(&civil.month)
            || self.mask & DAY != 0 && !(1..=31).contains(&civil.day)
        {
            return Err(Fault::MonthOrDay);
        }
        if self.mask & DATE == DATE && civil.day > days_of_month(civil.year, civil.month) {
            return Err(Fault::Field);
        }
        Ok(())
    }

    /// AM and PM.
    fn apply_noon(&mut self) -> Result<(), Fault> {
        let hour = &mut self.civil.hour;
        match self.pm {
            Some(_) if *hour > 12 => return Err(Fault::Field),
            Some(false) if *hour == 12 => *hour = 0,
            Some(true) if *hour != 12 => *hour += 12,
            _ => {}
        }
        Ok(())
    }

    /// Seconds east of UTC for the fields: what the text gives, else what the session's zone has then.
    fn east(&self, civil: Civil) -> Result<i64, Fault> {
        let modified = self.mask & DAYLIGHT != 0;
        Ok(match &self.given {
            Given::Zone(_) if modified => return Err(Fault::Format),
            Given::Zone(zone) => zone.offset_of_civil(&civil),
            Given::East(_) if modified && self.mask & ZONE == 0 => return Err(Fault::Format),
            Given::East(east) => *east,
            Given::Name(name) => civil.micros().map_or(0, |local| name.offset_of_local(local)),
            Given::Nothing => self.settings.zone.offset_of_civil(&civil),
        })
    }

    /// The same for a time: on its date, if the text has one, else today.
    fn east_of_time(&self) -> Result<i64, Fault> {
        let dated = self.mask & DATE == DATE;
        if let Given::Zone(zone) = &self.given
            && !dated
        {
            return zone.only_offset().ok_or(Fault::Format);
        }
        let mut civil = if dated {
            self.civil
        } else if self.mask & DATE == 0 {
            Civil::of_micros(self.settings.zone.local(self.settings.now))
        } else {
            return if matches!(self.given, Given::East(_)) {
                self.east(self.civil)
            } else {
                Err(Fault::Format)
            };
        };
        civil.set_time(self.civil.time());
        self.east(civil)
    }
}

/// The fields of a date with separators: one character behind each is dropped.
fn date_fields(text: &str) -> Result<Vec<&str>, Fault> {
    let mut fields = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.find(|c: char| c.is_ascii_alphanumeric()).ok_or(Fault::Format)?;
        rest = &rest[start..];
        let digits = rest.starts_with(|c: char| c.is_ascii_digit());
        let same = |c: char| if digits { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
        let end = rest.find(|c: char| !same(c)).unwrap_or(rest.len());
        fields.push(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or("");
    }
    Ok(fields)
}
