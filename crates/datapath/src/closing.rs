//! Closing sockets whose backend has left.
//!
//! A socket that was translated when it connected sends to its backend for as long as it lives. A
//! UDP socket would never notice that nobody listens there any more (a resolver's that is kept open,
//! say), a TCP connection only after many minutes.
//!
//! | socket | is closed when |
//! |---|---|
//! | UDP | its backend has left the service |
//! | TCP | the same, and no workload or slice has the address any more: one that ends, or isn't ready, may finish what it has begun |
//!
//! One that was connected past the service is not ours to close: a TCP socket remembers what it was
//! connected through, and of UDP sockets there is a table.

use crate::place::locate;
use abi::process::SocketOwner;
use abi::service::{Backend, SocketTranslation, SocketTranslationKey};
use abi::{Address, Port};
use bpf_kernel::{Map, Table};
use host::NetNamespace;
use host::cgroup::Root;
use host::sockets::{self, Socket, Transport};
use model::{Place, Protocol};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use zerocopy::FromBytes as _;

/// What is to be closed, and where it may be.
#[derive(Debug)]
pub struct Closing {
    places: Vec<Place>,
    /// Whether sockets of the node's own processes are translated.
    host: bool,
    cgroups: Root,
    targets: Arc<Targets>,
}

#[derive(Debug)]
struct Targets {
    /// Services that a backend has left.
    departed: HashMap<(Transport, SocketAddr), HashSet<u32>>,
    /// Socket storage.
    owners: Map,
    translations: Table<SocketTranslationKey, SocketTranslation>,
}

impl Closing {
    /// None if nothing has left.
    pub(crate) fn of(
        departed: &[(u32, Backend)],
        is_listed: impl Fn(IpAddr) -> bool,
        places: Vec<Place>,
        host: bool,
        cgroups: Root,
        maps: &Path,
    ) -> crate::Result<Option<Self>> {
        let mut targets: HashMap<_, HashSet<u32>> = HashMap::new();
        for (service, backend) in departed {
            let address = SocketAddr::new(IpAddr::from(backend.address), backend.port.number());
            let transport = if backend.protocol == Protocol::Udp.number() {
                Transport::Udp
            } else if backend.protocol == Protocol::Tcp.number() && !is_listed(address.ip()) {
                Transport::Tcp
            } else {
                continue;
            };
            targets.entry((transport, address)).or_default().insert(*service);
        }
        if targets.is_empty() {
            return Ok(None);
        }
        let owners = Map::open(&maps.join(abi::maps::SOCKET_OWNERS))?;
        let translations = Table::open(&maps.join(abi::maps::SOCKET_TRANSLATIONS))?;
        let targets = Arc::new(Targets { departed: targets, owners, translations });
        Ok(Some(Closing { places, host, cgroups, targets }))
    }

    /// Closes them; says how many. What can't be looked into is logged: its sockets time out.
    pub async fn run(self) -> usize {
        let mut closed = 0;
        let mut seen = HashSet::new();
        let places = self.host.then_some(None).into_iter().chain(self.places.iter().map(Some));
        for place in places {
            let namespace = match self.namespace(place).await {
                Ok(namespace) => namespace,
                Err(error) if error.is_absence() => continue,
                Err(error) => {
                    tracing::warn!(%error, "sockets to departed backends are not closed");
                    continue;
                }
            };
            if !seen.insert(namespace.identity()) {
                continue;
            }
            let targets = self.targets.clone();
            let done = tokio::task::spawn_blocking(move || {
                let owners = targets.owners.as_fd();
                sockets::close(&namespace, Some(owners), |socket| targets.includes(socket))
            });
            match done.await {
                Ok(Ok(count)) => closed += count,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "sockets to departed backends are not closed");
                }
                Err(error) => tracing::error!(%error, "closing sockets"),
            }
        }
        closed
    }

    /// Of a workload, or of the node itself, whose network some workloads share.
    async fn namespace(&self, place: Option<&Place>) -> host::Result<NetNamespace> {
        let located = match place {
            Some(place) => locate(place, &self.cgroups).await?.namespace,
            None => None,
        };
        located.map_or_else(NetNamespace::current, Ok)
    }
}

impl Targets {
    fn includes(&self, socket: &Socket) -> bool {
        let Some(services) = self.departed.get(&(socket.transport, socket.remote)) else {
            return false;
        };
        let service = match socket.transport {
            Transport::Tcp => {
                let owner = socket.storage.as_deref().map(SocketOwner::read_from_bytes);
                owner.and_then(Result::ok).map(|owner| owner.service)
            }
            Transport::Udp => {
                let key = SocketTranslationKey {
                    cookie: socket.cookie,
                    backend: Address::from(socket.remote.ip()),
                    port: Port::new(socket.remote.port()),
                    protocol: Protocol::Udp.number(),
                    zero: [0; 5],
                };
                self.translations.get(&key).ok().flatten().map(|known| known.service)
            }
        };
        service.is_some_and(|service| services.contains(&service))
    }
}
