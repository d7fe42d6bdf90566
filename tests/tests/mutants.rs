//! Each planted bug can still be planted: its patch applies to the present code, and names a rule that there is.

use spinnaker_tests::cluster::provision::workspace;
use spinnaker_tests::mutants::findings;

#[test]
fn every_planted_bug_can_be_planted() {
    let findings = findings(workspace());
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
