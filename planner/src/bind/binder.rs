//! The state of binding one statement: the tables, the scopes of the queries around, and the parameter types.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::catalog::{Snapshot, TableSchema};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Expr, SystemRelation};
use crate::interrupt::Interrupt;
use crate::pg_catalog;
use crate::query::{Aggregate, CommonPlan, WindowCall};
use crate::row_encoding::table_columns;
use crate::search_path::SearchPath;
use crate::statement::{Name, Window};
use crate::types::Type;

/// A column that names can refer to.
#[derive(Clone, Debug)]
pub(super) struct ScopeColumn {
    /// The table's alias.
    pub(super) table: String,
    pub(super) name: String,
    pub(super) ty: Type,
    /// Not in `*`: a system column.
    pub(super) hidden: bool,
    /// (table oid, column number) of a column of a table.
    pub(super) origin: (u32, i16),
    /// Does another column stand for it where it is not qualified (USING)?
    pub(super) merged: bool,
    /// Its position in `*`.
    pub(super) rank: usize,
}

impl ScopeColumn {
    /// A visible column that belongs to no table of the store.
    pub(super) fn new(table: &str, name: &str, ty: Type) -> ScopeColumn {
        ScopeColumn {
            table: table.to_string(),
            name: name.to_string(),
            ty,
            hidden: false,
            origin: (0, 0),
            merged: false,
            rank: 0,
        }
    }

    /// A column that no name refers to.
    pub(super) fn unseen() -> ScopeColumn {
        ScopeColumn { hidden: true, merged: true, ..ScopeColumn::new("", "", Type::Unknown) }
    }
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) expr: Expr,
    pub(super) ty: Type,
}

impl Typed {
    /// An expression of a type.
    pub(super) fn new(expr: Expr, ty: Type) -> Typed {
        Typed { expr, ty }
    }

    /// A condition.
    pub(super) fn boolean(expr: Expr) -> Typed {
        Typed { expr, ty: Type::Bool }
    }

    /// A column of the innermost scope.
    pub(super) fn column(at: usize, ty: &Type) -> Typed {
        Typed { expr: Expr::column(at), ty: ty.clone() }
    }
}

/// Nodes of a statement's plan at most. Some forms repeat a part of their text (a row that is compared with a list), so
/// that the text's size alone is no bound.
const NODES_MAX: u32 = 1_000_000;
/// Nodes that are bound between two looks at the clock.
const NODES_IN_TURN: u32 = 64;

/// A query that is being bound.
pub(super) struct Frame {
    /// How many scopes are around it.
    pub(super) scopes: usize,
    /// The outermost scope that it refers to.
    lowest: Cell<usize>,
    /// Does it read rows that change while the statement runs (those of a recursive query's last step)?
    changes: Cell<bool>,
}

impl Frame {
    /// A query inside of so many scopes.
    pub(super) fn new(scopes: usize) -> Frame {
        Frame { scopes, lowest: Cell::new(usize::MAX), changes: Cell::new(false) }
    }

    /// Does it refer to a scope around it?
    pub(super) fn is_correlated(&self) -> bool {
        self.refers_out() || self.changes.get()
    }

    /// Does it name something of a scope around it?
    pub(super) fn refers_out(&self) -> bool {
        self.lowest.get() < self.scopes
    }

    /// It reads rows that change.
    pub(super) fn changes(&self) {
        self.changes.set(true);
    }

    /// Something in it is of a scope.
    pub(super) fn refers_to(&self, scope: usize) {
        self.lowest.set(self.lowest.get().min(scope));
    }
}

/// A query of WITH that names can refer to.
pub(super) struct Common {
    pub(super) name: String,
    pub(super) columns: Vec<ScopeColumn>,
    pub(super) what: What,
    /// How many scopes are around WITH.
    pub(super) scopes: usize,
}

/// What a name of WITH stands for.
pub(super) enum What {
    /// It can be read.
    Plan(Arc<CommonPlan>),
    /// It is being bound: its rows so far can be read, if it may refer to itself here.
    Itself(Itself),
}

