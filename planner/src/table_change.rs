//! What ALTER and DROP do.

/// What ALTER TABLE changes.
#[derive(Clone, Debug)]
pub(crate) enum TableChange {
    /// RENAME TO.
    Rename(String),
    /// RENAME COLUMN.
    RenameColumn { from: String, to: String },
    /// ALTER COLUMN .. DROP DEFAULT.
    DropDefault(String),
    /// OWNER TO; `None`: the user of the session.
    Owner(Option<String>),
}

/// What a DROP drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropKind {
    Table,
    Schema,
}
