//! What kernels can do with programs apart from types, maps and functions.

use crate::version::Version;

macro_rules! abilities {
    ($($(#[$doc:meta])* $ability:ident $name:literal ($major:literal, $minor:literal) $text:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Ability {
            $($(#[$doc])* $ability,)*
        }

        impl Ability {
            pub const ALL: &[Self] = &[$(Self::$ability),*];

            /// As profiles write it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$ability => $name,)*
                }
            }

            /// In words.
            pub fn describe(self) -> &'static str {
                match self {
                    $(Self::$ability => $text,)*
                }
            }

            pub fn since(self) -> Version {
                match self {
                    $(Self::$ability => Version::new($major, $minor),)*
                }
            }
        }
    };
}

abilities! {
    LocalCalls "local-calls" (4, 16) "calls of local functions";
    Jump32 "jump32" (5, 1) "32-bit jumps";
    /// Up to a million instructions looked at, for privileged users.
    LargePrograms "large-programs" (5, 2) "more than 4096 instructions";
    GlobalVariables "global-variables" (5, 2) "global variables";
    BoundedLoops "bounded-loops" (5, 3) "loops";
    GlobalFunctions "global-functions" (5, 6) "global functions";
    Sleepable "sleepable" (5, 10) "sleepable programs";
    /// Variables of the kernel by their type's number.
    KernelVariables "kernel-variables" (5, 10) "typed kernel variables";
    TailCallsInLocalCalls "tail-calls-in-local-calls" (5, 10)
        "tail calls together with local functions";
    /// All but adding without a result.
    Atomics "atomics" (5, 12) "atomic instructions beyond adding";
    Callbacks "callbacks" (5, 13) "addresses of functions, for callbacks";
    KernelFunctions "kernel-functions" (5, 13) "calls of kernel functions";
    ModuleFunctions "module-functions" (5, 16) "calls of functions of kernel modules";
    XdpFragments "xdp-fragments" (5, 18) "XDP programs for packets in fragments";
    /// References to kernel objects in map values.
    Kptrs "kptrs" (5, 19) "kernel pointers in map values";
    UninitialisedStack "uninitialised-stack" (6, 3) "reads of stack that was never written";
    /// Sign-extending loads and moves, signed division, swaps, far jumps: cpu v4.
    V4 "v4" (6, 6) "instructions of cpu v4";
    FineStack "fine-stack" (6, 8) "stack frames rounded to 16 bytes instead of 32";
    MayGoto "may-goto" (6, 9) "may_goto";
    AddressSpaces "address-spaces" (6, 9) "casts between address spaces";
    LoadAcquire "load-acquire" (6, 15) "load-acquire and store-release";
}

impl Ability {
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|ability| ability.name() == name)
    }
}
