//! Runs of programs on what they are for.

use std::sync::Arc;

use super::{Outcome, ProgramHandle, RuntimeError};
use crate::context::{
    Image, Skb, Socket, SocketAddress, SocketLookup, SocketOperation, Xdp, sk_buff, sock_addr,
    sock_ops,
};
use crate::memory::Region;
use crate::packet::Packet;
use crate::program::Input;
use crate::state::{Kind, Lent, State};

/// Actions that mean a redirect.
const XDP_REDIRECT: u32 = 4;
const TC_REDIRECT: u32 = 7;

impl ProgramHandle {
    /// Runs an XDP program on a packet, which begins with its Ethernet header.
    pub fn run_xdp(&self, packet: &mut Packet, context: &Xdp) -> Result<Outcome, RuntimeError> {
        packet.limit_to_frame();
        let image = context.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Xdp, image);
        state.packet = Some(packet.bounds);
        let mut outcome = self.run(&mut state, None)?;
        packet.bounds = state.packet.unwrap_or(packet.bounds);
        outcome.redirect = outcome.redirect.filter(|_| outcome.value as u32 == XDP_REDIRECT);
        Ok(outcome)
    }

    /// Runs a program with a `struct __sk_buff`: classifiers, cgroup filters, socket filters.
    pub fn run_skb(&self, packet: &mut Packet, context: &Skb) -> Result<Outcome, RuntimeError> {
        let image = context.image(&packet.bytes()).map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Skb { ethernet: context.ethernet }, image);
        state.received_tunnel = context.tunnel.clone();
        state.received_options.clone_from(&context.tunnel_options);
        state.packet = Some(packet.bounds);
        let mut outcome =
            self.run(&mut state, context.socket.as_ref().map(|s| (s, sk_buff::SK)))?;
        packet.bounds = state.packet.unwrap_or(packet.bounds);
        outcome.skb = Some(context.after(&state.image));
        outcome.redirect = outcome.redirect.filter(|redirect| {
            let by_socket = matches!(redirect, crate::state::Redirect::Socket { .. });
            by_socket || outcome.value as u32 == TC_REDIRECT
        });
        Ok(outcome)
    }

    /// Runs a program on a socket's call with an address: connect, sendmsg, bind and others.
    pub fn run_socket_address(&self, call: &SocketAddress) -> Result<Outcome, RuntimeError> {
        let image = call.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Other, image);
        let mut outcome = self.run(&mut state, Some((&call.socket, sock_addr::SK)))?;
        outcome.address = Some(call.after(&state.image));
        Ok(outcome)
    }

    /// Runs a program whose context is the socket itself, as when it is made or bound.
    pub fn run_socket(&self, socket: &Socket) -> Result<Outcome, RuntimeError> {
        let image = socket.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Other, image);
        state.context_socket = Some(socket.clone());
        self.run(&mut state, None)
    }

    /// Runs a program on an event of a TCP socket (`sockops`). What the program answers is in the
    /// second word of the context.
    pub fn run_socket_operation(&self, event: &SocketOperation) -> Result<Outcome, RuntimeError> {
        let image = event.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Other, image);
        self.run(&mut state, Some((&event.socket, sock_ops::SK)))
    }

    /// Runs a program that chooses the socket of a packet (`sk_lookup`); its choice is
    /// [`Outcome::assigned`].
    pub fn run_socket_lookup(&self, lookup: &SocketLookup) -> Result<Outcome, RuntimeError> {
        let image = lookup.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::SocketLookup, image);
        self.run(&mut state, None)
    }

    /// Runs a program on a context given as bytes: arguments of a raw tracepoint, registers, or
    /// any other. How it left them is [`Outcome::context`].
    pub fn run_raw(&self, context: &[u8]) -> Result<Outcome, RuntimeError> {
        let image = Image::of(context).map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Other, image);
        self.run(&mut state, None)
    }

    fn state(&self, kind: Kind, image: Image) -> State {
        let mut state = State::new(self.environment.clone(), kind, image);
        state.program = Some(Arc::clone(&self.program));
        state
    }

    /// Runs the program; `socket` is one that the context points to, from this offset.
    fn run(
        &self,
        state: &mut State,
        socket: Option<(&Socket, u32)>,
    ) -> Result<Outcome, RuntimeError> {
        let mut input = Input { fuel: self.runtime.inner.fuel, ..Input::default() };
        input.memory.add_areas(self.runtime.areas());
        if let Some((socket, at)) = socket {
            let image = socket.image().map_err(RuntimeError::Memory)?;
            let (start, length) = (image.address(), image.size().into());
            state.image.set_double(at, start);
            input.memory.add(Region { start, length, writable: false });
            state.sockets.push(Lent { image, socket: socket.clone(), references: 0 });
            state.context_socket = Some(socket.clone());
        }
        let (start, length) = (state.image.address(), state.image.size().into());
        input.memory.add(Region { start, length, writable: true });
        state.show_packet();
        if let Some((direct, instructions)) = state.packet_regions() {
            input.memory.move_packet(direct, instructions);
        }
        input.arguments[0] = start;
        let unchecked = self.unchecked.as_ref().and_then(|unchecked| unchecked.for_run(state.kind));
        input.state = Some(state);
        let result = unchecked.unwrap_or(&*self.program).run(&mut input);
        drop(input);
        state.clean_up();
        let fault = |source| RuntimeError::Fault { program: self.name.clone(), source };
        let value = result.map_err(fault)?;
        Ok(Outcome {
            value,
            redirect: state.redirect.take(),
            clones: std::mem::take(&mut state.clones),
            trace: std::mem::take(&mut state.trace),
            context: state.image.bytes(),
            skb: None,
            address: None,
            tunnel: state.tunnel.take(),
            tunnel_options: std::mem::take(&mut state.tunnel_options),
            options: std::mem::take(&mut state.options),
            assigned: state.assigned,
            bound: state.bound,
            return_value: state.return_value,
        })
    }
}