/// A query of WITH RECURSIVE while it is being bound.
pub(super) struct Itself {
    /// Its number in the statement.
    pub(super) number: usize,
    /// How many frames are around it.
    pub(super) frames: usize,
    /// How many queries in expressions are around it.
    pub(super) in_expressions: usize,
    /// Why it may not refer to itself.
    pub(super) forbidden: Option<&'static str>,
    /// How often it does.
    pub(super) uses: usize,
}

/// Binds one statement.
pub(super) struct Binder {
    snapshot: Arc<Snapshot>,
    path: Arc<SearchPath>,
    interrupt: Interrupt,
    /// Expressions bound so far.
    nodes: u32,
    /// Parameter types so far; `Unknown`: not known yet.
    pub(super) params: Vec<Type>,
    /// Columns of the queries around, innermost last.
    pub(super) scopes: Vec<Vec<ScopeColumn>>,
    /// Aggregates of the query at hand; `None` where none are allowed.
    pub(super) aggregates: Option<Vec<Aggregate>>,
    /// The queries around that are being bound, innermost last.
    pub(super) frames: Vec<Frame>,
    /// Columns of queries around that inner queries refer to: the scope, from 0, and the column.
    pub(super) outer_uses: RefCell<Vec<(usize, usize)>>,
    /// Window functions of the query at hand; `None` where none are allowed.
    pub(super) windows: Option<Vec<WindowCall>>,
    /// Is the point at hand inside of a window function?
    pub(super) in_window: bool,
    /// The windows of the query at hand that have a name.
    pub(super) named_windows: Vec<(String, Window)>,
    /// The queries of WITH that names can refer to, innermost last.
    pub(super) common: Vec<Common>,
    /// How many queries of WITH have a number.
    pub(super) numbers: usize,
    /// How many queries in expressions are around.
    pub(super) in_expressions: usize,
    /// How often recursive queries refer to themselves, so far.
    pub(super) working_uses: usize,
    /// How many times stored tables are read, so far.
    pub(super) tables_read: u32,
    /// A table was not found. It may have been created through another gateway a moment ago.
    pub(super) unknown_table: bool,
}

/// What a name of a relation means.
pub(super) enum Relation {
    /// A table of the store.
    Stored(Arc<TableSchema>),
    /// One of pg_catalog or information_schema.
    System(&'static dyn SystemRelation),
}

impl Binder {
    /// A binder with the parameter types that the client declared.
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        path: Arc<SearchPath>,
        hints: &[Type],
        interrupt: Interrupt,
    ) -> Binder {
        Binder {
            snapshot,
            path,
            interrupt,
            nodes: 0,
            params: hints.to_vec(),
            scopes: Vec::new(),
            aggregates: None,
            frames: Vec::new(),
            outer_uses: RefCell::default(),
            windows: None,
            in_window: false,
            named_windows: Vec::new(),
            common: Vec::new(),
            numbers: 0,
            in_expressions: 0,
            working_uses: 0,
            tables_read: 0,
            unknown_table: false,
        }
    }

