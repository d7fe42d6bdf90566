//! A source file as the rules see it.

/// A source file: its path in the workspace (with `/`) and its text.
#[derive(Clone, Debug)]
pub struct Source {
    /// Such as `wal/src/lsn.rs`.
    pub path: String,
    /// Whole content.
    pub text: String,
}

/// A word written with a bar, so that this file does not contain it.
pub(super) fn unbar(word: &str) -> String {
    word.replace('|', "")
}
