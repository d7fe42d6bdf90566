//! The behaviour that every [`Coordinator`] must show, as one suite that runs on each backend.
//!
//! A backend hands in a way to make clients of one service, each with its own session; the suite works below a
//! root that it makes itself and panics at the first difference.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::timeout;

use super::coordinator::{CoordinationError, Coordinator, CreateMode, Op, Result, SessionState, Znode};

/// How long the service may take to show what another client did.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Makes a new client of the service under test.
pub type Connect<'a> = &'a (dyn Fn() -> BoxFuture<'static, Arc<dyn Coordinator>> + Send + Sync);

/// Runs the whole suite below `root`, an absolute path that does not exist yet.
pub async fn run(connect: Connect<'_>, root: &str) {
    let client = connect().await;
    client.ensure(root).await.unwrap();
    nodes(&*client, &format!("{root}/nodes")).await;
    versions(&*client, &format!("{root}/versions")).await;
    multi(&*client, &format!("{root}/multi")).await;
    sequence(&*client, &format!("{root}/sequence")).await;
    client.close().await;
    sync(connect, &format!("{root}/sync")).await;
    sessions(connect, &format!("{root}/sessions")).await;
    watches(connect, &format!("{root}/watches")).await;
    close(connect, &format!("{root}/close")).await;
}

async fn nodes(client: &dyn Coordinator, root: &str) {
    assert_eq!(client.get(root).await.unwrap(), None);
    assert_eq!(client.list(root).await.unwrap(), Vec::<String>::new());
    let orphan = format!("{root}/a/b");
    expect_no_node(client.create(&orphan, text("x"), CreateMode::Persistent).await, "create without parent");
    expect_no_node(client.set(root, text("x"), None).await, "set of nothing");
    expect_no_node(client.delete(root, None).await, "delete of nothing");

    assert_eq!(client.create(root, text("1"), CreateMode::Persistent).await.unwrap(), root);
    let again = client.create(root, text("2"), CreateMode::Persistent).await;
    assert!(matches!(&again, Err(CoordinationError::NodeExists(path)) if path == root), "{again:?}");
    assert_eq!(client.get(root).await.unwrap(), Some(Znode { data: text("1"), version: 0, mine: false }));

    client.ensure(&orphan).await.unwrap();
    client.ensure(&orphan).await.unwrap();
    client.ensure(&format!("{root}/c")).await.unwrap();
    assert_eq!(
        client.get(&orphan).await.unwrap(),
        Some(Znode { data: Bytes::new(), version: 0, mine: false })
    );
    assert_eq!(client.list(root).await.unwrap(), ["a", "c"]);
    let full = client.delete(&format!("{root}/a"), None).await;
    assert!(matches!(full, Err(CoordinationError::NotEmpty(_))), "{full:?}");
    client.delete(&orphan, None).await.unwrap();
    client.delete(&format!("{root}/a"), None).await.unwrap();
    assert_eq!(client.list(root).await.unwrap(), ["c"]);

    let malformed = client.create(&format!("{root}//x"), text(""), CreateMode::Persistent).await;
    assert!(matches!(malformed, Err(CoordinationError::Refused(_))), "{malformed:?}");
}

async fn versions(client: &dyn Coordinator, root: &str) {
    client.create(root, text("0"), CreateMode::Persistent).await.unwrap();
    assert_eq!(client.set(root, text("1"), Some(0)).await.unwrap(), 1);
    assert_eq!(client.set(root, text("2"), None).await.unwrap(), 2);
    expect_bad_version(client.set(root, text("x"), Some(1)).await, root);
    expect_bad_version(client.delete(root, Some(1)).await, root);
    assert_eq!(client.get(root).await.unwrap(), Some(Znode { data: text("2"), version: 2, mine: false }));
    client.delete(root, Some(2)).await.unwrap();
    client.create(root, text("n"), CreateMode::Persistent).await.unwrap();
    assert_eq!(client.get(root).await.unwrap().map(|node| node.version), Some(0), "a new node begins at 0");
}

async fn multi(client: &dyn Coordinator, root: &str) {
    client.create(root, text("0"), CreateMode::Persistent).await.unwrap();
    let (old, new) = (format!("{root}/old"), format!("{root}/new"));
    client.create(&old, text("o"), CreateMode::Ephemeral).await.unwrap();

    let steps = |version| {
        vec![
            Op::Check { path: root.to_string(), version },
            Op::Set { path: root.to_string(), data: text("1"), version: Some(version) },
            Op::Delete { path: old.clone(), version: None },
            Op::Create { path: new.clone(), data: text("n"), mode: CreateMode::Ephemeral },
        ]
    };
    expect_bad_version(client.multi(steps(7)).await, root);
    let failing = [steps(0), vec![Op::Delete { path: format!("{root}/none"), version: None }]].concat();
    let failed = client.multi(failing).await;
    let names_the_step = matches!(&failed, Err(CoordinationError::NoNode(path)) if path.ends_with("/none"));
    assert!(names_the_step, "{failed:?}");
    assert_eq!(client.get(root).await.unwrap(), Some(Znode { data: text("0"), version: 0, mine: false }));
    assert_eq!(client.list(root).await.unwrap(), ["old"], "a failed multi leaves no trace");

    client.multi(steps(0)).await.unwrap();
    assert_eq!(client.get(root).await.unwrap(), Some(Znode { data: text("1"), version: 1, mine: false }));
    assert_eq!(client.list(root).await.unwrap(), ["new"]);
    assert!(client.get(&new).await.unwrap().is_some_and(|node| node.mine));

    // A node may go and come back within one multi.
    let replace = vec![
        Op::Delete { path: new.clone(), version: None },
        Op::Create { path: new.clone(), data: text("again"), mode: CreateMode::Ephemeral },
    ];
    client.multi(replace).await.unwrap();
    assert_eq!(client.get(&new).await.unwrap(), Some(Znode { data: text("again"), version: 0, mine: true }));
}

async fn sequence(client: &dyn Coordinator, root: &str) {
    client.create(root, text(""), CreateMode::Persistent).await.unwrap();
    let prefix = format!("{root}/n1-");
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(client.create(&prefix, text("x"), CreateMode::EphemeralSequential).await.unwrap());
    }
    let numbers: Vec<u64> = names.iter().map(|name| name[prefix.len()..].parse().unwrap()).collect();
    assert!(names.iter().all(|name| name.len() == prefix.len() + 10), "{names:?}");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    for name in &names {
        client.delete(name, None).await.unwrap();
    }
    let next = client.create(&prefix, text("x"), CreateMode::EphemeralSequential).await.unwrap();
    assert!(next > names[2], "numbers do not come back: {next}");
    assert!(client.get(&next).await.unwrap().is_some_and(|node| node.mine));
}

