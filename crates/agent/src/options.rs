//! Command line of `skepd`.

use clap::Parser;
use datapath::{Acceleration, SendOn};
use ipnet::{Ipv4Net, Ipv6Net};
use model::Forwarding;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Skep's node agent: connects workloads, balances load, enforces policy and tells what it sees.
///
/// It watches a folder of manifests and serves an API on a Unix socket (`skep` is its client).
/// What it puts into the kernel stays there when it stops: traffic, policy and connections go on,
/// and the next start takes over what it finds.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "skepd",
    version,
    after_help = "Examples:\n  \
        skepd --manifests /etc/skep/manifests\n  \
        skepd --manifests ./examples --pool-v4 10.200.0.0/24 --run-dir /tmp/skep/run --state-dir /tmp/skep/state\n\n\
        Exit status: 0 after SIGTERM or SIGINT, 1 on an error, 2 on a wrong command line,\n\
        3 if another agent holds this node, 4 if the kernel or a privilege lacks something."
)]
pub struct Options {
    /// Folder of manifests to watch (*.yaml, *.yml, *.json; with its sub-folders)
    #[arg(long, value_name = "DIR", env = "SKEP_MANIFESTS")]
    pub manifests: Option<PathBuf>,

    /// Folder for what must outlive a restart: objects applied through the API, identities,
    /// addresses given out
    #[arg(long, value_name = "DIR", default_value = "/var/lib/skep", env = "SKEP_STATE_DIR")]
    pub state_dir: PathBuf,

    /// Folder for the API socket (skepd.sock) and the lock
    #[arg(long, value_name = "DIR", default_value = "/run/skep", env = "SKEP_RUN_DIR")]
    pub run_dir: PathBuf,

    /// Folder on a BPF file system for maps and links; mounted if it isn't one
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/skep", env = "SKEP_BPFFS")]
    pub bpffs: PathBuf,

    /// Addresses for workloads with `addresses: auto`
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/24")]
    pub pool_v4: Ipv4Net,

    /// The same for IPv6
    #[arg(long, value_name = "CIDR", default_value = "fd00:244::/64")]
    pub pool_v6: Ipv6Net,

    /// cgroup v2 folder that relative cgroup paths of workloads begin at [default: the mount of
    /// cgroup v2]
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,

    /// Name of this node in flows and `skep status` [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// Zone of this node, for services that prefer backends of the same zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,

    /// Interfaces at which node ports and other external addresses of services answer [default:
    /// those with a default route]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub devices: Vec<String>,

    /// cgroup v2 folder whose processes, as far as they are in the node's own network, reach
    /// services too: the root of cgroups on a usual node [default: none, only workloads do]
    #[arg(long, value_name = "DIR")]
    pub host_cgroup: Option<PathBuf>,

    /// Serve metrics for Prometheus at http://ADDR:PORT/metrics [default: not at all]
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics_address: Option<SocketAddr>,

    /// How traffic from outside comes to a service's backends on other nodes, where the service
    /// doesn't say (`skep.dev/lb-mode`): `snat` (as traffic of this node), `dsr` (the other node
    /// answers the client), or `hybrid` (TCP by `dsr`)
    #[arg(long, value_name = "MODE", default_value = "snat", value_parser = forwarding)]
    pub lb_mode: Forwarding,

    /// What packets of `dsr` are sent to the other node in: `ipip`, `geneve`, or `option` (of their
    /// IP header)
    #[arg(long, value_name = "HOW", default_value = "ipip", value_parser = send_on)]
    pub dsr_dispatch: SendOn,

    /// Where packets of known flows from outside to a service's backends on other nodes, and back, are
    /// sent on by XDP: `disabled` (nowhere: by tc, as all others), `native` (on interfaces whose driver
    /// can), `best-effort` (there, and on the others in generic mode) or `generic`
    #[arg(long, value_name = "MODE", default_value = "disabled", value_parser = acceleration)]
    pub lb_acceleration: Acceleration,

    /// Connections that conntrack can hold; takes effect when the maps are made
    #[arg(long, value_name = "N", default_value_t = abi::maps::capacity::CONNTRACK)]
    pub conntrack_max: u32,

    /// Entries of the rule sets' map of peers; takes effect when the maps are made
    #[arg(long, value_name = "N", default_value_t = abi::maps::capacity::PEERS)]
    pub peers_max: u32,

    /// Entries of the rule sets' map of ports; takes effect when the maps are made
    #[arg(long, value_name = "N", default_value_t = abi::maps::capacity::PORTS)]
    pub ports_max: u32,

    /// Flow events kept in memory for `skep observe --last`
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    pub flow_history: usize,

    /// Flow events (start, reply, end) per second and CPU; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub flow_rate: u32,

    /// Drop events per second and CPU; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub drop_rate: u32,

    /// Never hand packets to an endpoint past the host's stack, even where the kernel can
    #[arg(long)]
    pub no_redirect: bool,

    /// Throw away pinned maps whose layout is that of another version of Skep; connections through
    /// services begin anew
    #[arg(long)]
    pub replace_maps: bool,

    /// What to log: error, warn, info, debug or trace, or per module (`agent=debug,host=info`)
    #[arg(long, value_name = "FILTER", default_value = "info", env = "SKEP_LOG")]
    pub log: String,
}

fn forwarding(name: &str) -> Result<Forwarding, String> {
    Forwarding::from_name(name).ok_or_else(|| one_of(Forwarding::ALL.map(Forwarding::name)))
}

fn send_on(name: &str) -> Result<SendOn, String> {
    SendOn::from_name(name).ok_or_else(|| one_of(SendOn::ALL.map(SendOn::name)))
}

fn acceleration(name: &str) -> Result<Acceleration, String> {
    Acceleration::from_name(name).ok_or_else(|| one_of(Acceleration::ALL.map(Acceleration::name)))
}

fn one_of<const N: usize>(names: [&str; N]) -> String {
    format!("it is one of {}", names.join(", "))
}