    /// Counts a node. 54001 if there are too many, 57014 if the statement must end.
    pub(super) fn count_node(&mut self) -> Result<(), SqlError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(SqlError::new(sqlstate::TOO_COMPLEX, "statement too complex")
                .detail(format!("Its plan has more than {NODES_MAX} nodes."))
                .hint("Pass long lists as one array parameter (= ANY($1)), or use COPY."));
        }
        if self.nodes.is_multiple_of(NODES_IN_TURN) { self.interrupt.check() } else { Ok(()) }
    }

    /// When the statement must end.
    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// How many expressions were bound.
    pub(super) fn nodes(&self) -> u32 {
        self.nodes
    }

    /// The parameter types: text where nothing says more.
    pub(super) fn parameter_types(&self) -> Vec<Type> {
        let known = |ty: &Type| if *ty == Type::Unknown { Type::Text } else { ty.clone() };
        self.params.iter().map(known).collect()
    }

    /// Where names are looked up.
    pub(super) fn path(&self) -> &Arc<SearchPath> {
        &self.path
    }

    /// What a name of a relation means. 42P01.
    pub(super) fn named(&mut self, name: &Name) -> Result<Relation, SqlError> {
        let (schema, own) = self.path.split(&name.parts).map_err(|error| error.at_if_known(name.position))?;
        for schema in self.path.candidates(schema) {
            if let Some(system) = pg_catalog::find(schema, own) {
                return Ok(Relation::System(system));
            }
            if let Some(table) = self.snapshot.table(schema, own) {
                return Ok(Relation::Stored(table.clone()));
            }
        }
        self.unknown_table = true;
        let message = format!("relation \"{}\" does not exist", name.dotted());
        Err(SqlError::new(sqlstate::UNDEFINED_TABLE, message).at_if_known(name.position))
    }

    /// A stored table. 42P01, 42501 for a relation of the system.
    pub(super) fn table(&mut self, name: &Name) -> Result<Arc<TableSchema>, SqlError> {
        match self.named(name)? {
            Relation::Stored(table) => Ok(table),
            Relation::System(system) => Err(SqlError::new(
                sqlstate::INSUFFICIENT_PRIVILEGE,
                format!("permission denied: \"{}\" is a system catalog", system.name()),
            )),
        }
    }

    /// The columns of a stored table, as a scope.
    pub(super) fn table_scope(table: &Arc<TableSchema>, alias: &str) -> Vec<ScopeColumn> {
        let columns = table_columns(table);
        let own = table.columns.len();
        columns
            .into_iter()
            .enumerate()
            .map(|(at, (name, ty))| ScopeColumn {
                table: alias.to_string(),
                name,
                ty,
                hidden: at >= own,
                origin: if at < own { (table.oid(), at as i16 + 1) } else { (0, 0) },
                merged: false,
                rank: at,
            })
            .collect()
    }

    /// Binds something inside of one more scope.
    pub(super) fn within<T>(
        &mut self,
        scope: Vec<ScopeColumn>,
        bind: impl FnOnce(&mut Binder) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.scopes.push(scope);
        let bound = bind(self);
        self.scopes.pop();
        bound
    }

    /// Finds a column: in the innermost scope first, then outwards. 42703, 42702 if the name is ambiguous.
    pub(super) fn find_column(&self, name: &Name) -> Result<Typed, SqlError> {
        let (table, column) = (name.qualifier(), name.last());
        for (level, scope) in self.scopes.iter().rev().enumerate() {
            let mut found = scope.iter().enumerate().filter(|(_, own)| {
                own.name == column
                    && match table {
                        Some(table) => own.table == table,
                        None => !own.merged,
                    }
            });
            if let Some((at, own)) = found.next() {
                if !own.hidden && found.any(|(_, other)| !other.hidden) {
                    return Err(SqlError::new(
                        sqlstate::AMBIGUOUS_COLUMN,
                        format!("column reference \"{column}\" is ambiguous"),
                    )
                    .at_if_known(name.position));
                }
                self.refers_to(self.scopes.len() - 1 - level, at, level);
                return Ok(Typed::new(Expr::Column { level, at }, own.ty.clone()));
            }
        }
        let error = match table {
            Some(table) if !self.scopes.iter().flatten().any(|own| own.table == table) => SqlError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{table}\""),
            ),
            _ => SqlError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!(
                    "column {} does not exist",
                    if table.is_some() { name.dotted() } else { format!("\"{column}\"") }
                ),
            ),
        };
        Err(error.at_if_known(name.position))
    }

    /// Notes that the query at hand refers to a column, and so do those between it and the column's.
    fn refers_to(&self, scope: usize, at: usize, level: usize) {
        self.frames.iter().for_each(|frame| frame.refers_to(scope));
        if level > 0 {
            self.outer_uses.borrow_mut().push((scope, at));
        }
    }

    /// An undeclared parameter gets its type from what it meets first.
    pub(super) fn infer_parameter(&mut self, at: usize, ty: &Type) {
        if self.params[at] == Type::Unknown {
            self.params[at] = ty.plain();
        }
    }
}
