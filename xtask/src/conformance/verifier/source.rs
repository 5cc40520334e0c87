//! The selftests' sources: Debian's package of the kernel's source, in the cache folder.
//!
//! They are under the GPL-2.0: they are fetched, compiled and judged where they lie, and nothing of
//! them goes into this repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::kernels::debian;
use crate::report::Step;
use crate::{linker_cache, workspace};

/// The release of Debian whose kernel is 6.12.
const SUITE: &str = "trixie";
const PACKAGE: &str = "linux-source-6.12";

/// What is needed of the kernel's source.
const PARTS: &[&str] = &[
    "include/uapi/linux/bpf.h",
    "scripts/bpf_doc.py",
    "scripts/extract-vmlinux",
    "tools/include",
    "tools/lib/bpf",
    "tools/testing/selftests/bpf",
];

/// The unpacked source, and the types of the kernel that was built from it.
#[derive(Debug)]
pub struct Source {
    /// Where all of this lies; others may put more there.
    pub folder: PathBuf,
    /// The root of the source tree.
    pub tree: PathBuf,
    /// The kernel's types, as in `/sys/kernel/btf/vmlinux`.
    pub types: PathBuf,
}

impl Source {
    /// Gets what isn't there yet.
    pub fn fetch() -> Result<Self> {
        let step = Step::start("selftests");
        let cache = linker_cache::cache_root().context("HOME is not set")?;
        let folder = cache.join("selftests-6.12");
        fs::create_dir_all(&folder)?;
        let tree = folder.join("tree");
        if !tree.is_dir() {
            step.doing(format!("fetching {PACKAGE} (150 MB)"));
            let package = folder.join("package");
            debian::unpack(&folder.join("apt"), SUITE, &[PACKAGE], &package)?;
            step.doing("unpacking what is needed of it");
            unpack_tree(&package, &tree)?;
            fs::remove_dir_all(&package)?;
        }
        let types = folder.join("vmlinux.btf");
        if !types.is_file() {
            let kernel = debian::fetch(&cache.join("kernels").join(SUITE), SUITE)?;
            step.doing(format!("reading the types of {}", kernel.release));
            extract_types(&tree, &kernel.image, &types)?;
        }
        step.done(format!("of {PACKAGE}, in {}", folder.display()));
        Ok(Self { folder, tree, types })
    }

    pub fn tests(&self) -> PathBuf {
        self.tree.join("tools/testing/selftests/bpf")
    }
}

/// The package holds an archive. Unpacked beside and then moved, so that a tree that is there is
/// whole.
fn unpack_tree(package: &Path, tree: &Path) -> Result<()> {
    let beside = tree.with_extension("unpacking");
    if beside.is_dir() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(&beside)?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&beside).arg("-xJf");
    tar.arg(package.join("usr/src").join(format!("{PACKAGE}.tar.xz")));
    tar.arg("--strip-components=1");
    workspace::output(tar.args(PARTS.iter().map(|part| format!("{PACKAGE}/{part}"))))?;
    Ok(fs::rename(&beside, tree)?)
}

/// The section `.BTF` of the kernel inside of its compressed image.
fn extract_types(tree: &Path, image: &Path, types: &Path) -> Result<()> {
    let mut extract = Command::new("sh");
    extract.arg(tree.join("scripts/extract-vmlinux")).arg(image);
    let output = extract.output().context("running extract-vmlinux")?;
    let elf = object::File::parse(&*output.stdout)
        .with_context(|| format!("there is no kernel in {}", image.display()))?;
    let section = object::Object::section_by_name(&elf, ".BTF").context("it has no types")?;
    Ok(fs::write(types, object::ObjectSection::data(&section)?)?)
}
