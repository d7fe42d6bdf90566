//! `bench`: prints the project's figures. `cargo run --release -p spinnaker-tests --bin bench -- all`

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use spinnaker_tests::bench;

/// Figures of SpinnakerDB, against a peer measured in the same run.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
    /// Rounds; medians are printed.
    #[arg(long, default_value_t = 3, global = true)]
    rounds: usize,
    /// Seconds of one round.
    #[arg(long, default_value_t = 3, global = true)]
    seconds: u32,
    /// Where data goes: a new directory below this one (the disk that is measured).
    #[arg(long, default_value = "target", global = true)]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Suite {
    /// Group commit against a raw fdatasync loop.
    Wal,
    /// Put and get through a cohort of three nodes in this process.
    Kv,
    /// pgbench against `spinnaker demo`.
    Sql {
        /// Measure PostgreSQL with two quorum synchronous standbys too.
        #[arg(long)]
        postgres: bool,
        /// First port to use.
        #[arg(long, default_value_t = 27430)]
        port: u16,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(&arguments.dir)?;
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(std::fs::canonicalize(&arguments.dir)?)?;
    let round = Duration::from_secs(arguments.seconds.into());
    match arguments.suite {
        Suite::Wal => bench::wal::run(dir.path(), arguments.rounds, round),
        Suite::Kv => bench::kv::run(dir.path(), arguments.rounds, round),
        Suite::Sql { postgres, port } => {
            let spinnaker = std::env::current_exe()?.with_file_name("spinnaker");
            let options = bench::sql::Options {
                spinnaker,
                dir: dir.path().to_owned(),
                rounds: arguments.rounds,
                seconds: arguments.seconds,
                postgres,
                port,
            };
            bench::sql::run(&options)
        }
    }
}
