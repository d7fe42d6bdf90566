//! The workspace keeps its rules of style.

use spinnaker_tests::cluster::provision::workspace;
use spinnaker_tests::tidy::findings;

#[test]
fn the_workspace_is_tidy() {
    let findings = findings(workspace());
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
