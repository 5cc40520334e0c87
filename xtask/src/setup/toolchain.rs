//! The Rust side of setup: rust-src for the pinned toolchain, and `bpf-linker` built against the
//! LLVM that this rustc brings, so that no LLVM package is needed and the bitcode always fits.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::linker_cache::{self, BPF_LINKER_VERSION};
use crate::report::Step;
use crate::workspace::{self, cargo, output};

pub fn ensure() -> Result<()> {
    let step = Step::start("toolchain");
    let rustc = Rustc::probe()?;
    let source = if rustc.has_source() {
        "rust-src"
    } else {
        step.doing("installing rust-src with rustup");
        rustc.install_source()?;
        "rust-src (installed)"
    };
    let root = linker_cache::bpf_linker_root(&rustc.version)
        .context("neither SKEP_CACHE nor HOME is set: no place to keep bpf-linker")?;
    let linker = if runs(&root.join("bin/bpf-linker")) {
        "cached"
    } else {
        step.doing(format!("building bpf-linker {BPF_LINKER_VERSION} in {}", root.display()));
        build_linker(&rustc, &root)?;
        "built"
    };
    step.done(format!(
        "rustc {}, {source}, bpf-linker {BPF_LINKER_VERSION} ({linker})",
        rustc.version
    ));
    Ok(())
}

/// Ensures that rustc can compile for these targets; says which it still can't.
pub fn ensure_targets(targets: &[&'static str]) -> Result<Vec<&'static str>> {
    let step = Step::start("targets");
    let rustc = Rustc::probe()?;
    let absent = || targets.iter().copied().filter(|target| !rustc.has_target(target));
    let missing: Vec<_> = absent().collect();
    if missing.is_empty() {
        step.done(targets.join(", "));
        return Ok(missing);
    }
    step.doing(format!("installing {} with rustup", missing.join(", ")));
    let mut rustup = Command::new("rustup");
    rustup.current_dir(workspace::root()).args(["target", "add"]).args(&missing);
    let result = output(&mut rustup);
    let missing: Vec<_> = absent().collect();
    if missing.is_empty() {
        step.done(targets.join(", "));
    } else {
        step.missing(format!("not found: {}", missing.join(", ")));
        if let Err(error) = result {
            println!("  {error:#}");
        }
    }
    Ok(missing)
}

struct Rustc {
    version: String,
    sysroot: PathBuf,
}

impl Rustc {
    /// The rustc that cargo will use in this workspace.
    fn probe() -> Result<Self> {
        let rustc = || {
            let mut rustc = Command::new("rustc");
            rustc.current_dir(workspace::root());
            rustc
        };
        let printed = output(rustc().arg("--version"))?;
        let version = linker_cache::rustc_version(&printed)
            .with_context(|| format!("cannot read a version from {printed:?}"))?
            .to_owned();
        let sysroot = output(rustc().args(["--print", "sysroot"]))?.trim().into();
        Ok(Self { version, sysroot })
    }

    fn has_source(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
    }

    fn has_target(&self, target: &str) -> bool {
        self.sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
    }

    /// rustup adds the components of `rust-toolchain.toml` itself, unless automatic installation is
    /// off, so it is asked for this one.
    fn install_source(&self) -> Result<()> {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(workspace::root()).args(["component", "add", "rust-src"]);
        output(&mut rustup)
            .context("the eBPF objects need rust-src: `rustup component add rust-src`")?;
        if !self.has_source() {
            bail!(
                "rustup installed rust-src, but not for the rustc in use ({}). \
                 Is a rustc of the distribution first in the PATH?",
                self.sysroot.display()
            );
        }
        Ok(())
    }

    /// The shared LLVM in the sysroot ("libLLVM.so.22.1-rust-1.95.0-stable") and its major version.
    fn llvm(&self) -> Result<(PathBuf, String)> {
        let folder = self.sysroot.join("lib");
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let name = entry?.file_name();
            let major = name.to_str().and_then(|name| name.strip_prefix("libLLVM.so.")).and_then(
                |version| version.split_once(|c: char| !c.is_ascii_digit()).map(|(major, _)| major),
            );
            if let Some(major) = major.filter(|major| !major.is_empty()) {
                return Ok((folder.join(&name), major.to_owned()));
            }
        }
        bail!("no libLLVM.so.* in {}: bpf-linker needs rustc's own LLVM", folder.display())
    }
}

/// A linker that cannot find its LLVM any more (a toolchain that was removed) is built again.
fn runs(linker: &Path) -> bool {
    linker.is_file() && output(Command::new(linker).arg("--version")).is_ok()
}

fn build_linker(rustc: &Rustc, root: &Path) -> Result<()> {
    let (llvm, major) = rustc.llvm()?;
    let prefix = root.join("llvm");
    let libraries = prefix.join("lib");
    fs::create_dir_all(&libraries).with_context(|| libraries.display().to_string())?;
    // The names that a build against an installed LLVM looks for.
    for name in ["libLLVM.so".to_owned(), format!("libLLVM-{major}.so")] {
        let link = libraries.join(name);
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link).with_context(|| link.display().to_string())?;
        }
        symlink(&llvm, &link).with_context(|| link.display().to_string())?;
    }
    // With its own way to the library, the linker also runs outside of cargo.
    let mut rpath = OsString::from("-Clink-arg=-Wl,-rpath,");
    rpath.push(rustc.sysroot.join("lib"));
    let mut install = cargo();
    install
        .args(["install", "bpf-linker", "--locked", "--force", "--version", BPF_LINKER_VERSION])
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(root)
        .env("LLVM_PREFIX", &prefix)
        .env("RUSTFLAGS", rpath)
        // Nothing of it belongs among our artifacts.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    output(&mut install).context("bpf-linker could not be built")?;
    if !runs(&root.join("bin/bpf-linker")) {
        bail!("the bpf-linker just built in {} does not run", root.display());
    }
    Ok(())
}
