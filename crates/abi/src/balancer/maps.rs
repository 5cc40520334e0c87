//! Names and default capacities of the balancer's maps; see [`balancer`](super).

pub const SETTINGS: &str = "lb_settings";
pub const FRONTENDS: &str = "lb_frontends";
pub const FRONTENDS_V4: &str = "lb_frontends_v4";
pub const RECENT: &str = "lb_recent";
pub const RANGES: &str = "lb_ranges";
pub const PREFIXES: &str = "lb_prefixes";
pub const RINGS: &str = "lb_rings";
pub const BACKENDS: &str = "lb_backends";
pub const FLOWS: &str = "lb_flows";
pub const FRAGMENTS: &str = "lb_fragments";
pub const TRANSLATIONS: &str = "lb_translations";
pub const SERVER_IDS: &str = "lb_server_ids";
pub const SOURCES: &str = "lb_sources";
pub const DECAPSULATE: &str = "lb_decapsulate";
pub const DOWN: &str = "lb_down";
pub const CHECKS: &str = "lb_checks";
pub const LIMITS: &str = "lb_limits";
pub const VIP_COUNTERS: &str = "lb_vip_counters";
pub const BACKEND_COUNTERS: &str = "lb_backend_counters";
pub const COUNTERS: &str = "lb_counters";
pub const CAPTURE: &str = "lb_capture";
pub const CAPTURED: &str = "lb_captured";

/// Default capacities; the agent may choose others before the maps exist.
pub mod capacity {
    /// Of each family.
    pub const FRONTENDS: u32 = 8_192;
    /// Of each CPU; see [`Recent::index`](super::super::Recent::index).
    pub const RECENT: u32 = 256;
    pub const RANGES: u32 = 8_192;
    pub const PREFIXES: u32 = 4_096;
    /// Blocks of 512 slots: 128 rings of 65,537 slots in 16.5 MiB.
    pub const RINGS: u32 = 16_512;
    pub const BACKENDS: u32 = 8_192;
    pub const FLOWS: u32 = 262_144;
    pub const FRAGMENTS: u32 = 8_192;
    pub const TRANSLATIONS: u32 = 131_072;
    pub const SERVER_IDS: u32 = 16_384;
    pub const SOURCES: u32 = 65_536;
    pub const DECAPSULATE: u32 = 64;
    pub const DOWN: u32 = 4_096;
    pub const CHECKS: u32 = 8_192;
    /// VIP numbers: of limits and counters.
    pub const VIPS: u32 = 4_096;
    /// Bytes of captured packets that wait for the agent: a power of two.
    pub const CAPTURED: u32 = 1 << 20;
}
