//! All that is known at a point of a path: the frames with registers and stack, and what is held.

use std::rc::Rc;

use crate::register::{Kind, Register};
use crate::stack::Slot;

/// How deep local functions may call each other (`MAX_CALL_FRAMES`).
pub(crate) const MAX_FRAMES: usize = 8;

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub registers: [Register; 11],
    /// Only as deep as it was used.
    pub stack: Rc<Vec<Slot>>,
    /// Index of the function.
    pub function: usize,
    /// The slot of the call that made this frame.
    pub call: usize,
    pub callback: Option<Callback>,
    /// How often the callback was entered on this path.
    pub callback_depth: u32,
    /// For callbacks that are called later: how often.
    pub asynchronous: Option<u32>,
}

/// A frame of a function that the kernel calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    /// The least and the greatest number that it may return.
    pub returns: (i64, i64),
    pub role: CallbackRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallbackRole {
    /// Called from inside a helper, any number of times.
    Synchronous,
    /// Called later: of timers and work queues.
    Asynchronous { sleepable: bool },
}

impl Frame {
    pub fn new(function: usize, call: usize, depth: usize) -> Self {
        let mut registers = [Register::UNINITIALISED; 11];
        registers[10] = Register { frame: depth as u8, ..Register::pointer(Kind::Stack) };
        Self {
            registers,
            stack: Rc::default(),
            function,
            call,
            callback: None,
            callback_depth: 0,
            asynchronous: None,
        }
    }

    pub fn slot(&self, index: usize) -> Slot {
        self.stack.get(index).copied().unwrap_or_default()
    }

    /// The slot, which is made if the frame isn't that deep yet.
    pub fn slot_mut(&mut self, index: usize) -> &mut Slot {
        let stack = Rc::make_mut(&mut self.stack);
        if stack.len() <= index {
            stack.resize(index + 1, Slot::default());
        }
        &mut stack[index]
    }

    pub fn in_callback(&self) -> bool {
        self.callback.is_some()
    }
}

/// Something that must be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub id: u32,
    /// Where it was acquired.
    pub slot: usize,
    /// The frame of the callback in which it was acquired; 0 outside of callbacks.
    pub callback_frame: usize,
}

/// The spin lock that is held: which object, and which instance of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// `true`: in a map's value, whose map `object` is; else an allocated object's reference.
    pub in_map: bool,
    pub object: u32,
    pub id: u32,
}

pub(crate) type CheckpointId = u32;

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub frames: Vec<Rc<Frame>>,
    pub references: Vec<Reference>,
    pub lock: Option<Lock>,
    pub rcu: bool,
    pub preempt: u32,
    pub sleepable: bool,
    pub may_goto_depth: u32,
    pub callback_unroll_depth: u32,
    /// Only for unprivileged programs: a path that a mispredicting processor could take.
    pub speculative: bool,
    // How it came about.
    pub parent: Option<CheckpointId>,
    pub first: usize,
    pub last: usize,
    pub history: Vec<Jump>,
    pub depth: u32,
    pub loop_entry: Option<CheckpointId>,
    /// Stack slots that were written since the last checkpoint, by frame.
    pub written: [u64; MAX_FRAMES],
}

/// A step of a path that isn't just to the next instruction, or that one has to know more about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Jump {
    pub slot: u32,
    pub previous: u32,
    /// The stack slot that the instruction spills to or fills from.
    pub stack: Option<(u8, u8)>,
    /// Registers and stack slots of one group, whose bounds change together: the first up to six.
    pub linked: Linked,
}

/// Up to six registers or stack slots.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Linked {
    pub count: u8,
    /// Frame, and register, or 16 plus the stack slot.
    pub places: [(u8, u8); 6],
}

impl Linked {
    pub fn push(&mut self, frame: usize, place: usize) -> bool {
        let Some(entry) = self.places.get_mut(usize::from(self.count)) else { return false };
        *entry = (frame as u8, place as u8);
        self.count += 1;
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let places = &self.places[..usize::from(self.count)];
        places.iter().map(|(frame, place)| (usize::from(*frame), usize::from(*place)))
    }
}

impl State {
    pub fn new(frame: Frame, sleepable: bool) -> Self {
        Self {
            frames: vec![Rc::new(frame)],
            references: Vec::new(),
            lock: None,
            rcu: false,
            preempt: 0,
            sleepable,
            may_goto_depth: 0,
            callback_unroll_depth: 0,
            speculative: false,
            parent: None,
            first: 0,
            last: 0,
            history: Vec::new(),
            depth: 0,
            loop_entry: None,
            written: [u64::MAX; MAX_FRAMES],
        }
    }

    pub fn current(&self) -> usize {
        self.frames.len() - 1
    }

    pub fn frame(&self) -> &Frame {
        &self.frames[self.frames.len() - 1]
    }

    pub fn frame_mut(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        Rc::make_mut(&mut self.frames[last])
    }

    pub fn frame_at_mut(&mut self, index: usize) -> &mut Frame {
        Rc::make_mut(&mut self.frames[index])
    }

    /// Calls `change` with every register and every spilled one. Frames in which nothing is to be
    /// changed stay shared.
    pub fn each(
        &mut self,
        wanted: impl Fn(&Register) -> bool,
        mut change: impl FnMut(&mut Register),
    ) {
        for frame in &mut self.frames {
            if frame.registers.iter().any(&wanted) {
                let frame = Rc::make_mut(frame);
                frame.registers.iter_mut().filter(|r| wanted(r)).for_each(&mut change);
            }
            if frame.stack.iter().any(|slot| slot.is_spill() && wanted(&slot.register)) {
                let frame = Rc::make_mut(frame);
                let stack = Rc::make_mut(&mut frame.stack);
                for slot in
                    stack.iter_mut().filter(|slot| slot.is_spill() && wanted(&slot.register))
                {
                    change(&mut slot.register);
                }
            }
        }
    }
}
