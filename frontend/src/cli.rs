//! The command line of `spinnaker`: its commands.
//!
//! What it has in common with `spinnaker-kv` (help, errors, exit codes, the log) is in [`kvstore::command_line`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kvstore::command_line::{
    CLIENT_LOG, ExportArgs, Failure, NODE_LOG, Program, RecoverArgs, RecoverUnsafeArgs, StatusArgs,
    export_metadata, recover_metadata, recover_unsafe, show_status,
};

use crate::demo::{self, DemoArgs};
use crate::start::{self, StartCommand};

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
    /// Writes what a stopped node keeps of the cluster's metadata into a file
    ExportMetadata(ExportArgs),
    /// Writes a lost ZooKeeper tree anew from what the stopped nodes keep
    RecoverMetadata(RecoverArgs),
    /// Makes ranges that lost two of their three replicas serve again from what is left
    Recover(RecoverUnsafeArgs),
}

impl Program for Cli {
    fn defaults() -> Vec<(&'static str, String)> {
        StartCommand::defaults()
    }

    fn default_log(&self) -> &'static str {
        match self.command {
            Command::Start(_) => NODE_LOG,
            // Its nodes are killed and started on purpose: what they say of that is no news.
            Command::Demo(_) => "error",
            Command::Status(_)
            | Command::ExportMetadata(_)
            | Command::RecoverMetadata(_)
            | Command::Recover(_) => CLIENT_LOG,
        }
    }

    async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Start(command) => start::start(*command).await,
            Command::Demo(args) => demo::demo(args).await,
            Command::Status(args) => show_status(&args).await,
            Command::ExportMetadata(args) => export_metadata(&args),
            Command::RecoverMetadata(args) => recover_metadata(args).await,
            Command::Recover(args) => recover_unsafe(args).await,
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    kvstore::command_line::main::<Cli>()
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
