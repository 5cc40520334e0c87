//! The guest's file system: an archive in cpio's `newc` format
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const DEVICE: u32 = 0o020_600;
/// Where the kernel gives the first process its standard output.
const CONSOLE: (u32, u32) = (5, 1);

/// Writes the archive: the program as `/init`, the modules in their order, a console, and `objects`
/// by name in their folder.
pub fn write(
    to: &Path,
    program: &Path,
    modules: &[PathBuf],
    objects: &[(String, Vec<u8>)],
) -> Result<()> {
    let mut archive = Archive::default();
    archive.add("dev", DIRECTORY, (0, 0), &[]);
    archive.add("dev/console", DEVICE, CONSOLE, &[]);
    let init = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    archive.add("init", PROGRAM, (0, 0), &init);
    archive.add("modules", DIRECTORY, (0, 0), &[]);
    for (index, path) in modules.iter().enumerate() {
        archive.add(&format!("modules/{index}.ko"), FILE, (0, 0), &uncompressed(path)?);
    }
    archive.add("objects", DIRECTORY, (0, 0), &[]);
    for (name, bytes) in objects {
        archive.add(&format!("objects/{name}"), FILE, (0, 0), bytes);
    }
    fs::write(to, archive.finish()).with_context(|| format!("writing {}", to.display()))
}

fn uncompressed(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(path).with_context(|| format!("reading {}", path.display()));
    }
    // Not through `workspace::output`, which is for text.
    let output = Command::new("xz").arg("-dc").arg(path).output().context("cannot run xz")?;
    anyhow::ensure!(output.status.success(), "xz cannot unpack {}", path.display());
    Ok(output.stdout)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let links = 1;
        let fields = [
            self.entries,
            mode,
            0, // user
            0, // group
            links,
            0, // time
            content.len() as u32,
            0, // device it lies on
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // checksum, not in this variant
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.add("init", PROGRAM, (0, 0), b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], format!("{PROGRAM:08x}").as_bytes());
        // 110 bytes of header and 5 of name, padded to 116; then the content, padded.
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.len().is_multiple_of(4));
    }
}
