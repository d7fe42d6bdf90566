//! `spinnaker-kv`: the store without SQL, and a small client for it.
//!
//! Exit codes: 0 done; 1 it did not work (one line says why); 2 wrong flags or configuration.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use kvstore::config::{Resolved, StartArgs};
use kvstore::coordination::zookeeper::{ZooKeeper, ZooKeeperOptions};
use kvstore::node::Node;
use kvstore::rpc::proto::v1;
use kvstore::rpc::proto::v1::kv_client::KvClient;
use kvstore::status;
use tonic::transport::Channel;

/// The SpinnakerDB key-value store
#[derive(Parser)]
#[command(name = "spinnaker-kv", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node
    Start {
        #[command(flatten)]
        args: Box<StartArgs>,
        /// Print the configuration that would be used, and exit
        #[arg(long)]
        check_config: bool,
    },
    /// Read one row
    Get {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        read: Read,
        /// Table
        table: String,
        /// Row key
        key: String,
    },
    /// Put columns of one row
    Put {
        #[command(flatten)]
        target: Target,
        /// Table
        table: String,
        /// Row key
        key: String,
        /// COLUMN=VALUE, one or more
        #[arg(required = true, value_parser = parse_column)]
        columns: Vec<(String, String)>,
    },
    /// Delete a row, or some of its columns
    Delete {
        #[command(flatten)]
        target: Target,
        /// Table
        table: String,
        /// Row key
        key: String,
        /// Columns; none: the row
        columns: Vec<String>,
    },
    /// Read rows in key order
    Scan {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        read: Read,
        /// Table
        table: String,
        /// First key
        #[arg(long, default_value = "")]
        start: String,
        /// End key, exclusive
        #[arg(long)]
        end: Option<String>,
        /// At most so many rows
        #[arg(long)]
        limit: Option<u64>,
        /// From the end to the start
        #[arg(long)]
        reverse: bool,
    },
    /// List tables, or make or drop one
    Tables {
        #[command(flatten)]
        target: Target,
        /// Make this table
        #[arg(long, conflicts_with = "drop")]
        create: Option<String>,
        /// Row key at which the new table is split; may be repeated
        #[arg(long, requires = "create")]
        split: Vec<String>,
        /// Drop this table and its data
        #[arg(long)]
        drop: Option<String>,
    },
    /// Show ranges, leaders and replicas of the cluster
    Status {
        #[command(flatten)]
        target: Target,
        /// Without the checksum of each replica's content, which reads all of it
        #[arg(long)]
        quick: bool,
    },
}

#[derive(Args)]
struct Target {
    /// Any node's gRPC address, HOST:PORT
    #[arg(long, env = "SPINNAKER_NODE", default_value = "127.0.0.1:7001")]
    node: String,
}

#[derive(Args)]
struct Read {
    /// Read the nearest replica, which may be behind
    #[arg(long)]
    timeline: bool,
}

fn parse_column(text: &str) -> Result<(String, String), String> {
    let (column, value) = text.split_once('=').ok_or("expected COLUMN=VALUE")?;
    Ok((column.to_owned(), value.to_owned()))
}

