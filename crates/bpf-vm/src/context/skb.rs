//! Contexts with packets.

use super::{Image, Socket, sk_buff as s, xdp_md as x};
use crate::errno::Errno;
use crate::helper::TunnelKey;
use crate::packet::Bounds;

/// What `struct xdp_md` says besides the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    pub ingress_ifindex: u32,
    pub rx_queue_index: u32,
    pub egress_ifindex: u32,
}

impl Default for Xdp {
    /// From interface 1, where the kernel's test runs let packets come from.
    fn default() -> Self {
        Self { ingress_ifindex: 1, rx_queue_index: 0, egress_ifindex: 0 }
    }
}

impl Xdp {
    pub(crate) fn image(&self) -> Result<Image, Errno> {
        let image = Image::new(x::SIZE)?;
        self.fill(&image);
        Ok(image)
    }

    /// Writes the fields into an image that holds zeroes.
    pub(crate) fn fill(&self, image: &Image) {
        image.set_word(x::INGRESS_IFINDEX, self.ingress_ifindex);
        image.set_word(x::RX_QUEUE_INDEX, self.rx_queue_index);
        image.set_word(x::EGRESS_IFINDEX, self.egress_ifindex);
    }
}

/// A VLAN tag that is not in the packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The EtherType: 0x8100 or 0x88a8.
    pub protocol: u16,
    pub tci: u16,
}

/// What `struct __sk_buff` says besides the packet, before a run and after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skb {
    pub pkt_type: u32,
    pub mark: u32,
    pub queue_mapping: u32,
    /// The EtherType; from the packet if it is `None`.
    pub protocol: Option<u16>,
    pub vlan: Option<Vlan>,
    pub priority: u32,
    pub ingress_ifindex: u32,
    pub ifindex: u32,
    pub tc_index: u32,
    pub cb: [u32; 5],
    pub hash: u32,
    pub tc_classid: u32,
    pub tstamp: u64,
    pub tstamp_type: u8,
    pub gso_segs: u32,
    pub gso_size: u32,
    /// Begins with an Ethernet header. If not, the packet is what a cgroup's or a tunnel's program
    /// sees: the network header comes first.
    pub ethernet: bool,
    pub socket: Option<Socket>,
    /// What a tunnel device has told of the packet.
    pub tunnel: Option<TunnelKey>,
    pub tunnel_options: Vec<u8>,
}

impl Default for Skb {
    fn default() -> Self {
        Self {
            pkt_type: 0,
            mark: 0,
            queue_mapping: 0,
            protocol: None,
            vlan: None,
            priority: 0,
            ingress_ifindex: 1,
            ifindex: 1,
            tc_index: 0,
            cb: [0; 5],
            hash: 0,
            tc_classid: 0,
            tstamp: 0,
            tstamp_type: 0,
            gso_segs: 0,
            gso_size: 0,
            ethernet: true,
            socket: None,
            tunnel: None,
            tunnel_options: Vec::new(),
        }
    }
}

impl Skb {
    pub(crate) fn image(&self, packet: &Bounds) -> Result<Image, Errno> {
        let image = Image::new(s::SIZE)?;
        self.fill(&image, packet);
        Ok(image)
    }

    /// Writes the fields into an image that holds zeroes.
    pub(crate) fn fill(&self, image: &Image, packet: &Bounds) {
        self.fill_packet(image, packet);
        image.set_word(s::PKT_TYPE, self.pkt_type);
        image.set_word(s::MARK, self.mark);
        image.set_word(s::QUEUE_MAPPING, self.queue_mapping);
        if let Some(vlan) = self.vlan {
            image.set_word(s::VLAN_PRESENT, 1);
            image.set_word(s::VLAN_TCI, vlan.tci.into());
            image.set_word(s::VLAN_PROTO, u32::from(vlan.protocol.to_be()));
        }
        image.set_word(s::PRIORITY, self.priority);
        image.set_word(s::INGRESS_IFINDEX, self.ingress_ifindex);
        image.set_word(s::IFINDEX, self.ifindex);
        image.set_word(s::TC_INDEX, self.tc_index);
        for (number, word) in self.cb.into_iter().enumerate() {
            image.set_word(s::CB + 4 * number as u32, word);
        }
        image.set_word(s::HASH, self.hash);
        image.set_word(s::TC_CLASSID, self.tc_classid);
        image.set_double(s::TSTAMP, self.tstamp);
        image.put(s::TSTAMP_TYPE, &[self.tstamp_type]);
        image.set_word(s::GSO_SEGS, self.gso_segs);
        image.set_word(s::GSO_SIZE, self.gso_size);
        if let Some(socket) = &self.socket {
            socket
                .fill(image, [s::FAMILY, s::REMOTE_IP4, s::LOCAL_IP4, s::REMOTE_IP6, s::LOCAL_IP6]);
            let (local, remote) = (socket.local.port, socket.remote.port);
            image.set_word(s::REMOTE_PORT, u32::from(remote).to_be());
            image.set_word(s::LOCAL_PORT, local.into());
        }
    }

    /// Writes the fields that depend on the packet.
    pub(crate) fn fill_packet(&self, image: &Image, packet: &Bounds) {
        let protocol = self.protocol.unwrap_or_else(|| self.protocol_of(packet));
        image.set_word(s::PROTOCOL, u32::from(protocol.to_be()));
        image.set_word(s::WIRE_LEN, packet.len());
    }

    fn protocol_of(&self, packet: &Bounds) -> u16 {
        match packet.len() {
            14.. if self.ethernet => u16::from_be_bytes(packet.array(packet.data + 12)),
            1.. if !self.ethernet => match packet.array(packet.data) {
                [0x40..=0x4f] => 0x0800,
                [0x60..=0x6f] => 0x86dd,
                _ => 0,
            },
            _ => 0,
        }
    }

    /// The fields as a run has left them.
    pub(crate) fn after(&self, image: &Image) -> Self {
        let mut cb = [0; 5];
        for (number, word) in cb.iter_mut().enumerate() {
            *word = image.word(s::CB + 4 * number as u32);
        }
        let vlan = (image.word(s::VLAN_PRESENT) != 0).then(|| Vlan {
            protocol: u16::from_be(image.word(s::VLAN_PROTO) as u16),
            tci: image.word(s::VLAN_TCI) as u16,
        });
        Self {
            pkt_type: image.word(s::PKT_TYPE),
            mark: image.word(s::MARK),
            queue_mapping: image.word(s::QUEUE_MAPPING),
            protocol: Some(u16::from_be(image.word(s::PROTOCOL) as u16)),
            vlan,
            priority: image.word(s::PRIORITY),
            // Of which the kernel keeps 16 bits.
            tc_index: image.word(s::TC_INDEX) & 0xffff,
            cb,
            hash: image.word(s::HASH),
            tc_classid: image.word(s::TC_CLASSID),
            tstamp: image.double(s::TSTAMP),
            tstamp_type: image.word(s::TSTAMP_TYPE) as u8,
            gso_segs: image.word(s::GSO_SEGS),
            gso_size: image.word(s::GSO_SIZE),
            ..self.clone()
        }
    }
}
