//! Reading kernel structures, at offsets that the loader takes from the running kernel's BTF.
//!
//! rustc emits no CO-RE relocations. Each field is a constant of its own, `STRUCT_FIELD` in upper
//! case, of type `u32`: bytes from the start of the structure, or [`ABSENT`] in a kernel that has no
//! such field. The verifier takes them as constants, so that what depends on an absent field is dead
//! code to it.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::mem::MaybeUninit;

/// The field does not exist, or the loader knows no BTF.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub static $name: Global<u32> = Global::new(ABSENT);
    )*};
}

offsets! {
    TASK_STRUCT_TGID
    TASK_STRUCT_START_BOOTTIME
    TASK_STRUCT_REAL_PARENT
    TASK_STRUCT_GROUP_LEADER
    TASK_STRUCT_COMM
    TASK_STRUCT_MM
    TASK_STRUCT_CRED
    TASK_STRUCT_SELF_EXEC_ID
    MM_STRUCT_EXE_FILE
    FILE_F_PATH
    PATH_MNT
    PATH_DENTRY
    DENTRY_D_NAME
    DENTRY_D_PARENT
    QSTR_NAME
    QSTR_LEN
    VFSMOUNT_MNT_ROOT
    MOUNT_MNT
    MOUNT_MNT_PARENT
    MOUNT_MNT_MOUNTPOINT
    CRED_UID
}

/// An address in the kernel's memory, valid or not: reading fails if it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer(pub u64);

impl Pointer {
    pub const NULL: Pointer = Pointer(0);

    /// The field of type `T` at this offset; None if it is absent or can't be read. `T` is a
    /// number.
    #[inline(always)]
    pub fn field<T: Number>(self, offset: &Global<u32>) -> Option<T> {
        let offset = offset.load();
        if offset == ABSENT {
            return None;
        }
        let mut value = MaybeUninit::<T>::uninit();
        let from = (self.0.wrapping_add(u64::from(offset))) as *const _;
        // SAFETY: the helper writes as many bytes as a `T` has; it bears any source.
        let result = unsafe {
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from)
        };
        if result < 0 {
            return None;
        }
        // SAFETY: the helper has written all of it, and any bytes are a number.
        Some(unsafe { value.assume_init() })
    }

    /// The pointer in the field at this offset; null if there is none.
    #[inline(always)]
    pub fn follow(self, offset: &Global<u32>) -> Pointer {
        Pointer(self.field::<u64>(offset).unwrap_or(0))
    }

    /// The structure embedded at this offset.
    #[inline(always)]
    pub fn embedded(self, offset: &Global<u32>) -> Pointer {
        Pointer(self.0.wrapping_add(u64::from(offset.load())))
    }

    /// The structure that embeds this one at this offset.
    #[inline(always)]
    pub fn embedding(self, offset: &Global<u32>) -> Pointer {
        Pointer(self.0.wrapping_sub(u64::from(offset.load())))
    }

    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Types of which any bytes are a value.
pub trait Number: sealed::Sealed + Copy {}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl sealed::Sealed for $ty {}
        impl Number for $ty {}
    )*};
}

numbers! { u32 u64 [u8; 16] }
