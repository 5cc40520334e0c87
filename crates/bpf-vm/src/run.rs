//! A run, whichever engine carries it, and what helpers see of it.

use std::any::Any;
use std::fmt;
use std::ptr;

use bpf_isa::{AtomicOp, Narrow, Size, Width};

use crate::errno::Errno;
use crate::fault::{Fault, Reason, Stop};
use crate::jit::native::Native;
use crate::memory::{self, AccessError, Memory, ORDER, Region, load, store};
use crate::packet::Bounds;
use crate::program::{Input, Program, slot_of_code};
use crate::state::{Kind, State};
use crate::trace::Trace;
use crate::window;

mod stack;

use stack::Stack;
pub(crate) use stack::with_stack;

/// Bytes of stack per function, as in the kernel.
pub const FRAME: usize = 512;

/// How many functions may be active at once, as in the kernel.
pub const FRAMES: usize = 8;

/// How many programs a run may go through by tail calls, as in the kernel
/// (`MAX_TAIL_CALL_CNT`, `include/linux/bpf.h`, Linux 6.12).
pub const TAIL_CALLS: u32 = 33;

/// How often `may_goto` lets a run go round, as in the kernel (`BPF_MAX_LOOPS`, Linux 6.9).
const LOOPS: u32 = 8 << 20;

/// `-EPERM`: what a program finds in `r0` behind a tail call that is one too many.
const REFUSED: u64 = -1i64 as u64;

/// Runs a program from its first instruction.
#[inline]
pub(crate) fn run(program: &Program, input: &mut Input<'_>) -> Result<u64, Fault> {
    match alone(program, &input.memory, &input.arguments) {
        Some(result) => Ok(result),
        None => run_from(program, 0, input),
    }
}

/// Runs a program that needs no run, if it is one.
#[inline]
pub(crate) fn alone(program: &Program, memory: &Memory<'_>, arguments: &[u64; 5]) -> Option<u64> {
    let is_interpreted = window::IS_USED && memory.is_in_window();
    program.code.as_ref().filter(|_| !is_interpreted)?.execute_alone(arguments)
}

/// Runs one of its functions.
#[inline(never)]
pub(crate) fn run_from(
    program: &Program,
    entry: usize,
    input: &mut Input<'_>,
) -> Result<u64, Fault> {
    let Input { memory, arguments, fuel, state, trace } = input;
    let host = match state.as_deref_mut() {
        None => Host::Nothing,
        Some(state) => Host::of(state),
    };
    run_in(program, entry, memory, arguments, *fuel, host, trace.as_deref_mut())
}

/// As [`run_from`], with the parts of an [`Input`]: they are read where they are, since a processor
/// that is to copy what it has just written waits until it is in the cache.
#[inline(always)]
pub(crate) fn run_in(
    program: &Program,
    entry: usize,
    memory: &mut Memory<'_>,
    arguments: &[u64; 5],
    fuel: u64,
    host: Host<'_>,
    trace: Option<&mut Trace>,
) -> Result<u64, Fault> {
    let is_interpreted = window::IS_USED && memory.is_in_window();
    let mut stack = Stack::new();
    let mut run = Run {
        fuel,
        stack_end: stack.end(),
        lowest: u64::MAX,
        loops: LOOPS,
        tail_calls: 0,
        cpu: host.cpu(),
        place: 0,
        depth: 0,
        is_interpreted,
        leaves_frames: false,
        native: Native::default(),
        stop: None,
        memory: shortened(memory),
        host,
        trace,
    };
    let result = match entry {
        0 => program.start(&mut run, arguments),
        _ => program.execute(&mut run, entry, arguments),
    };
    match result {
        Ok(result) => Ok(result),
        Err(stop) => ended(stop),
    }
}

#[cold]
fn ended(stop: Stop) -> Result<u64, Fault> {
    match stop {
        Stop::Exit(result) => Ok(result),
        Stop::Fault(fault) => Err(fault),
        // The engines give each reason its place, and make tail calls themselves.
        Stop::Failed(reason) => Err(Fault { slot: 0, reason }),
        Stop::TailCall(_) => unreachable!("engines make tail calls themselves"),
    }
}

