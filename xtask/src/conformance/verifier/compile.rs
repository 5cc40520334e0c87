//! Compiling the selftests with clang, for eBPF.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail};

use super::source::Source;
use crate::report::Step;
use crate::workspace;

const CLANG: &str = "clang-19";

#[rustfmt::skip]
const FLAGS: &[&str] = &[
    "-g", "-O2", "-mcpu=v4", "--target=bpf", "-mlittle-endian", "-D__TARGET_ARCH_x86",
    "-fms-extensions", "-Wno-microsoft-anon-tag", "-Wno-compare-distinct-pointer-types",
];

/// libbpf's headers for programs, which the tests include as `<bpf/...>`.
const HEADERS: &[&str] =
    &["bpf_core_read.h", "bpf_endian.h", "bpf_helpers.h", "bpf_tracing.h", "usdt.bpf.h"];

/// Compiles all tests, unless that was done before in the same way. The objects, by name.
pub fn compile(source: &Source) -> Result<Vec<PathBuf>> {
    let step = Step::start("compiling");
    let objects = source.folder.join("objects");
    let version = workspace::output(Command::new(CLANG).arg("--version"))?;
    let key = format!("{version}\n{FLAGS:?}\n{HEADERS:?}");
    let key_file = objects.join("key");
    let files = programs(&source.tests().join("progs"))?;
    if fs::read_to_string(&key_file).ok().as_deref() != Some(&key) {
        if objects.is_dir() {
            fs::remove_dir_all(&objects)?;
        }
        fs::create_dir_all(&objects)?;
        let headers = headers(source)?;
        step.doing(format!("{} files", files.len()));
        compile_all(source, &headers, &objects, &files)?;
        fs::write(&key_file, key)?;
    }
    let list: Vec<_> = files.iter().map(|file| object_of(&objects, file)).collect();
    step.done(format!("{} objects", list.len()));
    Ok(list)
}

/// Types that some tests want CO-RE relocations answered by, instead of the kernel's.
pub fn other_types(source: &Source, name: &str) -> Result<PathBuf> {
    let objects = source.folder.join("objects");
    let stem = name.strip_suffix(".bpf.o").unwrap_or(name);
    let object = objects.join(format!("{stem}.o"));
    if !object.is_file() {
        let file = source.tests().join("progs").join(format!("{stem}.c"));
        compile_one(source, &source.folder.join("include"), &objects, &file)?;
    }
    Ok(object)
}

fn programs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("verifier_") && name.ends_with(".c") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The headers that are generated: the kernel's types, and what helpers there are.
fn headers(source: &Source) -> Result<PathBuf> {
    let folder = source.folder.join("include");
    let libbpf = folder.join("bpf");
    fs::create_dir_all(&libbpf)?;
    for header in HEADERS {
        fs::copy(source.tree.join("tools/lib/bpf").join(header), libbpf.join(header))?;
    }
    let mut helpers = Command::new("python3");
    helpers.arg(source.tree.join("scripts/bpf_doc.py")).arg("--header");
    helpers.arg("--file").arg(source.tree.join("include/uapi/linux/bpf.h"));
    fs::write(libbpf.join("bpf_helper_defs.h"), workspace::output(&mut helpers)?)?;
    let bpftool = workspace::find_program("bpftool").context("bpftool is not installed")?;
    let mut types = Command::new(bpftool);
    types.args(["btf", "dump", "file"]).arg(&source.types).args(["format", "c"]);
    fs::write(folder.join("vmlinux.h"), workspace::output(&mut types)?)?;
    Ok(folder)
}

fn compile_all(source: &Source, headers: &Path, objects: &Path, files: &[PathBuf]) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get());
    let share = files.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let compile = |files: &[PathBuf]| -> Result<()> {
            files.iter().try_for_each(|file| compile_one(source, headers, objects, file))
        };
        let workers: Vec<_> =
            files.chunks(share).map(|files| scope.spawn(move || compile(files))).collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread that compiles has died"),
            }
        }
        Ok(())
    })
}

fn compile_one(source: &Source, headers: &Path, objects: &Path, file: &Path) -> Result<()> {
    let mut clang = Command::new(CLANG);
    clang.args(FLAGS);
    let tests = source.tests();
    let tools = source.tree.join("tools/include");
    for folder in [headers, &tests, &tools.join("uapi"), &tools] {
        clang.arg("-I").arg(folder);
    }
    // Where Debian keeps what of libc's headers differs between processors.
    clang.args(["-idirafter", "/usr/include/x86_64-linux-gnu"]);
    clang.arg("-c").arg(file).arg("-o").arg(object_of(objects, file));
    workspace::output(&mut clang).map(drop)
}

fn object_of(objects: &Path, file: &Path) -> PathBuf {
    objects.join(file.file_stem().unwrap_or_default()).with_extension("o")
}
