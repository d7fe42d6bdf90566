//! The workspace keeps its rules of style.

use spinnaker_tests::cluster::provision::workspace;
use spinnaker_tests::tidy::{findings, structure_findings};

#[test]
fn the_workspace_is_tidy() {
    let findings = findings(workspace());
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn the_workspace_keeps_its_structure() {
    let findings = structure_findings(workspace());
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
