//! Compiles the eBPF crates in `ebpf/` with a cargo of its own and embeds what comes out.
//!
//! A second cargo is needed because the objects are for another target, with another profile, a
//! `core` built from source and a linker of their own. It works in a target directory beside the
//! outer one's profiles, so the two never wait for each other's lock, and it starts from a clean
//! environment: flags, wrappers and lints of the outer build are for the host.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "../../xtask/src/linker_cache.rs"]
mod linker_cache;

const TARGET: &str = "bpfel-unknown-none";
const PROFILE: &str = "ebpf";

/// `v3` is alu32, jmp32 and all atomics. The BTF is made from the debug information.
///
/// Memory is set and moved by stores, up to so many of them, and never by calls of `memset` and
/// `memmove`, which would do it byte for byte. Nor is that safe: a loop in a function that is called
/// from several depths makes the verifier of Debian's 5.10.223 read a frame that isn't there when it
/// looks for what made a counter precise.
const RUSTFLAGS: &[&str] = &[
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Clink-arg=--llvm-args=--max-store-memset=128",
    "-Clink-arg=--llvm-args=--max-store-memmove=128",
    "-Ctarget-cpu=v3",
];

/// What the objects are made from, relative to the workspace.
const SOURCES: &[&str] = &[
    "ebpf",
    "crates/abi",
    "crates/wire",
    "crates/dataplane",
    "xtask/src/linker_cache.rs",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
];

fn main() {
    if let Err(message) = build() {
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("../..");
    let workspace =
        workspace.canonicalize().map_err(|e| format!("{}: {e}", workspace.display()))?;
    let out = variable("OUT_DIR")?;
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo::rerun-if-env-changed=SKEP_CACHE");

    let rustc = Rustc::probe(variable("RUSTC")?)?;
    let linker = linker(&rustc)?;
    let built = compile(&workspace, &target_dir(&out)?, &rustc, &linker)?;

    let mut objects = BTreeMap::new();
    for (name, elf) in built {
        let stripped = out.join(format!("{name}.o"));
        strip(&rustc, &elf, &stripped)?;
        objects.insert(name, stripped);
    }
    write_if_changed(&out.join("objects.rs"), &statics(&objects))
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"))
}

/// `<target>/<profile>/build/<package>/out` -> `<target>/ebpf`.
fn target_dir(out: &Path) -> Result<PathBuf, String> {
    out.ancestors()
        .find(|path| path.file_name() == Some(OsStr::new("build")))
        .and_then(|build| build.parent()?.parent())
        .map(|target| target.join("ebpf"))
        .ok_or_else(|| format!("{} is not in a cargo target directory", out.display()))
}

struct Rustc {
    program: PathBuf,
    version: String,
    sysroot: PathBuf,
}

impl Rustc {
    fn probe(program: PathBuf) -> Result<Self, String> {
        let ask = |arguments: &[&str]| {
            let output = Command::new(&program).args(arguments).output();
            let output = output.map_err(|e| format!("cannot run {}: {e}", program.display()))?;
            Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let output = ask(&["--version"])?;
        let version = linker_cache::rustc_version(&output)
            .ok_or_else(|| format!("cannot read the version of rustc from {output:?}"))?
            .to_owned();
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
        if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            return Err("rust-src is not installed: run `cargo xtask setup`".to_owned());
        }
        Ok(Self { program, version, sysroot })
    }
}

/// The linker that setup built for this rustc, else one in the PATH.
fn linker(rustc: &Rustc) -> Result<PathBuf, String> {
    let cached =
        linker_cache::bpf_linker_root(&rustc.version).map(|root| root.join("bin/bpf-linker"));
    // Watched also while absent, so that a later setup takes effect.
    if let Some(cached) = &cached {
        println!("cargo::rerun-if-changed={}", cached.display());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|folder| folder.join("bpf-linker"));
    cached.into_iter().chain(in_path).find(|candidate| candidate.is_file()).ok_or_else(|| {
        format!(
            "bpf-linker {} for rustc {} not found: run `cargo xtask setup`",
            linker_cache::BPF_LINKER_VERSION,
            rustc.version
        )
    })
}

/// Builds all bins of the crates in `ebpf/` and returns them by name.
fn compile(
    workspace: &Path,
    target_dir: &Path,
    rustc: &Rustc,
    linker: &Path,
) -> Result<Vec<(String, PathBuf)>, String> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(workspace);
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_the_outer_build(name)) {
        cargo.env_remove(name);
    }
    // `-Z build-std` is not stable: the stable compiler allows it in this child only.
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &rustc.program)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"))
        .args(["build", "--bins", "-Zbuild-std=core"])
        .args(["--target", TARGET, "--profile", PROFILE])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(target_dir);
    for package in packages(&workspace.join("ebpf"))? {
        cargo.arg("--package").arg(package);
    }
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run cargo for the eBPF crates: {e}"))?;
    if !output.status.success() {
        return Err("the eBPF crates do not compile; the compiler's messages are below".to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).collect())
}

/// What cargo, and wrappers such as clippy, set for the outer build. Cargo's own settings
/// (home, network, registries) and its job server stay, so that both builds share one `-j`.
fn is_of_the_outer_build(name: &OsStr) -> bool {
    const KEPT: &[&str] = &[
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
    ];
    const REMOVED: &[&str] =
        &["CARGO", "RUSTFLAGS", "RUSTDOC", "RUSTC", "CLIPPY_", "LD_LIBRARY_PATH"];
    let name = name.to_string_lossy();
    let has_prefix = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    has_prefix(REMOVED) && !has_prefix(KEPT)
}

/// The packages in `ebpf/`, named as their folders.
fn packages(ebpf: &Path) -> Result<Vec<OsString>, String> {
    let entries = fs::read_dir(ebpf).map_err(|e| format!("{}: {e}", ebpf.display()))?;
    let folders = entries.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name()).collect();
    names.sort();
    Ok(names)
}

/// Name and path of the executable that a line of cargo's JSON announces.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

/// Drops the DWARF, ten times the size of the rest; `.BTF` and `.BTF.ext` are not debug sections to
/// objcopy and stay. rustc brings this objcopy with it.
fn strip(rustc: &Rustc, from: &Path, to: &Path) -> Result<(), String> {
    let host = env::var("HOST").map_err(|e| format!("HOST: {e}"))?;
    let objcopy = rustc.sysroot.join("lib/rustlib").join(host).join("bin/rust-objcopy");
    let status = Command::new(&objcopy)
        .arg("--strip-debug")
        .args([from, to])
        // Its LLVM is a shared library of the toolchain.
        .env("LD_LIBRARY_PATH", rustc.sysroot.join("lib"))
        .status()
        .map_err(|e| format!("cannot run {}: {e}", objcopy.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cannot strip {}: {status}", from.display()))
    }
}

fn statics(objects: &BTreeMap<String, PathBuf>) -> String {
    let mut code = String::new();
    let mut all = String::new();
    for (name, path) in objects {
        let constant = name.replace('-', "_").to_uppercase();
        // A `String` takes every write.
        let _ = writeln!(code, "/// The object `{name}`.");
        let _ = writeln!(code, "pub static {constant}: &[u8] = embed!({path:?});");
        let _ = write!(all, "({name:?}, {constant}), ");
    }
    let all = all.trim_end_matches(", ");
    let _ = writeln!(code, "/// Every object with its name.");
    let _ = writeln!(code, "pub static ALL: &[(&str, &[u8])] = &[{all}];");
    code
}

fn write_if_changed(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
