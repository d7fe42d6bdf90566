//! The project's words: a banned word is found wherever it stands, in code, comments and messages.

use super::source::{Source, unbar};

/// Words for which the project has others. A bar inside keeps this file clean.
pub(super) const WORDS: &[(&str, &str)] = &[
    // The paper's nouns, and one name for one thing.
    ("te|rm", "epoch"),
    ("re|gion", "range"),
    ("sh|ard", "range"),
    ("bal|lot", "epoch"),
    // A dialect that this project once had.
    ("amne|sia", "rejoin"),
    ("amne|siac", "learner"),
    ("am|bition", "transition"),
    ("ver|dict", "transition"),
    ("sur|roundings", "environment"),
    ("hee|ded", "obeyed"),
    ("pati|ence", "wait_max, a timeout"),
    ("unset|tled", "undecided"),
    ("be|at", "heartbeat"),
    ("be|ats", "heartbeats"),
    ("ta|ught", "caught up"),
];

/// Turns of phrase that are not English, or tell a reader nothing.
const PHRASES: &[(&str, &str)] = &[
    ("can |not", "cannot"),
    ("for |ever", "forever"),
    ("makes no |sense", "what is wrong, and what would be right"),
    ("See ab|ove.", "what it is"),
    ("See the table |at the top.", "what it is"),
    ("an answer of |another kind", "unexpected response type"),
];

pub(super) fn check_words(source: &Source, found: &mut Vec<String>) {
    for (number, line) in source.text.lines().enumerate() {
        let at = format!("{}:{}", source.path, number + 1);
        for word in line.split(|c: char| !c.is_ascii_alphanumeric()) {
            for (banned, instead) in WORDS {
                if word == unbar(banned) {
                    found.push(format!("{at}: say {instead}, not {word}"));
                }
            }
        }
        for (banned, instead) in PHRASES {
            let banned = unbar(banned);
            let whole = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
            if line.split(&banned).skip(1).any(whole) {
                found.push(format!("{at}: say {instead}, not \"{banned}\""));
            }
        }
    }
}
