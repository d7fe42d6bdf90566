//! A real ZooKeeper keeps the contract of `replication::coordination`, and what only a real one can do to us:
//! pause, crash and come back, end a session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use replication::coordination::zookeeper::{ZooKeeper, ZooKeeperOptions};
use replication::coordination::{CoordinationError, Coordinator, CreateMode, SessionState, contract};
use spinnaker_tests::cluster::zookeeper::ZooKeeperServer;
use tokio::time::timeout;

const WAIT_MAX: Duration = Duration::from_secs(60);

async fn connect(server: &ZooKeeperServer, session_timeout: Duration) -> Arc<ZooKeeper> {
    let options = ZooKeeperOptions {
        session_timeout,
        request_timeout: Duration::from_secs(2),
        ..ZooKeeperOptions::new(format!("{}/spinnaker-test/chroot", server.address()))
    };
    ZooKeeper::connect(options).await.expect("ZooKeeper serves")
}

async fn until(client: &ZooKeeper, state: SessionState, number: u64) {
    let mut session = client.session();
    let reached = session.wait_for(|session| session.state == state && session.number == number);
    timeout(WAIT_MAX, reached).await.unwrap_or_else(|_| panic!("not {state:?} {number}")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_keeps_the_contract() {
    let server = ZooKeeperServer::start();
    let address = server.address();
    let connect = || {
        let options = ZooKeeperOptions::new(format!("{address}/spinnaker-test"));
        Box::pin(async {
            ZooKeeper::connect(options).await.expect("ZooKeeper serves") as Arc<dyn Coordinator>
        }) as BoxFuture<'static, Arc<dyn Coordinator>>
    };
    contract::run(&connect, "/contract").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digest_authentication_keeps_strangers_out() {
    let server = ZooKeeperServer::start();
    let owned = |password: &str| ZooKeeperOptions {
        digest: Some(("spinnaker".into(), password.into())),
        ..ZooKeeperOptions::new(format!("{}/owned", server.address()))
    };
    let owner = ZooKeeper::connect(owned("secret")).await.unwrap();
    owner.create("/a", Bytes::new(), CreateMode::Persistent).await.unwrap();
    let again = ZooKeeper::connect(owned("secret")).await.unwrap();
    assert_eq!(again.set("/a", Bytes::from_static(b"1"), None).await.unwrap(), 1);
    let stranger = ZooKeeper::connect(ZooKeeperOptions::new(server.address())).await.unwrap();
    let refused = stranger.set("/owned/a", Bytes::new(), None).await;
    assert!(matches!(refused, Err(CoordinationError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_keeps_the_session_and_wakes_the_watchers() {
    let mut server = ZooKeeperServer::start();
    let client = connect(&server, Duration::from_secs(60)).await;
    client.create("/mine", Bytes::new(), CreateMode::Ephemeral).await.unwrap();
    let mut counter = client.watch("/");
    counter.mark_unchanged();

    server.stop();
    until(&client, SessionState::Disconnected, 1).await;
    let refused = client.create("/other", Bytes::new(), CreateMode::Ephemeral).await;
    assert!(matches!(refused, Err(CoordinationError::Unavailable(_))), "{refused:?}");
    counter.mark_unchanged();

    server.restart();
    until(&client, SessionState::Live, 1).await;
    timeout(WAIT_MAX, counter.changed()).await.expect("woken by the reconnect").unwrap();
    assert!(client.get("/mine").await.unwrap().is_some_and(|node| node.mine), "the session went on");
    assert_eq!(client.get("/other").await.unwrap(), None, "what was refused was not done");
    // The watch stands again, too.
    let other = connect(&server, Duration::from_secs(10)).await;
    counter.mark_unchanged();
    other.create("/later", Bytes::new(), CreateMode::Ephemeral).await.unwrap();
    timeout(WAIT_MAX, counter.changed()).await.expect("woken by another client").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_session_is_followed_by_a_new_one() {
    let server = ZooKeeperServer::start();
    let client = connect(&server, Duration::from_millis(1000)).await;
    client.create("/mine", Bytes::new(), CreateMode::Ephemeral).await.unwrap();
    let mut counter = client.watch("/mine");

    server.pause();
    until(&client, SessionState::Disconnected, 1).await;
    until(&client, SessionState::Expired, 1).await;
    server.resume();
    until(&client, SessionState::Live, 2).await;
    counter.mark_unchanged();
    let gone = async {
        while client.get("/mine").await.unwrap().is_some() {
            counter.changed().await.unwrap();
        }
    };
    timeout(WAIT_MAX, gone).await.expect("the old session's node goes");
    client.create("/mine", Bytes::new(), CreateMode::Ephemeral).await.unwrap();
    assert!(client.get("/mine").await.unwrap().is_some_and(|node| node.mine));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_an_answer_is_unknown_and_a_read_afterwards_knows() {
    let server = ZooKeeperServer::start();
    let client = connect(&server, Duration::from_secs(30)).await;
    server.pause();
    let unknown = client.create("/late", Bytes::new(), CreateMode::Persistent).await;
    assert!(matches!(unknown, Err(CoordinationError::Unknown(_))), "{unknown:?}");
    let unread = client.get("/late").await;
    assert!(matches!(unread, Err(CoordinationError::Unavailable(_))), "{unread:?}");
    server.resume();
    until(&client, SessionState::Live, 1).await;
    // The create was on its way: it lies before the read, carried out.
    assert!(client.get("/late").await.unwrap().is_some());
}
