//! The end of a function or of the program.

use bpf_interface::program::{self, Returns};

use crate::change::Change;
use crate::engine::{Engine, Next};
use crate::register::{Kind, Register};
use crate::rule::Rule;
use crate::state::CallbackRole;
use crate::stop::{Check, refuse, unmodelled};

impl Engine<'_> {
    pub(super) fn exit(&mut self) -> Check<Next> {
        self.check_exit()?;
        if self.state.current() > 0 {
            return self.leave();
        }
        self.check_result()?;
        Ok(Next::End)
    }

    /// Back to the caller of a local function.
    pub(crate) fn leave(&mut self) -> Check<Next> {
        let frame = self.state.frame();
        let result = frame.registers[0];
        if result.kind == Kind::Stack {
            return refuse(Rule::ExitState, "cannot return stack pointer to the caller");
        }
        let (call, callback) = (frame.call, frame.callback);
        if let Some(callback) = callback {
            if !result.is_scalar() {
                return refuse(Rule::Callback, "R0 not a scalar value");
            }
            self.mark_precise(0)?;
            let (from, to) = callback.returns;
            let known = self.register(0).number.s64;
            if known.min < from || known.max > to {
                let range = value_text(&result);
                return refuse(
                    Rule::Callback,
                    format!(
                        "At callback return the register R0 has {range} should have been in [{from}, {to}]"
                    ),
                );
            }
            if callback.role == CallbackRole::Synchronous && self.code.points[call].calls_callback {
                return self.leave_callback(call);
            }
        }
        let depth = self.state.current();
        self.state.frames.pop();
        self.invalidate_frame(depth);
        if let Some(role) = callback.map(|callback| callback.role)
            && matches!(role, CallbackRole::Asynchronous { .. })
        {
            return Ok(Next::End);
        }
        self.write(0, result)?;
        Ok(Next::To(call + 1))
    }

    /// Pointers into a frame that is gone don't exist: a callee can't have handed them upwards but
    /// through r0, which is checked.
    fn invalidate_frame(&mut self, depth: usize) {
        let depth = depth as u8;
        self.invalidate(|register| register.kind == Kind::Stack && register.frame >= depth);
        // The next function that is called there begins with a fresh frame.
        self.state.written[usize::from(depth)] = u64::MAX;
    }

    fn leave_callback(&mut self, call: usize) -> Check<Next> {
        let depth = self.state.current();
        self.state.frames.pop();
        self.invalidate_frame(depth);
        // What the callback has changed in this turn may change again in the next.
        let earlier = self.visits_on_the_way(call).next();
        if let Some(earlier) = earlier {
            let mut state = self.state.clone();
            self.widen_from(earlier, &mut state);
            self.state = state;
        }
        Ok(Next::To(call))
    }

    /// The program's result, or that of a global function (`check_return_code`).
    fn check_result(&mut self) -> Check {
        let frame = self.state.frame();
        let result = frame.registers[0];
        let asynchronous = frame.asynchronous.is_some();
        if asynchronous {
            let result = self.read(0)?;
            if !result.is_scalar() {
                return refuse(
                    Rule::Callback,
                    "In async callback the register R0 is not a known value",
                );
            }
            return self.check_range(&result, 0, 0, false, "async callback");
        }
        if frame.function != 0 {
            return self.check_global_result(&result);
        }
        let caller = self.caller;
        let void = match self.target_returns_nothing() {
            Some(void) => void,
            None => {
                return unmodelled("what the attach target returns, without the kernel's types");
            }
        };
        use bpf_object::{AttachType, ProgramType};
        let is_free = caller.program == ProgramType::LSM
            && caller.attach != AttachType::LSM_CGROUP
            && !self.has(Change::LsmResults);
        let returns = match program::returns(&caller, void) {
            Returns::Range { .. } if is_free => Returns::Anything,
            Returns::Range { from: 0, to: 3, narrow }
                if caller.program == ProgramType::CGROUP_SOCK_ADDR
                    && !self.has(Change::PrivilegedPorts) =>
            {
                Returns::Range { from: 0, to: 1, narrow }
            }
            returns => returns,
        };
        match returns {
            Returns::Nothing => Ok(()),
            Returns::NotSupported => refuse(Rule::AttachTarget, "programs can't be attached there"),
            Returns::Anything => {
                let result = self.read(0)?;
                self.check_no_leak(&result)
            }
            Returns::Range { from, to, narrow } => {
                let result = self.read(0)?;
                self.check_no_leak(&result)?;
                if !result.is_scalar() {
                    return refuse(
                        Rule::ReturnValue,
                        format!(
                            "At program exit the register R0 is not a known value ({})",
                            result.name()
                        ),
                    );
                }
                self.check_range(&result, from.into(), to.into(), narrow, "program exit")
            }
        }
    }

    fn check_no_leak(&self, result: &Register) -> Check {
        if self.is_secret(result) {
            return refuse(Rule::Leak, "R0 leaks addr as return value");
        }
        Ok(())
    }

    fn check_global_result(&mut self, _result: &Register) -> Check {
        let function = &self.code.functions[self.state.frame().function];
        if let (Some(types), Some(id)) = (self.types, function.kind)
            && crate::signature::returns_nothing(types, id)
        {
            return Ok(());
        }
        let result = self.read(0)?;
        self.check_no_leak(&result)?;
        if !result.is_scalar() {
            return refuse(
                Rule::ReturnValue,
                format!(
                    "At subprogram exit the register R0 is not a scalar value ({})",
                    result.name()
                ),
            );
        }
        Ok(())
    }

    fn check_range(
        &mut self,
        result: &Register,
        from: i64,
        to: i64,
        narrow: bool,
        place: &str,
    ) -> Check {
        self.mark_precise(0)?;
        let number = &result.number;
        let (min, max) = if narrow {
            (number.s32.min.into(), number.s32.max.into())
        } else {
            (number.s64.min, number.s64.max)
        };
        if from <= min && max <= to {
            return Ok(());
        }
        let what = value_text(result);
        refuse(
            Rule::ReturnValue,
            format!("At {place} the register R0 has {what} should have been in [{from}, {to}]"),
        )
    }

    /// Whether what the program is attached to returns nothing; `None` if that can't be known.
    fn target_returns_nothing(&self) -> Option<bool> {
        use bpf_object::ProgramType as P;
        if !matches!(self.caller.program, P::LSM | P::STRUCT_OPS) {
            return Some(false);
        }
        let kernel = self.kernel?;
        let signature = bpf_interface::typed::signature(kernel, &self.caller).ok()?;
        Some(signature.result.is_none())
    }
}

fn value_text(register: &Register) -> String {
    let number = &register.number;
    if let Some(value) = number.exact() {
        return format!("smin={0} smax={0}", value.cast_signed());
    }
    match (number.s64.min, number.s64.max) {
        (i64::MIN, i64::MAX) => "unknown scalar value".to_owned(),
        (min, max) => format!("smin={min} smax={max}"),
    }
}
