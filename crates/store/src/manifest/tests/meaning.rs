//! Documents, lists, kinds and metadata.

use super::{check, one, parse, report};
use model::Object;

fn names(text: &str) -> Vec<String> {
    parse("m.yaml", text).objects().map(|object| object.reference().to_string()).collect()
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

#[test]
fn kinds() {
    check!("apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n", @r"
    error: unknown kind `Servce`
      ┌─ m.yaml:2:7
    2 │ kind: Servce
      │       ^^^^^^ did you mean `Service`?
      = Skep reads Namespace, Workload, Service, EndpointSlice, NetworkPolicy, LoadBalancer and List
    ");
    check!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", @r"
    error: unknown kind `Deployment`
      ┌─ m.yaml:2:7
    2 │ kind: Deployment
      │       ^^^^^^^^^^
      = Skep reads Namespace, Workload, Service, EndpointSlice, NetworkPolicy, LoadBalancer and List
    ");
    check!("apiVersion: v1\nkind: NetworkPolicy\nmetadata: {name: a}\n", @r"
    error: unknown version `v1` of NetworkPolicy
      ┌─ m.yaml:1:13
    1 │ apiVersion: v1
      │             ^^ Skep reads `networking.k8s.io/v1`
    ");
    check!("kind: Service\nmetadata: {name: a}\n", @r"
    error: field `apiVersion` is missing
      ┌─ m.yaml:1:1
    1 │ kind: Service
      │ ^^^^^^^^^^^^^
    ");
    check!("apiVersion: v1\nmetadata: {name: a}\n", @r"
    error: field `kind` is missing
      ┌─ m.yaml:1:1
    1 │ apiVersion: v1
      │ ^^^^^^^^^^^^^^
    ");
    check!("just text\n", @r"
    error: this is not a manifest
      ┌─ m.yaml:1:1
    1 │ just text
      │ ^^^^^^^^^ a manifest is a mapping, this is text
    ");
    check!("- 1\n- [x]\n", @r"
    error: this is not a manifest
      ┌─ m.yaml:1:3
    1 │ - 1
      │   ^ a manifest is a mapping, this is a number

    error: this is not a manifest
      ┌─ m.yaml:2:3
    2 │ - [x]
      │   ^^^ a manifest is a mapping, this is a list
    ");
}

#[test]
fn metadata() {
    check!("apiVersion: v1\nkind: Namespace\n", @r"
    error: field `metadata` is missing
      ┌─ m.yaml:1:1
    1 │ apiVersion: v1
      │ ^^^^^^^^^^^^^^
    ");
    check!("apiVersion: v1\nkind: Namespace\nmetadata:\n", @r"
    error: field `metadata` is empty
      ┌─ m.yaml:3:1
    3 │ metadata:
      │ ^^^^^^^^
    ");
    check!("apiVersion: v1\nkind: Namespace\nmetadata: {nmae: a}\n", @r"
    error: unknown field `nmae`
      ┌─ m.yaml:3:12
    3 │ metadata: {nmae: a}
      │            ^^^^ did you mean `name`?
    ");
    check!("apiVersion: v1\nkind: Namespace\nmetadata: {name: Shop_1}\n", @r"
    error: not a valid name of a Namespace
      ┌─ m.yaml:3:18
    3 │ metadata: {name: Shop_1}
      │                  ^^^^^^
      = it has at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends
    ");
    check!("apiVersion: v1\nkind: Namespace\nmetadata: {name: 7}\n", @r#"
    error: `name` must be text
      ┌─ m.yaml:3:18
    3 │ metadata: {name: 7}
      │                  ^ this is a number
      = write "7" in quotes
    "#);
    check!("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n", @r"
    error: a Namespace is not in a namespace
      ┌─ m.yaml:3:32
    3 │ metadata: {name: a, namespace: b}
      │                                ^
      = remove the field
    ");
    check!("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: [x], annotations: {a: 1}}\n", @r#"
    error: `labels` must be a mapping
      ┌─ m.yaml:3:29
    3 │ metadata: {name: a, labels: [x], annotations: {a: 1}}
      │                             ^^^ this is a list

    error: `a` must be text
      ┌─ m.yaml:3:51
    3 │ metadata: {name: a, labels: [x], annotations: {a: 1}}
      │                                                   ^ this is a number
      = write "1" in quotes
    "#);
    check!("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {v: 1.10, t: true}}\n", @r#"
    error: `v` must be text
      ┌─ m.yaml:3:33
    3 │ metadata: {name: a, labels: {v: 1.10, t: true}}
      │                                 ^^^^ this is a number
      = write "1.10" in quotes

    error: `t` must be text
      ┌─ m.yaml:3:42
    3 │ metadata: {name: a, labels: {v: 1.10, t: true}}
      │                                          ^^^^ this is true or false
      = write "true" in quotes
    "#);
    check!("apiVersion: skep.dev/v1\nkind: Workload\nmetadata: {name: a, namespace: A}\nspec: {runs: {netns: a}}\n", @r"
    error: not a valid namespace
      ┌─ m.yaml:3:32
    3 │ metadata: {name: a, namespace: A}
      │                                ^
      = it has at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends
    ");
}

#[test]
fn twice() {
    check!(&format!("{}---\n# again\n{}", namespace("a"), namespace("a")), @r"
    error: Namespace a is given twice
      ┌─ m.yaml:8:18
    8 │ metadata: {name: a}
      │                  ^ first at m.yaml:1
      = rename or remove one of them
    ");
    check!("apiVersion: v1\nkind: Namespace\nkind: Namespace\nmetadata: {name: a}\n", @r"
    error: key `kind` is given twice
      ┌─ m.yaml:3:1
    3 │ kind: Namespace
      │ ^^^^ line 2 has it first
    ");
}

#[test]
fn syntax() {
    check!("apiVersion: v1\nkind: [\n", @r"
    error: this is not valid YAML
      ┌─ m.yaml:2:7
    2 │ kind: [
      │       ^ unclosed bracket '['
    ");
    check!("a: b: c\n", @r"
    error: this is not valid YAML
      ┌─ m.yaml:1:5
    1 │ a: b: c
      │     ^ mapping values are not allowed in this context
    ");
    check!("a\u{1b}: \tb\n\"x\\ny\": 1", @r"
    error: this is not valid YAML
      ┌─ m.yaml:1:1
    1 │ a·:     b
      │ ^ unexpected character: `\u{1b}'
    ");
    check!("a: *nothing\n", @r"
    error: this is not valid YAML
      ┌─ m.yaml:1:4
    1 │ a: *nothing
      │    ^ while parsing node, found unknown anchor
    ");
    check!("a: &x [*x]\n", @r"
    error: an alias inside of what it stands for
      ┌─ m.yaml:1:8
    1 │ a: &x [*x]
      │        ^^
    ");
    check!("? [a]\n: b\n", @r"
    error: field `apiVersion` is missing
      ┌─ m.yaml:1:1
    1 │ ? [a]
      │ ^^^^^

    error: field `kind` is missing
      ┌─ m.yaml:1:1
    1 │ ? [a]
      │ ^^^^^

    error: a key must be text
      ┌─ m.yaml:1:3
    1 │ ? [a]
      │   ^^^
    ");
    check!("<<: {a: b}\n", @r"
    error: merge keys are not supported
      ┌─ m.yaml:1:1
    1 │ <<: {a: b}
      │ ^^
      = write the fields out, or alias whole values

    error: field `apiVersion` is missing
      ┌─ m.yaml:1:1
    1 │ <<: {a: b}
      │ ^^^^^^^^^^

    error: field `kind` is missing
      ┌─ m.yaml:1:1
    1 │ <<: {a: b}
      │ ^^^^^^^^^^
    ");
    check!("a: !custom b\n", @r"
    error: field `apiVersion` is missing
      ┌─ m.yaml:1:1
    1 │ a: !custom b
      │ ^^^^^^^^^^^^

    error: field `kind` is missing
      ┌─ m.yaml:1:1
    1 │ a: !custom b
      │ ^^^^^^^^^^^^

    error: tag `!custom` has no meaning here
      ┌─ m.yaml:1:4
    1 │ a: !custom b
      │    ^^^^^^^
    ");
    check!("{\"apiVersion\": \"v1\", }}\n", @r#"
    error: this is not valid YAML
      ┌─ m.yaml:1:23
    1 │ {"apiVersion": "v1", }}
      │                       ^ misplaced bracket
    "#);
}

/// Parts of a broken document are not applied as if they were the whole.
#[test]
fn nothing_of_a_broken_document() {
    for more in ["kind: Namespace", "status: !x y", "? [a]", "<<: {}"] {
        let text = format!("{}{more}\n", namespace("a"));
        assert!(names(&text).is_empty(), "{text}");
        assert!(parse("m.yaml", &text).has_errors(), "{text}");
    }
}

/// What is broken doesn't hide what comes after it.
#[test]
fn one_broken_document() {
    let text = format!("{}---\na: [\n---\n{}", namespace("a"), namespace("b"));
    assert_eq!(names(&text), ["Namespace a", "Namespace b"]);
    assert_eq!(report(&text).matches("error:").count(), 1, "{}", report(&text));
}

#[test]
fn empty_texts() {
    for text in ["", "\n", "---\n", "# only a comment\n", "---\n---\n", "null\n", "\u{feff}"] {
        let parsed = parse("m.yaml", text);
        assert!(parsed.manifests.is_empty(), "{text:?}");
        assert!(parsed.diagnostics.is_empty(), "{text:?}: {}", report(text));
    }
}

#[test]
fn documents_and_lists() {
    let json = |name| {
        format!(r#"{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{name}"}}}}"#)
    };
    assert_eq!(names(&json("a")), ["Namespace a"]);
    assert_eq!(
        names(&format!("[{},\n\t{}]", json("a"), json("b"))),
        ["Namespace a", "Namespace b"]
    );
    let list = format!(
        r#"{{"kind": "List", "apiVersion": "v1", "metadata": {{}}, "items": [{}]}}"#,
        json("a")
    );
    assert_eq!(names(&list), ["Namespace a"]);
    let several = format!("{}---\n{}...\n---\n{}\n", namespace("a"), json("b"), namespace("c"));
    assert_eq!(names(&several), ["Namespace a", "Namespace b", "Namespace c"]);
    check!("kind: List\napiVersion: v1\nitmes: []\n", @r"
    error: unknown field `itmes`
      ┌─ m.yaml:3:1
    3 │ itmes: []
      │ ^^^^^ did you mean `items`?
    ");
}

#[test]
fn json_texts() {
    let text = "{\r\n\t\"apiVersion\": \"v1\",\r\n\t\"kind\": \"Namespace\",\r\n\t\"metadata\": {\"name\": \"a\", \"annotations\": {\"x\": \"\\u00e4 \\/ \\ud83d\\ude00 \\\"\"}}\r\n}\r\n";
    assert_eq!(names(text), ["Namespace a"], "{}", report(text));
}

#[test]
fn anchors() {
    let Object::Namespace(read) = one(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: &n a, labels: {one: *n, two: *n}}\n",
    ) else {
        panic!("not a Namespace")
    };
    assert_eq!(read.labels.to_string(), "one=a,two=a");
}

#[test]
fn quoted_and_tagged() {
    let Object::Namespace(read) = one(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: '7', labels: {a: \"1\", b: !!str 2, c: yes}}\n",
    ) else {
        panic!("not a Namespace")
    };
    assert_eq!(read.labels.to_string(), "a=1,b=2,c=yes");
}

/// Each manifest knows its part of the text.
#[test]
fn sources() {
    let text = format!("# first\n{}---\n# second\n{}", namespace("a"), namespace("b"));
    let parsed = parse("m.yaml", &text);
    let sources: Vec<_> = parsed
        .manifests
        .iter()
        .map(|manifest| (manifest.line, &text[manifest.source.clone()]))
        .collect();
    let first = format!("# first\n{}", namespace("a"));
    let second = format!("---\n# second\n{}", namespace("b"));
    assert_eq!(sources, [(1, first.as_str()), (5, second.as_str())]);
    assert_eq!(parsed.manifests[1].object.origin().line, 7);
}
