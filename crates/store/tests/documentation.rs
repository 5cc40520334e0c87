//! What the reference shows is right.

use store::{diagnostic, manifest};

const REFERENCE: &str = include_str!("../../../docs/manifests.md");

fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    REFERENCE.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect()
}

#[test]
fn examples_are_read() {
    let examples = blocks("yaml");
    assert!(!examples.is_empty());
    for text in examples {
        let parsed = manifest::parse("manifests.md", text);
        assert!(parsed.diagnostics.is_empty(), "{:#?}\n{text}", parsed.diagnostics);
        assert_eq!(parsed.manifests.len(), 1);
    }
}

#[test]
fn the_error_is_real() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec:\n  podSelecter: {}\n";
    let parsed = manifest::parse("web.yaml", text);
    let report = diagnostic::render_all(&parsed.diagnostics, |_| Some(text), false);
    assert!(REFERENCE.contains(&report), "{report}");
}
