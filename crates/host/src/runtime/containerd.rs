//! containerd's running tasks, from the state it keeps in files:
//! `<tasks>/<containerd namespace>/<id>/{init.pid,config.json}`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::{Container, Runtime, Wanted};
use crate::{Error, Result};

/// Annotations that hold the name people gave a container.
const NAMES: [&str; 2] = ["nerdctl/name", "io.kubernetes.cri.container-name"];

pub(super) fn find(runtime: &Runtime, wanted: &Wanted) -> Result<Vec<Container>> {
    let mut found = Vec::new();
    for namespace in folders(&runtime.path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => runtime.missing(),
        _ => Error::file("list", &runtime.path, error),
    })? {
        // What vanishes while being read has ended.
        for task in folders(&namespace).unwrap_or_default() {
            found.extend(task_at(&task).filter(|container| matches(container, wanted)));
        }
    }
    Ok(found)
}

fn folders(path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut folders: Vec<_> =
        fs::read_dir(path)?.flatten().map(|entry| entry.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn task_at(folder: &Path) -> Option<Container> {
    let pid: u32 = fs::read_to_string(folder.join("init.pid")).ok()?.trim().parse().ok()?;
    if !Path::new(&format!("/proc/{pid}")).exists() {
        return None;
    }
    let config = fs::read(folder.join("config.json")).ok()?;
    let config: Value = serde_json::from_slice(&config).ok()?;
    let annotations = config["annotations"].as_object().into_iter().flatten();
    let labels: BTreeMap<String, String> = annotations
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let id = folder.file_name()?.to_str()?.to_owned();
    let name = NAMES.iter().find_map(|name| labels.get(*name)).unwrap_or(&id).clone();
    Some(Container { id, name, labels, pid })
}

fn matches(container: &Container, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Name(name) => container.name == *name || container.id == *name,
        Wanted::Labels(labels) => {
            labels.iter().all(|(key, value)| container.labels.get(key) == Some(value))
        }
    }
}
