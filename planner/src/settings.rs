//! Settings of a session: ours, and the ones that drivers set by habit.
//!
//! Four settings change what the store does: `consistency`, `max_staleness`, `session_guarantees` and
//! `statement_timeout`. The others are kept and shown so that drivers find what they expect. Those that would change
//! what a statement means (client_encoding, DateStyle, TimeZone, search_path, isolation, ..) take only the values that
//! this server really has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvstore::request::Consistency;

use crate::error::{SqlError, sqlstate};
use crate::search_path::{self, SearchPath};
use crate::types::datetime::{DateForm, DateOrder, IntervalForm, Zone};
use crate::types::{Interval, TextSettings, Type, Value, parse_bool};

/// How a setting's value is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Anything.
    Text,
    /// A boolean, shown as on or off.
    Bool,
    /// A whole number.
    Integer,
    /// Milliseconds, or a number with a unit; 0 is off.
    Duration,
    /// As `Duration`, and `off`.
    Limit,
    /// One of these words (any case), separated by `|`.
    OneOf(&'static str),
    /// A level of isolation.
    Isolation,
    /// A level of messages.
    Level,
    /// It takes the user of the session, who never changes; `role` also none.
    User,
    /// Shown, never set.
    ReadOnly,
    /// Of no effect but the default: another value is refused.
    Fixed,
}

/// A setting that this server knows.
struct Known {
    name: &'static str,
    default: &'static str,
    kind: Kind,
    /// Sent to the client when it changes (ParameterStatus).
    reported: bool,
    /// For `SHOW ALL` and pg_settings.
    about: &'static str,
}

const fn known(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    reported: bool,
    about: &'static str,
) -> Known {
    Known { name, default, kind, reported, about }
}

/// All known settings, sorted by name without regard to case.
const KNOWN: &[Known] = &[
    known("application_name", "", Kind::Text, true, "Name that the client gives itself."),
    known("bytea_output", "hex", Kind::OneOf("hex"), false, "Output format of bytea."),
    known("client_encoding", "UTF8", Kind::OneOf("UTF8"), true, "Encoding of the client's text."),
    known("client_min_messages", "notice", Kind::Level, false, "Least level of messages sent."),
    known("consistency", "strong", Kind::OneOf("strong|timeline"), true, "Reads: strong or timeline."),
    known(
        "DateStyle",
        "ISO, MDY",
        Kind::Text,
        true,
        "Format of dates, and the order of day and month in them.",
    ),
    known("default_transaction_deferrable", "off", Kind::Fixed, false, "Always off."),
    known(
        "default_transaction_isolation",
        "read committed",
        Kind::Isolation,
        false,
        "Isolation of new blocks.",
    ),
    known("default_transaction_read_only", "off", Kind::Bool, true, "Refuse writes in new transactions."),
    known("extra_float_digits", "1", Kind::Integer, false, "Accepted: floats are always exact."),
    known("idle_in_transaction_session_timeout", "0", Kind::Fixed, false, "Always off."),
    known("in_hot_standby", "off", Kind::ReadOnly, true, "Always off: every gateway takes writes."),
    known("integer_datetimes", "on", Kind::ReadOnly, true, "Timestamps are 64-bit integers."),
    known(
        "IntervalStyle",
        "postgres",
        Kind::OneOf("postgres|postgres_verbose|sql_standard|iso_8601"),
        true,
        "Format of intervals.",
    ),
    known("is_superuser", "on", Kind::ReadOnly, true, "Always on."),
    known("lc_collate", "C", Kind::ReadOnly, false, "Text sorts by its bytes."),
    known("lc_ctype", "C", Kind::ReadOnly, false, "Character classes."),
    known("lock_timeout", "0", Kind::Duration, false, "No statement waits for a lock."),
    known("max_identifier_length", "63", Kind::ReadOnly, false, "Longest identifier in bytes."),
    known(
        "max_staleness",
        "off",
        Kind::Limit,
        true,
        "Timeline reads: data older than this is fetched from the leader.",
    ),
    known("role", "none", Kind::User, false, "Role of the session: its user."),
    known("row_security", "on", Kind::Bool, false, "There are no policies."),
    known("search_path", "\"$user\", public", Kind::Text, false, "Schemas that are searched for names."),
    known("server_encoding", "UTF8", Kind::ReadOnly, true, "Encoding of the server."),
    known("server_version", "", Kind::ReadOnly, true, "Version of PostgreSQL that clients see."),
    known("server_version_num", "", Kind::ReadOnly, false, "The same as a number."),
    known("session_authorization", "", Kind::User, true, "User of the session."),
    known(
        "session_guarantees",
        "on",
        Kind::Bool,
        true,
        "Timeline reads see the session's own writes and never go back in time.",
    ),
    known("ssl", "off", Kind::ReadOnly, false, "Whether TLS is on."),
    known("standard_conforming_strings", "on", Kind::OneOf("on"), true, "Backslashes in strings are plain."),
    known(
        "statement_timeout",
        "0",
        Kind::Duration,
        false,
        "Longest time of a statement; 0: the default of 60 s.",
    ),
    known(
        "synchronous_commit",
        "on",
        Kind::OneOf("on|off|local|remote_write|remote_apply"),
        false,
        "Commits are always replicated.",
    ),
    known("TimeZone", "UTC", Kind::Text, true, "Zone in which times are read and shown."),
    known("transaction_deferrable", "off", Kind::Fixed, false, "Always off."),
    known("transaction_isolation", "read committed", Kind::Isolation, false, "Isolation of the block."),
    known("transaction_read_only", "off", Kind::Bool, false, "Whether the block refuses writes."),
    known("xmloption", "content", Kind::OneOf("content|document"), false, "There is no xml."),
];

