//! The command line of `spinnaker` and of `spinnaker-kv`: what both do in the same way.
//!
//! - A wrong flag, variable or file ends with exit code 2; anything else that keeps a command from its work with 1;
//!   both with one line on standard error ([`Failure`]).
//! - The log goes to standard error, and `SPINNAKER_LOG` chooses what of it.
//! - SIGINT and SIGTERM stop a node politely; a second one stops it at once ([`Signals`]).
//! - Where the help text names a default, the number comes from the code that uses it.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{Arg, Args, Command};
use replication::coordination::Coordinator;
use replication::coordination::zookeeper::{ZooKeeper, ZooKeeperOptions};
use replication::runtime::{check_threads, threads};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::accept;
use crate::config::{GRPC_PORT, NodeConfig, StartArgs};
use crate::error_lines::ErrorLines;
use crate::node::{Node, Starting};
use crate::recover::{self, Export};
use crate::recover_unsafe;
use crate::status;

/// Environment variable that chooses what is logged.
const LOG_VARIABLE: &str = "SPINNAKER_LOG";
/// What a node logs by default. ZooKeeper's client tells of each session; what becomes of one is ours to tell.
pub const NODE_LOG: &str = "info,zookeeper_client=warn";
/// What a command that only asks a node logs by default.
pub const CLIENT_LOG: &str = "warn";

/// One of the two programs: its commands, as clap reads them.
pub trait Program: clap::Parser {
    /// Names and defaults of the flags of `start` that are not the store's, for the help text.
    fn defaults() -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What the command logs unless `SPINNAKER_LOG` says something else.
    fn default_log(&self) -> &'static str;

    /// Does what the command says.
    fn run(self) -> impl Future<Output = Result<(), Failure>>;
}

/// Runs the command line of this process.
pub fn main<P: Program>() -> ExitCode {
    let command = command::<P>();
    let name = command.get_name().to_owned();
    let ended = parse::<P>(command).and_then(|program| match program {
        None => Ok(()),
        Some(program) => {
            start_log(program.default_log())?;
            end_with_replication();
            check_threads().map_err(no_thread)?;
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_thread)?;
            let ended = runtime.block_on(program.run());
            // What still runs in the background (a blocked read of a name server, say) must not hold the process.
            runtime.shutdown_background();
            ended
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _gone = writeln!(io::stderr(), "{name}: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn no_thread(error: io::Error) -> Failure {
    Failure::run(format!("cannot start threads: {error}"))
}

/// From now on the process ends when one of replication's threads panics: a node that goes on without its ticker, a peer's
/// stream or its session would be half alive. (A panic elsewhere ends one statement, or one range.)
fn end_with_replication() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        if std::thread::current().name().is_some_and(is_vital) {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let _gone = writeln!(io::stderr(), "the node cannot go on: its thread {name} has panicked");
            std::process::exit(1);
        }
    }));
}

/// Whether a node without a thread of this name is none.
fn is_vital(thread: &str) -> bool {
    ["replication", "wal", "wal-ahead"].contains(&thread)
}

/// The program's commands with the help text completed.
fn command<P: Program>() -> Command {
    let mut defaults = StartArgs::defaults();
    defaults.extend(P::defaults());
    let log = format!(
        "Environment:\n  {LOG_VARIABLE}  What is logged to standard error: error, warn, info, debug or trace, or \
         TARGET=LEVEL[,TARGET=LEVEL..] [default: {NODE_LOG} for a node]"
    );
    P::command().after_help(log.clone()).mut_subcommands(|sub| match sub.get_name() {
        "start" => sub.after_help(log.clone()).mut_args(|arg| with_default(arg, &defaults)),
        _ => sub,
    })
}

