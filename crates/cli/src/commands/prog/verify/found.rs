//! Objects in files and folders, also those inside of executables.

use super::super::object_file::{read, unreadable};
use super::super::skeleton::{MAGIC, inside, is_foreign};
use crate::failure::Failure;
use std::fs;
use std::path::{Path, PathBuf};

/// An object, and where it is.
pub struct Found {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// What is named must be readable; what is in folders and is no object is passed over.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            folder(path, &mut found)?;
            continue;
        }
        let bytes = read(path)?;
        let name = path.display().to_string();
        match inside(&bytes) {
            embedded if is_foreign(&bytes) => {
                if embedded.is_empty() {
                    return Err(unreadable(
                        path,
                        &"it is an executable without eBPF objects in it",
                    ));
                }
                add_embedded(&name, embedded, &mut found);
            }
            _ => found.push(Found { name, bytes }),
        }
    }
    Ok(found)
}

fn folder(path: &Path, found: &mut Vec<Found>) -> Result<(), Failure> {
    let entries = fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| unreadable(path, &error))?.path());
    }
    paths.sort();
    for path in paths {
        // Links could lead in circles, and to what was not named.
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.is_dir() {
            folder(&path, found)?;
        } else if about.is_file() {
            let bytes = read(&path)?;
            let name = path.display().to_string();
            if is_foreign(&bytes) {
                add_embedded(&name, inside(&bytes), found);
            } else if bytes.starts_with(MAGIC) {
                found.push(Found { name, bytes });
            }
        }
    }
    Ok(())
}

fn add_embedded(name: &str, embedded: Vec<(usize, &[u8])>, found: &mut Vec<Found>) {
    for (offset, bytes) in embedded {
        found.push(Found { name: format!("{name}@{offset:#x}"), bytes: bytes.to_vec() });
    }
}
