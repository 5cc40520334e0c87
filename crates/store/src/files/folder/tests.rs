use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Fixture {
    dir: tempfile::TempDir,
    folder: Folder,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        Fixture { dir, folder }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.dir.path().join(path)).unwrap();
    }

    /// `+` and `-` for what changed, `!` for what is wrong; paths without the folder's.
    fn scan(&mut self) -> Vec<String> {
        let change = self.folder.scan();
        let folder = format!("{}/", self.dir.path().display());
        let mut seen: Vec<_> = change
            .upserts
            .iter()
            .map(|object| format!("+ {} {}", object.reference(), object.origin()))
            .chain(change.removals.iter().map(|reference| format!("- {reference}")))
            .chain(change.diagnostics.iter().map(|diagnostic| format!("! {diagnostic}")))
            .map(|line| line.replace(&folder, ""))
            .collect();
        seen.sort();
        seen
    }
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n")
}

const NOTHING: [&str; 0] = [];

#[test]
fn add_change_remove() {
    let mut f = Fixture::new();
    assert_eq!(f.scan(), NOTHING);
    f.write("a.yaml", &(namespace("a") + &namespace("b")));
    f.write("deep/er/c.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}"#);
    assert_eq!(
        f.scan(),
        ["+ Namespace a a.yaml:1", "+ Namespace b a.yaml:5", "+ Namespace c deep/er/c.json:1"]
    );
    assert_eq!(f.scan(), NOTHING);
    // As long as before, in the same inode, within the clock's tick.
    f.write("a.yaml", &(namespace("a") + &namespace("x")));
    assert_eq!(f.scan(), ["+ Namespace x a.yaml:5", "- Namespace b"]);
    f.remove("a.yaml");
    assert_eq!(f.scan(), ["- Namespace a", "- Namespace x"]);
}

#[test]
fn other_files() {
    let mut f = Fixture::new();
    for name in ["a.txt", ".a.yaml", ".a.yaml.swp", "a.yaml~", "#a.yaml#", ".git/a.yaml", "4913"] {
        f.write(name, "not a manifest");
    }
    assert_eq!(f.scan(), NOTHING);
}

#[test]
fn a_wrong_file_keeps_what_it_had() {
    let mut f = Fixture::new();
    f.write("a.yaml", &(namespace("a") + &namespace("b")));
    assert_eq!(f.scan().len(), 2);
    // What can be read of it is applied, the rest stays.
    f.write("a.yaml", &(namespace("c") + "kind: [\n---\n" + &namespace("d")));
    let wrong = "! a.yaml:5:7: error: this is not valid YAML; unclosed bracket '['";
    assert_eq!(f.scan(), [wrong, "+ Namespace c a.yaml:1", "+ Namespace d a.yaml:7"]);
    // It stays wrong, and is said to be.
    assert_eq!(f.scan(), [wrong]);
    f.write("a.yaml", &namespace("c"));
    assert_eq!(f.scan(), ["- Namespace a", "- Namespace b", "- Namespace d"]);
}

#[test]
fn moved_between_files() {
    let mut f = Fixture::new();
    f.write("b.yaml", &namespace("a"));
    assert_eq!(f.scan(), ["+ Namespace a b.yaml:1"]);
    f.write("a.yaml", &namespace("a"));
    f.remove("b.yaml");
    assert_eq!(f.scan(), ["+ Namespace a a.yaml:1"]);
}

#[test]
fn in_two_files() {
    let mut f = Fixture::new();
    f.write("b.yaml", &namespace("a"));
    f.scan();
    // The first keeps it, whatever the order of names.
    f.write("a.yaml", &namespace("a"));
    let twice = "! a.yaml:1:1: error: Namespace a is given twice; first at b.yaml:1, which stays in force; rename or remove one of them";
    assert_eq!(f.scan(), [twice]);
    assert_eq!(f.scan(), [twice]);
    f.write("b.yaml", &format!("\n{}", namespace("a")));
    assert_eq!(f.scan(), [&*twice.replace("b.yaml:1", "b.yaml:2"), "+ Namespace a b.yaml:2"]);
    f.remove("b.yaml");
    assert_eq!(f.scan(), ["+ Namespace a a.yaml:1"]);
    f.remove("a.yaml");
    assert_eq!(f.scan(), ["- Namespace a"]);
}

/// As Kubernetes mounts a ConfigMap: the link `..data` is turned to a new folder at once.
#[test]
fn turned_links() {
    let mut f = Fixture::new();
    f.write("..1/a.yaml", &namespace("a"));
    f.write("..2/a.yaml", &namespace("b"));
    symlink("..1", f.dir.path().join("..data")).unwrap();
    symlink("..data/a.yaml", f.dir.path().join("a.yaml")).unwrap();
    assert_eq!(f.scan(), ["+ Namespace a a.yaml:1"]);
    symlink("..2", f.dir.path().join("..data_tmp")).unwrap();
    fs::rename(f.dir.path().join("..data_tmp"), f.dir.path().join("..data")).unwrap();
    assert_eq!(f.scan(), ["+ Namespace b a.yaml:1", "- Namespace a"]);
}

#[test]
fn links_in_a_circle() {
    let mut f = Fixture::new();
    f.write("d/a.yaml", &namespace("a"));
    symlink("..", f.dir.path().join("d/up")).unwrap();
    symlink("nowhere", f.dir.path().join("x.yaml")).unwrap();
    assert_eq!(f.scan(), ["+ Namespace a d/a.yaml:1"]);
}

#[test]
fn a_folder_that_comes_and_goes() {
    let mut f = Fixture::new();
    let root = f.dir.path().join("manifests");
    f.folder = Folder::new(&root);
    let missing = "! manifests: note: the folder does not exist (yet)";
    assert_eq!(f.scan(), [missing]);
    f.write("manifests/a.yaml", &namespace("a"));
    assert_eq!(f.scan(), ["+ Namespace a manifests/a.yaml:1"]);
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(f.scan(), [missing, "- Namespace a"]);
}

#[test]
fn pipes_and_big_files() {
    let mut f = Fixture::new();
    f.write("big.yaml", &"#".repeat(MAX_BYTES + 1));
    assert_eq!(f.scan(), ["! big.yaml: error: longer than 16 MiB; split it into several files"]);
    // A link to a device: reading it would never end.
    f.remove("big.yaml");
    symlink("/dev/zero", f.dir.path().join("zero.yaml")).unwrap();
    assert_eq!(f.scan(), NOTHING);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever files are written and removed in whatever order: following the changes gives what
    /// the files say, and each object belongs to a file that has it.
    #[test]
    fn changes_add_up(steps in proptest::collection::vec(
        (0..3_usize, proptest::collection::btree_set(0..4_u8, 0..3), proptest::bool::ANY),
        1..12,
    )) {
        let mut f = Fixture::new();
        let mut files: [BTreeSet<u8>; 3] = Default::default();
        let mut followed: BTreeMap<String, String> = BTreeMap::new();
        for (file, objects, look) in steps {
            let name = format!("{file}.yaml");
            match objects.is_empty() {
                true => drop(fs::remove_file(f.dir.path().join(&name))),
                false => {
                    let text: String = objects.iter().map(|n| namespace(&format!("n{n}"))).collect();
                    f.write(&name, &text);
                }
            }
            files[file] = objects;
            if !look {
                continue;
            }
            let change = f.folder.scan();
            for object in change.upserts {
                followed.insert(object.name().to_string(), object.origin().file.to_string());
            }
            for reference in change.removals {
                assert!(followed.remove(&reference.name.to_string()).is_some());
            }
            let expected: BTreeSet<String> =
                files.iter().flatten().map(|n| format!("n{n}")).collect();
            assert_eq!(followed.keys().cloned().collect::<BTreeSet<_>>(), expected);
            for (object, owner) in &followed {
                let file: usize = owner[owner.len() - 6..owner.len() - 5].parse().unwrap();
                assert!(files[file].iter().any(|n| format!("n{n}") == *object));
            }
            let claims = files.iter().map(BTreeSet::len).sum::<usize>();
            assert_eq!(change.diagnostics.len(), claims - expected.len());
        }
    }
}

/// root reads everything, so this shows only when run as somebody else.
#[test]
fn a_file_that_cannot_be_read() {
    let mut f = Fixture::new();
    f.write("a.yaml", &namespace("a"));
    f.scan();
    let path = f.dir.path().join("a.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let seen = f.scan();
    if fs::read(&path).is_err() {
        assert_eq!(seen, ["! a.yaml: error: cannot be read: Permission denied (os error 13)"]);
    } else {
        assert_eq!(seen, NOTHING);
    }
}

impl Fixture {
    /// Another agent's first look at the folder, with what the one before it was told to remember.
    fn restart(&mut self, remembered: Vec<(PathBuf, Vec<u8>)>) {
        self.folder = Folder::new(self.folder.root()).remember(remembered);
    }
}

#[test]
fn a_restart_with_a_wrong_file_keeps_what_it_said() {
    let mut f = Fixture::new();
    f.write("a.yaml", &(namespace("a") + &namespace("b")));
    f.write("gone.yaml", &namespace("gone"));
    let files = f.folder.scan().files;
    let remembered: Vec<_> = files.into_iter().map(|(path, text)| (path, text.unwrap())).collect();
    assert_eq!(remembered.len(), 2);

    f.write("a.yaml", &(namespace("a") + "kind: Oops\n"));
    f.remove("gone.yaml");
    f.restart(remembered.clone());
    let change = f.folder.scan();
    let names: BTreeSet<_> = change.upserts.iter().map(|o| o.reference().to_string()).collect();
    assert_eq!(names, BTreeSet::from(["Namespace a".to_owned(), "Namespace b".to_owned()]));
    assert!(change.diagnostics.iter().any(Diagnostic::is_error));
    assert_eq!(change.files, [(f.dir.path().join("gone.yaml"), None)]);

    // Once the file is right again, only what it says counts.
    f.write("a.yaml", &namespace("a"));
    assert_eq!(f.scan(), ["- Namespace b"]);
}

#[test]
fn a_folder_that_is_not_there_yet_keeps_what_it_said() {
    let mut f = Fixture::new();
    let root = f.dir.path().join("mounted-later");
    let file = root.join("a.yaml");
    f.folder = Folder::new(&root).remember([(file.clone(), namespace("a").into_bytes())]);
    assert_eq!(f.folder.scan().upserts.len(), 1);
    assert!(f.folder.scan().removals.is_empty());

    fs::create_dir(&root).unwrap();
    let change = f.folder.scan();
    assert_eq!((change.removals.len(), change.files), (1, vec![(file, None)]));
}
