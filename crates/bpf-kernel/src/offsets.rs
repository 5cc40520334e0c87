//! Where the running kernel keeps the fields our programs read.
//!
//! rustc emits no CO-RE relocations, so a program reads a kernel struct through offsets that are
//! constants of its object. They are looked up in the kernel's own type information at load, and the
//! verifier then treats them as fixed. A field this kernel does not have is [`ABSENT`], which a
//! program can test.

use std::{fs, io, path::Path};

use crate::{Error, btf::Btf};

/// What a program finds for a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// The constant of the objects and the field it stands for.
pub const FIELDS: &[(&str, &str)] = &[
    ("TASK_STRUCT_TGID", "task_struct.tgid"),
    ("TASK_STRUCT_START_BOOTTIME", "task_struct.start_boottime"),
    ("TASK_STRUCT_REAL_PARENT", "task_struct.real_parent"),
    ("TASK_STRUCT_GROUP_LEADER", "task_struct.group_leader"),
    ("TASK_STRUCT_COMM", "task_struct.comm"),
    ("TASK_STRUCT_MM", "task_struct.mm"),
    ("TASK_STRUCT_CRED", "task_struct.cred"),
    ("TASK_STRUCT_SELF_EXEC_ID", "task_struct.self_exec_id"),
    ("MM_STRUCT_EXE_FILE", "mm_struct.exe_file"),
    ("FILE_F_PATH", "file.f_path"),
    ("PATH_MNT", "path.mnt"),
    ("PATH_DENTRY", "path.dentry"),
    ("DENTRY_D_NAME", "dentry.d_name"),
    ("DENTRY_D_PARENT", "dentry.d_parent"),
    ("DENTRY_D_INODE", "dentry.d_inode"),
    ("QSTR_NAME", "qstr.name"),
    ("QSTR_LEN", "qstr.len"),
    ("VFSMOUNT_MNT_ROOT", "vfsmount.mnt_root"),
    ("MOUNT_MNT", "mount.mnt"),
    ("MOUNT_MNT_PARENT", "mount.mnt_parent"),
    ("MOUNT_MNT_MOUNTPOINT", "mount.mnt_mountpoint"),
    ("CRED_UID", "cred.uid"),
];

/// [`FIELDS`] on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelOffsets {
    offsets: Vec<Option<u32>>,
}

impl KernelOffsets {
    /// Of the running kernel. One without type information (`CONFIG_DEBUG_INFO_BTF`) has no field.
    pub fn of_this_kernel() -> Result<Self, Error> {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        match fs::read(path) {
            Ok(bytes) => Ok(Self::of(&Btf::parse(bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { offsets: vec![None; FIELDS.len()] })
            }
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    pub fn of(btf: &Btf) -> Self {
        Self { offsets: FIELDS.iter().map(|(_, field)| btf.offset(field)).collect() }
    }

    /// Each constant with its value for [`crate::Loader::optional_global`].
    pub fn constants(&self) -> impl Iterator<Item = (&'static str, u32)> {
        FIELDS.iter().zip(&self.offsets).map(|((name, _), at)| (*name, at.unwrap_or(ABSENT)))
    }

    /// The offset of `struct.field`, one of [`FIELDS`].
    pub fn offset(&self, field: &str) -> Option<u32> {
        let at = FIELDS.iter().position(|(_, known)| *known == field)?;
        self.offsets[at]
    }

    /// The fields this kernel does not have.
    pub fn absent(&self) -> impl Iterator<Item = &'static str> {
        FIELDS.iter().zip(&self.offsets).filter(|(_, at)| at.is_none()).map(|((_, f), _)| *f)
    }
}
