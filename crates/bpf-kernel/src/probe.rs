//! What this kernel can do, found by trying.
//!
//! A helper is tried by loading a program that calls it: the verifier names an unknown helper before
//! it looks at the arguments. Nothing is attached anywhere.

use std::fmt;

use aya_obj::generated::{bpf_attach_type, bpf_func_id, bpf_prog_type};

use crate::{
    Error,
    attach::InterfaceHook,
    link::Link,
    map::{Map, MapBtf, MapKind, MapLayout, Table},
    program::{Program, ProgramKind},
    sys::{self, Command},
};

/// A capability of kernels that we use where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    Tcx,
    RingBuffer,
    PeerNameHooks,
    RedirectPeer,
    RedirectNeighbour,
    LruHash,
    Batches,
    TrieBatches,
    SocketStorageInClassifiers,
    SocketStorageInCgroups,
    SocketStorageClone,
    NetnsCookie,
    NetnsCookieInClassifiers,
    CurrentTaskInCgroups,
    Loop,
}

/// One line of the list: what it is called, the kernel that brought it, what happens without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    pub name: &'static str,
    pub since: &'static str,
    pub without: &'static str,
}

pub const ALL: &[Feature] = &[
    Feature::Tcx,
    Feature::RingBuffer,
    Feature::PeerNameHooks,
    Feature::RedirectPeer,
    Feature::RedirectNeighbour,
    Feature::LruHash,
    Feature::Batches,
    Feature::TrieBatches,
    Feature::SocketStorageInClassifiers,
    Feature::SocketStorageInCgroups,
    Feature::SocketStorageClone,
    Feature::NetnsCookie,
    Feature::NetnsCookieInClassifiers,
    Feature::CurrentTaskInCgroups,
    Feature::Loop,
];

impl Feature {
    pub fn description(self) -> Description {
        let (name, since, without) = match self {
            Self::Tcx => ("tcx", "6.6", "programs are attached by clsact filters"),
            Self::RingBuffer => ("ring buffer", "5.8", "there are no flow events"),
            Self::PeerNameHooks => {
                ("getpeername hooks", "5.8", "programs see the backend, not the service")
            }
            Self::RedirectPeer => {
                ("redirect to peer", "5.10", "local packets pass through the host's stack")
            }
            Self::RedirectNeighbour => {
                ("redirect to neighbour", "5.10", "packets leave through the host's stack")
            }
            Self::LruHash => ("LRU hash", "4.10", "connections cannot be tracked"),
            Self::Batches => ("map batches", "5.6", "large tables are written entry by entry"),
            Self::TrieBatches => {
                ("trie batches", "5.13", "address and port tables are written entry by entry")
            }
            Self::SocketStorageInClassifiers => {
                ("socket storage in tc", "5.2", "flows do not name their process")
            }
            Self::SocketStorageInCgroups => {
                ("socket storage in cgroups", "5.10", "sockets do not remember their process")
            }
            Self::SocketStorageClone => {
                ("socket storage inheritance", "5.4", "accepted sockets do not name their process")
            }
            Self::NetnsCookie => {
                ("namespace cookie", "5.7", "socket translation serves the node's namespace too")
            }
            Self::NetnsCookieInClassifiers => {
                ("namespace cookie in tc", "6.15", "the cookie is known at sockets only")
            }
            Self::CurrentTaskInCgroups => {
                ("current task in cgroups", "5.10", "sockets do not remember their process")
            }
            Self::Loop => ("bpf_loop", "5.17", "loops are unrolled and bounded when compiled"),
        };
        Description { name, since, without }
    }