/// Levels of messages, the least important first.
const MESSAGE_LEVELS: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error"];

/// The deadline of a statement when `statement_timeout` is 0: long, but no statement waits forever.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// A session's settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Values that differ from the default, by the known spelling of the name (or a custom `a.b`).
    changed: BTreeMap<String, String>,
    /// What RESET goes back to: values of the startup packet.
    startup: BTreeMap<String, String>,
    /// The database that the session is connected to.
    database: String,
    /// `search_path`.
    pub(crate) search_path: Arc<SearchPath>,
    /// `consistency`.
    pub(crate) consistency: Consistency,
    /// `max_staleness`; `None` is off.
    pub(crate) max_staleness: Option<Duration>,
    /// `session_guarantees`.
    pub(crate) session_guarantees: bool,
    /// `statement_timeout`, with its default filled in.
    pub(crate) statement_timeout: Duration,
    /// Whether it was set, to more than 0.
    pub(crate) timeout_is_set: bool,
    /// TimeZone, DateStyle and IntervalStyle.
    pub(crate) text: TextSettings,
    /// A new number at every change, unique in the process: equal numbers mean equal settings, also after a
    /// ROLLBACK put an older copy back.
    pub(crate) revision: u64,
}

static REVISIONS: AtomicU64 = AtomicU64::new(1);

fn find(name: &str) -> Option<&'static Known> {
    // "time zone" arrives by SET TIME ZONE, the others are spelled out.
    KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

impl Settings {
    /// Settings at their defaults; `fixed` gives the read-only ones that only the server knows.
    pub(crate) fn new(fixed: &[(&str, &str)], database: &str) -> Settings {
        let mut settings = Settings {
            database: database.into(),
            search_path: Arc::new(SearchPath::new("", "", "")),
            changed: BTreeMap::new(),
            startup: fixed.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            consistency: Consistency::Strong,
            max_staleness: None,
            session_guarantees: true,
            statement_timeout: TIMEOUT_DEFAULT,
            timeout_is_set: false,
            text: TextSettings::plain(),
            revision: 0,
        };
        settings.refresh();
        settings
    }

    /// The value of a setting. 42704 if unknown.
    pub(crate) fn show(&self, name: &str) -> Result<String, SqlError> {
        let key = find(name).map_or(name, |known| known.name);
        if let Some(value) = self.changed.get(key).or_else(|| self.startup.get(key)) {
            return Ok(value.clone());
        }
        find(name).map(|known| known.default.to_string()).ok_or_else(|| unrecognized(name))
    }

