//! `spinnaker-kv`: the store without SQL, and a small client for it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use kvstore::command_line::{
    CLIENT_LOG, ExportArgs, Failure, NODE_LOG, NodeArgs, Program, RecoverArgs, RecoverUnsafeArgs, Signals,
    StatusArgs, export_metadata, leave, recover_metadata, recover_unsafe, say, show_status, start_node,
    until_stopped,
};
use kvstore::config::StartArgs;
use kvstore::proto::v1;
use kvstore::proto::v1::kv_client::KvClient;
use kvstore::status;
use tonic::transport::Channel;

/// gRPC connections of clients that there should be room for: each carries any number of calls.
const CONNECTIONS_EXPECTED: usize = 100;

/// The SpinnakerDB key-value store
#[derive(Debug, Parser)]
#[command(name = "spinnaker-kv", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node of the store
    Start(Box<StartArgs>),
    /// Reads one row
    Get {
        #[command(flatten)]
        target: NodeArgs,
        #[command(flatten)]
        read: Read,
        /// Table
        table: String,
        /// Row key
        key: String,
    },
    /// Puts columns of one row
    Put {
        #[command(flatten)]
        target: NodeArgs,
        /// Table
        table: String,
        /// Row key
        key: String,
        /// COLUMN=VALUE, one or more
        #[arg(required = true, value_parser = parse_column)]
        columns: Vec<(String, String)>,
    },
    /// Deletes a row, or some of its columns
    Delete {
        #[command(flatten)]
        target: NodeArgs,
        /// Table
        table: String,
        /// Row key
        key: String,
        /// Columns; none: the row
        columns: Vec<String>,
    },
    /// Reads rows in key order
    Scan {
        #[command(flatten)]
        target: NodeArgs,
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
    /// Lists tables, or makes or drops one
    Tables {
        #[command(flatten)]
        target: NodeArgs,
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
    /// Shows the ranges of a cluster, their leaders and replicas
    Status(StatusArgs),
    /// Writes what a stopped node keeps of the cluster's metadata into a file
    ExportMetadata(ExportArgs),
    /// Writes a lost ZooKeeper tree anew from what the stopped nodes keep
    RecoverMetadata(RecoverArgs),
    /// Makes ranges that lost two of their three replicas serve again from what is left
    Recover(RecoverUnsafeArgs),
}

#[derive(Debug, Args)]
struct Read {
    /// Read the nearest replica, which may be behind
    #[arg(long)]
    timeline: bool,
}

fn parse_column(text: &str) -> Result<(String, String), String> {
    let (column, value) = text.split_once('=').ok_or("expected COLUMN=VALUE")?;
    Ok((column.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    kvstore::command_line::main::<Cli>()
}

impl Program for Cli {
    fn default_log(&self) -> &'static str {
        if matches!(self.command, Command::Start(_)) { NODE_LOG } else { CLIENT_LOG }
    }

    async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Start(args) => start(*args).await,
            Command::Status(args) => show_status(&args).await,
            Command::ExportMetadata(args) => export_metadata(&args),
            Command::RecoverMetadata(args) => recover_metadata(args).await,
            Command::Recover(args) => recover_unsafe(args).await,
            client => ask(client).await.map_err(Failure::run),
        }
    }
}

/// Runs a node until it is asked to stop.
async fn start(args: StartArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let check_config = args.check_config;
    // A file may serve both programs: what belongs to SQL is not used here.
    let resolved = args.resolve(&["pg_listen", "pg_connections_max"]).map_err(Failure::usage)?;
    if check_config {
        say(&resolved);
        return Ok(());
    }
    let id = resolved.node.node.0;
    let (config, starting) = (resolved.node, Arc::default());
    let started = start_node(config, &resolved.zookeeper, CONNECTIONS_EXPECTED, &starting, &mut signals);
    let Some(node) = started.await? else { return Ok(()) };
    say(format_args!("node {id}  http://{}", node.address()));
    until_stopped(id, &node, &mut signals).await?;
    leave(node.shutdown(), &mut signals).await
}

/// What a client's command asks a node for. The error is one line for the user.
async fn ask(command: Command) -> Result<(), String> {
    match command {
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
            say(format_args!("written as {}", printable(answer.lsn)));
            Ok(())
        }
        Command::Delete { target, table, key, columns } => {
            let columns = columns.into_iter().map(Into::into).collect();
            let request = v1::DeleteRequest { table, key: key.into(), columns, request: None };
            let answer = client(&target).await?.delete(limited(request)).await.map_err(line)?.into_inner();
            say(format_args!("deleted as {}", printable(answer.lsn)));
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
                say(table.name);
            }
            Ok(())
        }
        // The others are no client's.
        _ => Ok(()),
    }
}

async fn client(target: &NodeArgs) -> Result<KvClient<Channel>, String> {
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
        say(format_args!("{key}\t{column}\t{value}\t{}", printable(cell.version)));
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
