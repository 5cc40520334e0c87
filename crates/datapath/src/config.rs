//! What the datapath is told once, when it opens.

use abi::state::state_flags;
use bpf_kernel::attach::XdpMode;
use ipnet::{Ipv4Net, Ipv6Net};
use model::Forwarding;
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
    /// How traffic from outside comes to backends on other nodes, where a service doesn't say.
    pub forwarding: Forwarding,
    pub send_on: SendOn,
    pub acceleration: Acceleration,
}

/// What packets are put into that go to a backend's node by direct return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendOn {
    #[default]
    Ipip,
    Geneve,
    /// Into nothing: their IP header gets an option.
    Option,
}

impl SendOn {
    pub const ALL: [SendOn; 3] = [SendOn::Ipip, SendOn::Geneve, SendOn::Option];

    pub const fn name(self) -> &'static str {
        match self {
            SendOn::Ipip => "ipip",
            SendOn::Geneve => "geneve",
            SendOn::Option => "option",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.name() == name)
    }

    /// As the programs are told.
    pub(crate) const fn flag(self) -> u32 {
        match self {
            SendOn::Ipip => 0,
            SendOn::Geneve => state_flags::SEND_ON_BY_GENEVE,
            SendOn::Option => state_flags::SEND_ON_BY_OPTION,
        }
    }
}

/// Where packets of known flows to backends elsewhere, and back, are sent on by XDP, before the kernel
/// makes socket buffers of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acceleration {
    #[default]
    Disabled,
    /// In drivers that can.
    Native,
    /// In drivers that can, on other interfaces in generic mode.
    BestEffort,
    Generic,
}

impl Acceleration {
    pub const ALL: [Acceleration; 4] = [
        Acceleration::Disabled,
        Acceleration::Native,
        Acceleration::BestEffort,
        Acceleration::Generic,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Acceleration::Disabled => "disabled",
            Acceleration::Native => "native",
            Acceleration::BestEffort => "best-effort",
            Acceleration::Generic => "generic",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.name() == name)
    }

    /// How the program may be put on an interface, the best first.
    pub(crate) const fn modes(self) -> &'static [XdpMode] {
        match self {
            Acceleration::Disabled => &[],
            Acceleration::Native => &[XdpMode::Native],
            Acceleration::BestEffort => &[XdpMode::Native, XdpMode::Generic],
            Acceleration::Generic => &[XdpMode::Generic],
        }
    }
}
