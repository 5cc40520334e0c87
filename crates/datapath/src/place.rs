//! From where a workload says it runs to its network namespace and cgroup.

use host::NetNamespace;
use host::cgroup::Root;
use host::runtime::{self, Runtime, Wanted};
use model::{ContainerRuntime, Place};
use std::path::PathBuf;

/// What was found. A workload with a namespace of its own gets an interface; one with a cgroup
/// gets its service addresses translated at the socket and its sockets remember their process.
#[derive(Clone, Debug)]
pub struct Located {
    /// `None` for workloads in the node's own network.
    pub namespace: Option<NetNamespace>,
    pub cgroup: Option<PathBuf>,
}

/// Looks the place up as it is now.
pub async fn locate(place: &Place, cgroups: &Root) -> host::Result<Located> {
    match place {
        Place::Netns { path, cgroup } => Ok(Located {
            namespace: Some(NetNamespace::open(path)?),
            cgroup: match cgroup {
                Some(path) => Some(cgroups.open(path)?.path().to_owned()),
                None => None,
            },
        }),
        Place::Cgroup { path } => {
            Ok(Located { namespace: None, cgroup: Some(cgroups.open(path)?.path().to_owned()) })
        }
        Place::SystemdUnit { unit } => {
            let cgroup = runtime::unit_cgroup(cgroups, unit).await?;
            Ok(Located { namespace: None, cgroup: Some(cgroup.path().to_owned()) })
        }
        Place::Container { runtime, name, labels } => {
            let kind = match runtime {
                ContainerRuntime::Docker => runtime::Kind::Docker,
                ContainerRuntime::Podman => runtime::Kind::Podman,
                ContainerRuntime::Containerd => runtime::Kind::Containerd,
            };
            let wanted = match name {
                Some(name) => Wanted::Name(name.clone()),
                None => Wanted::Labels(labels.0.clone()),
            };
            let container = Runtime::usual(kind).find(&wanted).await?;
            let namespace = container.namespace()?;
            // A container on the host's network has no interface of its own to attach to.
            let own = namespace != NetNamespace::current()?;
            Ok(Located {
                namespace: own.then_some(namespace),
                cgroup: Some(container.cgroup(cgroups)?),
            })
        }
    }
}
