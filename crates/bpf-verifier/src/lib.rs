//! Whether a kernel would take a program, and why not: abstract interpretation by the kernel's
//! rules, in user space, that explains itself.

#![forbid(unsafe_code)]
