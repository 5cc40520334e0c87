//! What kernels before and after Linux 6.12 judge otherwise, and the version that changed it.
//!
//! The engine follows 6.12; where another kernel is asked for, it asks here. What a kernel has or
//! hasn't (helpers, map types, instructions) is no matter of these rules: `bpf-interface` says it.
//! What Debian's 5.10 has by way of fixes is no entry either, whenever Linux itself got it: loads and
//! stores at offsets of the stack that aren't known, numbers of fewer than 8 bytes and constants that
//! are known when they come back from it.

use bpf_interface::Version;
use bpf_interface::feature::Ability;
use bpf_interface::profile::Profile;
use bpf_object::ProgramType;

macro_rules! changes {
    ($($(#[$doc:meta])* $change:ident ($major:literal, $minor:literal);)*) => {
        /// A rule that came with a version, which is named here. Fixes reach older kernels, too; those
        /// that Debian's kernels have are named by the version that they first came with there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Change {
            $($(#[$doc])* $change,)*
        }

        impl Change {
            const ALL: &[Self] = &[$(Self::$change),*];

            const fn since(self) -> Version {
                match self {
                    $(Self::$change => Version::new($major, $minor),)*
                }
            }
        }
    };
}

changes! {
    /// Helpers are given stack memory that holds pointers of any kind (cd17d38f8b28).
    PointersForHelpers (5, 12);
    /// Global functions take pointers to memory; before only contexts (e5069b9c23b3).
    MemoryForFunctions (5, 12);
    /// Programs on bind may let ports be taken that need privileges (772412176fb9).
    PrivilegedPorts (5, 12);
    /// Sleepable programs use other maps than arrays and hashes (638e4b825d52).
    SleepableMaps (5, 12);
    /// Traced functions' arguments may be read that point to integers (bb6728d75611).
    IntegerPointers (5, 17);
    /// Pointers to kernel structures on the stack are forgotten, as others are, when a helper gets
    /// the memory.
    StructuresForHelpers (6, 0);
    /// Records of ring buffers serve as keys and values of maps (d1673304097c).
    RecordsForMaps (6, 2);
    /// The stack may be read below what was ever written (a833a17aeac7); above, bytes that nothing was
    /// written to may be read by all kernels that have the fixes of 6715df8d5d24.
    UninitialisedStack (6, 3);
    /// What is equal to a valid pointer isn't NULL (befae75856ab).
    EqualPointers (6, 2);
    /// Copies of 32 bits are known to be the same where the upper half is zero (3be49f79555e).
    NarrowCopies (6, 5);
    /// Tags say what global functions take (94e1c70a3452).
    ArgumentTags (6, 8);
    /// Comparisons of two numbers that aren't known teach, and decide.
    Comparisons (6, 8);
    /// It is learnt that a number is not the one at the end of its range (d028f87517d6).
    Differences (6, 8);
    /// Numbers of which nothing is known, and zero, are kept as others are; what is put on the stack
    /// and what stays in the register are known to be the same.
    AllSpills (6, 8);
    /// Frames are rounded to 16 bytes where functions are compiled, to 32 before.
    FineStack (6, 8);
    /// A copy of a number plus a constant learns with it (98d7ca374ba4).
    LinkedSums (6, 11);
    /// What LSM programs return must be what their hook may return; some hooks are closed
    /// (5d99e198be27, 21c7063f6d08).
    LsmResults (6, 12);
    /// Some arguments of tracepoints may be NULL (838a10bd2ebf).
    NullableTracepoints (6, 12);
    /// What is known of a number's range is forgotten where `if a & b` doesn't hold, lest it
    /// contradict the bits on a way that can't be taken (6279846b9b25, of 6.17; later 6.12 have it).
    ForgottenRanges (6, 12);
    /// What a helper only reads of the stack stays what it was (37cce22dbd51).
    ReadStackStays (6, 14);
    /// Programs on raw tracepoints call the kernel functions that other tracing programs call.
    RawTracepointFunctions (6, 16);
    /// Of a negated number it is known what follows from the number (aced132599b3).
    Negations (6, 17);
    /// Where a tail call fails nothing has changed the packet; where it succeeds in a local function,
    /// the caller goes on (e3245f899043, of 6.19; later 6.18 have it).
    TailCallsReturn (6, 18);
}

/// The rules of one kernel. By default those of Linux 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    /// By the version alone, as Linux itself had them.
    pub fn of_version(version: Version) -> Self {
        let has = |change: &&Change| change.since() <= version;
        Self(Change::ALL.iter().filter(has).fold(0, |bits, change| bits | (1 << *change as u32)))
    }

    /// By what was found by trying, where there is that, else by the version.
    pub fn of_profile(profile: &Profile) -> Self {
        let tried = |ability| profile.abilities.contains(&ability);
        Self::of_version(profile.version)
            .with(Change::UninitialisedStack, tried(Ability::UninitialisedStack))
            .with(Change::FineStack, tried(Ability::FineStack))
            .with(
                Change::RawTracepointFunctions,
                profile
                    .functions
                    .get(&ProgramType::RAW_TRACEPOINT)
                    .is_some_and(|functions| !functions.is_empty()),
            )
    }

    fn with(self, change: Change, has: bool) -> Self {
        let bit = 1 << change as u32;
        Self(if has { self.0 | bit } else { self.0 & !bit })
    }

    pub(crate) fn has(self, change: Change) -> bool {
        self.0 & (1 << change as u32) != 0
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::of_version(Version::new(6, 12))
    }
}
