//! Statements at PostgreSQL 15 and at ours: what is not listed as different is the same.

use spinnaker_tests::cluster::demo::Demo;
use spinnaker_tests::cluster::postgres::Postgres;
use spinnaker_tests::differential::{self, Ports};

#[test]
fn what_is_not_listed_is_as_in_postgresql() {
    let (postgres, demo) = (Postgres::start(), Demo::start(None));
    let subjects = differential::subjects(&[]).unwrap();
    let ports = Ports { postgres: postgres.port, ours: demo.port };
    let report = differential::run(&differential::dir(), ports, &subjects, false).unwrap();
    println!("{report}");
    assert!(report.statements >= 3_000, "only {} statements", report.statements);
    assert!(report.wrong.is_empty(), "{}\n{report}", report.wrong.join("\n"));
}

#[test]
fn conversations_have_the_same_frames() {
    let (postgres, demo) = (Postgres::start(), Demo::start(None));
    let ports = Ports { postgres: postgres.port, ours: demo.port };
    let report = differential::run_frames(&differential::dir(), ports, "").unwrap();
    assert!(report.situations >= 80, "only {} situations", report.situations);
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
}
