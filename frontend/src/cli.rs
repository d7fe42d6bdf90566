//! The command line of `spinnaker`: its commands, and how they fail.
//!
//! A wrong flag, variable or file ends with exit code 2; anything else that keeps a command from its work with 1;
//! both with one line on standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use kvstore::config::StartArgs;
use tracing_subscriber::EnvFilter;

use crate::{demo, start};

/// A SQL database on a replicated store.
#[derive(Debug, Parser)]
#[command(name = "spinnaker", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node: the store, and a PostgreSQL gateway
    Start(Box<StartCommand>),
    /// Runs a whole cluster in this process, for a first look
    Demo(DemoArgs),
    /// Shows the ranges of a cluster, their leaders and replicas
    Status(StatusArgs),
}

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub(crate) struct StartCommand {
    #[command(flatten)]
    pub(crate) node: StartArgs,
    /// Address of the PostgreSQL listener, HOST:PORT [default: 127.0.0.1:5433]
    #[arg(long, env = "SPINNAKER_PG_LISTEN")]
    pub(crate) pg_listen: Option<String>,
    /// Sessions at a time on the PostgreSQL listener [default: 1000]
    #[arg(long, env = "SPINNAKER_PG_CONNECTIONS_MAX")]
    pub(crate) pg_connections_max: Option<usize>,
}

/// Flags of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Number of nodes
    #[arg(long, env = "SPINNAKER_NODES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=32))]
    pub(crate) nodes: u32,
    /// PostgreSQL port of the first node; the others take the next ones
    #[arg(long, env = "SPINNAKER_PG_PORT", default_value_t = 5433, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pg_port: u16,
    /// Directory of the nodes' data [default: a temporary one, removed at the end]
    #[arg(long, env = "SPINNAKER_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Flags of `status`.
#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// gRPC address of any node, HOST:PORT
    #[arg(long, env = "SPINNAKER_NODE")]
    node: String,
}

/// Why a command ends early: one line, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command was called wrongly.
    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure { code: 2, message: one_line(message) }
    }

    /// The command could not do its work.
    pub(crate) fn run(message: impl fmt::Display) -> Failure {
        Failure { code: 1, message: one_line(message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn one_line(message: impl fmt::Display) -> String {
    let message = message.to_string();
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Failure::run(format!("cannot start threads: {error}"))),
    };
    let done = match cli.command {
        Command::Start(command) => {
            // ZooKeeper's client tells of each session; what becomes of one is ours to tell.
            log("info,zookeeper_client=warn");
            runtime.block_on(start::start(*command))
        }
        Command::Demo(args) => {
            log("error");
            runtime.block_on(demo::demo(args))
        }
        Command::Status(args) => {
            log("warn");
            runtime.block_on(status(&args.node))
        }
    };
    // What still runs in the background (a blocked read of a name server, say) shall not hold the process.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    let _gone = writeln!(io::stderr(), "spinnaker: {}", failure.message);
    ExitCode::from(failure.code)
}

/// Help and version are answers; anything else is one line.
fn refused(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _gone = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            failed(&Failure::usage("a command is missing: start, demo or status (see --help)"))
        }
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or(&text);
            failed(&Failure::usage(format!("{} (see --help)", first.trim_start_matches("error: "))))
        }
    }
}

/// Logs to standard error; `SPINNAKER_LOG` chooses what (as `RUST_LOG` does elsewhere).
fn log(default: &str) {
    let filter = EnvFilter::try_from_env("SPINNAKER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

async fn status(address: &str) -> Result<(), Failure> {
    let status = kvstore::status::fetch(address).await.map_err(Failure::run)?;
    say(status.to_string().trim_end());
    Ok(())
}

/// Prints a line. A reader that went away is no reason to stop.
pub(crate) fn say(line: impl fmt::Display) {
    let mut out = io::stdout().lock();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_failure_is_one_line() {
        let error = Cli::try_parse_from(["spinnaker", "status"]).unwrap_err().to_string();
        assert!(error.lines().count() > 1);
        assert!(!Failure::usage(error).message.contains('\n'));
    }
}
