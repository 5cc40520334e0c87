//! Runs of programs on what they are for.

use std::sync::{Arc, PoisonError};

use super::{Inner, Outcome, ProgramHandle, RuntimeError};
use crate::context::{
    Image, Message, Skb, Socket, SocketAddress, SocketLookup, SocketOperation, Sysctl, Xdp,
    sk_buff, sk_msg, sock_addr, sock_ops,
};
use crate::fault::Fault;
use crate::memory::{Memory, Region};
use crate::packet::Packet;
use crate::program::Program;
use crate::run::{self, Host};
use crate::state::{Kind, Lent, State};
use crate::trace::Trace;

impl ProgramHandle {
    /// Runs an XDP program on a packet, which begins with its Ethernet header.
    pub fn run_xdp(&self, packet: &mut Packet, context: &Xdp) -> Result<Outcome, RuntimeError> {
        packet.limit_to_frame();
        let image = context.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Xdp, image);
        state.packet = Some(packet.bounds);
        let mut outcome = self.run(&mut state, None)?;
        packet.bounds = state.packet.unwrap_or(packet.bounds);
        outcome.for_xdp();
        Ok(outcome)
    }

    /// Runs a program with a `struct __sk_buff`: classifiers, cgroup filters, socket filters.
    pub fn run_skb(&self, packet: &mut Packet, context: &Skb) -> Result<Outcome, RuntimeError> {
        let image = context.image(&packet.bounds).map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Skb { ethernet: context.ethernet }, image);
        state.received_tunnel = context.tunnel.clone();
        state.received_options.clone_from(&context.tunnel_options);
        state.packet = Some(packet.bounds);
        let mut outcome =
            self.run(&mut state, context.socket.as_ref().map(|s| (s, sk_buff::SK)))?;
        packet.bounds = state.packet.unwrap_or(packet.bounds);
        outcome.skb = Some(context.after(&state.image));
        outcome.for_skb();
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

    /// Runs a program on what a process sends by a socket (`sk_msg`).
    pub fn run_message(
        &self,
        bytes: &mut Packet,
        message: &Message,
    ) -> Result<Outcome, RuntimeError> {
        let image = message.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Message, image);
        state.packet = Some(bytes.bounds);
        let outcome = self.run(&mut state, Some((&message.socket, sk_msg::SK)))?;
        bytes.bounds = state.packet.unwrap_or(bytes.bounds);
        Ok(outcome)
    }

    /// Runs a program on a process's access to a setting of the kernel; what it writes in the end
    /// is in [`Outcome::sysctl`].
    pub fn run_sysctl(&self, access: &Sysctl) -> Result<Outcome, RuntimeError> {
        let image = access.image().map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Other, image);
        state.sysctl = Some(access.clone());
        self.run(&mut state, None)
    }

    /// Runs a program on a context given as bytes: arguments of a raw tracepoint, registers, or
    /// any other. How it left them is [`Outcome::context`].
    pub fn run_raw(&self, context: &[u8]) -> Result<Outcome, RuntimeError> {
        let image = Image::of(context).map_err(RuntimeError::Memory)?;
        let mut state = self.state(Kind::Other, image);
        self.run(&mut state, None)
    }

    pub(super) fn state(&self, kind: Kind, image: Image) -> State {
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
        let mut kept = self.runtime.kept();
        if let Some((socket, at)) = socket {
            let image = socket.image().map_err(RuntimeError::Memory)?;
            let (start, length) = (image.address(), image.size().into());
            state.image.set_double(at, start);
            kept.memory.add(Region { start, length, writable: false });
            state.sockets.push(Lent { image, socket: socket.clone(), references: 0 });
            state.context_socket = Some(socket.clone());
        }
        let value = self.carry_out(state, &mut kept.memory)?;
        Ok(Outcome::of(state, value))
    }

    /// The program as it is best run on such a context.
    #[inline]
    fn best(&self, kind: Kind) -> &Program {
        let unchecked = self.unchecked.as_ref().and_then(|unchecked| unchecked.for_run(kind));
        unchecked.unwrap_or(&self.program)
    }

    /// Runs the program in memory to which its context and packet are added.
    #[inline]
    pub(super) fn carry_out(
        &self,
        state: &mut State,
        memory: &mut Memory<'static>,
    ) -> Result<u64, RuntimeError> {
        let (start, length) = (state.image.address(), state.image.size().into());
        memory.add(Region { start, length, writable: true });
        state.show_packet();
        if let Some((direct, instructions)) = state.packet_regions() {
            memory.move_packet(direct, instructions);
        }
        let Inner { fuel, trace, .. } = *self.runtime.inner;
        let program = self.best(state.kind);
        let arguments = [start, 0, 0, 0, 0];
        let result = match run::alone(program, memory, &arguments) {
            Some(value) => Ok(value),
            None if trace.is_some() => self.traced(program, memory, &arguments, state),
            None => {
                let host = Host::Runtime(&mut *state);
                run::run_in(program, 0, memory, &arguments, fuel, host, None)
            }
        };
        state.clean_up();
        match result {
            Ok(value) => Ok(value),
            Err(source) => Err(self.ended(source)),
        }
    }

    #[cold]
    fn traced(
        &self,
        program: &Program,
        memory: &mut Memory<'_>,
        arguments: &[u64; 5],
        state: &mut State,
    ) -> Result<u64, Fault> {
        let Inner { fuel, trace, .. } = *self.runtime.inner;
        let mut trace = trace.map(Trace::new);
        let host = Host::Runtime(state);
        let result = run::run_in(program, 0, memory, arguments, fuel, host, trace.as_mut());
        let last = &self.runtime.inner.last_trace;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = trace.unwrap_or_default();
        result
    }

    #[cold]
    fn ended(&self, source: Fault) -> RuntimeError {
        RuntimeError::Fault { program: self.name.clone(), source }
    }
}
