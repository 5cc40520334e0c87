//! What a run leaves behind.

use std::mem;

use crate::context::{Endpoint, Skb, SocketAddress, Sysctl};
use crate::helper::TunnelKey;
use crate::state::{Redirect, State};

/// What came of a run. The packet is where it was lent; records are in the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned. Actions of packets are its lower half: [`Self::action`].
    pub value: u64,
    /// Where the packet is to go, if the program's action says so.
    pub redirect: Option<Redirect>,
    /// Copies that were sent on the way (`bpf_clone_redirect`).
    pub clones: Vec<(Redirect, Vec<u8>)>,
    /// Lines of `bpf_trace_printk`.
    pub trace: Vec<String>,
    /// How many more copies and lines there were, for which there was no room: a run that goes round
    /// and round takes no more memory than that.
    pub lost_clones: u64,
    pub lost_lines: u64,
    /// The context's bytes.
    pub context: Vec<u8>,
    /// The fields of a packet's context.
    pub skb: Option<Skb>,
    /// The address of a call on a socket.
    pub address: Option<SocketAddress>,
    /// What a tunnel device is told.
    pub tunnel: Option<TunnelKey>,
    pub tunnel_options: Vec<u8>,
    /// Socket options that were set: level, name, value.
    pub options: Vec<(u32, u32, Vec<u8>)>,
    /// The cookie of the socket that gets the packet (`bpf_sk_assign`).
    pub assigned: Option<u64>,
    /// Where the socket was bound (`bpf_bind`).
    pub bound: Option<Endpoint>,
    /// Of a message: for how many bytes the verdict is, and how many it waits for.
    pub applied: Option<u32>,
    pub corked: Option<u32>,
    /// What a process reads or writes of the kernel's settings, as the program left it.
    pub sysctl: Option<Sysctl>,
    /// As `bpf_set_retval` left it.
    pub return_value: i32,
}

/// Actions that mean a redirect.
const XDP_REDIRECT: u32 = 4;
const TC_REDIRECT: u32 = 7;

impl Outcome {
    /// Takes what the run has left in its state.
    pub(super) fn of(state: &mut State, value: u64) -> Self {
        Self {
            value,
            redirect: state.redirect.take(),
            clones: mem::take(&mut state.clones),
            trace: mem::take(&mut state.trace),
            lost_clones: state.lost_clones,
            lost_lines: state.lost_lines,
            context: state.image.bytes(),
            skb: None,
            address: None,
            tunnel: state.tunnel.take(),
            tunnel_options: mem::take(&mut state.tunnel_options),
            options: mem::take(&mut state.options),
            assigned: state.assigned,
            bound: state.bound,
            applied: state.applied,
            corked: state.corked,
            sysctl: state.sysctl.take(),
            return_value: state.return_value,
        }
    }

    /// A redirect counts only if the action says so.
    pub(super) fn for_xdp(&mut self) {
        let value = self.value as u32;
        self.redirect.take_if(|_| value != XDP_REDIRECT);
    }

    /// As [`Self::for_xdp`].
    pub(super) fn for_skb(&mut self) {
        let value = self.value as u32;
        let by_socket = |redirect: &Redirect| matches!(redirect, Redirect::Socket { .. });
        self.redirect.take_if(|redirect| !by_socket(redirect) && value != TC_REDIRECT);
    }

    /// An action, such as `XDP_PASS` or `TC_ACT_OK`.
    pub fn action(&self) -> i32 {
        self.value as i32
    }
}
