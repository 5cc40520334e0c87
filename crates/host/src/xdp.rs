//! What an interface does with frames that programs of XDP send.

use crate::{Error, Result, generic};

/// include/uapi/linux/netdev.h, Linux 6.12.
const FAMILY: &str = "netdev";
const OF_DEVICE: u8 = 1;
const INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
const NDO_XMIT: u64 = 1 << 2;

/// Whether the interface of the thread's namespace sends frames that other interfaces' programs
/// redirect to it. For a veth it depends on its other end, which loses them if it has neither GRO nor a
/// program of XDP. `None` where the kernel doesn't say (before Linux 6.3).
pub fn takes_frames(index: u32) -> Result<Option<bool>> {
    let index = generic::attribute(INDEX, &index.to_ne_bytes());
    let Some(answer) = generic::command(FAMILY, OF_DEVICE, &index)? else { return Ok(None) };
    let features = generic::find(&answer, XDP_FEATURES).and_then(|bits| bits.first_chunk());
    let features = features.ok_or_else(|| Error::Netlink {
        what: "read what an interface does for XDP".to_owned(),
        source: std::io::ErrorKind::InvalidData.into(),
    })?;
    Ok(Some(u64::from_ne_bytes(*features) & NDO_XMIT != 0))
}
