//! What the datapath is told once, when it opens.

use ipnet::{Ipv4Net, Ipv6Net};
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Config {
    /// Folder on a BPF file system.
    pub bpffs: PathBuf,
    /// Where relative cgroup paths begin; the mount of cgroup v2 if absent.
    pub cgroup_root: Option<PathBuf>,
    /// As EndpointSlices name it.
    pub node_name: String,
    pub zone: Option<String>,
    /// Whose processes reach services although they are no workload's; relative like workloads'.
    pub host_cgroup: Option<PathBuf>,
    pub pool_v4: Ipv4Net,
    pub pool_v6: Ipv6Net,
    pub conntrack_max: u32,
    pub peers_max: u32,
    pub ports_max: u32,
    /// Events per second and CPU; 0 means no limit.
    pub flow_rate: u32,
    pub drop_rate: u32,
    /// Use `bpf_redirect_peer` where the kernel has it.
    pub redirect: bool,
    pub replace_maps: bool,
}
