//! Wrong inputs and how they are reported; right ones and what they mean.

mod hostile;
mod load_balancers;
mod meaning;
mod policies;
mod services;
mod workloads;

use super::*;
use crate::diagnostic::render_all;

/// What a user sees of a text that is called `m.yaml`.
fn report(text: &str) -> String {
    let parsed = parse("m.yaml", text);
    render_all(&parsed.diagnostics, |_| Some(text), false)
}

/// Compares with an inline snapshot.
macro_rules! check {
    ($text:expr, @$expect:literal) => {
        insta::assert_snapshot!($crate::manifest::tests::report($text), @$expect)
    };
}
use check;

/// The only object of a text that nothing is wrong with.
#[track_caller]
fn one(text: &str) -> Object {
    let parsed = parse("m.yaml", text);
    assert!(parsed.diagnostics.is_empty(), "{}", report(text));
    assert_eq!(parsed.manifests.len(), 1);
    parsed.into_objects().remove(0)
}