/// What helpers find of whoever started the run.
pub(crate) enum Host<'m> {
    Nothing,
    /// A runtime: what its helpers share.
    Runtime(&'m mut State),
    Other(&'m mut dyn Any),
}

impl<'m> Host<'m> {
    fn of(state: &'m mut dyn Any) -> Self {
        if state.is::<State>() {
            return state.downcast_mut().map_or(Self::Nothing, Self::Runtime);
        }
        Self::Other(state)
    }

    /// The CPU that a run of a runtime's program is on.
    fn cpu(&self) -> u32 {
        match self {
            Self::Runtime(state) => state.environment.cpu,
            Self::Nothing | Self::Other(_) => 0,
        }
    }
}

/// The memory as if it had been lent for the run only.
fn shortened<'r>(memory: &'r mut Memory<'_>) -> &'r mut Memory<'r> {
    // SAFETY: the lifetime says how long what was lent lives, at least; a shorter one is true as
    // well. Nothing is put there that lives less long than `memory` did: what helpers add are
    // regions, for which they vouch (`Memory::add`), never borrows.
    unsafe { &mut *ptr::from_mut(memory).cast::<Memory<'r>>() }
}

/// What a run has used up, and what it may use.
#[repr(C)]
pub(crate) struct Run<'m> {
    pub fuel: u64,
    /// `r10` of the deepest frame that has been cleared so far.
    pub lowest: u64,
    pub loops: u32,
    tail_calls: u32,
    /// The number of the CPU, for programs of a runtime.
    pub cpu: u32,
    /// The same if the runtime of the program that runs has so many, or its last.
    pub place: u64,
    pub native: Native,
    /// Why machine code was left before its end.
    pub stop: Option<Stop>,
    /// The stack is all [`FRAMES`], which lie before this address.
    pub stack_end: u64,
    /// The current frame, counted from 0.
    pub depth: usize,
    /// Whether compiled code must not be used.
    pub is_interpreted: bool,
    /// Whether code runs that clears no frames, since a verifier has proved that it needs that not.
    pub leaves_frames: bool,
    pub memory: &'m mut Memory<'m>,
    host: Host<'m>,
    pub trace: Option<&'m mut Trace>,
}