fn with_default(arg: Arg, defaults: &[(&'static str, String)]) -> Arg {
    let Some((_, default)) = defaults.iter().find(|(name, _)| arg.get_id() == name) else { return arg };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [default: {default}]"))
}

/// The command that was given; `None` if it was a question for help or the version, which is answered here.
fn parse<P: Program>(command: Command) -> Result<Option<P>, Failure> {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let error = match command.try_get_matches().and_then(|matches| P::from_arg_matches(&matches)) {
        Ok(program) => return Ok(Some(program)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _gone = error.print();
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Err(Failure::usage(format!("a command is missing: {} (see --help)", names.join(", "))))
        }
        _ => {
            // What is wrong, with its list of arguments; clap's usage and tip follow behind an empty line.
            let text = error.to_string();
            let wrong = text.split("\n\n").next().unwrap_or(&text);
            Err(Failure::usage(format!("{} (see --help)", wrong.trim_start_matches("error: "))))
        }
    }
}

/// Logs to standard error from now on.
fn start_log(default: &str) -> Result<(), Failure> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(chosen) => EnvFilter::try_new(&chosen)
            .map_err(|error| Failure::usage(format!("{LOG_VARIABLE}={chosen}: {error}")))?,
        Err(_) => EnvFilter::new(default),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_filter(filter);
    tracing_subscriber::registry().with(lines).with(ErrorLines::layer()).init();
    Ok(())
}

/// Why a command ends early: one line, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command was called wrongly: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure { code: 2, message: one_line(message) }
    }

    /// The command could not do its work: exit code 1.
    pub fn run(message: impl fmt::Display) -> Failure {
        Failure { code: 1, message: one_line(message) }
    }

    /// The command has done its work, and has found that the cluster does not serve all it should: exit code 3.
    pub fn degraded(message: impl fmt::Display) -> Failure {
        Failure { code: 3, message: one_line(message) }
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

/// Prints a line. A reader that went away is no reason to stop.
pub fn say(line: impl fmt::Display) {
    let mut out = io::stdout().lock();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them from now on; until then they end the process.
    pub fn new() -> Result<Signals, Failure> {
        let catch =
            |kind| signal(kind).map_err(|error| Failure::run(format!("cannot catch signals: {error}")));
        Ok(Signals { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Completes when one of them comes.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Starts a node that expects so many connections of clients, with a session of its own at ZooKeeper, which need not be
/// there yet; `None` if a signal came before it served. `starting` says meanwhile what the start waits for.
pub async fn start_node(
    config: NodeConfig,
    zookeeper: &str,
    connections_max: usize,
    starting: &Arc<Starting>,
    signals: &mut Signals,
) -> Result<Option<Node>, Failure> {
    accept::check_limit(connections_max).map_err(Failure::run)?;
    let coordinator: Arc<dyn Coordinator> = {
        // The session is kept alive on replication's threads.
        let threads = threads().map_err(no_thread)?;
        let _within = threads.enter();
        let opened = ZooKeeper::open(ZooKeeperOptions::new(zookeeper));
        opened.map_err(|error| Failure::usage(format!("--zookeeper: {error}")))?
    };
    tokio::select! {
        started = Node::start_telling(config, coordinator, starting) => started.map(Some).map_err(Failure::run),
        () = signals.stop() => Ok(None),
    }
}

/// Says that node `id` is ready as soon as it has joined its cluster, and waits until a signal asks it to stop. An error:
/// it cannot go on.
pub async fn until_stopped(id: u32, node: &Node, signals: &mut Signals) -> Result<(), Failure> {
    let ready = async {
        node.joined().await;
        say("ready");
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        reason = node.failed() => Err(Failure::run(format!("node {id} cannot go on: {reason}"))),
        () = signals.stop() => Ok(()),
        never = ready => match never {},
    }
}

/// Stops politely: waits for `leaving`, unless another signal comes.
pub async fn leave(leaving: impl Future<Output = ()>, signals: &mut Signals) -> Result<(), Failure> {
    tokio::select! {
        () = leaving => Ok(()),
        () = signals.stop() => Err(Failure::run("stopped before leaderships were transferred")),
    }
}

/// Which node a command asks.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// gRPC address of any node, HOST:PORT
    #[arg(long, env = "SPINNAKER_NODE", default_value_t = format!("127.0.0.1:{GRPC_PORT}"))]
    pub node: String,
}

/// Flags of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// With a checksum of each replica's content, which reads all of it
    #[arg(long, conflicts_with = "quick")]
    checksums: bool,
    /// Without them, which is the default
    #[arg(long, hide = true)]
    quick: bool,
    /// Everything as JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Shows the cluster on standard output; fails with exit code 3 if a range does not serve.
pub async fn show_status(args: &StatusArgs) -> Result<(), Failure> {
    let address = &args.node.node;
    let status =
        if args.checksums { status::fetch(address).await } else { status::fetch_quick(address).await };
    let status = status.map_err(Failure::run)?;
    match args.json {
        true => say(format_args!("{:#}", status.json())),
        false => say(status.to_string().trim_end()),
    }
    match status.without_leader() {
        (0, _) => Ok(()),
        (without, all) => Err(Failure::degraded(format!("{without} of {all} ranges without a leader"))),
    }
}

/// Flags of `export-metadata`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Data directory of a node that is stopped
    #[arg(long)]
    data_dir: PathBuf,
    /// File to write; it must not exist
    file: PathBuf,
}

/// Writes what a stopped node keeps of the metadata into a file, for `recover-metadata` on another machine.
pub fn export_metadata(args: &ExportArgs) -> Result<(), Failure> {
    let export = recover::export(&args.data_dir).map_err(Failure::run)?;
    let failed = |error: io::Error| Failure::run(format!("{}: {error}", args.file.display()));
    let mut file = std::fs::File::create_new(&args.file).map_err(failed)?;
    file.write_all(export.to_text().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Flags of `recover-metadata`.
#[derive(Clone, Debug, Args)]
pub struct RecoverArgs {
    /// ZooKeeper that lost the cluster's data, HOST:PORT[,HOST:PORT..][/chroot]
    #[arg(long, env = "SPINNAKER_ZOOKEEPER")]
    zookeeper: String,
    /// Number of a table that is known to have been dropped; may be repeated
    #[arg(long)]
    dropped: Vec<u64>,
    /// Number of a table that is known not to have been dropped, though a member holds nothing of it; may be repeated
    #[arg(long)]
    kept: Vec<u64>,
    /// Only say what would be written
    #[arg(long)]
    dry_run: bool,
    /// For each node of the cluster, all of them stopped: its data directory, or the file of its `export-metadata`
    #[arg(required = true)]
    nodes: Vec<PathBuf>,
}

/// Writes a lost coordinator anew from what the nodes keep.
pub async fn recover_metadata(args: RecoverArgs) -> Result<(), Failure> {
    let RecoverArgs { zookeeper, dropped, kept, dry_run, nodes } = args;
    let read = move || -> Result<_, String> {
        let exports: Vec<_> = nodes.iter().map(|path| read_export(path)).collect::<Result<_, _>>()?;
        recover::plan(&exports, recover::Known { dropped: &dropped, kept: &kept })
    };
    let plan = tokio::task::spawn_blocking(read).await.map_err(Failure::run)?.map_err(Failure::run)?;
    plan.describe().iter().for_each(say);
    if dry_run {
        say("dry run: nothing was written");
        return Ok(());
    }
    let coordinator: Arc<dyn Coordinator> =
        ZooKeeper::connect(ZooKeeperOptions::new(zookeeper)).await.map_err(Failure::run)?;
    let written = recover::write(coordinator.clone(), &plan).await;
    coordinator.close().await;
    written.map_err(Failure::run)?;
    say("written: start the nodes");
    Ok(())
}

/// Flags of `recover`.
#[derive(Clone, Debug, Args)]
pub struct RecoverUnsafeArgs {
    /// To be given: what the lost replicas had committed without those that are left is given up
    #[arg(long, required = true)]
    r#unsafe: bool,
    /// ZooKeeper of the cluster, HOST:PORT[,HOST:PORT..][/chroot]
    #[arg(long, env = "SPINNAKER_ZOOKEEPER")]
    zookeeper: String,
    /// Do it; without this flag nothing is changed, and it is only said what would be done and what may be lost
    #[arg(long)]
    yes: bool,
    /// Data directory of each node that is left or that was started with --rebuild, all of them stopped
    #[arg(required = true)]
    nodes: Vec<PathBuf>,
}

/// Makes ranges that lost a majority of their replicas serve again from what is left.
pub async fn recover_unsafe(args: RecoverUnsafeArgs) -> Result<(), Failure> {
    let coordinator =
        ZooKeeper::connect(ZooKeeperOptions::new(args.zookeeper)).await.map_err(Failure::run)?;
    let recovered = async {
        let plan = recover_unsafe::plan(&args.nodes, &*coordinator).await.map_err(Failure::run)?;
        plan.describe().iter().for_each(say);
        match (plan.is_empty(), args.yes) {
            (true, _) => Err(Failure::run("no range can be recovered: nothing was done")),
            (false, false) => {
                say("nothing was done: add --yes to do it");
                Ok(())
            }
            (false, true) => {
                plan.apply(&*coordinator).await.map_err(Failure::run)?;
                say("done: start the nodes");
                Ok(())
            }
        }
    };
    let recovered = recovered.await;
    coordinator.close().await;
    recovered
}

fn read_export(path: &Path) -> Result<Export, String> {
    if path.is_dir() {
        return recover::export(path);
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let damaged = || format!("{}: it is no file of export-metadata, or damaged", path.display());
    Export::parse(&text).ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A program with the flags of `start` alone.
    #[derive(Debug, Parser)]
    #[command(name = "program", version, subcommand_required = true)]
    enum Example {
        /// Runs a node
        Start(Box<StartArgs>),
    }

    impl Program for Example {
        fn default_log(&self) -> &'static str {
            NODE_LOG
        }

        async fn run(self) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn a_failure_is_one_line() {
        let error = Example::try_parse_from(["program", "start", "--nonsense"]).unwrap_err().to_string();
        assert!(error.lines().count() > 1);
        assert!(!Failure::usage(error).message.contains('\n'));
    }

    #[test]
    fn the_help_text_names_the_defaults_that_the_code_has() {
        let mut command = command::<Example>();
        command.build();
        let start = command.find_subcommand_mut("start").unwrap();
        for (name, default) in StartArgs::defaults() {
            let arg = start.get_arguments().find(|arg| arg.get_id() == name);
            let help =
                arg.unwrap_or_else(|| panic!("there is no flag {name}")).get_help().unwrap().to_string();
            assert!(help.ends_with(&format!("[default: {default}]")), "{name}: {help}");
        }
        assert!(start.render_help().to_string().contains(LOG_VARIABLE));
    }
}
