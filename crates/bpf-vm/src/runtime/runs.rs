//! Many runs of one program.

use std::sync::Arc;

use super::proof::Unchecked;
use super::{Outcome, ProgramHandle, RuntimeError};
use crate::context::{Skb, Xdp};
use crate::memory::Kept;
use crate::packet::Packet;
use crate::state::{Kind, State};

/// Runs of one program on one packet after another. They keep what [`ProgramHandle::run_xdp`] and
/// [`ProgramHandle::run_skb`] make anew each time, and say no more than what the program returned,
/// unless they are asked.
#[derive(Debug)]
pub struct Runs {
    handle: ProgramHandle,
    context: Context,
    state: State,
    kept: Kept,
    /// Whether the context is another one after each run.
    writes_context: bool,
    value: u64,
}

#[derive(Debug)]
enum Context {
    Xdp(Xdp),
    /// With the fields as they are before every run.
    Skb(Box<Skb>, Vec<u8>),
}

impl ProgramHandle {
    /// To run an XDP program many times.
    pub fn xdp_runs(&self, context: &Xdp) -> Result<Runs, RuntimeError> {
        let image = context.image().map_err(RuntimeError::Memory)?;
        Ok(self.runs(Context::Xdp(*context), self.state(Kind::Xdp, image)))
    }

    /// To run a program with a `struct __sk_buff` many times. The context must belong to no socket.
    pub fn skb_runs(&self, context: &Skb) -> Result<Runs, RuntimeError> {
        let packet = Packet::new(&[]).map_err(RuntimeError::Packet)?;
        let context = Skb { socket: None, ..context.clone() };
        let image = context.image(&packet.bounds).map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Skb { ethernet: context.ethernet }, image);
        state.received_tunnel = context.tunnel.clone();
        state.received_options.clone_from(&context.tunnel_options);
        let fields = state.image.bytes();
        Ok(self.runs(Context::Skb(Box::new(context), fields), state))
    }

    fn runs(&self, context: Context, state: State) -> Runs {
        let kept = self.runtime.kept();
        let unchecked = self.unchecked.as_ref().filter(|it| it.for_run(state.kind).is_some());
        let writes_context = unchecked.is_none_or(Unchecked::writes_context);
        Runs { handle: self.clone(), context, state, kept, writes_context, value: 0 }
    }
}

impl Runs {
    /// Runs the program; returns what it returned.
    pub fn run(&mut self, packet: &mut Packet) -> Result<u64, RuntimeError> {
        if self.state.is_used {
            // A tail call has put another there.
            self.state.program = Some(Arc::clone(&self.handle.program));
        }
        if self.writes_context || self.state.is_used {
            match &self.context {
                // The rest are the packet's bounds.
                Context::Xdp(context) => context.fill(&self.state.image),
                Context::Skb(_, fields) => self.state.image.overwrite(fields),
            }
        }
        self.state.reset();
        match &self.context {
            Context::Xdp(_) => packet.limit_to_frame(),
            Context::Skb(context, _) => context.fill_packet(&self.state.image, &packet.bounds),
        }
        let Self { handle, state, kept, .. } = self;
        state.packet = Some(packet.bounds);
        kept.memory.begin();
        handle.runtime.renew_areas(kept);
        let result = handle.carry_out(state, &mut kept.memory);
        packet.bounds = state.packet.unwrap_or(packet.bounds);
        self.value = result?;
        Ok(self.value)
    }

    /// What else came of the last run. To be asked once for each.
    pub fn outcome(&mut self) -> Outcome {
        let mut outcome = Outcome::of(&mut self.state, self.value);
        match &self.context {
            Context::Xdp(_) => outcome.for_xdp(),
            Context::Skb(context, _) => {
                outcome.skb = Some(context.after(&self.state.image));
                outcome.for_skb();
            }
        }
        outcome
    }
}
