//! XDP programs on interfaces, by links (Linux 5.9).

use std::{fmt, path::Path};

use aya_obj::generated::bpf_attach_type;

use super::{Attached, ensure, pinned_program};
use crate::{
    Error,
    link::{Link, LinkTarget},
    program::Program,
};

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XdpMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// After it has: any interface can, more slowly.
    Generic,
}

impl XdpMode {
    /// `XDP_FLAGS_DRV_MODE` and `XDP_FLAGS_SKB_MODE` (include/uapi/linux/if_link.h).
    fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native XDP",
            Self::Generic => "generic XDP",
        })
    }
}

const HOOK: u32 = bpf_attach_type::BPF_XDP as u32;

/// Attaches `program` to an interface of our network namespace. The link is pinned at `pin`, and
/// found again there: its mode stays what it was when it was made.
pub fn attach_xdp(
    program: &Program,
    ifindex: u32,
    mode: XdpMode,
    pin: &Path,
) -> Result<Attached, Error> {
    ensure(program, pin, LinkTarget::Interface(ifindex), HOOK, || {
        let target = format!("interface {ifindex} as {mode}");
        Link::create_with_flags(program, ifindex, HOOK, mode.flags(), target)
    })
}

/// The id of the program that the link pinned at `pin` holds to the interface; `None` when there is
/// no link or it leads elsewhere.
pub fn xdp_program(pin: &Path, ifindex: u32) -> Result<Option<u32>, Error> {
    pinned_program(pin, LinkTarget::Interface(ifindex), HOOK)
}
