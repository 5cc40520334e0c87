use super::*;
use crate::files::Folder;
use model::{Kind, ObjectName};
use std::fs;
use std::path::Path;

struct Fixture {
    dir: tempfile::TempDir,
    desired: Desired,
    folder: Folder,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (desired, change) = load(dir.path());
        assert!(change.upserts.is_empty());
        let folder = Folder::new(dir.path().join("manifests"));
        fs::create_dir(folder.root()).unwrap();
        Fixture { dir, desired, folder }
    }

    fn file(&mut self, name: &str, text: &str) -> Change {
        let path = self.folder.root().join(name);
        match text {
            "" => fs::remove_file(path).unwrap(),
            text => fs::write(path, text).unwrap(),
        }
        self.desired.files_changed(self.folder.scan())
    }

    /// What is wrong with the text, if nothing was kept because of it.
    fn refused(&mut self, text: &str) -> Vec<String> {
        let (_, diagnostics) = self.desired.check(&[("api.yaml".to_owned(), text.to_owned())]);
        assert!(diagnostics.iter().any(Diagnostic::is_error), "{diagnostics:?}");
        let folder = format!("{}/", self.folder.root().display());
        diagnostics.iter().map(|d| d.to_string().replace(&folder, "")).collect()
    }

    fn apply(&mut self, text: &str) {
        let texts = [("x.yaml".to_owned(), text.to_owned())];
        let (parsed, diagnostics) = self.desired.check(&texts);
        assert!(!diagnostics.iter().any(Diagnostic::is_error), "{diagnostics:?}");
        self.desired.keep(&texts, parsed).unwrap();
    }
}

fn load(dir: &Path) -> (Desired, Change) {
    Desired::load(Database::open(&dir.join("skep.redb")).unwrap()).unwrap()
}

fn namespace(name: &str, label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{l: {label}}}}}\n---\n"
    )
}

fn reference(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Namespace, name: ObjectName::new("", name) }
}

fn names(change: &Change) -> Vec<String> {
    let upserts = change.upserts.iter().map(|object| match object {
        Object::Namespace(namespace) => format!("+{} {}", namespace.name, namespace.labels),
        other => format!("{other:?}"),
    });
    upserts.chain(change.removals.iter().map(|gone| format!("-{}", gone.name))).collect()
}

#[test]
fn apply_again_and_delete() {
    let mut f = Fixture::new();
    f.apply(&(namespace("a", "one") + &namespace("b", "one")));
    f.apply(&(namespace("a", "one") + &namespace("b", "two")));
    assert_eq!(names(&f.desired.delete(&reference("a")).unwrap()), ["-a"]);
    assert!(matches!(f.desired.delete(&reference("a")), Err(DeleteError::Missing(_))));

    let Fixture { dir, desired, .. } = f;
    drop(desired);
    let (_, change) = load(dir.path());
    assert_eq!(names(&change), ["+b l=two"]);
}

#[test]
fn all_or_nothing() {
    let mut f = Fixture::new();
    let text = namespace("a", "one") + "apiVersion: v1\nkind: Namespace\nmetadata: {}\n";
    assert_eq!(f.refused(&text), ["api.yaml:7:11: error: field `name` is missing"]);
    assert_eq!(f.refused("# nothing\n"), ["api.yaml: error: there is no object in it"]);
    let twice = namespace("a", "one") + &namespace("a", "two");
    assert!(f.refused(&twice)[0].contains("twice"), "{:?}", f.refused(&twice));
    let texts = ["x.yaml", "y.yaml"].map(|name| (name.to_owned(), namespace("a", "one")));
    let (_, diagnostics) = f.desired.check(&texts);
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert!(f.desired.database().stored(&reference("a")).unwrap().is_none());
    assert!(matches!(f.desired.delete(&reference("a")), Err(DeleteError::Missing(_))));
}

#[test]
fn files_win() {
    let mut f = Fixture::new();
    f.file("f.yaml", &namespace("a", "file"));
    assert_eq!(
        f.refused(&(namespace("b", "api") + &namespace("a", "api"))),
        [
            "api.yaml:5:1: error: Namespace a comes from the file f.yaml:1; files win over the API; change it there, or remove it from the file first"
        ]
    );
    assert!(f.desired.database().stored(&reference("b")).unwrap().is_none());
    let refused = f.desired.check_deletion(&[reference("a"), reference("b")]);
    let [error] = &*refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("f.yaml:1"), "{error}");
    assert!(f.desired.file_origin(&reference("a")).is_some());
}

#[test]
fn a_file_takes_over_and_gives_back() {
    let mut f = Fixture::new();
    f.apply(&namespace("a", "api"));
    let change = f.file("f.yaml", &namespace("a", "file"));
    assert_eq!(names(&change), ["+a l=file"]);
    assert_eq!(change.diagnostics.len(), 1);
    assert!(change.diagnostics[0].message.contains("also applied through the API"));
    let change = f.file("f.yaml", "");
    assert_eq!(names(&change), ["+a l=api"]);
    assert!(change.diagnostics.is_empty());
    // Deleting what a file hides leaves the file's in force.
    f.file("f.yaml", &namespace("a", "file"));
    assert!(f.desired.check_deletion(&[reference("a")]).is_empty());
    assert!(names(&f.desired.delete(&reference("a")).unwrap()).is_empty());
    assert_eq!(names(&f.file("f.yaml", "")), ["-a"]);
}
