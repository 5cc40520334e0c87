//! Services as people read them: what `skep service list` shows.

use crate::FrontEndKind;
use model::{Algorithm, Labels, ObjectName, Origin, Protocol};
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    pub name: ObjectName,
    /// None for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    pub selector: Option<Labels>,
    pub algorithm: Algorithm,
    pub ports: Vec<PortView>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    pub id: u32,
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    /// None if the service is headless.
    pub front_ends: Vec<FrontEndView>,
    /// Of both families, in order.
    pub backends: Vec<BackendView>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontEndView {
    pub address: IpAddr,
    pub port: u16,
    pub kind: FrontEndKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendView {
    pub address: IpAddr,
    pub port: u16,
    pub workload: Option<ObjectName>,
    /// Otherwise it ends, and gets connections only while no other is ready.
    pub ready: bool,
}
