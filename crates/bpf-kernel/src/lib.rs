//! bpf-kernel
