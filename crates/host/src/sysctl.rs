//! Settings under `/proc/sys/net`, read and written in the right namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, NetNamespace, Result};

/// One setting to hold: a path below `/proc/sys/net` with `/` between its parts (names of
/// interfaces may contain dots), and its value.
pub type Setting<'a> = (String, &'a str);

/// Reads one setting, e.g. `ipv4/ip_forward`.
pub fn read(namespace: &NetNamespace, setting: &str) -> Result<String> {
    let path = path_of(setting);
    namespace.run(|| read_here(&path))?
}

/// Sees to it that the settings have their values, in order; those that have are not written.
/// Returns the ones that were changed.
pub fn ensure(namespace: &NetNamespace, settings: &[Setting<'_>]) -> Result<Vec<String>> {
    namespace.run(|| ensure_here(settings))?
}

/// Lets the namespace forward packets between its interfaces, IPv4 and (where the kernel has it)
/// IPv6. Returns what was changed.
///
/// With IPv6 forwarding on, the kernel no longer listens to router advertisements on interfaces
/// whose `accept_ra` is 1, and a node that has its default route from them would lose it: those
/// interfaces are set to 2 (listen even as a router) first.
pub fn ensure_forwarding(namespace: &NetNamespace) -> Result<Vec<String>> {
    namespace.run(|| {
        let mut settings = vec![("ipv4/ip_forward".to_owned(), "1")];
        let everywhere = "ipv6/conf/all/forwarding";
        if has_ipv6() && read_here(&path_of(everywhere))? != "1" {
            let interfaces = path_of("ipv6/conf");
            let entries = fs::read_dir(&interfaces)
                .map_err(|source| Error::file("list", &interfaces, source))?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let setting = format!("ipv6/conf/{name}/accept_ra");
                if name != "all" && read_here(&path_of(&setting)).is_ok_and(|value| value == "1") {
                    settings.push((setting, "2"));
                }
            }
            settings.push((everywhere.to_owned(), "1"));
        }
        ensure_here(&settings)
    })?
}

/// Whether the kernel has IPv6 at all.
pub fn has_ipv6() -> bool {
    path_of("ipv6").exists()
}

const ROOT: &str = "/proc/sys/net";

fn path_of(setting: &str) -> PathBuf {
    Path::new(ROOT).join(setting)
}

fn read_here(path: &Path) -> Result<String> {
    let value =
        fs::read_to_string(path).map_err(|source| Error::file("read setting", path, source))?;
    Ok(value.trim_end().to_owned())
}

fn ensure_here(settings: &[Setting<'_>]) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (setting, value) in settings {
        let path = path_of(setting);
        if read_here(&path)? == *value {
            continue;
        }
        fs::write(&path, value).map_err(|source| match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Error::Malformed {
                path: path.clone(),
                reason: format!("it has to be {value} and /proc/sys is mounted read-only here"),
            },
            _ => Error::file("write setting", &path, source),
        })?;
        changed.push(format!("{setting} = {value}"));
    }
    Ok(changed)
}

#[cfg(test)]
mod tests;