async fn sync(connect: Connect<'_>, root: &str) {
    let (writer, reader) = (connect().await, connect().await);
    writer.ensure(root).await.unwrap();
    for round in 1..=20 {
        writer.set(root, text(&round.to_string()), None).await.unwrap();
        reader.sync().await.unwrap();
        let seen = reader.get(root).await.unwrap().map(|node| node.data);
        assert_eq!(
            seen,
            Some(text(&round.to_string())),
            "what was answered before the sync is seen after it"
        );
    }
    writer.close().await;
    reader.close().await;
    let late = reader.sync().await;
    assert!(matches!(late, Err(CoordinationError::Unavailable(_))), "{late:?}");
}

async fn sessions(connect: Connect<'_>, root: &str) {
    let (one, two) = (connect().await, connect().await);
    assert_eq!(one.session().borrow().state, SessionState::Live);
    assert_eq!(one.session().borrow().number, 1);
    one.ensure(root).await.unwrap();
    let (mine, kept) = (format!("{root}/mine"), format!("{root}/kept"));
    one.create(&mine, text("1"), CreateMode::Ephemeral).await.unwrap();
    one.create(&kept, text("k"), CreateMode::Persistent).await.unwrap();
    let child = one.create(&format!("{mine}/x"), text(""), CreateMode::Persistent).await;
    assert!(matches!(child, Err(CoordinationError::Refused(_))), "{child:?}");

    eventually(&*two, root, || async { two.list(root).await.unwrap() == ["kept", "mine"] }).await;
    assert!(one.get(&mine).await.unwrap().is_some_and(|node| node.mine));
    assert!(two.get(&mine).await.unwrap().is_some_and(|node| !node.mine));
    let taken = two.create(&mine, text("2"), CreateMode::Ephemeral).await;
    assert!(matches!(taken, Err(CoordinationError::NodeExists(_))), "{taken:?}");

    one.close().await;
    eventually(&*two, root, || async { two.list(root).await.unwrap() == ["kept"] }).await;
    two.create(&mine, text("2"), CreateMode::Ephemeral).await.unwrap();
    assert!(two.get(&mine).await.unwrap().is_some_and(|node| node.mine));
    two.close().await;
}

