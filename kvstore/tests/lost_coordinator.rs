//! What a cluster does when its coordinator loses what it held: it goes on with what it knows, starts on nothing that is
//! not its own, and what was lost is written anew from the nodes' disks.

mod nodes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvstore::coordination::Coordinator;
use kvstore::coordination::embedded::Embedded;
use kvstore::error::KvError;
use kvstore::recover::{self, Export, Known};
use kvstore::request::CatalogStep;

use self::nodes::{Cluster, create, eventually, read, soon, write};

const ROOT: &str = "/spinnaker/default";

/// Deletes all that a coordinator holds.
async fn empty(service: &Embedded) {
    let client = service.client();
    let mut left = vec![ROOT.to_owned()];
    while let Some(path) = left.last().cloned() {
        let children = client.list(&path).await.unwrap();
        if children.is_empty() {
            // An error: somebody was faster.
            let _ = client.delete(&path, None).await;
            left.pop();
        }
        left.extend(children.into_iter().map(|child| format!("{path}/{child}")));
    }
}

async fn told(cluster: &Cluster, number: usize, what: &str) {
    let deadline = soon();
    loop {
        let status = cluster.node(number).status(false).await;
        if status.error.contains(what) {
            return;
        }
        assert!(Instant::now() < deadline, "node {number} does not say {what:?}: {:?}", status.error);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn export_all(cluster: &Cluster) -> Vec<Export> {
    let exports = (1..=3).map(|number| recover::export(&cluster.data_dir(number)).unwrap());
    // As text and back, as it travels from machine to machine.
    exports.map(|export| Export::parse(&export.to_text()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_coordinator_stops_nothing_is_told_and_is_written_anew_from_the_nodes() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    let other = create(&cluster.kv(1), "other").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    write(&cluster.kv(1), other.id, "k", "other").await.unwrap();
    let steps = vec![
        CatalogStep::CreateObject { name: "app.".into(), content: "schema".into() },
        CatalogStep::Change { of: other.id, name: "renamed".into(), content: "changed".into() },
    ];
    cluster.kv(2).change_catalog(steps, 0, soon()).await.unwrap().unwrap();
    // The disks keep it a moment later.
    for number in 1..=3 {
        let kept = cluster.data_dir(number).join("OBJECTS");
        eventually("the objects are kept", || kept.is_file()).await;
    }

    empty(&cluster.service).await;
    for number in 1..=3 {
        told(&cluster, number, "it holds nothing of this cluster").await;
        let kv = cluster.kv(number);
        write(&kv, table.id, "k", &number.to_string()).await.unwrap();
        assert_eq!(read(&kv, table.id, "k").await, Ok(Some(number.to_string())));
        let refused = create(&kv, "new").await;
        assert!(matches!(refused, Err(KvError::Coordination(_))), "{refused:?}");
        let refused = kv.drop_table("t", soon()).await;
        assert!(matches!(refused, Err(KvError::Coordination(_))), "{refused:?}");
    }

    // Nobody starts on it, and nobody makes it look like a cluster.
    cluster.kill(3);
    let refused = cluster.try_restart(3).await.unwrap_err().to_string();
    assert!(
        refused.contains("holds nothing of this cluster") && refused.contains("recover-metadata"),
        "{refused}"
    );
    let client: Arc<dyn Coordinator> = cluster.service.client();
    assert_eq!(client.list(ROOT).await.unwrap(), Vec::<String>::new());

    cluster.kill(1);
    cluster.kill(2);
    let exports = export_all(&cluster);
    let refused = recover::plan(&exports[..2], Known::default()).unwrap_err();
    assert!(refused.contains("has a member on n3, whose data directory was not given"), "{refused}");
    let plan = recover::plan(&exports, Known::default()).unwrap();
    recover::write(client.clone(), &plan).await.unwrap();
    let again = recover::write(client.clone(), &plan).await.unwrap_err();
    assert!(again.contains("holds a cluster"), "{again}");

    for number in 1..=3 {
        cluster.restart(number).await;
    }
    for number in 1..=3 {
        assert_eq!(read(&cluster.kv(number), table.id, "k").await, Ok(Some("3".into())));
        assert_eq!(read(&cluster.kv(number), other.id, "k").await, Ok(Some("other".into())));
    }
    let known = cluster.kv(3).catalog(true).await.unwrap();
    assert_eq!((&*known.objects[0].name, &known.objects[0].schema[..]), ("app.", &b"schema"[..]));
    assert!(known.change > 1);
    let renamed = known.tables.iter().find(|table| table.name == "renamed").unwrap();
    assert_eq!((renamed.id, &renamed.schema[..]), (other.id, &b"changed"[..]));
    let new = create(&cluster.kv(2), "new").await.unwrap();
    assert!(new.id > known.objects[0].id);
    cluster.kv(2).drop_table("renamed", soon()).await.unwrap();
}

/// A run that was cut off at any step is begun anew, and no node starts on half of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_was_cut_off_is_begun_anew() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    (1..=3).for_each(|number| cluster.kill(number));
    empty(&cluster.service).await;
    let plan = recover::plan(&export_all(&cluster), Known::default()).unwrap();

    let client: Arc<dyn Coordinator> = cluster.service.client();
    client.ensure(&format!("{ROOT}/recovering")).await.unwrap();
    for half in ["registry/7", "ranges/0123456789abcdef0123456789abcdef/epoch", "names/t"] {
        client.ensure(&format!("{ROOT}/{half}")).await.unwrap();
    }
    let refused = cluster.try_restart(1).await.unwrap_err().to_string();
    assert!(refused.contains("are being written by `spinnaker recover-metadata`"), "{refused}");
    recover::write(client.clone(), &plan).await.unwrap();
    for number in 1..=3 {
        cluster.restart(number).await;
    }
    assert_eq!(read(&cluster.kv(2), table.id, "k").await, Ok(Some("1".into())));

    // What is there without the mark of a run is somebody's, and is not touched.
    (1..=3).for_each(|number| cluster.kill(number));
    empty(&cluster.service).await;
    client.ensure(&format!("{ROOT}/names/x")).await.unwrap();
    let refused = recover::write(client.clone(), &plan).await.unwrap_err();
    assert!(refused.contains("names is not empty"), "{refused}");
}

/// Whatever is left of a tree, nothing is written into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_partly_there_is_not_written_into() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    (1..=3).for_each(|number| cluster.kill(number));
    let plan = recover::plan(&export_all(&cluster), Known::default()).unwrap();
    let client: Arc<dyn Coordinator> = cluster.service.client();
    let table = table.id.0;
    let parts =
        ["id".to_owned(), "registry/1".into(), "nodes/1".into(), "names/t".into(), "dropped/9".into()];
    for part in parts.into_iter().chain([format!("tables/{table}"), format!("ranges/{range}")]) {
        empty(&cluster.service).await;
        client.ensure(&format!("{ROOT}/{part}")).await.unwrap();
        let refused = recover::write(client.clone(), &plan).await.unwrap_err();
        assert!(
            refused.contains("nothing was changed; if ") && refused.contains("delete"),
            "{part}: {refused}"
        );
        let (top, _) = part.split_once('/').unwrap_or((&part, ""));
        assert_eq!(client.list(ROOT).await.unwrap(), [top], "{part}");
    }
}

/// A table that was dropped does not come back with a member that was away, nor because one was the first to drop it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_have_been_dropped_is_not_written_anew() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    let stays = create(&cluster.kv(1), "stays").await.unwrap();
    write(&cluster.kv(1), stays.id, "k", "1").await.unwrap();
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    eventually("all have it", || (1..=3).all(|number| cluster.range_dirs(number).len() == 2)).await;
    cluster.kill(3);
    cluster.kv(1).drop_table("t", soon()).await.unwrap();
    eventually("two have dropped it", || (1..=2).all(|number| cluster.range_dirs(number).len() == 1)).await;
    (1..=2).for_each(|number| cluster.kill(number));
    empty(&cluster.service).await;
    let dropped = [table.id.0];
    let known =
        |exports: &[Export], known| recover::plan(exports, known).map(|plan| plan.describe().join("\n"));
    let refused = known(&export_all(&cluster), Known::default()).unwrap_err();
    assert!(refused.contains("is not on n1, n2, a majority or half of its members"), "{refused}");

    // Only one had dropped it when the coordinator was lost: the drop was not answered, and may have been.
    let aside = |number: usize| cluster.data_dir(number).join(format!("r-{range}"));
    copy_dir(&aside(3), &aside(2));
    let refused = known(&export_all(&cluster), Known::default()).unwrap_err();
    assert!(refused.contains("is not on n1: if the table was dropped"), "{refused}");
    let said = known(&export_all(&cluster), Known { kept: &dropped, ..Known::default() }).unwrap();
    assert!(said.contains("; n1 does not have it"), "{said}");
    std::fs::remove_dir_all(aside(2)).unwrap();

    let plan = recover::plan(&export_all(&cluster), Known { dropped: &dropped, ..Known::default() }).unwrap();
    assert!(plan.describe().join("\n").contains("stays dropped: n3 will delete its data"));
    recover::write(cluster.service.client(), &plan).await.unwrap();
    for number in 1..=3 {
        cluster.restart(number).await;
    }
    assert_eq!(read(&cluster.kv(3), stays.id, "k").await, Ok(Some("1".into())));
    eventually("it is dropped", || (1..=3).all(|number| cluster.range_dirs(number).len() == 1)).await;
    assert_eq!(cluster.kv(3).tables(true).await.unwrap(), [stays]);
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_on_another_clusters_coordinator() {
    let mut cluster = Cluster::start(3).await;
    create(&cluster.kv(1), "t").await.unwrap();
    cluster.kill(3);
    let own = std::mem::replace(&mut cluster.service, Embedded::new());
    let other = Cluster::start(3).await;
    cluster.service = other.service.clone();
    let refused = cluster.try_restart(3).await.unwrap_err().to_string();
    assert!(refused.contains("the coordinator holds cluster"), "{refused}");
    cluster.service = own;
    cluster.restart(3).await;
}

/// A partial loss: what nobody has dropped is served on, and data is never deleted for want of a znode.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_znodes_vanish_or_are_damaged_is_served_on() {
    let cluster = Cluster::start(3).await;
    let client = cluster.service.client();
    let table = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    let znode = format!("{ROOT}/tables/{}", table.id.0);
    for (path, text) in [(&znode, "junk"), (&format!("{ROOT}/ranges/{range}"), "junk\n\n")] {
        client.set(path, text.into(), None).await.unwrap();
    }
    client.delete(&znode, None).await.unwrap();
    // A second look at everything.
    create(&cluster.kv(2), "later").await.unwrap();
    for number in 1..=3 {
        assert_eq!(read(&cluster.kv(number), table.id, "k").await, Ok(Some("1".into())));
        write(&cluster.kv(number), table.id, "k", "1").await.unwrap();
        assert!(cluster.kv(number).tables(true).await.unwrap().contains(&table));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_a_nodes_znodes_is_mended_by_the_node() {
    let cluster = Cluster::start(3).await;
    let client = cluster.service.client();
    let table = create(&cluster.kv(1), "t").await.unwrap();
    for dir in ["nodes", "registry"] {
        let path = format!("{ROOT}/{dir}/2");
        let text = client.get(&path).await.unwrap().unwrap().data;
        let wrong_disk = "grpc 127.0.0.1:1\ndisk 00000000000000ff\n";
        for junk in ["", "junk", wrong_disk] {
            client.set(&path, junk.into(), None).await.unwrap();
            for number in 1..=3 {
                write(&cluster.kv(number), table.id, "k", "1").await.unwrap();
            }
            let deadline = soon();
            while client.get(&path).await.unwrap().is_none_or(|node| node.data != text) {
                assert!(Instant::now() < deadline, "{path} is not mended after {junk:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        client.delete(&path, None).await.unwrap();
        let deadline = soon();
        while client.get(&path).await.unwrap().is_none_or(|node| node.data != text) {
            assert!(Instant::now() < deadline, "{path} is not put back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What anybody may have written into a znode.
const JUNK: [&str; 6] =
    ["", "junk", "\u{0}\u{1}", "4294967295 n1 00000000000000ff", "member 1\n", "incarnation -1"];

/// A node that starts finds junk where its own disk knows better: it goes on by that, and mends what is its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_junk_goes_on_by_the_disk_and_mends_what_is_its_own() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.service.client();
    let (table, other) =
        (create(&cluster.kv(1), "t").await.unwrap(), create(&cluster.kv(1), "other").await.unwrap());
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    write(&cluster.kv(1), other.id, "k", "other").await.unwrap();
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    let own = ["id".into(), "registry/2".into(), format!("tables/{}", table.id.0), format!("ranges/{range}")];
    for (at, path) in own.iter().map(|path: &String| format!("{ROOT}/{path}")).enumerate() {
        let text = client.get(&path).await.unwrap().unwrap().data;
        for junk in [JUNK[at], JUNK[at + 2]] {
            cluster.kill(2);
            client.set(&path, junk.into(), None).await.unwrap();
            cluster.restart(2).await;
            assert_eq!(read(&cluster.kv(2), table.id, "k").await, Ok(Some("1".into())), "{path} {junk:?}");
            assert_eq!(
                read(&cluster.kv(2), other.id, "k").await,
                Ok(Some("other".into())),
                "{path} {junk:?}"
            );
            write(&cluster.kv(2), table.id, "k", "1").await.unwrap();
            assert_eq!(
                client.get(&path).await.unwrap().unwrap().data,
                text,
                "{path} is not mended after {junk:?}"
            );
        }
    }
    // Another disk's number under this one's is junk, too, as long as every range says so.
    let path = format!("{ROOT}/registry/2");
    let text = client.get(&path).await.unwrap().unwrap().data;
    cluster.kill(2);
    client.set(&path, "incarnation 00000000000000ff\n".into(), None).await.unwrap();
    cluster.restart(2).await;
    assert_eq!(client.get(&path).await.unwrap().unwrap().data, text);

    // Changed more than once since this node was there: nobody can say what it was. It is served, and not written.
    let path = format!("{ROOT}/ranges/{range}");
    cluster.kill(2);
    client.set(&path, "junk".into(), None).await.unwrap();
    client.set(&path, "more junk".into(), None).await.unwrap();
    cluster.restart(2).await;
    assert_eq!(read(&cluster.kv(2), table.id, "k").await, Ok(Some("1".into())));
    assert_eq!(&client.get(&path).await.unwrap().unwrap().data[..], b"more junk");
    let status = cluster.node(2).status(false).await;
    assert_eq!(status.replicas.len(), 2, "{status:?}");
}

/// Junk below a range, while it runs and through a change of its leader: nobody panics, it is led again, and no other range
/// is harmed.
#[tokio::test(flavor = "multi_thread")]
async fn junk_below_a_range_keeps_nobody_from_leading_it() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.service.client();
    let (table, other) =
        (create(&cluster.kv(1), "t").await.unwrap(), create(&cluster.kv(1), "other").await.unwrap());
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    let root = format!("{ROOT}/ranges/{range}");
    for directory in ["election/junk", "election/4294967295", "election/2147483649"] {
        client.ensure(&format!("{root}/{directory}")).await.unwrap();
    }
    client.ensure(&format!("{root}/election/3000/n1-x")).await.unwrap();
    client.ensure(&format!("{root}/election/3001")).await.unwrap();
    let candidate = format!("{root}/election/3001/n1-0000000007");
    client.ensure(&candidate).await.unwrap();
    for (round, junk) in JUNK.iter().chain(&["00000000000000ff 4294967295.18446744073709551615"]).enumerate()
    {
        for znode in ["epoch", "leader"] {
            // An error: nobody leads just now.
            let _ = client.set(&format!("{root}/{znode}"), (*junk).into(), None).await;
        }
        client.set(&candidate, (*junk).into(), None).await.unwrap_or_default();
        let number = round % 3 + 1;
        cluster.kill(number);
        let alive = &cluster.kv(number % 3 + 1);
        write(alive, table.id, "k", &round.to_string())
            .await
            .unwrap_or_else(|error| panic!("{junk:?}: {error}"));
        write(alive, other.id, "k", &round.to_string()).await.unwrap();
        cluster.restart(number).await;
        assert_eq!(read(&cluster.kv(number), table.id, "k").await, Ok(Some(round.to_string())));
    }
}
