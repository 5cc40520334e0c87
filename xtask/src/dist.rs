//! `cargo xtask dist`: what one installs on a node, as one archive with its checksum.
//!
//! ```text
//! skep-0.1.0-x86_64/
//!   bin/          skepd, skep
//!   completions/  for the shells that skep knows
//!   man/          skep(1) and a page for each of its commands
//!   examples/     manifests
//!   README.md, CHANGELOG.md, LICENSE-*
//! ```
//!
//! `tar` and `sha256sum` do the packing. Names are sorted, owners are root and times are the last
//! commit's, so the same commit gives the same archive.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::report::Step;
use crate::setup;
use crate::workspace::{self, output, root};

const SHELLS: &[(&str, &str)] = &[("bash", "skep.bash"), ("zsh", "_skep"), ("fish", "skep.fish")];
const DOCUMENTS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

pub fn run() -> Result<()> {
    setup::toolchain()?;
    let step = Step::start("build");
    let built = workspace::build(&[
        "--profile=dist",
        "--package=agent",
        "--package=cli",
        "--bin=skepd",
        "--bin=skep",
    ])?;
    let executable = |name: &str| {
        let found = built.executables.iter().find(|(executable, _)| executable == name);
        found.map(|(_, path)| path.as_path()).with_context(|| format!("cargo built no {name}"))
    };
    let (skepd, skep) = (executable("skepd")?, executable("skep")?);
    step.done(format!("skepd {}, skep {}", mebibytes(skepd)?, mebibytes(skep)?));

    let step = Step::start("archive");
    let name = format!("skep-{}-{ARCH}", env!("CARGO_PKG_VERSION"));
    // target/dist, wherever that is.
    let dist = skep.parent().context("the binary is in no folder")?;
    let tree = dist.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| tree.display().to_string())?;
    }
    fill(&tree, skepd, skep)?;
    let archive = pack(dist, &name)?;
    step.done(format!("{} ({})", archive.display(), mebibytes(&archive)?));
    Ok(())
}

fn fill(tree: &Path, skepd: &Path, skep: &Path) -> Result<()> {
    let bin = folder(tree, "bin")?;
    copy(skepd, &bin.join("skepd"))?;
    copy(skep, &bin.join("skep"))?;

    let completions = folder(tree, "completions")?;
    for (shell, file) in SHELLS {
        let script = output(Command::new(skep).args(["completions", shell]))?;
        write(&completions.join(file), &script)?;
    }
    let man = folder(tree, "man")?;
    output(Command::new(skep).args(["man", "--out"]).arg(&man))?;

    let examples = folder(tree, "examples")?;
    for entry in fs::read_dir(root().join("examples")).context("examples")? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            copy(&path, &examples.join(name))?;
        }
    }
    for document in DOCUMENTS {
        copy(&root().join(document), &tree.join(document))?;
    }
    Ok(())
}

fn pack(dist: &Path, name: &str) -> Result<PathBuf> {
    let archive = format!("{name}.tar.gz");
    let mut git = Command::new("git");
    git.current_dir(root()).args(["log", "-1", "--format=%ct"]);
    let time = output(&mut git)?;
    let mut tar = Command::new("tar");
    tar.current_dir(dist)
        .args(["--create", "--sort=name", "--owner=root:0", "--group=root:0"])
        .arg(format!("--mtime=@{}", time.trim()))
        // gzip writes no name and no time of its own.
        .args(["--use-compress-program=gzip -n -9", "--file", &archive, name]);
    output(&mut tar)?;
    let sum = output(Command::new("sha256sum").current_dir(dist).arg(&archive))?;
    write(&dist.join(format!("{archive}.sha256")), &sum)?;
    Ok(dist.join(archive))
}

fn folder(tree: &Path, name: &str) -> Result<PathBuf> {
    let path = tree.join(name);
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| from.display().to_string())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn mebibytes(path: &Path) -> Result<String> {
    let size = fs::metadata(path).with_context(|| path.display().to_string())?.len();
    Ok(format!("{:.1} MiB", size as f64 / f64::from(1 << 20)))
}
