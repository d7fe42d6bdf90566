//! The znode tree: what a coordination service remembers, as a plain value.
//!
//! Pure and deterministic: no clock, no I/O, no threads. [`super::embedded`] puts a lock, a file and wake-ups
//! around it; a simulator may use it as it is. The semantics are ZooKeeper's, as far as [`super::Coordinator`]
//! lets one see them: versions count changes of the content, an ephemeral node goes with its session and has
//! no children, a sequential name takes a counter of its parent that never goes back, a multi is all or nothing.
//!
//! Every change is noted in a change log ([`Tree::take_changes`]) from which the owner wakes watchers.
//! Sessions and ephemerals do not outlive the process, so only persistent nodes are serialised
//! ([`Tree::encode`], [`Tree::decode`]):
//!
//! ```text
//! u32 count, then per node, in path order:  u32 length, path | i32 version | u64 counter | u32 length, data
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

use super::coordinator::{CoordinationError, CreateMode, Op, Result};

/// Who owns an ephemeral node; counted from 1 in one life of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeNode {
    /// Content.
    pub data: Bytes,
    /// Number of changes of the content.
    pub version: i32,
    /// Its session, if it is ephemeral.
    pub owner: Option<SessionId>,
    /// Sequential children made so far: the next one's number.
    counter: u64,
    /// Names of the children.
    children: BTreeSet<String>,
}

/// The tree with its sessions. The root `/` always stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, TreeNode>,
    /// Live sessions and their ephemeral nodes.
    sessions: BTreeMap<SessionId, BTreeSet<String>>,
    sessions_opened: u64,
    changes: Vec<String>,
}

/// How to take back one step of a multi that failed later.
enum Undo {
    Create(String),
    Set(String, Bytes, i32),
    Delete(String, TreeNode),
}

impl Default for Tree {
    fn default() -> Tree {
        Tree {
            nodes: BTreeMap::from([("/".to_string(), TreeNode::default())]),
            sessions: BTreeMap::new(),
            sessions_opened: 0,
            changes: Vec::new(),
        }
    }
}

impl Tree {
    /// Opens a session.
    pub fn open_session(&mut self) -> SessionId {
        self.sessions_opened += 1;
        let id = SessionId(self.sessions_opened);
        self.sessions.insert(id, BTreeSet::new());
        id
    }

    /// Ends a session (closed or expired, it is the same here): its ephemerals go.
    pub fn close_session(&mut self, session: SessionId) {
        for path in self.sessions.remove(&session).unwrap_or_default() {
            self.remove(&path);
        }
    }

    /// Creates a node and returns its actual path.
    pub fn create(
        &mut self,
        session: SessionId,
        path: &str,
        data: Bytes,
        mode: CreateMode,
    ) -> Result<String> {
        let (parent, name) = split(path)?;
        self.check_session(session)?;
        let parent_node = self.nodes.get_mut(parent).ok_or_else(|| no_node(parent))?;
        if parent_node.owner.is_some() {
            return Err(CoordinationError::Refused(format!("{parent} is ephemeral and has no children")));
        }
        let (name, owner) = match mode {
            CreateMode::Persistent => (name.to_string(), None),
            CreateMode::Ephemeral => (name.to_string(), Some(session)),
            CreateMode::EphemeralSequential => {
                let number = parent_node.counter;
                parent_node.counter += 1;
                (format!("{name}{number:010}"), Some(session))
            }
        };
        if !parent_node.children.insert(name.clone()) {
            return Err(CoordinationError::NodeExists(path.to_string()));
        }
        let actual = join(parent, &name);
        if let Some(owned) = owner.and_then(|session| self.sessions.get_mut(&session)) {
            owned.insert(actual.clone());
        }
        self.nodes.insert(actual.clone(), TreeNode { data, owner, ..TreeNode::default() });
        self.changes.push(actual.clone());
        Ok(actual)
    }

    /// Sets content, at the expected version if given, and returns the new version.
    pub fn set(&mut self, path: &str, data: Bytes, version: Option<i32>) -> Result<i32> {
        self.check_version(path, version)?;
        let node = self.nodes.get_mut(path).ok_or_else(|| no_node(path))?;
        node.data = data;
        node.version = node.version.wrapping_add(1);
        self.changes.push(path.to_string());
        Ok(node.version)
    }

    /// Deletes a node without children, at the expected version if given.
    pub fn delete(&mut self, path: &str, version: Option<i32>) -> Result<()> {
        split(path)?;
        self.check_version(path, version)?;
        if self.nodes.get(path).is_some_and(|node| !node.children.is_empty()) {
            return Err(CoordinationError::NotEmpty(path.to_string()));
        }
        self.remove(path);
        Ok(())
    }