    /// Does the client want to hear of messages of this level?
    pub(crate) fn tells(&self, severity: &str) -> bool {
        let least = self.show("client_min_messages").unwrap_or_default();
        let rank = |level: &str| MESSAGE_LEVELS.iter().position(|own| own.eq_ignore_ascii_case(level));
        rank(severity) >= rank(&least)
    }

    /// The right spelling of a setting's name.
    pub(crate) fn spelling(name: &str) -> &str {
        find(name).map_or(name, |known| known.name)
    }

    /// All settings: (name, value, description).
    pub(crate) fn all(&self) -> Vec<(String, String, &'static str)> {
        KNOWN
            .iter()
            .map(|known| (known.name.to_string(), self.show(known.name).unwrap_or_default(), known.about))
            .collect()
    }

    /// The settings whose changes are reported to clients, with their values.
    pub(crate) fn reported(&self) -> Vec<(&'static str, String)> {
        let reported = KNOWN.iter().filter(|known| known.reported);
        reported.map(|known| (known.name, self.show(known.name).unwrap_or_default())).collect()
    }

    /// Sets from the startup packet: RESET goes back to this value.
    pub(crate) fn set_startup(&mut self, name: &str, value: &str) -> Result<Option<String>, SqlError> {
        let warning = self.set(name, value)?;
        if let Some((key, value)) = self.changed.remove_entry(Self::spelling(name)) {
            self.startup.insert(key, value);
        }
        Ok(warning)
    }

    /// Sets a value; gives a warning to show, if any. 42704 unknown, 22023 bad value, 55P02 read-only.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<Option<String>, SqlError> {
        let Some(known) = find(name) else {
            // PostgreSQL takes any two-part name as a custom setting.
            if name.contains('.') {
                self.changed.insert(name.to_string(), value.to_string());
                return Ok(None);
            }
            return Err(unrecognized(name));
        };
        let value = match known.name {
            "client_encoding" if encoding_is_utf8(value) => "UTF8".to_string(),
            "TimeZone" => time_zone(value)?,
            "DateStyle" => date_style(value, &self.show("DateStyle")?)?,
            "search_path" => match search_path::list(value) {
                Some(_) => value.to_string(),
                None => {
                    let message = format!("invalid value for parameter \"search_path\": \"{value}\"");
                    let error = SqlError::new(sqlstate::INVALID_PARAMETER, message);
                    return Err(error.detail("List syntax is invalid."));
                }
            },
            "role" | "session_authorization" => self.user(known, value)?,
            _ => check(known, value)?,
        };
        self.changed.insert(known.name.to_string(), value);
        self.refresh();
        Ok(None)
    }

    /// A user that the session may act as. 0A000 for another one than its own.
    fn user(&self, known: &Known, value: &str) -> Result<String, SqlError> {
        let own = self.startup.get("session_authorization").map_or("", String::as_str);
        match (known.name, value) {
            ("role", value) if value.eq_ignore_ascii_case("none") => Ok("none".into()),
            (_, value) if value == own => Ok(value.into()),
            (name, _) => Err(SqlError::unsupported(format!("setting {name} to another user"))
                .hint("Connect as that user.")),
        }
    }

    /// Back to the default (or the startup packet's value).
    pub(crate) fn reset(&mut self, name: &str) -> Result<(), SqlError> {
        if find(name).is_none() && !name.contains('.') {
            return Err(unrecognized(name));
        }
        self.changed.remove(Self::spelling(name));
        self.refresh();
        Ok(())
    }

    /// All back to their defaults.
    pub(crate) fn reset_all(&mut self) {
        self.changed.clear();
        self.refresh();
    }

    /// Reads the typed fields again from the texts (which are valid: they were checked when they were set).
    fn refresh(&mut self) {
        let text = |name: &str| self.show(name).unwrap_or_default();
        let text_settings = text_settings(&text("TimeZone"), &text("DateStyle"), &text("IntervalStyle"));
        let consistency = match text("consistency").as_str() {
            "timeline" => Consistency::Timeline,
            _ => Consistency::Strong,
        };
        let user = text("session_authorization");
        let search_path = SearchPath::new(&text("search_path"), &user, &self.database);
        let max_staleness = parse_duration(&text("max_staleness"));
        let session_guarantees = text("session_guarantees") == "on";
        let timeout = parse_duration(&text("statement_timeout")).filter(|timeout| !timeout.is_zero());
        if search_path != *self.search_path {
            self.search_path = Arc::new(search_path);
        }
        self.consistency = consistency;
        self.max_staleness = max_staleness;
        self.session_guarantees = session_guarantees;
        self.timeout_is_set = timeout.is_some();
        self.statement_timeout = timeout.unwrap_or(TIMEOUT_DEFAULT);
        self.text = text_settings;
        self.revision = REVISIONS.fetch_add(1, Ordering::Relaxed);
    }
}

