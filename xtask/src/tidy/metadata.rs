//! What `cargo metadata` says, reduced to what the rules look at.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::workspace;

#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    /// `None` for a crate of this workspace.
    pub source: Option<String>,
    manifest_path: String,
    dependencies: Vec<RawDependency>,
    targets: Vec<RawTarget>,
}

#[derive(Debug, Deserialize)]
struct RawDependency {
    name: String,
    /// Cargo writes `null` for the ordinary kind.
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawTarget {
    kind: Vec<String>,
    src_path: String,
}

/// A crate of this workspace; paths are relative to its root.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    /// "crates/abi"
    pub folder: String,
    /// "crates/abi/Cargo.toml"
    pub manifest: String,
    pub dependencies: Vec<Dependency>,
    /// The first files of its library and binaries.
    pub roots: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    /// For tests, examples and benches: never part of what a user runs.
    Dev,
}

impl Metadata {
    pub fn read() -> Result<Self> {
        let host = workspace::host_triple()?;
        let mut cargo = workspace::cargo();
        // Without the filter, every dependency of every platform would be downloaded.
        cargo.args(["metadata", "--format-version", "1", "--filter-platform", &host]);
        let json = workspace::output(&mut cargo)?;
        serde_json::from_str(&json).context("reading cargo metadata")
    }

    pub fn members(&self) -> Vec<Member> {
        let is_member = |package: &&Package| self.workspace_members.contains(&package.id);
        let mut members: Vec<_> = self.packages.iter().filter(is_member).map(member).collect();
        members.sort_by(|a, b| a.folder.cmp(&b.folder));
        members
    }
}

fn member(package: &Package) -> Member {
    let manifest = relative(&package.manifest_path);
    let folder = manifest.strip_suffix("/Cargo.toml").unwrap_or_default().to_owned();
    let dependencies = package.dependencies.iter().map(|dependency| Dependency {
        name: dependency.name.clone(),
        kind: match dependency.kind.as_deref() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        },
    });
    let is_root = |target: &&RawTarget| {
        let shipped = ["lib", "bin", "proc-macro"];
        target.kind.iter().any(|kind| shipped.contains(&kind.as_str()))
    };
    Member {
        name: package.name.clone(),
        folder,
        dependencies: dependencies.collect(),
        roots: package.targets.iter().filter(is_root).map(|t| relative(&t.src_path)).collect(),
        manifest,
    }
}

fn relative(path: &str) -> String {
    let root = workspace::root().to_string_lossy();
    path.strip_prefix(&*root).unwrap_or(path).trim_start_matches('/').to_owned()
}
