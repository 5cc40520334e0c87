//! Whatever the bytes, an answer: no panic, no endless work.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

#[track_caller]
fn quickly(text: &str) -> String {
    let start = Instant::now();
    let report = report(text);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    report
}

#[test]
fn alias_bomb() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    insta::assert_snapshot!(quickly(&text), @r"
    error: aliases stand for more than 100000 values
      ┌─ m.yaml:5:45
    5 │ a4: &a4 [*a3, *a3, *a3, *a3, *a3, *a3, *a3, *a3, *a3, *a3]
      │                                             ^^^
      = write fewer aliases
    ");
}

/// Deep by aliases, where no text is nested.
#[test]
fn alias_tower() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for n in 1..200 {
        text.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
    }
    insta::assert_snapshot!(quickly(&text), @r"
    error: nested more than 64 deep
       ┌─ m.yaml:64:11
    64 │ a63: &a63 [*a62]
       │           ^^^^^^
    ");
}

#[test]
fn deep_nesting() {
    insta::assert_snapshot!(quickly(&"[".repeat(100_000)), @r"
    error: this is not valid YAML
      ┌─ m.yaml:1:65
    1 │ …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
      │                                                    ^ recursion limit exceeded
    ");
    insta::assert_snapshot!(quickly(&"- ".repeat(10_000)), @r"
    error: this is not valid YAML
      ┌─ m.yaml:1:129
    1 │ …- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - …
      │                                                    ^ recursion limit exceeded
    ");
    let nested: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    insta::assert_snapshot!(quickly(&nested), @r"
    error: this is not valid YAML
       ┌─ m.yaml:65:65
    65 │                                                                 a:
       │                                                                 ^ recursion limit exceeded
    ");
}

#[test]
fn many_keys() {
    let text: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(quickly(&text).contains("field `apiVersion` is missing"));
}

#[test]
fn too_long() {
    insta::assert_snapshot!(quickly(&"#".repeat(MAX_BYTES + 1)), @r"
    error: longer than 16 MiB
     = in m.yaml
     = split it into several files
    ");
}

#[test]
fn not_text() {
    let parsed = parse_bytes("m.yaml", b"a: b\nc: \xff\n");
    insta::assert_snapshot!(render_all(&parsed.diagnostics, |_| None, false), @r"
    error: line 2 is not valid UTF-8 text
     = in m.yaml
    ");
}

const VALID: &str = include_str!("../../../../../examples/shop.yaml");

/// Never silence: a manifest that doesn't come out is reported, whichever key is misspelt.
#[test]
fn every_key_misspelt() {
    let objects = parse("m.yaml", VALID).manifests.len();
    let keys: Vec<usize> = VALID
        .match_indices(':')
        .filter_map(|(colon, _)| VALID[..colon].rfind(|c: char| !c.is_alphanumeric()))
        .map(|before| before + 1)
        .collect();
    assert!(keys.len() > 80);
    for key in keys {
        for cut in [key..key + 1, key..key + 3, key + 1..key + 2] {
            let mut text = VALID.to_owned();
            text.replace_range(cut, "");
            let parsed = parse("m.yaml", &text);
            assert!(parsed.has_errors() || parsed.manifests.len() == objects, "{text}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = parse_bytes("m.yaml", &bytes);
        let text = std::str::from_utf8(&bytes).ok();
        render_all(&parsed.diagnostics, |_| text, true);
    }

    #[test]
    fn any_yaml_like(text in "([a-z{}\\[\\],:&*!?|>'\"#%@ \t\n-]|kind: |---\n|- |: ){0,80}") {
        report(&text);
    }

    /// A valid text with pieces cut out, doubled, and moved.
    #[test]
    fn mutated(edits in prop::collection::vec(
        (any::<prop::sample::Index>(), 0..40_usize, any::<prop::sample::Index>(), 0..4_u8), 1..6,
    )) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, length, to, what) in edits {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            let piece: Vec<u8> = match what {
                0 => bytes.drain(at..end).collect(),
                1 => bytes[at..end].to_vec(),
                2 => vec![b"\0{}[]:,-&*\xff"[length % 11]],
                _ => bytes.drain(at..end).rev().collect(),
            };
            let to = to.index(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        let parsed = parse_bytes("m.yaml", &bytes);
        let text = std::str::from_utf8(&bytes).ok();
        render_all(&parsed.diagnostics, |_| text, false);
    }
}
