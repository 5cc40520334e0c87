//! The rules by which programs are refused, with stable codes and what usually mends a breach.

use std::fmt;

macro_rules! rules {
    ($($rule:ident = $code:literal, $title:literal, $hint:literal;)*) => {
        /// A rule. Its code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $title] $rule,)*
        }

        impl Rule {
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            /// Such as `SV0201`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$rule => $code,)* }
            }

            /// What the rule demands.
            pub fn title(self) -> &'static str {
                match self { $(Self::$rule => $title,)* }
            }

            /// What usually mends a breach.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$rule => $hint,)* }
            }
        }
    };
}

rules! {
    // The form of the program.
    Empty = "SV0101", "a program has at least one instruction", "the function is empty: was it optimised away?";
    Encoding = "SV0102", "every instruction is one that the kernel defines, without stray bits", "compile with a `-mcpu` that the kernel knows";
    JumpOutOfRange = "SV0103", "jumps stay inside their function", "the object is damaged or was linked wrongly";
    FallThrough = "SV0104", "the last instruction of a function is an exit or a jump", "end every path with a `return`; a call of a function that never returns does not count";
    Unreachable = "SV0105", "every instruction can be reached", "remove the dead code, or compile with optimisation";
    BackEdge = "SV0106", "loops are for loaders with CAP_BPF", "unroll the loop with `#pragma unroll`";
    CallDepth = "SV0107", "functions call each other at most 8 deep, and never themselves", "turn recursion into a loop, or inline functions";
    StackSize = "SV0108", "the frames along a path of calls take at most 512 bytes", "move large variables into a per-CPU array map, or make functions smaller";
    TailCallStack = "SV0109", "with tail calls, frames above take at most 256 bytes, and tail calls stay out of callbacks", "make the tail call in the main function, or shrink its callers' stack";
    TooManyFunctions = "SV0110", "a program has at most 256 functions", "split the program by tail calls";
    // Complexity.
    TooComplex = "SV0201", "at most a million instructions are looked at", "bound loops by smaller constants, use `bpf_loop`, or mark functions `__noinline` and global";
    TooManyBranches = "SV0202", "at most 8192 branches wait to be looked at", "split the function, or use `bpf_loop` for long loops";
    InfiniteLoop = "SV0203", "every loop makes progress", "let the loop's counter change in every turn and be compared with a bound";
    // Registers.
    Uninitialised = "SV0301", "registers are written before they are read", "initialise the variable on every path; r1 to r5 are lost by a call";
    FramePointer = "SV0302", "r10 is read only", "the object is damaged or was assembled by hand";
    PointerArithmetic = "SV0303", "pointers take only additions and subtractions that keep them what they are", "check the pointer for NULL first and add a bounded number to it";
    UnboundedArithmetic = "SV0304", "a number that is added to a pointer has bounds", "mask or compare the number before it is added, in a variable that the compiler can't split";
    PointerComparison = "SV0305", "pointers are compared only where that gives nothing away", "compare with NULL only";
    Leak = "SV0306", "kernel addresses stay inside the program", "store a number instead of the pointer";
    Division = "SV0307", "no division by a constant zero, no shift past the width", "correct the constant";
    // Memory.
    NullDereference = "SV0401", "a pointer that may be NULL is checked first", "add `if (!ptr) return 0;` before the access";
    InvalidAccess = "SV0402", "memory is reached through a pointer that may do so", "the register holds no pointer to this kind of memory any more: look where it was last written";
    OutOfBounds = "SV0403", "accesses stay inside the object", "compare the index or offset with the size before the access, on the same variable";
    PacketBounds = "SV0404", "packet bytes are checked against data_end first", "add `if (data + offset + size > data_end) return ...;` before the access, again after helpers that change the packet";
    StackBounds = "SV0405", "stack accesses stay inside the frame and read what was written", "initialise the variable as a whole (`= {}`), padding included";
    StackVariable = "SV0406", "an offset into the stack that isn't constant has bounds inside initialised memory", "bound the index, and initialise the whole array";
    CorruptSpill = "SV0407", "a spilled pointer is written and read as a whole", "the compiler split a pointer: make the access volatile or of 8 bytes";
    Misaligned = "SV0408", "accesses are aligned", "use smaller accesses or align the field";
    ContextAccess = "SV0409", "the context has only the fields, sizes and directions that its program type offers", "see which fields this program type has; keep the context pointer unmodified";
    ReadOnly = "SV0410", "what is read-only is not written", "copy the value first; `const volatile` globals can't be written by programs";
    Atomic = "SV0411", "atomic instructions work on aligned memory of the stack, of maps or allocated, never on contexts, packets or sockets", "use a plain access, or a copy on the stack";
    MapField = "SV0412", "special fields of map values (timers, locks, kernel pointers) are touched only by their helpers", "don't copy or overwrite the whole value: go field by field";
    // Calls.
    UnknownHelper = "SV0501", "helpers exist and are offered to this program type", "see which helpers this program type and kernel have";
    Licence = "SV0502", "helpers and functions that are GPL only need a program under a compatible licence", "set `char _license[] SEC(\"license\") = \"GPL\";` if that is what it is";
    ArgumentType = "SV0503", "arguments are what the function takes", "pass the pointer that the helper's documentation asks for";
    ArgumentSize = "SV0504", "sizes of memory are bounded and inside the memory", "compare the size with the buffer's size before the call, as an unsigned number";
    MapKind = "SV0505", "helpers are called with the kinds of maps that they are for", "use the map type that the helper's documentation names";
    UnknownFunction = "SV0506", "kernel functions exist and are offered to this program type", "check that the kernel has the function, and that this program type may call it";
    Callback = "SV0507", "callbacks are functions of the program, and return what their caller takes", "return 0 to go on or 1 to stop";
    GlobalFunction = "SV0508", "global functions take numbers, the context and pointers to memory of known size", "make the function `static`, or change its arguments";
    Sleeping = "SV0509", "what may sleep is only called where sleeping is allowed", "use a sleepable program (`.s` section), outside of locks and RCU sections";
    Extern = "SV0510", "externs that the program uses exist", "guard the use by `bpf_ksym_exists()`, or declare the extern weak";
    // Resources.
    ReferenceLeak = "SV0601", "what is acquired is released on every path", "call the matching release function before each return and tail call";
    ReleaseUnowned = "SV0602", "only what was acquired is released, once", "release the very pointer that was acquired, unmodified and checked for NULL";
    SpinLock = "SV0603", "spin locks are held alone, released in the same function, and nothing is called meanwhile", "keep the section between lock and unlock short and free of calls";
    RcuLock = "SV0604", "RCU and preemption sections are balanced", "unlock on every path";
    Dynptr = "SV0605", "dynptrs are used through their helpers and released", "keep dynptrs on the stack at constant offsets and don't overwrite them";
    Iterator = "SV0606", "iterators are made, advanced and destroyed in this order", "call the iterator's destroy function on every path";
    // Results.
    ReturnValue = "SV0701", "a program returns what its attach point takes", "return one of the documented verdicts on every path";
    ExitState = "SV0702", "a program ends with its result in r0", "end every path with `return` and a number";
    // Around the program.
    MapUse = "SV0801", "programs use kinds of maps that fit them", "this kind of map can't be used by this kind of program";
    AttachTarget = "SV0802", "what the program is attached to exists and takes it", "check the section's name against the kernel's functions";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let codes: std::collections::BTreeSet<&str> = Rule::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Rule::ALL.len());
    }
}
