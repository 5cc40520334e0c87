//! Contexts: what programs are given in `r1`, byte for byte as include/uapi/linux/bpf.h (Linux 6.18)
//! lays them out.

use std::sync::atomic::Ordering::Relaxed;

use crate::errno::Errno;
use crate::slab::Slab;

mod skb;
mod socket;

pub use skb::{Skb, Vlan, Xdp};
pub use socket::{
    Endpoint, Message, Socket, SocketAddress, SocketKind, SocketLookup, SocketOperation, Sysctl,
};

/// Offsets in `struct xdp_md`.
pub(crate) mod xdp_md {
    pub const DATA: u32 = 0;
    pub const DATA_END: u32 = 4;
    pub const DATA_META: u32 = 8;
    pub const INGRESS_IFINDEX: u32 = 12;
    pub const RX_QUEUE_INDEX: u32 = 16;
    pub const EGRESS_IFINDEX: u32 = 20;
    pub const SIZE: u32 = 24;
}

/// Offsets in `struct __sk_buff`.
pub(crate) mod sk_buff {
    pub const LEN: u32 = 0;
    pub const PKT_TYPE: u32 = 4;
    pub const MARK: u32 = 8;
    pub const QUEUE_MAPPING: u32 = 12;
    pub const PROTOCOL: u32 = 16;
    pub const VLAN_PRESENT: u32 = 20;
    pub const VLAN_TCI: u32 = 24;
    pub const VLAN_PROTO: u32 = 28;
    pub const PRIORITY: u32 = 32;
    pub const INGRESS_IFINDEX: u32 = 36;
    pub const IFINDEX: u32 = 40;
    pub const TC_INDEX: u32 = 44;
    pub const CB: u32 = 48;
    pub const HASH: u32 = 68;
    pub const TC_CLASSID: u32 = 72;
    pub const DATA: u32 = 76;
    pub const DATA_END: u32 = 80;
    pub const FAMILY: u32 = 88;
    pub const REMOTE_IP4: u32 = 92;
    pub const LOCAL_IP4: u32 = 96;
    pub const REMOTE_IP6: u32 = 100;
    pub const LOCAL_IP6: u32 = 116;
    pub const REMOTE_PORT: u32 = 132;
    pub const LOCAL_PORT: u32 = 136;
    pub const DATA_META: u32 = 140;
    pub const TSTAMP: u32 = 152;
    pub const WIRE_LEN: u32 = 160;
    pub const GSO_SEGS: u32 = 164;
    pub const SK: u32 = 168;
    pub const GSO_SIZE: u32 = 176;
    pub const TSTAMP_TYPE: u32 = 180;
    pub const SIZE: u32 = 192;
}

/// Offsets in `struct bpf_sock`.
pub(crate) mod bpf_sock {
    pub const BOUND_DEV_IF: u32 = 0;
    pub const FAMILY: u32 = 4;
    pub const TYPE: u32 = 8;
    pub const PROTOCOL: u32 = 12;
    pub const MARK: u32 = 16;
    pub const PRIORITY: u32 = 20;
    pub const SRC_IP4: u32 = 24;
    pub const SRC_IP6: u32 = 28;
    pub const SRC_PORT: u32 = 44;
    pub const DST_PORT: u32 = 48;
    pub const DST_IP4: u32 = 52;
    pub const DST_IP6: u32 = 56;
    pub const STATE: u32 = 72;
    pub const RX_QUEUE_MAPPING: u32 = 76;
    pub const SIZE: u32 = 80;
}

/// Offsets in `struct bpf_sock_addr`.
pub(crate) mod sock_addr {
    pub const USER_FAMILY: u32 = 0;
    pub const USER_IP4: u32 = 4;
    pub const USER_IP6: u32 = 8;
    pub const USER_PORT: u32 = 24;
    pub const FAMILY: u32 = 28;
    pub const TYPE: u32 = 32;
    pub const PROTOCOL: u32 = 36;
    pub const MSG_SRC_IP4: u32 = 40;
    pub const MSG_SRC_IP6: u32 = 44;
    pub const SK: u32 = 64;
    pub const SIZE: u32 = 72;
}

