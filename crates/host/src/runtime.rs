//! Container runtimes and systemd: from a container's or unit's name to its processes and cgroup.
//!
//! Docker and podman speak the same HTTP API over a Unix socket. containerd's own API needs
//! gRPC and its many messages for two facts it also keeps in plain files: of every running task,
//! the first process and the OCI configuration. Those are read instead, so of containerd's
//! containers Skep knows the id and the *annotations* (Kubernetes' and nerdctl's names are among
//! them), not labels that exist in containerd's database alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cgroup::Root;
use crate::{Error, NetNamespace, Result};

mod containerd;
mod docker;
mod http;
mod systemd;

pub use systemd::unit_cgroup;

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// Labels; of containerd: annotations.
    pub labels: BTreeMap<String, String>,
    /// Its first process, as the node numbers it.
    pub pid: u32,
}

impl Container {
    /// Its network namespace.
    pub fn namespace(&self) -> Result<NetNamespace> {
        NetNamespace::of_process(self.pid)
    }

    /// The folder of its cgroup below `root`.
    pub fn cgroup(&self, root: &Root) -> Result<PathBuf> {
        root.of_process(self.pid).map(|cgroup| cgroup.path().to_owned())
    }
}

/// Which container is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// By name or id.
    Name(String),
    /// By all of these labels.
    Labels(BTreeMap<String, String>),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Name(name) => write!(f, "named `{name}`"),
            Wanted::Labels(labels) => {
                let pairs: Vec<String> =
                    labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "with labels {}", pairs.join(","))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Docker,
    Podman,
    Containerd,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
            Kind::Containerd => "containerd",
        }
    }

    /// The variable that says where the runtime is; docker's and podman's are the ones their own
    /// clients read.
    pub fn variable(self) -> &'static str {
        match self {
            Kind::Docker => "DOCKER_HOST",
            Kind::Podman => "CONTAINER_HOST",
            Kind::Containerd => "SKEP_CONTAINERD_STATE",
        }
    }

    fn default_path(self) -> &'static Path {
        Path::new(match self {
            Kind::Docker => "/var/run/docker.sock",
            Kind::Podman => "/run/podman/podman.sock",
            Kind::Containerd => "/run/containerd/io.containerd.runtime.v2.task",
        })
    }

    fn hint(self) -> String {
        let variable = self.variable();
        match self {
            Kind::Docker | Kind::Podman => {
                format!("start it, or set {variable}=unix:///path/of/its.sock for skepd")
            }
            Kind::Containerd => {
                format!("start it, or set {variable} to its folder of tasks for skepd")
            }
        }
    }
}

/// A container runtime on this node.
#[derive(Clone, Debug)]
pub struct Runtime {
    kind: Kind,
    path: PathBuf,
}

impl Runtime {
    /// Where the environment says ([`Kind::variable`]), else where it usually is.
    pub fn usual(kind: Kind) -> Self {
        let named = std::env::var_os(kind.variable()).map(PathBuf::from);
        let path = match named {
            Some(path) => match path.to_str().and_then(|text| text.strip_prefix("unix://")) {
                Some(socket) => PathBuf::from(socket),
                None => path,
            },
            None => kind.default_path().to_owned(),
        };
        Runtime { kind, path }
    }

    /// At this socket (containerd: this folder of tasks).
    pub fn at(kind: Kind, path: impl Into<PathBuf>) -> Self {
        Runtime { kind, path: path.into() }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The one running container that is meant.
    pub async fn find(&self, wanted: &Wanted) -> Result<Container> {
        let mut found = match self.kind {
            Kind::Docker | Kind::Podman => docker::find(self, wanted).await?,
            Kind::Containerd => containerd::find(self, wanted)?,
        };
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Error::ContainerMissing {
                runtime: self.kind.name(),
                wanted: wanted.to_string(),
            }),
            _ => Err(Error::ContainerAmbiguous {
                runtime: self.kind.name(),
                wanted: wanted.to_string(),
                names: found.into_iter().map(|container| container.name).collect(),
            }),
        }
    }

    /// All running containers.
    pub async fn list(&self) -> Result<Vec<Container>> {
        let all = Wanted::Labels(BTreeMap::new());
        match self.kind {
            Kind::Docker | Kind::Podman => docker::find(self, &all).await,
            Kind::Containerd => containerd::find(self, &all),
        }
    }

    fn missing(&self) -> Error {
        Error::RuntimeMissing {
            runtime: self.kind.name(),
            tried: vec![self.path.clone()],
            hint: self.kind.hint(),
        }
    }

    fn confusing(&self, reason: impl Into<String>) -> Error {
        Error::RuntimeAnswer {
            runtime: self.kind.name(),
            socket: self.path.clone(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests;
