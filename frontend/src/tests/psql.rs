//! A real `psql` against a real listener, if there is one on this machine.

use std::process::Stdio;
use std::sync::Arc;

use planner::{Planner, ServerInfo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::listener::{Gateway, GatewayOptions};
use kvstore::testing::MemoryKv;

async fn gateway() -> Gateway {
    gateway_at("127.0.0.1:0").await
}

async fn gateway_at(address: &str) -> Gateway {
    let listener = TcpListener::bind(address).await.unwrap();
    let planner = Planner::new(MemoryKv::new(), ServerInfo::new("spinnaker"));
    Gateway::start(listener, Arc::new(planner), GatewayOptions::default()).unwrap()
}

/// Runs psql on a script; gives what it printed, errors included, or nothing if there is no psql.
async fn psql(gateway: &Gateway, script: &str) -> Option<String> {
    let url = format!("postgres://root@{}/spinnaker", gateway.address());
    let mut child = match Command::new("psql")
        .args(["-X", "-q", "-A", "-t", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
    {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("no psql here: skipped");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let mut input = child.stdin.take().unwrap();
    input.write_all(script.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    Some([output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat())
}

#[tokio::test]
async fn psql_creates_copies_reads_and_survives_its_errors() {
    let gateway = gateway().await;
    let script = "\
        create table words (word text primary key, rank int);\n\
        copy words from stdin;\n\
        apple\t1\n\
        birch\t2\n\
        cedar\t\\N\n\
        \\.\n\
        select * from words where word = 'birch';\n\
        select nothing from words;\n\
        select count(*) from words; select 1 / 0; select 2;\n\
        begin; select word from words where word >= 'b' order by word limit 1; commit;\n\
        copy words to stdout;\n";
    let Some(output) = psql(&gateway, script).await else { return };
    let expected = "birch|2\n3\n2\nbirch\napple\t1\nbirch\t2\ncedar\t\\N\n";
    let (answers, errors) = output.split_at(expected.len().min(output.len()));
    assert_eq!(answers, expected, "{output}");
    assert!(errors.contains("column \"nothing\" does not exist"), "{output}");
    assert!(errors.contains("division by zero"), "{output}");
    gateway.shutdown().await;
}

#[tokio::test]
async fn a_killed_gateway_is_gone_at_once() {
    // A loopback address of its own: on the usual one another test may be given the port that becomes free.
    let gateway = gateway_at("127.0.0.77:0").await;
    let address = gateway.address();
    let connection = tokio::net::TcpStream::connect(address).await.unwrap();
    gateway.kill().await;
    TcpListener::bind(address).await.expect("the port is free for the node that returns");
    connection.readable().await.unwrap();
    assert!(!matches!(connection.try_read(&mut [0]), Ok(1..)));
}