/// Offsets in `struct bpf_sock_ops`.
pub(crate) mod sock_ops {
    pub const OP: u32 = 0;
    pub const ARGS: u32 = 4;
    pub const FAMILY: u32 = 20;
    pub const REMOTE_IP4: u32 = 24;
    pub const LOCAL_IP4: u32 = 28;
    pub const REMOTE_IP6: u32 = 32;
    pub const LOCAL_IP6: u32 = 48;
    pub const REMOTE_PORT: u32 = 64;
    pub const LOCAL_PORT: u32 = 68;
    pub const IS_FULLSOCK: u32 = 72;
    pub const CB_FLAGS: u32 = 84;
    pub const STATE: u32 = 88;
    pub const SK: u32 = 184;
    pub const SIZE: u32 = 224;
}

/// Offsets in `struct sk_msg_md`.
pub(crate) mod sk_msg {
    pub const DATA: u32 = 0;
    pub const DATA_END: u32 = 8;
    pub const FAMILY: u32 = 16;
    pub const REMOTE_IP4: u32 = 20;
    pub const LOCAL_IP4: u32 = 24;
    pub const REMOTE_IP6: u32 = 28;
    pub const LOCAL_IP6: u32 = 44;
    pub const REMOTE_PORT: u32 = 60;
    pub const LOCAL_PORT: u32 = 64;
    pub const LENGTH: u32 = 68;
    pub const SK: u32 = 72;
    pub const SIZE: u32 = 80;
}

/// Offsets in `struct bpf_sysctl`.
pub(crate) mod sysctl {
    pub const WRITE: u32 = 0;
    pub const FILE_POSITION: u32 = 4;
    pub const SIZE: u32 = 8;
}

/// Offsets in `struct bpf_sk_lookup`.
pub(crate) mod sk_lookup {
    pub const SK: u32 = 0;
    pub const FAMILY: u32 = 8;
    pub const PROTOCOL: u32 = 12;
    pub const REMOTE_IP4: u32 = 16;
    pub const REMOTE_IP6: u32 = 20;
    pub const REMOTE_PORT: u32 = 36;
    pub const LOCAL_IP4: u32 = 40;
    pub const LOCAL_IP6: u32 = 44;
    pub const LOCAL_PORT: u32 = 60;
    pub const INGRESS_IFINDEX: u32 = 64;
    pub const SIZE: u32 = 72;
}

/// A context as it lies in memory.
#[derive(Debug)]
pub(crate) struct Image {
    slab: Slab,
    size: u32,
}

impl Image {
    pub fn new(size: u32) -> Result<Self, Errno> {
        Ok(Self { slab: Slab::new(size.into())?, size })
    }

    pub fn of(bytes: &[u8]) -> Result<Self, Errno> {
        let size = u32::try_from(bytes.len()).map_err(|_| Errno::E2BIG)?;
        let image = Self::new(size)?;
        image.slab.store(0, bytes);
        Ok(image)
    }

    pub fn address(&self) -> u64 {
        self.slab.address()
    }

    pub fn size(&self) -> u32 {
        self.size
    }

    #[inline]
    pub fn word(&self, at: u32) -> u32 {
        self.slab.half_at(at.into()).load(Relaxed)
    }

    #[inline]
    pub fn set_word(&self, at: u32, value: u32) {
        self.slab.half_at(at.into()).store(value, Relaxed);
    }

    pub fn double(&self, at: u32) -> u64 {
        let mut bytes = [0; 8];
        self.slab.load(at.into(), &mut bytes);
        u64::from_ne_bytes(bytes)
    }

    pub fn set_double(&self, at: u32, value: u64) {
        self.slab.store(at.into(), &value.to_ne_bytes());
    }

    pub fn put(&self, at: u32, bytes: &[u8]) {
        self.slab.store(at.into(), bytes);
    }

    /// All of it, before a run.
    pub fn overwrite(&mut self, bytes: &[u8]) {
        self.slab.overwrite(bytes);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        self.slab.load(0, &mut bytes);
        bytes
    }
}
