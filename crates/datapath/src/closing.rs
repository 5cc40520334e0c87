//! Closing sockets whose backend has left.
//!
//! A socket that was translated when it connected sends to its backend for as long as it lives. A
//! UDP socket would never notice that nobody listens there any more (a resolver's that is kept open,
//! say), a TCP connection only after many minutes.
//!
//! | socket | is closed when |
//! |---|---|
//! | UDP, connected through a service | its backend has left the service |
//! | TCP | its backend has left, and no workload or slice has the address any more: one that ends, or isn't ready, may finish what it has begun |

use crate::place::locate;
use abi::service::{Backend, SocketTranslation, SocketTranslationKey};
use abi::{Address, Port};
use bpf_kernel::Table;
use host::NetNamespace;
use host::cgroup::Root;
use host::sockets::{self, Socket, Transport};
use model::{Place, Protocol};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

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
    udp: HashMap<SocketAddr, HashSet<u32>>,
    tcp: HashSet<SocketAddr>,
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
        let mut udp: HashMap<SocketAddr, HashSet<u32>> = HashMap::new();
        let mut tcp = HashSet::new();
        for (service, backend) in departed {
            let address = SocketAddr::new(IpAddr::from(backend.address), backend.port.number());
            if backend.protocol == Protocol::Udp.number() {
                udp.entry(address).or_default().insert(*service);
            } else if backend.protocol == Protocol::Tcp.number() && !is_listed(address.ip()) {
                tcp.insert(address);
            }
        }
        if udp.is_empty() && tcp.is_empty() {
            return Ok(None);
        }
        let translations = Table::open(&maps.join(abi::maps::SOCKET_TRANSLATIONS))?;
        let targets = Arc::new(Targets { udp, tcp, translations });
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
                sockets::close(&namespace, |socket| targets.includes(socket))
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
        match socket.transport {
            Transport::Tcp => self.tcp.contains(&socket.remote),
            Transport::Udp => self.udp.get(&socket.remote).is_some_and(|services| {
                let key = SocketTranslationKey {
                    cookie: socket.cookie,
                    backend: Address::from(socket.remote.ip()),
                    port: Port::new(socket.remote.port()),
                    protocol: Protocol::Udp.number(),
                    zero: [0; 5],
                };
                // One that sent there by itself is not ours to close.
                let known = self.translations.get(&key).ok().flatten();
                known.is_some_and(|translation| services.contains(&translation.service))
            }),
        }
    }
}