fn encoding_is_utf8(value: &str) -> bool {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode" | "sqlascii")
}

fn invalid_value(name: &str, value: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER, format!("invalid value for parameter \"{name}\": \"{value}\""))
}

/// A time zone: its name as it is spelled right, or one made of an offset. 22023 if there is none.
fn time_zone(value: &str) -> Result<String, SqlError> {
    let invalid = || invalid_value("TimeZone", value);
    let east = if let Some(text) = interval_text(value) {
        let interval = match Value::from_text(&Type::Interval(None), text)? {
            Value::Interval(interval) => interval,
            _ => Interval::default(),
        };
        match (interval.months, interval.days) {
            (0, 0) => interval.micros / 1_000_000,
            (0, _) => return Err(invalid().detail("Cannot specify days in time zone interval.")),
            _ => return Err(invalid().detail("Cannot specify months in time zone interval.")),
        }
    } else if let Ok(hours) = value.trim().parse::<f64>() {
        (hours * 3600.0) as i64
    } else {
        return Zone::find(value).map(|zone| zone.name().to_string()).ok_or_else(invalid);
    };
    let zone = Zone::fixed(east).ok_or_else(|| invalid().detail("UTC timezone offset is out of range."))?;
    Ok(zone.name().to_string())
}

/// The text in `INTERVAL '..'`.
fn interval_text(value: &str) -> Option<&str> {
    let (word, rest) = value.split_at_checked("interval".len())?;
    let quoted = rest.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    word.eq_ignore_ascii_case("interval").then_some(quoted)
}

/// A date style: what it does not name stays as it was.
fn date_style(value: &str, before: &str) -> Result<String, SqlError> {
    let (mut form, mut order) = before.split_once(", ").unwrap_or(("ISO", "MDY"));
    let (mut form_named, mut order_named) = (false, false);
    for word in value.split(',').map(|word| word.trim().to_ascii_lowercase()) {
        let (own_form, own_order) = match word.as_str() {
            "iso" => (Some("ISO"), None),
            "sql" => (Some("SQL"), None),
            word if word.starts_with("postgres") => (Some("Postgres"), None),
            // It also names an order, if nothing else does.
            "german" => {
                if !order_named {
                    order = "DMY";
                }
                (Some("German"), None)
            }
            "mdy" | "us" => (None, Some("MDY")),
            word if word.starts_with("noneuro") => (None, Some("MDY")),
            "dmy" => (None, Some("DMY")),
            word if word.starts_with("euro") => (None, Some("DMY")),
            "ymd" => (None, Some("YMD")),
            "default" => (Some("ISO"), Some("MDY")),
            _ => {
                let detail = format!("Unrecognized key word: \"{word}\".");
                return Err(invalid_value("DateStyle", value).detail(detail));
            }
        };
        let conflict = form_named && own_form.is_some_and(|own| own != form)
            || order_named && own_order.is_some_and(|own| own != order);
        if conflict {
            let detail = "Conflicting \"datestyle\" specifications.";
            return Err(invalid_value("DateStyle", value).detail(detail));
        }
        form_named |= own_form.is_some();
        order_named |= own_order.is_some();
        (form, order) = (own_form.unwrap_or(form), own_order.unwrap_or(order));
    }
    Ok(format!("{form}, {order}"))
}