impl Run<'_> {
    /// `r10` of the current frame.
    pub fn frame_end(&self) -> u64 {
        self.stack_end - (self.depth * FRAME) as u64
    }

    /// What helpers share, in runs of a runtime's programs: for those that change no more of it than
    /// [`State::is_used`] says.
    #[inline]
    pub fn state(&mut self) -> Option<&mut State> {
        match &mut self.host {
            Host::Runtime(state) => Some(state),
            Host::Nothing | Host::Other(_) => None,
        }
    }

    /// Moves the packet's bounds; context and lent memory follow. What fails has moved nothing.
    #[inline]
    pub fn move_packet(
        &mut self,
        act: impl FnOnce(Kind, &mut Bounds) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let Host::Runtime(state) = &mut self.host else { return Err(Errno::EINVAL) };
        let bounds = state.packet.as_mut().ok_or(Errno::EINVAL)?;
        act(state.kind, bounds)?;
        state.show_packet();
        if let Some((direct, instructions)) = state.packet_regions() {
            self.memory.move_packet(direct, instructions);
        }
        Ok(())
    }

    /// The frames that are active.
    fn stack(&self) -> Region {
        let length = ((self.depth + 1) * FRAME) as u64;
        Region { start: self.stack_end - length, length, writable: true }
    }

    /// As [`Self::enter_frame`], for a program that reaches so many bytes of its first frame.
    #[inline]
    pub fn enter_part_of_frame(&mut self, bytes: usize) -> u64 {
        if self.depth > 0 || self.lowest != u64::MAX {
            return self.enter_frame();
        }
        let bytes = bytes.min(FRAME);
        let start = ptr::with_exposed_provenance_mut::<u8>(self.stack_end as usize - bytes);
        // SAFETY: within the first frame, which lies in the stack, which lives in `run`.
        unsafe { start.write_bytes(0, bytes) };
        self.stack_end
    }

    /// Programs find zeroes in their stack, or what they left there.
    pub fn enter_frame(&mut self) -> u64 {
        let end = self.frame_end();
        if end < self.lowest {
            let start = ptr::with_exposed_provenance_mut::<u8>(end as usize - FRAME);
            // SAFETY: depth is below FRAMES, so the frame lies in the stack, which lives in `run`.
            unsafe { start.write_bytes(0, FRAME) };
            self.lowest = end;
        }
        end
    }

    /// Where an access lies, if it may be made.
    #[cold]
    #[inline(never)]
    pub fn find(&self, address: u64, length: u64, write: bool) -> Result<Region, Reason> {
        let stack = Some(self.stack()).filter(|stack| stack.holds(address, length));
        match stack.or_else(|| self.memory.find(address, length)) {
            Some(region) if region.writable || !write => Ok(region),
            _ if write => Err(AccessError::Write { address, length }.into()),
            _ => Err(AccessError::Read { address, length }.into()),
        }
    }

    fn check(&self, address: u64, length: u64, write: bool) -> Result<(), Reason> {
        // No bytes may be anywhere: helpers take NULL where they are told that nothing is there.
        if length == 0 {
            return Ok(());
        }
        self.find(address, length, write).map(|_| ())
    }

    pub fn aligned(&self, address: u64, size: Size, write: bool) -> Result<u64, Reason> {
        let length = u64::from(size.bytes());
        self.check(address, length, write)?;
        if address.is_multiple_of(length) {
            Ok(address)
        } else {
            Err(AccessError::Misaligned { address, length }.into())
        }
    }

    /// `src` and `r0` after the operation.
    pub fn atomic(
        &self,
        op: AtomicOp,
        width: Width,
        address: u64,
        src: u64,
        r0: u64,
    ) -> Result<(u64, u64), Reason> {
        macro_rules! operate {
            ($cell:expr, $type:ty) => {{
                let (cell, value) = ($cell, src as $type);
                match op {
                    AtomicOp::Add => {
                        cell.fetch_add(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::Or => {
                        cell.fetch_or(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::And => {
                        cell.fetch_and(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::Xor => {
                        cell.fetch_xor(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::FetchAdd => (cell.fetch_add(value, ORDER).into(), r0),
                    AtomicOp::FetchOr => (cell.fetch_or(value, ORDER).into(), r0),
                    AtomicOp::FetchAnd => (cell.fetch_and(value, ORDER).into(), r0),
                    AtomicOp::FetchXor => (cell.fetch_xor(value, ORDER).into(), r0),
                    AtomicOp::Exchange => (cell.swap(value, ORDER).into(), r0),
                    AtomicOp::CompareExchange => {
                        let old = cell.compare_exchange(r0 as $type, value, ORDER, ORDER);
                        (src, old.unwrap_or_else(|old| old).into())
                    }
                }
            }};
        }
        Ok(match width {
            Width::W64 => {
                let address = self.aligned(address, Size::Double, true)?;
                // SAFETY: checked to be writable and aligned.
                operate!(unsafe { memory::atomic64(address) }, u64)
            }
            Width::W32 => {
                let address = self.aligned(address, Size::Word, true)?;
                // SAFETY: checked to be writable and aligned.
                operate!(unsafe { memory::atomic32(address) }, u32)
            }
        })
    }

    pub fn load_acquire(&self, size: Size, address: u64) -> Result<u64, Reason> {
        let address = self.aligned(address, size, false)?;
        // SAFETY: checked to be readable.
        let value = unsafe {
            match size {
                Size::Byte => load::<u8>(address),
                Size::Half => load::<u16>(address),
                Size::Word => load::<u32>(address),
                Size::Double => load::<u64>(address),
            }
        };
        std::sync::atomic::fence(ORDER);
        Ok(value)
    }

    pub fn store_release(&self, size: Size, address: u64, value: u64) -> Result<(), Reason> {
        let address = self.aligned(address, size, true)?;
        std::sync::atomic::fence(ORDER);
        // SAFETY: checked to be writable.
        unsafe {
            match size {
                Size::Byte => store::<u8>(address, value),
                Size::Half => store::<u16>(address, value),
                Size::Word => store::<u32>(address, value),
                Size::Double => store::<u64>(address, value),
            }
        }
        Ok(())
    }

    /// Negative offsets count from the network header (`SKF_NET_OFF`), and below that from the link
    /// header (`SKF_LL_OFF` of include/uapi/linux/filter.h), which may not be there.
    fn header_offset(&self, offset: i32) -> Option<u64> {
        const NETWORK: i32 = -0x10_0000;
        const LINK: i32 = -0x20_0000;
        let Host::Runtime(state) = &self.host else { return None };
        let network = i64::from(state.link_header());
        let from_start = match offset {
            NETWORK.. => network + i64::from(offset - NETWORK),
            LINK.. => network - i64::from(crate::state::ETHERNET) + i64::from(offset - LINK),
            _ => return None,
        };
        u64::try_from(from_start).ok()
    }

    /// `None` if the bytes aren't there.
    pub fn load_packet(&self, size: Narrow, offset: u64) -> Option<u64> {
        let packet = self.memory.packet?;
        let offset = match (offset as u32).cast_signed() {
            negative @ ..0 => self.header_offset(negative)?,
            _ => offset,
        };
        let address = packet.start.wrapping_add(offset);
        if !packet.holds(address, Size::from(size).bytes().into()) {
            return None;
        }
        // SAFETY: the bytes lie in a region.
        Some(unsafe {
            match size {
                Narrow::Byte => load::<u8>(address),
                Narrow::Half => (load::<u16>(address) as u16).swap_bytes().into(),
                Narrow::Word => (load::<u32>(address) as u32).swap_bytes().into(),
            }
        })
    }

    /// Calls a helper on behalf of the instruction of `program` at `slot`.
    pub fn call_helper(
        &mut self,
        program: &Program,
        index: u32,
        arguments: [u64; 5],
        slot: impl FnOnce() -> usize,
    ) -> Result<Called, Stop> {
        let result = match program.helpers.get(index as usize) {
            Some(helper) => helper(&mut Call { arguments, program, run: self }),
            None => Err(Stop::Failed(Reason::NoSuchFunction { target: index.into() })),
        };
        match result {
            Ok(value) => Ok(Called::Returned(value)),
            Err(Stop::TailCall(target)) => self.tail_call(&target, arguments),
            Err(Stop::Failed(reason)) => Err(Stop::Fault(Fault { slot: slot(), reason })),
            Err(other) => Err(other),
        }
    }

    /// The other program takes the frame of the function that called it, and its result is what
    /// that function returns. It gets the caller's arguments, of which the first is the context.
    fn tail_call(&mut self, target: &Program, arguments: [u64; 5]) -> Result<Called, Stop> {
        if self.tail_calls == TAIL_CALLS {
            return Ok(Called::Returned(REFUSED));
        }
        self.tail_calls += 1;
        if self.leaves_frames {
            // It need not keep to what this one has cleared, or counted.
            self.lowest = u64::MAX;
        }
        // Between two compiled programs an interpreted one may have given memory back.
        self.native.forget();
        let depth = self.depth;
        let result = target.execute(self, 0, &arguments);
        self.depth = depth;
        result.map(Called::Replaced)
    }
}

/// How a helper came back.
pub(crate) enum Called {
    Returned(u64),
    /// Another program ran in place of the rest of the function: its result.
    Replaced(u64),
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut run = f.debug_struct("Run");
        run.field("fuel", &self.fuel).field("depth", &self.depth).field("memory", &self.memory);
        run.finish_non_exhaustive()
    }
}

/// A helper's view of the program that calls it.
#[derive(Debug)]
pub struct Call<'a, 'm> {
    /// `r1` to `r5`.
    pub arguments: [u64; 5],
    program: &'a Program,
    run: &'a mut Run<'m>,
}

impl<'m> Call<'_, 'm> {
    /// Copies from the program's memory.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Stop> {
        self.run.check(address, into.len() as u64, false)?;
        let start = ptr::with_exposed_provenance::<u8>(window::host(address));
        // SAFETY: checked to be readable. The program may hold `into` only if it was lent to it,
        // then the borrow checker would have refused this call.
        unsafe { start.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies to the program's memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        self.run.check(address, bytes.len() as u64, true)?;
        let start = ptr::with_exposed_provenance_mut::<u8>(window::host(address));
        // SAFETY: checked to be writable; `bytes` is none of the program's memory, as above, or
        // memory that it can only read.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies from a packet's buffer to the program's memory, which may be the same.
    pub(crate) fn write_from(
        &mut self,
        address: u64,
        packet: &Bounds,
        at: u32,
        length: u32,
    ) -> Result<(), Stop> {
        self.run.check(address, length.into(), true)?;
        if length == 0 {
            return Ok(());
        }
        let from = packet.pointer(at, length as usize);
        let to = ptr::with_exposed_provenance_mut::<u8>(window::host(address));
        // SAFETY: checked to be writable, and `pointer` has found the rest to lie in the buffer.
        unsafe { ptr::copy(from, to, length as usize) };
        Ok(())
    }

    /// Copies from the program's memory to a packet's buffer.
    pub(crate) fn read_into(
        &self,
        address: u64,
        packet: &Bounds,
        at: u32,
        length: u32,
    ) -> Result<(), Stop> {
        self.run.check(address, length.into(), false)?;
        if length == 0 {
            return Ok(());
        }
        let from = ptr::with_exposed_provenance::<u8>(window::host(address));
        let to = packet.pointer(at, length as usize);
        // SAFETY: checked to be readable, and as above.
        unsafe { ptr::copy(from, to, length as usize) };
        Ok(())
    }

    /// So many bytes of the program's memory.
    #[inline]
    pub(crate) fn read_array<const LENGTH: usize>(
        &self,
        address: u64,
    ) -> Result<[u8; LENGTH], Stop> {
        // Most lie in the current frame.
        let end = self.run.frame_end();
        let frame = Region { start: end - FRAME as u64, length: FRAME as u64, writable: true };
        if !frame.holds(address, LENGTH as u64) {
            self.run.check(address, LENGTH as u64, false)?;
        }
        let start = ptr::with_exposed_provenance::<[u8; LENGTH]>(window::host(address));
        // SAFETY: checked to be readable.
        Ok(unsafe { start.read_unaligned() })
    }

    /// Whether the program may access these bytes.
    pub(crate) fn check(&self, address: u64, length: u64, write: bool) -> Result<(), Stop> {
        Ok(self.run.check(address, length, write)?)
    }

    /// Takes fuel.
    pub(crate) fn burn(&mut self, amount: u64) -> Result<(), Stop> {
        let left = self.run.fuel.checked_sub(amount).ok_or(Reason::OutOfFuel)?;
        self.run.fuel = left;
        Ok(())
    }

    /// What is lent to the run. A helper may add to it, and it may take back what it has added.
    pub(crate) fn memory(&mut self) -> &mut Memory<'m> {
        self.run.memory
    }

    /// What [`Input::state`] holds, if it is a `T`.
    pub fn state<T: Any>(&mut self) -> Result<&mut T, Stop> {
        let state = match &mut self.run.host {
            Host::Nothing => None,
            Host::Runtime(state) => {
                state.is_used = true;
                (*state as &mut dyn Any).downcast_mut()
            }
            Host::Other(state) => state.downcast_mut(),
        };
        state.ok_or(Stop::Failed(Reason::NoState { wanted: std::any::type_name::<T>() }))
    }

    /// Calls a function of the program, whose address it has passed, and returns its result.
    pub fn invoke(&mut self, function: u64, arguments: [u64; 5]) -> Result<u64, Stop> {
        let slot = slot_of_code(function);
        let entry = slot.and_then(|slot| self.program.functions.get(&slot));
        let entry = *entry.ok_or(Reason::NoSuchFunction { target: function })?;
        let depth = self.run.depth;
        if depth + 1 == FRAMES {
            return Err(Reason::TooManyFrames.into());
        }
        self.run.depth = depth + 1;
        let result = self.program.execute(self.run, entry as usize, &arguments);
        // Not counted back: a function that was ended leaves its own calls open, and the helper
        // may go on all the same.
        self.run.depth = depth;
        result
    }
}
