//! The tables: which crate lies in which layer, what may point sideways, and who is at home where.
//!
//! ARCHITECTURE.md explains the layers. A dependency points from a higher layer to a lower one.

/// A crate's place. The numbers are those of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// 0 to 6, on the host.
    Host(u8),
    /// Compiled for the kernel. May use the `no_std` crates of layers 0 and 1, nobody uses it.
    Ebpf,
    /// Tools for this repository.
    Tool,
}

pub const LAYERS: &[(&str, Layer)] = &[
    ("abi", Layer::Host(0)),
    ("wire", Layer::Host(0)),
    ("dataplane", Layer::Host(1)),
    ("model", Layer::Host(1)),
    ("bpf-isa", Layer::Host(2)),
    ("bpf-interface", Layer::Host(2)),
    ("bpf-object", Layer::Host(2)),
    ("bpf-verifier", Layer::Host(2)),
    ("policy", Layer::Host(2)),
    ("services", Layer::Host(2)),
    ("bpf-kernel", Layer::Host(3)),
    ("bpf-vm", Layer::Host(3)),
    ("host", Layer::Host(3)),
    ("tables", Layer::Host(3)),
    ("objects", Layer::Host(3)),
    ("datapath", Layer::Host(4)),
    ("store", Layer::Host(4)),
    ("api", Layer::Host(5)),
    ("agent", Layer::Host(5)),
    ("sim", Layer::Host(5)),
    ("cli", Layer::Host(6)),
    ("kernel-guest", Layer::Host(6)),
    ("testkit", Layer::Host(6)),
    ("kit", Layer::Ebpf),
    ("net", Layer::Ebpf),
    ("benches", Layer::Tool),
    ("fuzz", Layer::Tool),
    ("xtask", Layer::Tool),
];

/// Dependencies within a layer: (from, to).
pub const SIDEWAYS: &[(&str, &str)] = &[
    ("agent", "api"),
    ("bpf-interface", "bpf-isa"),
    ("bpf-interface", "bpf-object"),
    ("bpf-object", "bpf-isa"),
    ("bpf-verifier", "bpf-interface"),
    ("bpf-verifier", "bpf-isa"),
    ("bpf-verifier", "bpf-object"),
    ("net", "kit"),
];

/// What an eBPF crate may use of the host's layers: no allocation, no std.
pub const FOR_EBPF: &[&str] = &["abi", "wire", "dataplane"];

/// Crates that tests of any crate may use although they lie above.
pub const FOR_TESTS: &[&str] = &["objects", "testkit"];

/// (from, to, why): what `from` must not reach over any number of ordinary dependencies.
pub const UNREACHABLE: &[(&str, &str, &str)] = &[(
    "xtask",
    "objects",
    "building the objects needs the linker that `cargo xtask setup` builds: spawn the binaries",
)];

/// Foreign crates with one home (and, after it, the users it can't do without). A name that ends
/// with `*` stands for all that begin so.
pub const HOMES: &[(&str, &[&str])] = &[
    ("aya", &["bpf-kernel"]),
    ("aya-obj", &["bpf-kernel", "bpf-object"]),
    ("aya-ebpf*", &["kit", "net"]),
    ("clap*", &["agent", "cli", "xtask"]),
    ("codespan-reporting", &["store", "cli"]),
    ("granit-parser", &["store"]),
    ("hyper-util", &["agent", "cli"]),
    ("netlink-*", &["host"]),
    ("notify", &["store"]),
    ("object", &["bpf-kernel", "bpf-object", "objects", "xtask"]),
    ("prost*", &["api", "agent", "cli"]),
    ("protox", &["api"]),
    ("redb", &["store"]),
    ("rtnetlink", &["host"]),
    ("serde-saphyr", &["store", "cli", "sim"]),
    ("tonic", &["api", "agent", "cli"]),
    ("tonic-*", &["api"]),
    ("tower", &["agent", "cli"]),
    ("tracing-subscriber", &["agent"]),
];

/// Foreign crates that stay out of the lower layers, except in tests: (crate, the lowest layer
/// that may use it, why).
pub const FROM_LAYER: &[(&str, u8, &str)] = &[
    ("serde*", 3, "the model and what compiles it don't serialise; wire formats live at the edge"),
    ("tokio*", 3, "the model and what compiles it are pure functions"),
    ("nix", 3, "the model and what compiles it do no I/O"),
    ("libc", 3, "the model and what compiles it do no I/O"),
];

/// Where an error without a type is good enough.
pub const ANYHOW: &[&str] = &["agent", "benches", "cli", "kernel-guest", "testkit", "xtask"];

/// Crates in which `unsafe` may be written, and why.
pub const UNSAFE: &[(&str, &str)] = &[
    ("abi", "types shared with the kernel are cast from and to bytes"),
    ("wire", "views of headers over packet bytes"),
    ("bpf-kernel", "bpf(2)"),
    ("host", "mallopt(3), in `memory` alone"),
    ("bpf-vm", "programs in guest memory use addresses of the host"),
    ("kit", "helpers of the kernel"),
    ("net", "helpers of the kernel"),
];