    /// All steps or none. The error is that of the first step that fails.
    pub fn multi(&mut self, session: SessionId, ops: Vec<Op>) -> Result<()> {
        let changes_before = self.changes.len();
        let mut undo = Vec::with_capacity(ops.len());
        for op in ops {
            if let Err(error) = self.one_step(session, op, &mut undo) {
                while let Some(step) = undo.pop() {
                    self.take_back(step);
                }
                self.changes.truncate(changes_before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The node at `path`.
    pub fn get(&self, path: &str) -> Option<&TreeNode> {
        self.nodes.get(path)
    }

    /// Names of the children, sorted; empty if the node does not exist.
    pub fn list(&self, path: &str) -> Vec<String> {
        self.nodes.get(path).map(|node| node.children.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether the session is alive.
    pub fn is_live(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Paths created, set or deleted since the last call, in order, possibly more than once.
    pub fn take_changes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.changes)
    }

    /// The persistent nodes as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let persistent = || self.nodes.iter().filter(|(_, node)| node.owner.is_none());
        let mut out = Vec::new();
        out.put_u32_le(length(persistent().count()));
        for (path, node) in persistent() {
            out.put_u32_le(length(path.len()));
            out.put_slice(path.as_bytes());
            out.put_i32_le(node.version);
            out.put_u64_le(node.counter);
            out.put_u32_le(length(node.data.len()));
            out.put_slice(&node.data);
        }
        out
    }

    /// The tree that [`Tree::encode`] wrote, without sessions; `None` if the bytes are not such a tree.
    pub fn decode(mut bytes: Bytes) -> Option<Tree> {
        let mut tree = Tree::default();
        for _ in 0..bytes.try_get_u32_le().ok()? {
            let path = String::from_utf8(take_bytes(&mut bytes)?.to_vec()).ok()?;
            let version = bytes.try_get_i32_le().ok()?;
            let counter = bytes.try_get_u64_le().ok()?;
            let data = take_bytes(&mut bytes)?;
            if path != "/" {
                // Path order: the parent came before.
                let (parent, name) = split(&path).ok()?;
                tree.nodes.get_mut(parent)?.children.insert(name.to_string());
            }
            let children = tree.nodes.remove(&path).map(|node| node.children).unwrap_or_default();
            tree.nodes.insert(path, TreeNode { data, version, owner: None, counter, children });
        }
        bytes.is_empty().then_some(tree)
    }

    fn one_step(&mut self, session: SessionId, op: Op, undo: &mut Vec<Undo>) -> Result<()> {
        match op {
            Op::Check { path, version } => self.check_version(&path, Some(version))?,
            Op::Create { path, data, mode } => {
                if mode == CreateMode::EphemeralSequential {
                    return Err(CoordinationError::Refused(format!(
                        "sequential create of {path} in a multi"
                    )));
                }
                undo.push(Undo::Create(self.create(session, &path, data, mode)?));
            }
            Op::Set { path, data, version } => {
                let before = self.nodes.get(&path).map(|node| (node.data.clone(), node.version));
                self.set(&path, data, version)?;
                undo.extend(before.map(|(data, version)| Undo::Set(path, data, version)));
            }
            Op::Delete { path, version } => {
                let before = self.nodes.get(&path).cloned();
                self.delete(&path, version)?;
                undo.extend(before.map(|node| Undo::Delete(path, node)));
            }
        }
        Ok(())
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Create(path) => self.remove(&path),
            Undo::Set(path, data, version) => {
                if let Some(node) = self.nodes.get_mut(&path) {
                    node.data = data;
                    node.version = version;
                }
            }
            Undo::Delete(path, node) => {
                let (parent, name) = parts(&path);
                if let Some(parent) = self.nodes.get_mut(parent) {
                    parent.children.insert(name.to_string());
                }
                if let Some(owned) = node.owner.and_then(|session| self.sessions.get_mut(&session)) {
                    owned.insert(path.clone());
                }
                self.nodes.insert(path, node);
            }
        }
    }

    fn remove(&mut self, path: &str) {
        let (parent, name) = parts(path);
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children.remove(name);
        }
        let Some(node) = self.nodes.remove(path) else { return };
        if let Some(owned) = node.owner.and_then(|session| self.sessions.get_mut(&session)) {
            owned.remove(path);
        }
        self.changes.push(path.to_string());
    }

    fn check_version(&self, path: &str, version: Option<i32>) -> Result<()> {
        let node = self.nodes.get(path).ok_or_else(|| no_node(path))?;
        match version {
            Some(expected) if expected != node.version => {
                Err(CoordinationError::BadVersion(path.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_session(&self, session: SessionId) -> Result<()> {
        if self.is_live(session) {
            Ok(())
        } else {
            Err(CoordinationError::Unavailable("the session has ended".to_string()))
        }
    }
}

/// Parent and name of a path that may be created or deleted; refuses anything else.
fn split(path: &str) -> Result<(&str, &str)> {
    let well_formed = path.len() > 1
        && path.starts_with('/')
        && path[1..].split('/').all(|name| !name.is_empty() && name != "." && name != "..");
    if well_formed {
        Ok(parts(path))
    } else {
        Err(CoordinationError::Refused(format!("malformed path {path:?}")))
    }
}

/// Parent and name of a well-formed path.
fn parts(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(both) => both,
        None => ("/", path),
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

fn no_node(path: &str) -> CoordinationError {
    CoordinationError::NoNode(path.to_string())
}

/// A length as the format stores it; a tree never holds 4 GiB.
fn length(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn take_bytes(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn names_and_parents() {
        let mut tree = Tree::default();
        let me = tree.open_session();
        for bad in ["", "/", "a", "/a/", "//a", "/a//b", "/a/../b"] {
            let refused = tree.create(me, bad, Bytes::new(), CreateMode::Persistent);
            assert!(matches!(refused, Err(CoordinationError::Refused(_))), "{bad:?}: {refused:?}");
        }
        let orphan = tree.create(me, "/a/b", Bytes::new(), CreateMode::Persistent);
        assert!(matches!(orphan, Err(CoordinationError::NoNode(path)) if path == "/a"));
        tree.create(me, "/a", Bytes::new(), CreateMode::Ephemeral).unwrap();
        let child = tree.create(me, "/a/b", Bytes::new(), CreateMode::Persistent);
        assert!(matches!(child, Err(CoordinationError::Refused(_))));
    }

    #[test]
    fn a_failed_multi_leaves_no_trace() {
        let mut tree = Tree::default();
        let me = tree.open_session();
        tree.create(me, "/a", data("1"), CreateMode::Persistent).unwrap();
        tree.create(me, "/a/e", data("2"), CreateMode::Ephemeral).unwrap();
        tree.take_changes();
        let before = tree.clone();
        let failed = tree.multi(
            me,
            vec![
                Op::Set { path: "/a".into(), data: data("9"), version: Some(0) },
                Op::Delete { path: "/a/e".into(), version: None },
                Op::Create { path: "/a/f".into(), data: data("3"), mode: CreateMode::Ephemeral },
                Op::Check { path: "/a".into(), version: 0 },
            ],
        );
        assert!(matches!(failed, Err(CoordinationError::BadVersion(path)) if path == "/a"));
        assert_eq!(tree, before, "content, sessions and change log are as before");
        tree.close_session(me);
        assert_eq!(tree.list("/a"), Vec::<String>::new(), "the session still owned its node");
    }

    #[test]
    fn sequence_numbers_never_go_back() {
        let mut tree = Tree::default();
        let me = tree.open_session();
        let first = tree.create(me, "/c-", Bytes::new(), CreateMode::EphemeralSequential).unwrap();
        assert_eq!(first, "/c-0000000000");
        tree.delete(&first, None).unwrap();
        let second = tree.create(me, "/c-", Bytes::new(), CreateMode::EphemeralSequential).unwrap();
        assert_eq!(second, "/c-0000000001");
    }

    #[test]
    fn only_persistent_nodes_survive_and_damage_is_noticed() {
        let mut tree = Tree::default();
        let me = tree.open_session();
        tree.create(me, "/a", data("x"), CreateMode::Persistent).unwrap();
        tree.set("/a", data("y"), Some(0)).unwrap();
        tree.create(me, "/a/b", data("z"), CreateMode::Persistent).unwrap();
        tree.create(me, "/a/c-", Bytes::new(), CreateMode::EphemeralSequential).unwrap();
        let bytes = Bytes::from(tree.encode());
        let mut again = Tree::decode(bytes.clone()).unwrap();
        assert_eq!(again.list("/a"), vec!["b"]);
        assert_eq!(again.get("/a").map(|node| (node.data.clone(), node.version)), Some((data("y"), 1)));
        let me = again.open_session();
        let next = again.create(me, "/a/c-", Bytes::new(), CreateMode::EphemeralSequential).unwrap();
        assert_eq!(next, "/a/c-0000000001", "the counter survived");
        for length in 0..bytes.len() {
            assert!(Tree::decode(bytes.slice(..length)).is_none(), "cut at {length}");
        }
    }
}