    /// Tries it.
    pub fn probe(self) -> bool {
        let sock_addr =
            |hook| ProgramKind::new(bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook);
        let connect4 = sock_addr(bpf_attach_type::BPF_CGROUP_INET4_CONNECT);
        let sock_create = ProgramKind::new(
            bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK,
            bpf_attach_type::BPF_CGROUP_INET_SOCK_CREATE,
        );
        let classifier = ProgramKind::CLASSIFIER;
        match self {
            Self::Tcx => tcx(),
            Self::RingBuffer => creates(MapKind::RingBuffer, 0, 0, 4096, 0),
            Self::LruHash => creates(MapKind::LruHash, 4, 4, 1, 0),
            Self::PeerNameHooks => [
                bpf_attach_type::BPF_CGROUP_INET4_GETPEERNAME,
                bpf_attach_type::BPF_CGROUP_INET6_GETPEERNAME,
            ]
            .into_iter()
            .all(|hook| Program::from_instructions("probe", sock_addr(hook), &PASS).is_ok()),
            Self::RedirectPeer => has_helper(classifier, bpf_func_id::BPF_FUNC_redirect_peer),
            Self::RedirectNeighbour => has_helper(classifier, bpf_func_id::BPF_FUNC_redirect_neigh),
            Self::Batches => batches(MapKind::Hash, 0),
            Self::TrieBatches => batches(MapKind::LpmTrie, BPF_F_NO_PREALLOC),
            Self::SocketStorageInClassifiers => {
                has_helper(classifier, bpf_func_id::BPF_FUNC_sk_storage_get)
            }
            Self::SocketStorageInCgroups => [connect4, sock_create]
                .into_iter()
                .all(|kind| has_helper(kind, bpf_func_id::BPF_FUNC_sk_storage_get)),
            Self::SocketStorageClone => socket_storage_clone().is_ok(),
            Self::NetnsCookie => has_helper(connect4, bpf_func_id::BPF_FUNC_get_netns_cookie),
            Self::NetnsCookieInClassifiers => {
                has_helper(classifier, bpf_func_id::BPF_FUNC_get_netns_cookie)
            }
            Self::CurrentTaskInCgroups => [connect4, sock_create].into_iter().all(|kind| {
                has_helper(kind, bpf_func_id::BPF_FUNC_get_current_task)
                    && has_helper(kind, bpf_func_id::BPF_FUNC_probe_read_kernel)
            }),
            Self::Loop => has_helper(classifier, bpf_func_id::BPF_FUNC_loop),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// `uname -r`.
    pub release: String,
    available: Vec<bool>,
}

impl Features {
    /// Tries everything; some milliseconds.
    pub fn probe() -> Self {
        let release = nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        Self { release, available: ALL.iter().map(|feature| feature.probe()).collect() }
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.list().any(|(known, available)| known == feature && available)
    }

    pub fn list(&self) -> impl Iterator<Item = (Feature, bool)> {
        ALL.iter().copied().zip(self.available.iter().copied())
    }

    /// How programs get onto interfaces here.
    pub fn interface_hook(&self) -> InterfaceHook {
        if self.has(Feature::Tcx) { InterfaceHook::Tcx } else { InterfaceHook::Clsact }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}", self.release)?;
        for (feature, available) in self.list() {
            let Description { name, since, without } = feature.description();
            let mark = if available { '✓' } else { '✗' };
            write!(f, "\n  {mark} {name:<28} since Linux {since:<5}")?;
            if !available {
                write!(f, "  {without}")?;
            }
        }
        Ok(())
    }
}

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_CLONE: u32 = 1 << 9;
const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];
/// `r0 = 1; exit`, which every kind of program may do.
const PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], EXIT];

fn creates(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32, flags: u32) -> bool {
    Map::create("probe", MapLayout { kind, key_size, value_size, max_entries, flags }).is_ok()
}

/// A link to an interface that cannot exist: a kernel with TCX misses the interface, one without
/// does not know the hook.
fn tcx() -> bool {
    let Ok(program) = Program::from_instructions("probe", ProgramKind::CLASSIFIER, &PASS) else {
        return false;
    };
    let hook = bpf_attach_type::BPF_TCX_INGRESS as u32;
    let refused = Link::create(&program, i32::MAX as u32, hook, String::new());
    refused.is_err_and(|error| error.errno() == Some(libc::ENODEV))
}

fn has_helper(kind: ProgramKind, helper: bpf_func_id) -> bool {
    let [a, b, c, d] = (helper as u32).to_le_bytes();
    let call = [0x85, 0, 0, 0, a, b, c, d];
    match Program::from_instructions("probe", kind, &[call, EXIT]) {
        Ok(_) => true,
        // kernel/bpf/verifier.c, check_helper_call: all other complaints come later.
        Err(Error::Load(failure)) => {
            !failure.log.is_empty()
                && !failure.log.iter().any(|line| {
                    ["invalid func ", "unknown func ", "cannot use helper"]
                        .iter()
                        .any(|sign| line.contains(sign))
                })
        }
        Err(_) => false,
    }
}

fn batches(kind: MapKind, flags: u32) -> bool {
    let layout = MapLayout { kind, key_size: 8, value_size: 4, max_entries: 4, flags };
    Map::create("probe", layout)
        .and_then(Table::<[u8; 8], u32>::new)
        .is_ok_and(|table| table.map().has_batches())
}

/// Socket storage needs type information: one `int`.
fn socket_storage_clone() -> Result<Map, Error> {
    #[rustfmt::skip]
    let btf: [u32; 12] = [
        0x0001_eb9f, 24, 0, 16, 16, 8, // magic and version; header; types 0..16; strings 16..24
        1, 1 << 24, 4, 32,             // `int`, 4 bytes, 32 bits
        u32::from_le_bytes(*b"\0int"), 0,
    ];
    let mut attr = sys::BtfLoad {
        btf: sys::address(&btf),
        btf_size: size_of_val(&btf) as u32,
        ..Default::default()
    };
    // SAFETY: `btf` has the given size and outlives the call; there is no log.
    let btf = unsafe { sys::bpf_fd(Command::BtfLoad, &mut attr) }.map_err(|source| Error::Btf {
        object: "probe".to_owned(),
        source,
        log: String::new(),
    })?;
    let layout = MapLayout {
        kind: MapKind::SocketStorage,
        key_size: 4,
        value_size: 4,
        max_entries: 0,
        flags: BPF_F_NO_PREALLOC | BPF_F_CLONE,
    };
    let types = MapBtf { fd: std::os::fd::AsFd::as_fd(&btf), key_type: 1, value_type: 1 };
    Map::create_with_btf("probe", layout, Some(types))
}