/// The meaning of TimeZone, DateStyle and IntervalStyle, which were checked when they were set.
fn text_settings(zone: &str, dates: &str, intervals: &str) -> TextSettings {
    let (form, order) = dates.split_once(", ").unwrap_or(("", ""));
    TextSettings {
        zone: Zone::find(zone).unwrap_or(Zone::UTC),
        form: match form {
            "SQL" => DateForm::Sql,
            "Postgres" => DateForm::Postgres,
            "German" => DateForm::German,
            _ => DateForm::Iso,
        },
        order: match order {
            "DMY" => DateOrder::Dmy,
            "YMD" => DateOrder::Ymd,
            _ => DateOrder::Mdy,
        },
        intervals: match intervals {
            "postgres_verbose" => IntervalForm::Verbose,
            "sql_standard" => IntervalForm::SqlStandard,
            "iso_8601" => IntervalForm::Iso8601,
            _ => IntervalForm::Postgres,
        },
        ..TextSettings::plain()
    }
}

/// 0A000 for a level of isolation that is not kept.
pub(crate) fn check_isolation(level: &str) -> Result<(), SqlError> {
    match level.to_ascii_lowercase().as_str() {
        "read committed" | "read uncommitted" => Ok(()),
        "repeatable read" | "serializable" | "snapshot" => {
            Err(SqlError::unsupported(format!("the isolation level {}", level.to_uppercase())).hint(
                "Statements run at READ COMMITTED: each sees what is committed when it reads. A block's own write \
                 fails with 40001 if its row has changed meanwhile.",
            ))
        }
        _ => Err(SqlError::new(
            sqlstate::INVALID_PARAMETER,
            format!("invalid value for parameter \"transaction_isolation\": \"{level}\""),
        )),
    }
}

/// Checks a value and gives its canonical spelling.
fn check(known: &Known, value: &str) -> Result<String, SqlError> {
    let name = known.name;
    let invalid = || {
        SqlError::new(
            sqlstate::INVALID_PARAMETER,
            format!("invalid value for parameter \"{name}\": \"{value}\""),
        )
    };
    let units = "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".";
    match known.kind {
        Kind::Text => Ok(value.to_string()),
        Kind::Bool => match parse_bool(value) {
            Some(on) => Ok(if on { "on" } else { "off" }.to_string()),
            None => Err(SqlError::new(
                sqlstate::INVALID_PARAMETER,
                format!("parameter \"{name}\" requires a Boolean value"),
            )),
        },
        Kind::Integer => value.trim().parse::<i32>().map(|v| v.to_string()).map_err(|_| invalid()),
        Kind::Duration => {
            let duration = parse_duration(value).ok_or_else(|| invalid().hint(units))?;
            Ok(format_duration(duration))
        }
        Kind::Limit => {
            if value.trim() == "-1" || parse_bool(value) == Some(false) && value.trim() != "0" {
                return Ok("off".to_string());
            }
            let duration = parse_duration(value)
                .ok_or_else(|| invalid().hint(format!("Use off, or a duration. {units}")))?;
            Ok(format_duration(duration))
        }
        Kind::OneOf(words) => words
            .split('|')
            .find(|word| word.eq_ignore_ascii_case(value.trim()))
            .map(str::to_string)
            .ok_or_else(|| invalid().hint(format!("Available values: {}.", words.replace('|', ", ")))),
        Kind::Isolation => check_isolation(value.trim()).map(|()| value.trim().to_ascii_lowercase()),
        Kind::Level => {
            let level = value.trim().to_ascii_lowercase();
            if MESSAGE_LEVELS.contains(&level.as_str()) { Ok(level) } else { Err(invalid()) }
        }
        Kind::Fixed => {
            let off = value.trim() == known.default || parse_bool(value) == Some(false);
            let off = off || parse_duration(value).is_some_and(|duration| duration.is_zero());
            if off {
                return Ok(known.default.to_string());
            }
            Err(SqlError::unsupported(format!("the setting {name}"))
                .hint(format!("Leave it {}.", known.default)))
        }
        Kind::User | Kind::ReadOnly => {
            Err(SqlError::new(sqlstate::CANNOT_CHANGE, format!("parameter \"{name}\" cannot be changed")))
        }
    }
}

/// Milliseconds, or a number with a unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "us" => 1e-6,
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    } * number;
    (seconds <= 2_147_483.647).then(|| Duration::from_secs_f64(seconds))
}

/// The largest unit that needs no fraction.
fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros == 0 {
        return "0".into();
    }
    let units =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1000)];
    match units.iter().find(|(_, size)| micros.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{}{unit}", micros / size),
        None => format!("{micros}us"),
    }
}
