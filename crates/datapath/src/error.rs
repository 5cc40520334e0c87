//! What keeps the datapath from starting. What goes wrong later belongs to an object and is a
//! [`Problem`](crate::Problem).

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kernel(#[from] bpf_kernel::Error),
    #[error(transparent)]
    Host(#[from] host::Error),
    #[error(
        "the pinned maps under {bpffs} are of ABI {found}, this skepd needs {}: start it once with \
         --replace-maps (connections through services begin anew), or run the version that made \
         them",
        abi::ABI_VERSION
    )]
    OtherAbi { bpffs: String, found: u32 },
}

pub type Result<T> = std::result::Result<T, Error>;
