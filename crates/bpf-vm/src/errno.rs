//! Error numbers as bpf(2) and helpers return them.

use std::fmt;

/// A number of Linux (include/uapi/asm-generic/errno-base.h and errno.h, and 524 of
/// include/linux/errno.h, which bpf(2) lets out). The same on all hosts: programs see them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub u32);

macro_rules! numbers {
    ($($name:ident = $number:literal $text:literal,)*) => {
        impl Errno {
            $(pub const $name: Self = Self($number);)*

            fn names(self) -> Option<(&'static str, &'static str)> {
                match self.0 {
                    $($number => Some((stringify!($name), $text)),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    EPERM = 1 "operation not permitted",
    ENOENT = 2 "no such entry",
    EIO = 5 "input/output error",
    E2BIG = 7 "too big, or full",
    EAGAIN = 11 "no room for now",
    ENOMEM = 12 "out of memory",
    EACCES = 13 "not allowed",
    EFAULT = 14 "bad address",
    EBUSY = 16 "busy",
    EEXIST = 17 "exists already",
    ENODEV = 19 "no such device",
    EINVAL = 22 "invalid argument",
    ENOSPC = 28 "no space left",
    ERANGE = 34 "out of range",
    EDEADLK = 35 "would wait for itself",
    ENOPROTOOPT = 92 "option not known",
    EPROTO = 71 "protocol error",
    EOVERFLOW = 75 "value too large",
    EPROTONOSUPPORT = 93 "protocol not supported",
    EOPNOTSUPP = 95 "operation not supported",
    EAFNOSUPPORT = 97 "address family not supported",
    ETIMEDOUT = 110 "nobody let go of it in time",
    EALREADY = 114 "done already",
    ENOTSUPP = 524 "operation not supported",
}

impl Errno {
    /// As helpers return it.
    pub fn result(self) -> u64 {
        (-i64::from(self.0)) as u64
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            Some((name, text)) => write!(f, "{text} ({name})"),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl std::error::Error for Errno {}
