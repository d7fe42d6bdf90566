//! Making and dropping tables through different gateways, and what a drop leaves behind: nothing, anywhere.

mod nodes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use kvstore::NodeId;
use kvstore::coordination::Coordinator;
use kvstore::error::KvError;
use kvstore::request::CatalogStep;

use self::nodes::interposed::Interposed;
use self::nodes::{Cluster, create, eventually, read, soon, write};

/// The name of the error for a table that is gone.
fn no_table(name: &str) -> KvError {
    KvError::NoTable(name.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_at_one_gateway_is_there_at_the_next_at_once_even_if_its_server_lags() {
    let cluster = Cluster::start(3).await;
    cluster.client(2).fall_behind();
    let made = create(&cluster.kv(1), "t").await.unwrap();
    let names = cluster.kv(2).tables(true).await.unwrap();
    assert_eq!(names.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["t"]);
    write(&cluster.kv(2), made.id, "k", "1").await.unwrap();
    assert_eq!(create(&cluster.kv(2), "t").await, Err(KvError::TableExists("t".into())));

    // Node 3 learns of the drop; node 2, whose server says nothing of it, loses no acknowledged write.
    cluster.kv(1).drop_table("t", soon()).await.unwrap();
    let again = create(&cluster.kv(3), "t").await.unwrap();
    let stale = write(&cluster.kv(2), made.id, "k", "2").await;
    assert_eq!(stale, Err(no_table("t")), "what is written to the old table is not acknowledged");
    let tables = cluster.kv(2).tables(true).await.unwrap();
    assert_eq!(tables.iter().map(|table| table.id).collect::<Vec<_>>(), [again.id]);
    write(&cluster.kv(2), again.id, "k", "3").await.unwrap();
    assert_eq!(read(&cluster.kv(1), again.id, "k").await, Ok(Some("3".into())));
}

/// The catalog changes by several steps at once, or not at all, and only as its last reader knows it; every gateway knows
/// of it without asking when it is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_catalog_is_done_as_a_whole_and_known_at_every_gateway() {
    let cluster = Cluster::start(3).await;
    let object = |name: &str| CatalogStep::CreateObject { name: name.into(), content: "o".into() };
    let table = |name: &str| {
        let (name, schema, splits) = (name.into(), "s".into(), vec!["m".into()]);
        CatalogStep::CreateTable { name, schema, splits }
    };
    let change = async |at: usize, steps: Vec<CatalogStep>, on: u64| {
        cluster.kv(at).change_catalog(steps, on, soon()).await
    };
    assert_eq!(cluster.kv(3).catalog(true).await.unwrap().change, 0);
    let made = change(1, vec![object("s."), table("s.t")], 0).await.unwrap().unwrap();
    let [schema, tenant] = &made[..] else { panic!("{made:?}") };
    for gateway in 1..=3 {
        let known = cluster.kv(gateway).catalog(false).await.unwrap();
        assert_eq!((&known.tables[..], &known.objects[..], known.change), (&made[1..], &made[..1], 1));
        write(&cluster.kv(gateway), tenant.id, "k", "1").await.unwrap();
    }

    // What was worked out over an older catalog is not done, nor is half of a change.
    assert_eq!(change(2, vec![CatalogStep::Drop(schema.id)], 0).await, Ok(None));
    let taken = change(2, vec![object("x"), table("s.t")], 1).await;
    assert_eq!(taken, Err(KvError::TableExists("s.t".into())));
    assert_eq!(create(&cluster.kv(3), "s.").await, Err(KvError::TableExists("s.".into())));
    let known = cluster.kv(2).catalog(true).await.unwrap();
    assert_eq!((known.objects.len(), known.change), (1, 1));

    // A table gets another name and schema; its rows stay.
    let renamed = CatalogStep::Change { of: tenant.id, name: "u".into(), content: "new".into() };
    assert_eq!(change(3, vec![renamed], 1).await, Ok(Some(vec![])));
    for gateway in 1..=3 {
        let known = cluster.kv(gateway).catalog(false).await.unwrap().tables;
        assert_eq!((known[0].id, &*known[0].name, &known[0].schema[..]), (tenant.id, "u", &b"new"[..]));
        assert_eq!(read(&cluster.kv(gateway), tenant.id, "k").await, Ok(Some("1".into())));
    }
    create(&cluster.kv(1), "s.t").await.unwrap();

    let all = vec![CatalogStep::Drop(tenant.id), CatalogStep::Drop(schema.id)];
    assert_eq!(change(2, all, 2).await, Ok(Some(vec![])));
    for gateway in 1..=3 {
        let known = cluster.kv(gateway).catalog(false).await.unwrap();
        assert_eq!((known.tables.len(), known.objects.len()), (1, 0));
        assert!(matches!(read(&cluster.kv(gateway), tenant.id, "k").await, Err(KvError::NoTable(_))));
    }
    let client: Arc<dyn Coordinator> = cluster.service.client();
    soon_empty(&*client, "/spinnaker/default/objects").await;
    soon_empty(&*client, "/spinnaker/default/dropped").await;
}

async fn soon_empty(client: &dyn Coordinator, path: &str) {
    let until = soon();
    while !client.list(path).await.unwrap().is_empty() {
        assert!(Instant::now() < until, "{path} is not empty: {:?}", client.list(path).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_gone_at_once_at_every_gateway_and_for_statements_under_way() {
    let cluster = Cluster::start(3).await;
    for round in 0..5 {
        let table = create(&cluster.kv(1), "t").await.unwrap();
        write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
        let acknowledged = Arc::new([0; 3].map(AtomicUsize::new));
        let writers = (1..=3).map(|gateway| {
            let (kv, acknowledged) = (cluster.kv(gateway), acknowledged.clone());
            tokio::spawn(async move {
                loop {
                    match write(&kv, table.id, "k", "2").await {
                        Ok(()) => acknowledged[gateway - 1].fetch_add(1, Ordering::Relaxed),
                        Err(error) => return (error, Instant::now()),
                    };
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        eventually("all write", || acknowledged.iter().all(|count| count.load(Ordering::Relaxed) > 0)).await;
        cluster.kv(1 + round % 3).drop_table("t", soon()).await.unwrap();
        let dropped = Instant::now();
        for (gateway, ended) in join_all(writers).await.into_iter().enumerate() {
            let (error, at) = ended.unwrap();
            let definite = error == no_table("t") || error == no_table(&format!("number {}", table.id.0));
            // A write that was logged when its replica closed may have been committed: that is not known.
            assert!(
                definite || matches!(error, KvError::OutcomeUnknown(_)),
                "gateway {}: {error}",
                gateway + 1
            );
            // Far below the deadline of 20 s.
            assert!(at < dropped + Duration::from_secs(3), "gateway {} hung: {error}", gateway + 1);
        }
        for gateway in 1..=3 {
            let kv = cluster.kv(gateway);
            assert!(matches!(write(&kv, table.id, "k", "3").await, Err(KvError::NoTable(_))));
            assert!(matches!(read(&kv, table.id, "k").await, Err(KvError::NoTable(_))));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_dropped_tables_stays_on_any_node_not_even_on_one_that_was_away() {
    let mut cluster = Cluster::start(3).await;
    let names: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    // Made and dropped at once, through two gateways: replicas open while their range is dropped.
    let cycles = names.iter().enumerate().map(|(number, name)| {
        let (kv, other) = (cluster.kv(1 + number % 3), cluster.kv(1 + (number + 1) % 3));
        async move {
            create(&kv, name).await.unwrap();
            if number >= 20 {
                other.drop_table(name, soon()).await.unwrap();
            }
        }
    });
    join_all(cycles).await;
    eventually("all have dropped half of them", || {
        (1..=3).all(|number| cluster.range_dirs(number).len() == 20)
    })
    .await;
    cluster.kill(3);
    join_all(names[..20].iter().map(async |name| cluster.kv(1).drop_table(name, soon()).await.unwrap()))
        .await;
    eventually("the nodes that were there have dropped", || {
        cluster.range_dirs(1).is_empty() && cluster.range_dirs(2).is_empty()
    })
    .await;
    assert_eq!(cluster.range_dirs(3).len(), 20);
    cluster.restart(3).await;
    eventually("the node that was away has dropped", || cluster.range_dirs(3).is_empty()).await;
    let client = cluster.service.client();
    for dir in ["ranges", "dropped", "names"] {
        let path = format!("/spinnaker/default/{dir}");
        let deadline = soon();
        while !client.list(&path).await.unwrap().is_empty() {
            assert!(Instant::now() < deadline, "{path} is not cleared");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for number in 1..=3 {
        cluster.kill(number);
        cluster.restart(number).await;
        assert_eq!(cluster.range_dirs(number), Vec::<String>::new());
    }
}

/// A node reads the table, then the table is dropped, then it reads the mark: it must not open what it has just dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_drop_between_two_reads_of_the_catalog_leaves_nothing() {
    let mut cluster = Cluster::start(2).await;
    let coordinator = Interposed::new(cluster.service.client());
    cluster.add(coordinator.clone()).await;
    let observer = cluster.service.client();
    let table = create(&cluster.kv(1), "t").await.unwrap();
    eventually("node 3 has opened it", || cluster.range_dirs(3).len() == 1).await;
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    let mark = format!("/spinnaker/default/dropped/{range}");

    let (kv, observed) = (cluster.kv(1), observer.clone());
    let path = mark.clone();
    coordinator.before_list("/spinnaker/default/dropped", async move {
        tokio::spawn(async move { kv.drop_table("t", soon()).await });
        // The others are off the mark: whoever is the last one clears up.
        while observed.get(&path).await.unwrap().is_none_or(|mark| mark.data != "node 3\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // Anything that makes node 3 read its view again.
    observer.ensure("/spinnaker/default/nodes/9").await.unwrap();
    let deadline = soon();
    while !observer.list("/spinnaker/default/ranges").await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "node 3 does not confirm the drop");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for number in 1..=3 {
        assert_eq!(cluster.range_dirs(number), Vec::<String>::new(), "node {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_or_drop_whose_answer_is_lost_is_not_called_undone() {
    let mut cluster = Cluster::start(2).await;
    let coordinator = Interposed::new(cluster.service.client());
    cluster.add(coordinator.clone()).await;
    let unknown = |error: &KvError| matches!(error, KvError::OutcomeUnknown(_));
    for (away, carried_out) in [(true, false), (true, true), (false, false), (false, true)] {
        coordinator.lose_answer(carried_out, away);
        let made = create(&cluster.kv(3), "t").await;
        // Known only if the node could look, and found its table.
        match away || !carried_out {
            true => assert!(made.as_ref().is_err_and(unknown), "{away} {carried_out}: {made:?}"),
            false => assert!(made.is_ok(), "{made:?}"),
        }
        coordinator.back();
        assert_eq!(cluster.kv(1).tables(true).await.unwrap().len(), usize::from(carried_out));
        if !carried_out {
            create(&cluster.kv(1), "t").await.unwrap();
        }
        eventually("node 3 knows the table", || cluster.range_dirs(3).len() == 1).await;

        coordinator.lose_answer(carried_out, away);
        let dropped = cluster.kv(3).drop_table("t", soon()).await;
        match away || !carried_out {
            true => assert!(dropped.as_ref().is_err_and(unknown), "{away} {carried_out}: {dropped:?}"),
            false => dropped.unwrap(),
        }
        coordinator.back();
        assert_eq!(cluster.kv(1).tables(true).await.unwrap().len(), usize::from(!carried_out));
        if !carried_out {
            cluster.kv(1).drop_table("t", soon()).await.unwrap();
        }
        eventually("node 3 has dropped it", || cluster.range_dirs(3).is_empty()).await;
    }
}

/// Whatever fails once the table stands, its client is not told that nothing was changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_made_is_said_to_be_made_whatever_fails_then() {
    let mut cluster = Cluster::start(2).await;
    let coordinator = Interposed::new(cluster.service.client());
    cluster.add(coordinator.clone()).await;
    coordinator.hide_ranges(true);
    let made = create(&cluster.kv(3), "t").await;
    let said = |why: &str| why.starts_with("table t was made, but then the coordination service failed");
    assert!(matches!(&made, Err(KvError::Unavailable(why)) if said(why)), "{made:?}");
    assert_eq!(cluster.kv(1).tables(true).await.unwrap().len(), 1);
    coordinator.hide_ranges(false);
}

/// A member is who is registered: one that is away opens its replica when it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_while_one_of_three_nodes_is_away_and_never_on_fewer_unasked() {
    let mut cluster = Cluster::start(2).await;
    let refused = create(&cluster.kv(1), "t").await;
    assert!(
        matches!(&refused, Err(KvError::NotReady(why)) if why.contains("2 of the cluster's nodes")),
        "{refused:?}"
    );
    let client = cluster.service.client();
    cluster.add(client.clone()).await;
    cluster.stop_added();
    client.kill(Duration::ZERO);
    let table = create(&cluster.kv(1), "t").await.unwrap();
    let members = cluster.kv(2).ranges(table.id).await.unwrap()[0].members.clone();
    assert_eq!(members, [1, 2, 3].map(NodeId));
    write(&cluster.kv(2), table.id, "k", "1").await.unwrap();
    cluster.add(cluster.service.client()).await;
    cluster.kill(1);
    assert_eq!(read(&cluster.kv(3), table.id, "k").await, Ok(Some("1".into())), "the new member counts");
    let status = cluster.node(3).cluster_status(false).await.to_string();
    assert!(status.contains("n1 does not answer") && !status.contains("made with"), "{status}");
}

/// What is no record of a drop deletes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_is_not_understood_or_of_a_table_that_stands_deletes_nothing() {
    let cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    let client = cluster.service.client();
    let mark = format!("/spinnaker/default/dropped/{range}");
    for text in ["junk", "node 1\nnode 2\nnode 3\n", ""] {
        client.ensure(&mark).await.unwrap();
        client.set(&mark, text.into(), None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(read(&cluster.kv(2), table.id, "k").await, Ok(Some("1".into())), "{text:?}");
        client.delete(&mark, None).await.unwrap();
    }
    for number in 1..=3 {
        assert_eq!(cluster.range_dirs(number).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_table_ends_at_its_deadline_when_the_coordinator_is_silent() {
    let mut cluster = Cluster::start(3).await;
    let coordinator = Interposed::new(cluster.service.client());
    cluster.add(coordinator.clone()).await;
    let silent = tokio::time::sleep(Duration::from_secs(600));
    coordinator.before_list("/spinnaker/default/registry", silent);
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(300);
    let late = cluster.kv(4).create_table("t", Default::default(), Vec::new(), deadline).await;
    assert!(matches!(late, Err(KvError::OutcomeUnknown(_))), "{late:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    // It has made nothing later on, and nothing of it is left.
    create(&cluster.kv(4), "t").await.unwrap();
    cluster.stop_added();
}
