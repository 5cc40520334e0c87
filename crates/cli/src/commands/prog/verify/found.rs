//! Objects in files and folders, also those inside of executables.

use super::super::object_file::{read, unreadable};
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

const MAGIC: &[u8] = b"\x7fELF";
/// Of 64 bits, little-endian.
const OURS: &[u8] = b"\x7fELF\x02\x01\x01";
const EM_NONE: u16 = 0;
const EM_BPF: u16 = 247;

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// An ELF file for another machine.
fn is_foreign(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) && half(bytes, 18).is_some_and(|m| m != EM_BPF && m != EM_NONE)
}

/// Objects that lie as data in another file, as skeletons of libbpf do, with their offsets.
fn inside(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut list = Vec::new();
    let mut at = 1;
    while let Some(rest) = bytes.get(at..) {
        let Some(next) = rest.windows(OURS.len()).position(|window| window == OURS) else { break };
        let start = at + next;
        let extent = extent(&bytes[start..]);
        if let Some(object) = extent.and_then(|length| bytes.get(start..start + length)) {
            list.push((start, object));
            at = start + object.len();
        } else {
            at = start + 1;
        }
    }
    list
}

/// How long an object for BPF is, by its header: the table of sections is its end.
fn extent(bytes: &[u8]) -> Option<usize> {
    (half(bytes, 18)? == EM_BPF).then_some(())?;
    let table = u64::from_le_bytes(bytes.get(40..48)?.try_into().ok()?);
    let size = u64::from(half(bytes, 58)?) * u64::from(half(bytes, 60)?);
    let end = usize::try_from(table.checked_add(size)?).ok()?;
    (end <= bytes.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_inside_of_executables() {
        let code = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let object = bpf_object::object_of_code("two", "xdp", "GPL", &code);
        let mut host = object.clone();
        // The same header, for x86-64.
        host[18] = 62;
        host[19] = 0;
        assert!(is_foreign(&host) && !is_foreign(&object));
        let at = host.len() + 5;
        host.extend(b"01234");
        host.extend(&object);
        host.extend(b"rest");
        assert_eq!(inside(&host), [(at, object.as_slice())]);
        host.truncate(at + 70);
        assert_eq!(inside(&host), []);
        assert_eq!(inside(b"nothing"), []);
    }
}
