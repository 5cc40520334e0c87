use super::*;
use crate::desired::Change;
use std::os::unix::fs::symlink;

/// Far more than a change takes; a look without an event would come later.
const SOON: Duration = Duration::from_secs(3);

struct Watched {
    runtime: tokio::runtime::Runtime,
    watch: Watch,
}

impl Watched {
    fn new(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Watched { runtime, watch: Watch::start(folder, []).unwrap() }
    }

    #[track_caller]
    fn next(&mut self) -> Change {
        let next = async { tokio::time::timeout(SOON, self.watch.next()).await };
        self.runtime.block_on(next).expect("no change in time").expect("the watch ended")
    }

    /// Until an object of this name comes (`true`) or goes.
    #[track_caller]
    fn until(&mut self, name: &str, comes: bool) {
        for _ in 0..10 {
            let change = self.next();
            let found = match comes {
                true => change.upserts.iter().any(|object| &*object.name().name == name),
                false => change.removals.iter().any(|reference| &*reference.name.name == name),
            };
            if found {
                return;
            }
        }
        panic!("{name} did not change");
    }
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

#[test]
fn files_come_change_and_go() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), namespace("a")).unwrap();
    let mut watched = Watched::new(dir.path());
    watched.until("a", true);
    fs::write(dir.path().join("b.yaml"), namespace("b")).unwrap();
    watched.until("b", true);
    // Replaced by rename, as editors save.
    fs::write(dir.path().join("b.yaml.new"), namespace("c")).unwrap();
    fs::rename(dir.path().join("b.yaml.new"), dir.path().join("b.yaml")).unwrap();
    watched.until("c", true);
    fs::remove_file(dir.path().join("b.yaml")).unwrap();
    watched.until("c", false);
    // A folder made now is watched too.
    fs::create_dir(dir.path().join("new")).unwrap();
    fs::write(dir.path().join("new/d.yaml"), namespace("d")).unwrap();
    watched.until("d", true);
    fs::write(dir.path().join("new/d.yaml"), namespace("e")).unwrap();
    watched.until("e", true);
}

#[test]
fn the_folder_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("not/yet");
    let mut watched = Watched::new(&folder);
    assert_eq!(watched.next().diagnostics.len(), 1);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.yaml"), namespace("a")).unwrap();
    watched.until("a", true);
    fs::write(folder.join("a.yaml"), namespace("b")).unwrap();
    watched.until("b", true);
    // Replaced as a whole.
    let new = dir.path().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("a.yaml"), namespace("c")).unwrap();
    fs::rename(&folder, dir.path().join("old")).unwrap();
    fs::rename(&new, &folder).unwrap();
    watched.until("c", true);
    fs::write(folder.join("a.yaml"), namespace("d")).unwrap();
    watched.until("d", true);
}

#[test]
fn the_folder_is_a_turned_link() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, name) in [("1", "a"), ("2", "b")] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join("x.yaml"), namespace(name)).unwrap();
    }
    symlink("1", dir.path().join("current")).unwrap();
    let mut watched = Watched::new(&dir.path().join("current"));
    watched.until("a", true);
    symlink("2", dir.path().join("next")).unwrap();
    fs::rename(dir.path().join("next"), dir.path().join("current")).unwrap();
    watched.until("b", true);
    fs::write(dir.path().join("2/x.yaml"), namespace("c")).unwrap();
    watched.until("c", true);
}

/// A burst of writes is one change, or few; the last content is what counts.
#[test]
fn bursts() {
    let dir = tempfile::tempdir().unwrap();
    let mut watched = Watched::new(dir.path());
    watched.next();
    for n in 0..=200 {
        fs::write(dir.path().join("a.yaml"), namespace(&format!("n{n}"))).unwrap();
    }
    watched.until("n200", true);
}
