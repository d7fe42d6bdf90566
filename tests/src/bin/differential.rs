//! `differential`: the same statements at PostgreSQL 15 and at ours. See `spinnaker_tests::differential`.

use std::process::ExitCode;

use clap::Parser;
use spinnaker_tests::cluster::demo::Demo;
use spinnaker_tests::cluster::postgres::Postgres;
use spinnaker_tests::differential::{self, Ports, Report};

/// Runs the statements of tests/differential at a PostgreSQL 15 and at a demo, both started for it.
#[derive(Parser)]
#[command(name = "differential")]
struct Arguments {
    /// Subjects: files whose names begin so [default: all]
    subjects: Vec<String>,
    /// Write the lists of differences anew
    #[arg(long)]
    update: bool,
    /// Print every difference with both answers, listed or not
    #[arg(long)]
    all: bool,
    /// Run the conversations of frames.txt whose names contain this instead (empty: all)
    #[arg(long)]
    frames: Option<String>,
    /// A PostgreSQL 15 that runs already, with user root and database spinnaker, on this port of loopback
    #[arg(long)]
    postgres: Option<u16>,
    /// A gateway that runs already, on this port of loopback
    #[arg(long)]
    ours: Option<u16>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(only) = &arguments.frames {
        return frames(&arguments, only);
    }
    match run(&arguments) {
        Ok(report) => {
            let shown = if arguments.all { &report.all } else { &report.wrong };
            shown.iter().for_each(|difference| println!("{difference}"));
            println!("{report}");
            ExitCode::from(u8::from(!report.wrong.is_empty() && !arguments.update))
        }
        Err(error) => {
            eprintln!("differential: {error}");
            ExitCode::from(2)
        }
    }
}

fn frames(arguments: &Arguments, only: &str) -> ExitCode {
    match with_servers(arguments, |ports| differential::run_frames(&differential::dir(), ports, only)) {
        Ok(report) => {
            report.wrong.iter().for_each(|situation| println!("{situation}"));
            let (wrong, known) = (report.wrong.len(), report.known);
            println!("{} situations: {known} known to differ, {wrong} wrong", report.situations);
            ExitCode::from(u8::from(wrong > 0))
        }
        Err(error) => {
            eprintln!("differential: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, String> {
    let subjects = differential::subjects(&arguments.subjects)?;
    let dir = differential::dir();
    with_servers(arguments, |ports| differential::run(&dir, ports, &subjects, arguments.update))
}

/// Starts the servers that do not run yet; they end with the work.
fn with_servers<T>(arguments: &Arguments, work: impl FnOnce(Ports) -> T) -> T {
    let postgres = arguments.postgres.is_none().then(Postgres::start);
    let demo = arguments.ours.is_none().then(|| Demo::start(None));
    let ports = Ports {
        postgres: postgres.as_ref().map_or(arguments.postgres, |own| Some(own.port)).unwrap_or_default(),
        ours: demo.as_ref().map_or(arguments.ours, |own| Some(own.port)).unwrap_or_default(),
    };
    work(ports)
}
