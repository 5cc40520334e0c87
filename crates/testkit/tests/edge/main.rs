//! The edge balancer with real sockets and its backends a router away, which send their answers past
//! it.

mod deliveries;
mod flows;
mod packets;
mod world;
