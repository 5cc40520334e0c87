//! What machine code and the rest of the runtime share: the fields that code reads and writes,
//! and the functions that it calls.
//!
//! Code keeps the address of the [`Run`] in a register and passes it to each of these functions.
//! What ends a run is left in `Run::stop`; the functions only say so, and code goes back the way
//! it came in. No panic passes through code: it is kept until the code has been left.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use bpf_isa::{Narrow, Size};

use crate::fault::{Fault, Reason, Stop};
use crate::memory::Region;
use crate::program::{Program, slot_of_code};
use crate::run::{Called, FRAME, FRAMES, Run};

/// A region in the form in which code compares an address with it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Window {
    pub start: u64,
    /// How many places there are for 1, 2, 4 and 8 bytes.
    pub places: [u64; 4],
}

impl Window {
    fn new(region: Region) -> Self {
        let places = |size| (region.length + 1).saturating_sub(size);
        Self { start: region.start, places: [places(1), places(2), places(4), places(8)] }
    }
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Native {
    /// `r10` where code was last left.
    pub frame: u64,
    /// The stack pointer, to leave code from anywhere.
    pub stack_pointer: u64,
    /// Which operation left code, and the helper that it calls.
    pub position: u32,
    pub index: u32,
    /// The operand of a call by register.
    pub target: u64,
    /// `r1` to `r5` and `r0` at such a call.
    pub arguments: [u64; 6],
    /// The regions of the last accesses.
    pub readable: Window,
    pub writable: Window,
    program: *const Program,
    panic: Option<Box<dyn Any + Send>>,
}

impl Default for Native {
    fn default() -> Self {
        Self {
            frame: 0,
            stack_pointer: 0,
            position: 0,
            index: 0,
            target: 0,
            arguments: [0; 6],
            readable: Window::default(),
            writable: Window::default(),
            program: ptr::null(),
            panic: None,
        }
    }
}

impl Native {
    /// The next accesses are looked up anew.
    pub fn forget(&mut self) {
        self.readable = Window::default();
        self.writable = Window::default();
    }
}

/// What a program that is entered takes the place of.
#[derive(Debug)]
pub(crate) struct Outer {
    program: *const Program,
    frame: u64,
    stack_pointer: u64,
    place: u64,
}

impl Outer {
    pub fn of(run: &Run<'_>) -> Self {
        let Native { program, frame, stack_pointer, .. } = run.native;
        Self { program, frame, stack_pointer, place: run.place }
    }

    pub fn put_back(self, run: &mut Run<'_>) {
        let Self { program, frame, stack_pointer, place } = self;
        (run.native.program, run.native.frame, run.place) = (program, frame, place);
        run.native.stack_pointer = stack_pointer;
    }
}

/// Before code for `program` is entered with this frame; returns what to enter it with.
#[inline]
pub(crate) fn begin(program: &Program, run: &mut Run<'_>, frame: u64) -> *mut () {
    run.native.program = program;
    run.native.frame = frame;
    if let Some(shared) = &program.shared {
        run.place = run.cpu.min(shared.cpus - 1).into();
    }
    ptr::from_mut(run).cast()
}

/// After code was left with this result.
#[inline]
pub(crate) fn end(run: &mut Run<'_>, result: u64) -> Result<u64, Stop> {
    if run.native.panic.is_none() && run.stop.is_none() {
        return Ok(result);
    }
    Err(stopped(run))
}

/// Why code was left.
#[cold]
fn stopped(run: &mut Run<'_>) -> Stop {
    if let Some(panic) = run.native.panic.take() {
        resume_unwind(panic);
    }
    run.stop.take().unwrap_or(Stop::Exit(0))
}

/// What such a function returns, in two registers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Outcome {
    pub value: u64,
    pub way: u64,
}

/// The ways on: with the next instruction, ...
const ON: u64 = 0;
/// ... out of the run, ...
pub(crate) const OUT: u64 = 1;
/// ... out of the function, of which the value is the result, ...
pub(crate) const RETURN: u64 = 2;
/// ... or into the function at the address that the value is.
pub(crate) const CALL: u64 = 3;

impl Run<'_> {
    /// # Safety
    ///
    /// `run` comes from [`begin`], by way of code.
    unsafe fn from_code<'r>(run: *mut ()) -> (&'r mut Run<'static>, &'r Program) {
        // SAFETY: `begin` has made it from an exclusive borrow that lasts as long as code runs,
        // and code doesn't use it while this one is alive. Nothing that is reached by it leaves
        // the functions below, so the lifetime of what was lent doesn't matter.
        let run = unsafe { &mut *run.cast::<Run<'static>>() };
        run.depth = ((run.stack_end - run.native.frame) / FRAME as u64) as usize;
        // SAFETY: `begin` has put it there.
        let program = unsafe { &*run.native.program };
        (run, program)
    }

    fn stop(&mut self, stop: Stop) -> Outcome {
        self.stop = Some(stop);
        Outcome { value: 0, way: OUT }
    }

    fn fault(&mut self, program: &Program, reason: Reason) -> Outcome {
        let slot = slot(program, self.native.position);
        self.stop(Stop::Fault(Fault { slot, reason }))
    }

    fn help(&mut self, program: &Program, index: u32, arguments: [u64; 5]) -> Outcome {
        let position = self.native.position;
        let call = || self.call_helper(program, index, arguments, || slot(program, position));
        let result = catch_unwind(AssertUnwindSafe(call));
        // The helper may have taken memory back.
        self.native.forget();
        match result {
            Ok(Ok(Called::Returned(value))) => Outcome { value, way: ON },
            Ok(Ok(Called::Replaced(value))) => Outcome { value, way: RETURN },
            Ok(Err(stop)) => self.stop(stop),
            Err(panic) => {
                self.native.panic = Some(panic);
                Outcome { value: 0, way: OUT }
            }
        }
    }
}

