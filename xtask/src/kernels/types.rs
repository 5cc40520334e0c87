//! The types (BTF) of a kernel that isn't running: they are inside of its image.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};
use bpf_object::btf::Btf;
use object::{Object as _, ObjectSection as _};

/// How an image can be compressed: the first bytes, and the program that undoes it.
const FORMATS: &[(&[u8], &str)] = &[
    (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (&[0x1f, 0x8b, 0x08], "gzip"),
];

/// Reads the types out of a bootable image for x86.
pub fn of_image(image: &Path) -> Result<Btf> {
    let bytes = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let payload = payload(&bytes).with_context(|| format!("{} is no image", image.display()))?;
    let Some((_, program)) = FORMATS.iter().find(|(magic, _)| payload.starts_with(magic)) else {
        bail!("{} is compressed in a way that is not known here", image.display());
    };
    let kernel = decompress(program, payload)?;
    let file = object::File::parse(kernel.as_slice()).context("what is in the image is no ELF")?;
    let section = file.section_by_name(".BTF").context("the kernel has no types")?;
    Ok(Btf::parse(section.data()?)?)
}

/// Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let sectors = usize::from(match *image.get(0x1f1)? {
        0 => 4,
        sectors => sectors,
    });
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    image.get(start..start + word(0x24c)?)
}

fn decompress(program: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // The length behind the compressed part is complained of.
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("`{program}` is needed to unpack the kernel"))?;
    let mut input = child.stdin.take().context("no input")?;
    let mut output = child.stdout.take().context("no output")?;
    let kernel = thread::scope(|scope| {
        scope.spawn(move || {
            // It may end before it has read everything.
            let _ = input.write_all(payload);
        });
        let mut kernel = Vec::new();
        output.read_to_end(&mut kernel).map(|_| kernel)
    })?;
    child.wait()?;
    Ok(kernel)
}