/// Help goes out as it is; a wrong command line gets one line and exit code 2.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        print!("{error}");
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprintln!("spinnaker-kv: a command is missing (see --help)");
        return ExitCode::from(2);
    }
    let text = error.to_string();
    // What is wrong, and its list of arguments; clap's usage and tip follow behind an empty line.
    let wrong: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let wrong = wrong.join(" ");
    eprintln!("spinnaker-kv: {} (see --help)", wrong.strip_prefix("error: ").unwrap_or(&wrong));
    ExitCode::from(2)
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(filter.unwrap_or_else(|_| "warn,kvstore=info".into()))
        .init();
    match cli.command {
        Command::Start { args, check_config } => match args.resolve(&["pg_listen"]) {
            Err(error) => {
                eprintln!("spinnaker-kv: {error}");
                ExitCode::from(2)
            }
            Ok(resolved) if check_config => {
                println!("{:#?}\nzookeeper: {}", resolved.node, resolved.zookeeper);
                ExitCode::SUCCESS
            }
            Ok(resolved) => finish(start(resolved).await),
        },
        client => finish(run(client).await),
    }
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spinnaker-kv: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(resolved: Resolved) -> Result<(), String> {
    let coordinator = ZooKeeper::connect(ZooKeeperOptions::new(&resolved.zookeeper))
        .await
        .map_err(|error| error.to_string())?;
    let id = resolved.node.node;
    let node = Node::start(resolved.node, coordinator).await.map_err(|error| error.to_string())?;
    println!("node {} serves on {}", id.0, node.address());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    tokio::select! {
        reason = node.failed() => return Err(reason),
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    node.shutdown().await;
    Ok(())
}

async fn run(command: Command) -> Result<(), String> {
    match command {
        // main() has taken it.
        Command::Start { .. } => Ok(()),
        Command::Get { target, read, table, key } => {
            let request =
                v1::GetRequest { table, key: key.into(), columns: Vec::new(), options: options(&read) };
            let answer = client(&target).await?.get(limited(request)).await.map_err(line)?.into_inner();
            if !answer.found {
                return Err("there is no such row".into());
            }
            print_row(&answer.row.unwrap_or_default());
            print_source(answer.source);
            Ok(())
        }
        Command::Put { target, table, key, columns } => {
            let columns = columns.into_iter();
            let columns =
                columns.map(|(column, value)| v1::ColumnValue { column: column.into(), value: value.into() });
            let request =
                v1::PutRequest { table, key: key.into(), columns: columns.collect(), request: None };
            let answer = client(&target).await?.put(limited(request)).await.map_err(line)?.into_inner();
            println!("written as {}", printable(answer.lsn));
            Ok(())
        }
        Command::Delete { target, table, key, columns } => {
            let columns = columns.into_iter().map(Into::into).collect();
            let request = v1::DeleteRequest { table, key: key.into(), columns, request: None };
            let answer = client(&target).await?.delete(limited(request)).await.map_err(line)?.into_inner();
            println!("deleted as {}", printable(answer.lsn));
            Ok(())
        }
        Command::Scan { target, read, table, start, end, limit, reverse } => {
            let request = v1::ScanRequest {
                table,
                start: start.into(),
                end: end.map(Into::into),
                reverse,
                limit,
                columns: Vec::new(),
                options: options(&read),
            };
            let mut pages = client(&target).await?.scan(request).await.map_err(line)?.into_inner();
            while let Some(page) = pages.message().await.map_err(line)? {
                page.rows.iter().for_each(print_row);
            }
            Ok(())
        }
        Command::Tables { target, create, split, drop } => {
            let mut client = client(&target).await?;
            if let Some(table) = create {
                let splits = split.into_iter().map(Into::into).collect();
                client.create_table(limited(v1::CreateTableRequest { table, splits })).await.map_err(line)?;
                return Ok(());
            }
            if let Some(table) = drop {
                client.drop_table(limited(v1::DropTableRequest { table })).await.map_err(line)?;
                return Ok(());
            }
            let tables = client.list_tables(limited(v1::ListTablesRequest {})).await.map_err(line)?;
            for table in tables.into_inner().tables {
                println!("{}", table.name);
            }
            Ok(())
        }
        Command::Status { target, quick: false } => {
            print!("{}", status::fetch(&target.node).await?);
            Ok(())
        }
        Command::Status { target, quick: true } => {
            print!("{}", status::fetch_quick(&target.node).await?);
            Ok(())
        }
    }
}

async fn client(target: &Target) -> Result<KvClient<Channel>, String> {
    status::connect(&target.node).await
}

/// With a deadline, so that the client never hangs.
fn limited<T>(request: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(request);
    request.set_timeout(Duration::from_secs(10));
    request
}

fn options(read: &Read) -> Option<v1::ReadOptions> {
    let consistency = if read.timeline { v1::Consistency::Timeline } else { v1::Consistency::Strong };
    Some(v1::ReadOptions { consistency: consistency as i32, ..v1::ReadOptions::default() })
}

fn line(status: tonic::Status) -> String {
    status.message().to_owned()
}

fn print_row(row: &v1::Row) {
    for cell in &row.cells {
        let (key, column, value) =
            (row.key.escape_ascii(), cell.column.escape_ascii(), cell.value.escape_ascii());
        println!("{key}\t{column}\t{value}\t{}", printable(cell.version));
    }
}

fn print_source(source: Option<v1::Source>) {
    if let Some(source) = source {
        let age = source.staleness_ms.map_or("unknown age".to_owned(), |ms| format!("at most {ms} ms old"));
        eprintln!("from n{} at {}, {age}", source.replica, printable(source.lsn));
    }
}

fn printable(lsn: Option<v1::Lsn>) -> String {
    lsn.map_or("-".to_owned(), |lsn| format!("{}.{}", lsn.epoch, lsn.sequence))
}
