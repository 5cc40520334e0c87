//! VIPs and backends as they are in force, for those who show them.

use super::check::CheckTarget;
use super::keys::VipKey;
use super::roles::Role;
use model::load_balancer::{DeliveryMode, Keep};
use model::{ObjectName, Origin};
use std::net::IpAddr;

#[derive(Clone, Debug)]
pub struct VipView {
    pub key: VipKey,
    /// `tcp 203.0.113.10:443`.
    pub title: String,
    /// Index of its counters; `None` until it is in force.
    pub number: Option<u32>,
    pub object: ObjectName,
    pub origin: Origin,
    pub delivery: DeliveryMode,
    pub keep: Keep,
    /// Slots; 0 without a backend.
    pub ring_len: u32,
    /// Slots whose flows are looked for in the flow table.
    pub moved: u32,
    pub window_end_ns: u64,
    pub backends: Vec<BackendView>,
}

#[derive(Clone, Debug)]
pub struct BackendView {
    pub address: IpAddr,
    pub port: Option<u16>,
    /// Index of its counters, and what slots hold.
    pub number: Option<u32>,
    pub weight: u32,
    /// Of the weight, in thousandths.
    pub share: u16,
    pub zone: Option<String>,
    pub role: Role,
    /// Slots that it owns.
    pub slots: u32,
    pub checked: Option<CheckTarget>,
    pub line: u32,
}