fn slot(program: &Program, position: u32) -> usize {
    program.slots.get(position as usize).copied().unwrap_or_default() as usize
}

/// Calls helper `index`.
pub(crate) extern "C" fn call_helper(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    run: *mut (),
) -> Outcome {
    // SAFETY: called by code only.
    let (run, program) = unsafe { Run::from_code(run) };
    run.help(program, run.native.index, [r1, r2, r3, r4, r5])
}

/// Calls what `target` is the address or number of, with `arguments`.
pub(crate) extern "C" fn call_register(run: *mut ()) -> Outcome {
    // SAFETY: called by code only.
    let (run, program) = unsafe { Run::from_code(run) };
    let Native { target, arguments: [arguments @ .., _], position, .. } = run.native;
    let function = slot_of_code(target).and_then(|slot| program.functions.get(&slot).copied());
    let helper = i32::try_from(target).ok().and_then(|id| program.numbered.get(&id).copied());
    match (function, helper) {
        (Some(entry), _) => {
            if run.depth + 1 == FRAMES {
                return run.fault(program, Reason::TooManyFrames);
            }
            let back = u64::from((position + 1).saturating_sub(entry));
            let Some(fuel) = run.fuel.checked_sub(back) else {
                return run.fault(program, Reason::OutOfFuel);
            };
            run.fuel = fuel;
            match program.code.as_ref().and_then(|code| code.function(entry)) {
                Some(address) => {
                    run.depth += 1;
                    run.enter_frame();
                    Outcome { value: address, way: CALL }
                }
                None => run.fault(program, Reason::NoSuchFunction { target }),
            }
        }
        (None, Some(index)) => run.help(program, index, arguments),
        (None, None) => run.fault(program, Reason::NoSuchFunction { target }),
    }
}

/// Makes room for one more frame, before a call of a function.
pub(crate) extern "C" fn enter_frame(run: *mut ()) -> Outcome {
    // SAFETY: called by code only.
    let (run, program) = unsafe { Run::from_code(run) };
    if run.depth + 1 == FRAMES {
        return run.fault(program, Reason::TooManyFrames);
    }
    run.depth += 1;
    run.enter_frame();
    Outcome { value: 0, way: ON }
}

/// An access, in the six bits that code passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub size: Size,
    pub write: bool,
    pub aligned: bool,
}

impl Kind {
    pub fn bits(self) -> u32 {
        u32::from(self.size.bytes()) | u32::from(self.write) << 4 | u32::from(self.aligned) << 5
    }
}

/// Whether an access may be made; if so, the next ones nearby need not ask.
pub(crate) extern "C" fn check(run: *mut (), address: u64, kind: u32) -> Outcome {
    // SAFETY: called by code only.
    let (run, program) = unsafe { Run::from_code(run) };
    let (length, write) = (u64::from(kind & 15), kind & 16 != 0);
    let size = match length {
        1 => Size::Byte,
        2 => Size::Half,
        4 => Size::Word,
        _ => Size::Double,
    };
    if kind & 32 != 0 {
        return match run.aligned(address, size, write) {
            Ok(_) => Outcome { value: 0, way: ON },
            Err(reason) => run.fault(program, reason),
        };
    }
    match run.find(address, length, write) {
        Ok(region) => {
            let window = Window::new(region);
            if write {
                run.native.writable = window;
            } else {
                run.native.readable = window;
            }
            Outcome { value: 0, way: ON }
        }
        Err(reason) => run.fault(program, reason),
    }
}

/// A load from the packet: its size in bytes, and the sum of index and offset.
pub(crate) extern "C" fn load_packet(run: *mut (), offset: u64, size: u32) -> Outcome {
    // SAFETY: called by code only.
    let (run, _) = unsafe { Run::from_code(run) };
    let size = match size {
        1 => Narrow::Byte,
        2 => Narrow::Half,
        _ => Narrow::Word,
    };
    match run.load_packet(size, u64::from(offset as u32)) {
        Some(value) => Outcome { value, way: ON },
        None => run.stop(Stop::Exit(0)),
    }
}

/// Ends the run: `kind` is one of those below.
pub(crate) extern "C" fn fault(run: *mut (), kind: u32) -> Outcome {
    // SAFETY: called by code only.
    let (run, program) = unsafe { Run::from_code(run) };
    let reason = match kind {
        OUT_OF_FUEL => Reason::OutOfFuel,
        _ => program.end_at(run.native.position as usize),
    };
    run.fault(program, reason)
}

pub(crate) const OUT_OF_FUEL: u32 = 0;
pub(crate) const PAST_THE_END: u32 = 1;

/// How many positions a jump goes back, which is what it costs.
pub(crate) fn cost(position: usize, target: u32) -> u32 {
    (position as u32 + 1).saturating_sub(target)
}
