//! One instruction.

use bpf_isa::{AtomicOp, Callee, Instruction, Register as R, Source, Width};

use crate::engine::{Engine, Next};
use crate::memory::{Direction, Value};
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::stop::{Check, refuse, unmodelled};

pub(crate) mod alu;
pub(crate) mod branch;
mod call;
mod exit;
mod null;
mod packet_range;
pub(crate) mod pointer;
mod sanitation;
mod wide;

pub(crate) use sanitation::Mask;

impl Engine<'_> {
    pub fn step(&mut self, instruction: Instruction) -> Check<Next> {
        match instruction {
            Instruction::Alu { op, width, dst, src } => self.alu(op, width, dst.number(), src)?,
            Instruction::Negate { width, dst } => self.negate(width, dst.number())?,
            Instruction::ByteOrder { dst, .. } => self.unknown_from(dst.number())?,
            Instruction::MoveSigned { extension, dst, src } => {
                self.move_signed(extension, dst.number(), src.number())?;
            }
            Instruction::CastAddress { dst, src, spaces } => {
                self.cast_address(dst.number(), src.number(), spaces)?;
            }
            Instruction::LoadWide { dst, value } => self.load_wide(dst.number(), value)?,
            Instruction::LoadPacket { index, .. } => {
                return self.load_packet(index.map(R::number));
            }
            Instruction::Load { access, dst, base, offset } => {
                let signed = matches!(access, bpf_isa::Access::Signed(_));
                self.read(base.number())?;
                if dst == R::R10 {
                    return refuse(Rule::FramePointer, "frame pointer is read only");
                }
                let direction = Direction::Read { into: Some(dst.number()), signed };
                let pointer = *self.register(base.number());
                self.access(base.number(), offset.into(), access.size().bytes(), direction, false)?;
                self.check_same_pointer(&pointer, true)?;
            }
            Instruction::Store { size, base, offset, value } => {
                let value = match value {
                    Source::Register(src) => {
                        self.read(src.number())?;
                        Value::Register(src.number())
                    }
                    Source::Immediate(number) => Value::Immediate(number),
                };
                self.read(base.number())?;
                let direction = Direction::Write(value);
                let pointer = *self.register(base.number());
                self.access(base.number(), offset.into(), size.bytes(), direction, false)?;
                self.check_same_pointer(&pointer, false)?;
            }
            Instruction::Atomic { op, width, base, offset, src } => {
                self.atomic(op, width, base.number(), offset.into(), src.number())?;
            }
            Instruction::LoadAcquire { size, dst, base, offset } => {
                self.check_ordered(base.number(), "loads from")?;
                let direction = Direction::Read { into: Some(dst.number()), signed: false };
                let pointer = *self.register(base.number());
                self.access(base.number(), offset.into(), size.bytes(), direction, true)?;
                self.check_same_pointer(&pointer, false)?;
            }
            Instruction::StoreRelease { size, base, offset, src } => {
                self.read(src.number())?;
                self.check_ordered(base.number(), "stores into")?;
                let direction = Direction::Write(Value::Register(src.number()));
                let pointer = *self.register(base.number());
                self.access(base.number(), offset.into(), size.bytes(), direction, true)?;
                self.check_same_pointer(&pointer, false)?;
            }
            Instruction::Jump { distance } => {
                self.jumps += 1;
                return Ok(Next::To(self.target(distance.slots())));
            }
            Instruction::JumpIf { condition, width, left, right, offset } => {
                self.jumps += 1;
                let target = self.target(offset.into());
                return self.branch(condition, width, left.number(), right, target);
            }
            Instruction::MayGoto { offset } => {
                self.jumps += 1;
                let target = self.target(offset.into());
                return self.may_goto(target);
            }
            Instruction::Call { callee } => {
                self.jumps += 1;
                return self.call(callee);
            }
            Instruction::CallRegister { .. } => {
                return refuse(Rule::Encoding, "BPF_CALL uses reserved fields");
            }
            Instruction::Exit {} => {
                self.jumps += 1;
                return self.exit();
            }
        }
        Ok(Next::Through)
    }

    /// The kernel rewrites accesses of some kinds, so that on all paths the kind must be the same
    /// there (`save_aux_ptr_type`). Loads of structures may be guarded as if none were trusted.
    fn check_same_pointer(&mut self, pointer: &Register, is_load: bool) -> Check {
        let flags = pointer.flags.without(Flags::PLUS);
        let here = (pointer.kind, flags);
        let is_rewritten = |kind: Kind| {
            let kinds = [Kind::Context, Kind::Structure, Kind::Arena];
            kinds.contains(&kind) || Register::pointer(kind).is_socket()
        };
        match &mut self.pointers[self.slot] {
            known @ None => *known = Some(here),
            Some(known) if *known == here => {}
            Some(known) if !is_rewritten(known.0) && !is_rewritten(here.0) => {}
            Some(known) if is_load && known.0 == Kind::Structure && here.0 == Kind::Structure => {
                known.1 = Flags::UNTRUSTED;
            }
            Some(_) => {
                return refuse(
                    Rule::InvalidAccess,
                    "same insn cannot be used with different pointers",
                );
            }
        }
        Ok(())
    }

    pub fn target(&self, distance: i32) -> usize {
        crate::code::Code::target(self.slot, distance).unwrap_or(usize::MAX)
    }

    fn call(&mut self, callee: Callee) -> Check<Next> {
        if self.state.lock.is_some() && !self.may_call_under_lock(callee) {
            return refuse(Rule::SpinLock, "function calls are not allowed while holding a lock");
        }
        match callee {
            Callee::Helper(id) => self.call_helper(id),
            Callee::Local(distance) => self.call_local(distance),
            Callee::Kernel { btf_id, module } => self.call_kernel(btf_id, module),
        }
    }

    /// The instructions of the first BPF: they call a helper and end the program if it fails.
    fn load_packet(&mut self, index: Option<u8>) -> Check<Next> {
        use bpf_object::ProgramType as P;
        let program = self.caller.program;
        if !matches!(program, P::SOCKET_FILTER | P::CLASSIFIER | P::ACTION) {
            return refuse(
                Rule::Encoding,
                "BPF_LD_[ABS|IND] instructions not allowed for this program type",
            );
        }
        let context = self.read(6)?;
        self.check_nothing_held("BPF_LD_[ABS|IND]")?;
        if context.kind != Kind::Context {
            return refuse(
                Rule::ArgumentType,
                "at the time of BPF_LD_ABS|IND R6 != pointer to skb",
            );
        }
        if let Some(index) = index {
            self.read(index)?;
        }
        self.check_unmodified(&context, 6)?;
        if self.is_in_local_function_without_number() {
            return refuse(
                Rule::ReturnValue,
                "LD_ABS is only allowed in functions that return 'int'.",
            );
        }
        if self.state.frames.iter().skip(1).any(|frame| frame.in_callback()) {
            return refuse(Rule::Encoding, "cannot use BPF_LD_[ABS|IND] within callback");
        }
        self.clobber_caller_saved();
        self.write(0, Register::UNKNOWN)?;
        if self.state.current() == 0 {
            return Ok(Next::Through);
        }
        // Where the bytes aren't there, the function returns zero.
        self.push(self.slot + 1)?;
        self.write(0, Register::exactly(0))?;
        self.leave()
    }

    fn is_in_local_function_without_number(&self) -> bool {
        if self.state.current() == 0 {
            return false;
        }
        let function = &self.code.functions[self.state.frame().function];
        // Without types nobody knows what it returns.
        let (Some(types), Some(id)) = (self.types, function.kind) else { return true };
        !crate::signature::returns_number(types, id)
    }

    /// Ordered accesses (Linux 6.15) go where atomic ones may go.
    fn check_ordered(&self, base: u8, what: &str) -> Check {
        let target = self.read(base)?;
        if matches!(target.kind, Kind::Context | Kind::Packet | Kind::PacketMeta | Kind::FlowKeys)
            || target.is_socket()
        {
            return refuse(
                Rule::Atomic,
                format!("BPF_ATOMIC {what} R{base} {} is not allowed", target.name()),
            );
        }
        Ok(())
    }

    fn atomic(&mut self, op: AtomicOp, width: Width, base: u8, offset: i32, src: u8) -> Check {
        let size = if width == Width::W32 { 4 } else { 8 };
        let value = self.read(src)?;
        let target = self.read(base)?;
        if op == AtomicOp::CompareExchange {
            let expected = self.read(0)?;
            if self.is_secret(&expected) {
                return refuse(Rule::Leak, "R0 leaks addr into mem");
            }
        }
        if self.is_secret(&value) {
            return refuse(Rule::Leak, format!("R{src} leaks addr into mem"));
        }
        if matches!(target.kind, Kind::Context | Kind::Packet | Kind::PacketMeta | Kind::FlowKeys)
            || target.is_socket()
        {
            return refuse(
                Rule::Atomic,
                format!("BPF_ATOMIC stores into R{base} {} is not allowed", target.name()),
            );
        }
        if target.kind == Kind::Arena && matches!(size, 1 | 2) {
            return unmodelled("narrow atomic access to an arena");
        }
        let into = match op {
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => None,
            AtomicOp::CompareExchange => Some(0),
            _ => Some(src),
        };
        self.access(base, offset, size, Direction::Read { into: None, signed: false }, true)?;
        self.check_same_pointer(&target, false)?;
        if let Some(into) = into {
            if into == 10 {
                return refuse(Rule::FramePointer, "frame pointer is read only");
            }
            // The base may be the same register: what is read there replaces it only afterwards.
            let before = *self.register(base);
            self.access(
                base,
                offset,
                size,
                Direction::Read { into: Some(into), signed: false },
                true,
            )?;
            let loaded = *self.register(into);
            if into == base {
                *self.register_mut(base) = before;
            }
            self.access(base, offset, size, Direction::Write(Value::Unknown), true)?;
            return self.write(into, loaded);
        }
        self.access(base, offset, size, Direction::Write(Value::Unknown), true)
    }
}
