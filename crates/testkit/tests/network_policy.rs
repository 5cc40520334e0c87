//! The published truth tables of NetworkPolicy, every step of them.

use testkit::network_policy::{Options, case, run};
use testkit::{Binaries, Node, require_fixture, require_root};

#[test]
fn truth_tables_agree() {
    require_root!();
    let file = require_fixture!("networkpolicy/cases.jsonl.gz");
    let steps = case::read(&file).unwrap();
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let mut report = String::new();
    let outcome =
        run(&node, &steps, &Options::default(), &mut |one| report += &format!("{one}\n")).unwrap();
    assert_eq!(outcome.steps, steps.len());
    assert_eq!(outcome.failed, 0, "{report}{} passed, {} failed", outcome.passed, outcome.failed);
}