async fn watches(connect: Connect<'_>, root: &str) {
    let (watcher, actor) = (connect().await, connect().await);
    actor.ensure(root).await.unwrap();
    let mut tree = watcher.watch(root);
    assert!(tree.has_changed().unwrap(), "the first value counts as a change");
    let mut early = watcher.watch(&format!("{root}/a"));
    quiet(&mut tree).await;
    quiet(&mut early).await;

    let deep = format!("{root}/a/b");
    actor.ensure(&format!("{root}/a")).await.unwrap();
    fires(&mut early, "creation of the watched node").await;
    fires(&mut tree, "creation of a child").await;
    actor.create(&deep, text("1"), CreateMode::Ephemeral).await.unwrap();
    fires(&mut tree, "creation two levels down").await;
    actor.set(&deep, text("2"), None).await.unwrap();
    fires(&mut tree, "content").await;
    let multi = vec![Op::Set { path: deep.clone(), data: text("3"), version: None }];
    actor.multi(multi).await.unwrap();
    fires(&mut tree, "content by a multi").await;
    watcher.set(&deep, text("4"), None).await.unwrap();
    fires(&mut tree, "an own change").await;
    actor.delete(&deep, None).await.unwrap();
    fires(&mut tree, "deletion").await;

    actor.create(&deep, text("5"), CreateMode::Ephemeral).await.unwrap();
    fires(&mut tree, "creation once more").await;
    actor.close().await;
    fires(&mut tree, "the end of a session").await;
    eventually(&*watcher, root, || async { watcher.get(&deep).await.unwrap().is_none() }).await;
    watcher.close().await;
}

async fn close(connect: Connect<'_>, root: &str) {
    let client = connect().await;
    client.ensure(root).await.unwrap();
    let mut tree = client.watch(root);
    quiet(&mut tree).await;
    client.close().await;
    assert_ne!(client.session().borrow().state, SessionState::Live);
    assert!(tree.has_changed().unwrap_or(true), "watchers hear of the end of the session");
    let late = client.create(&format!("{root}/x"), text(""), CreateMode::Persistent).await;
    assert!(matches!(late, Err(CoordinationError::Unavailable(_))), "{late:?}");
    let late = client.get(root).await;
    assert!(matches!(late, Err(CoordinationError::Unavailable(_))), "{late:?}");
    client.close().await;
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn expect_no_node<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    assert!(matches!(result, Err(CoordinationError::NoNode(_))), "{what}: {result:?}");
}

fn expect_bad_version<T: std::fmt::Debug>(result: Result<T>, path: &str) {
    assert!(matches!(&result, Err(CoordinationError::BadVersion(at)) if at == path), "{path}: {result:?}");
}

/// Takes in what is still on its way from earlier changes.
async fn quiet(counter: &mut watch::Receiver<u64>) {
    counter.mark_unchanged();
    while timeout(Duration::from_millis(200), counter.changed()).await.is_ok() {}
}

/// The counter moves, then comes to rest.
async fn fires(counter: &mut watch::Receiver<u64>, what: &str) {
    timeout(WAIT_MAX, counter.changed()).await.unwrap_or_else(|_| panic!("not woken by {what}")).unwrap();
    quiet(counter).await;
}

/// Checks again at each wake-up below `path` until it holds.
async fn eventually<F: Future<Output = bool>>(client: &dyn Coordinator, path: &str, holds: impl Fn() -> F) {
    let mut counter = client.watch(path);
    let wait = async {
        while !holds().await {
            counter.changed().await.unwrap();
        }
    };
    timeout(WAIT_MAX, wait).await.unwrap_or_else(|_| panic!("{path} does not come to what is expected"));
}
