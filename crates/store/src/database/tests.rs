use super::*;
use crate::manifest::parse;
use std::fs;

fn open(dir: &tempfile::TempDir) -> Result<Database, DatabaseError> {
    Database::open(&dir.path().join("skep.redb"))
}

fn reference(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Namespace, name: ObjectName::new("", name) }
}

/// Puts a text, reads it back after reopening, and compares: places included.
#[track_caller]
fn keeps(text: &str) -> Vec<Stored> {
    let dir = tempfile::tempdir().unwrap();
    let parsed = parse("web.yaml", text);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    open(&dir)
        .unwrap()
        .put(&[("web.yaml".into(), text.into())], std::slice::from_ref(&parsed))
        .unwrap();
    let database = open(&dir).unwrap();
    let (mut objects, diagnostics) = database.load_all().unwrap();
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let mut expected: Vec<_> = parsed.objects().cloned().collect();
    objects.sort_by_key(Object::reference);
    expected.sort_by_key(Object::reference);
    assert_eq!(objects, expected);
    parsed.objects().map(|object| database.stored(&object.reference()).unwrap().unwrap()).collect()
}

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: a # why
spec:
  ingress:
  - ports: [{port: 80}]
  - ports: [{port: 81}]
";

#[test]
fn own_texts() {
    let other = "---\n# of b\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";
    let stored = keeps(&format!("# of a\n{POLICY}{other}"));
    assert_eq!(stored[0].text, format!("# of a\n{POLICY}"));
    assert_eq!((stored[1].text.as_str(), stored[1].line), (other, 10));
    assert_eq!(stored[1].file, "web.yaml");
    let age = SystemTime::now().duration_since(stored[0].applied()).unwrap();
    assert!(age < Duration::from_secs(60));
}

#[test]
fn elements_of_lists() {
    let indented = POLICY.replace('\n', "\n  ");
    let stored = keeps(&format!(
        "kind: List\napiVersion: v1\nitems:\n- {}\n- {{apiVersion: v1, kind: Namespace, metadata: {{name: b}}}}\n",
        indented.trim_end()
    ));
    assert!(stored[0].text.starts_with("  apiVersion: networking"), "{}", stored[0].text);
    assert_eq!(stored[1].text.trim(), "{apiVersion: v1, kind: Namespace, metadata: {name: b}}");
}

/// An alias into another element: no part of the text says it.
#[test]
fn elements_that_cannot_stand_alone() {
    let text = "- {apiVersion: v1, kind: Namespace, metadata: {name: &x b}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: c, labels: {a: *x}}}\n";
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir).unwrap();
    let parsed = parse("m.yaml", text);
    database.put(&[("m.yaml".into(), text.into())], std::slice::from_ref(&parsed)).unwrap();
    let (objects, diagnostics) = database.load_all().unwrap();
    assert!(diagnostics.is_empty());
    let emitted = |objects: Vec<Object>| objects.iter().map(emit::to_yaml).collect::<Vec<_>>();
    assert_eq!(emitted(objects), emitted(parsed.into_objects()));
    let stored = database.stored(&reference("c")).unwrap().unwrap();
    assert!(stored.text.contains("a: b") && stored.line == 2, "{stored:?}");
}

#[test]
fn state() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir).unwrap();
    database.put_state("identities", b"b", b"2").unwrap();
    database.put_state("identitiez", b"", b"other").unwrap();
    database
        .change_state(&[
            StateOp::Put { table: "identities", key: b"a", value: b"1" },
            StateOp::Put { table: "identities", key: b"c", value: b"3" },
            StateOp::Delete { table: "identities", key: b"b" },
            StateOp::Delete { table: "identities", key: b"never" },
        ])
        .unwrap();
    drop(database);
    let database = open(&dir).unwrap();
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    assert_eq!(database.state_rows("identities").unwrap(), [row(b"a", b"1"), row(b"c", b"3")]);
    assert_eq!(database.state("identities", b"c").unwrap().as_deref(), Some(&b"3"[..]));
    assert_eq!(database.state("identities", b"b").unwrap(), None);
    assert!(database.state_rows("nothing").unwrap().is_empty());
}

#[test]
fn in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(&dir).unwrap();
    assert!(matches!(open(&dir), Err(DatabaseError::InUse { .. })));
}

#[test]
fn newer_format() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir).unwrap();
    let write = database.redb.begin_write().unwrap();
    write.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, DatabaseError::Newer { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("newer skepd"), "{error}");
}

/// Whatever is in the file, there is an answer, and no panic.
#[test]
fn damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("skep.redb");
    fs::write(&path, "certainly not a database").unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, DatabaseError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("move it away"), "{error}");

    fs::remove_file(&path).unwrap();
    let database = open(&dir).unwrap();
    let parsed = parse("m.yaml", POLICY);
    database.put(&[("m.yaml".into(), POLICY.into())], std::slice::from_ref(&parsed)).unwrap();
    drop(database);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(1009) {
        let mut bytes = whole.clone();
        for byte in bytes.iter_mut().skip(at).take(64) {
            *byte ^= 0x5a;
        }
        fs::write(&path, bytes).unwrap();
        match open(&dir) {
            // What was hit is not in use.
            Ok(database) => drop(database.load_all()),
            Err(DatabaseError::Damaged { .. } | DatabaseError::Newer { .. }) => refused += 1,
            Err(DatabaseError::Failed(_) | DatabaseError::Open { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(open(&dir).is_err());
    assert!(refused > 0);
}

#[test]
fn no_such_folder() {
    let error = Database::open(Path::new("/nonexistent/skep.redb")).unwrap_err();
    assert!(matches!(error, DatabaseError::Open { .. }), "{error}");
}

/// A manifest that a later version refuses doesn't take the others with it.
#[test]
fn one_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir).unwrap();
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
    database.put(&[("m.yaml".into(), text.into())], &[parse("m.yaml", text)]).unwrap();
    let stored = Stored {
        text: text.replace("kind:", "kin:"),
        file: "old.yaml".into(),
        line: 3,
        applied_ms: 0,
    };
    let write = database.redb.begin_write().unwrap();
    let bytes = serde_json::to_vec(&stored).unwrap();
    let rows = [("Namespace", "b"), ("Gone", "c")];
    for (kind, name) in rows {
        write.open_table(OBJECTS).unwrap().insert((kind, "", name), bytes.as_slice()).unwrap();
    }
    write.commit().unwrap();
    let (objects, diagnostics) = database.load_all().unwrap();
    assert_eq!(objects.len(), 1);
    let messages: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
    assert!(messages.iter().any(|message| message.contains("old.yaml:4:1")), "{messages:?}");
    assert_eq!(messages.iter().filter(|message| message.contains("any more")).count(), 2);
    assert!(database.remove(&reference("b")).unwrap());
    assert!(!database.remove(&reference("b")).unwrap());
}
