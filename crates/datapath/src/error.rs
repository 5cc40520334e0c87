//! What keeps the datapath from starting. What goes wrong later belongs to an object and is a
//! [`Problem`](crate::Problem).

use crate::pool::PoolError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kernel(bpf_kernel::Error),
    #[error(
        "{0}; start skepd once with --replace-maps (connections begin anew, endpoints and policy \
         are written again), or with the sizes that the maps have"
    )]
    OtherLayout(bpf_kernel::Error),
    #[error(transparent)]
    Host(#[from] host::Error),
    #[error(transparent)]
    Address(#[from] PoolError),
    #[error(
        "the node has no room for more endpoints: its map `endpoints` takes {capacity} addresses, \
         {used} are in it; take workloads away"
    )]
    EndpointsFull { capacity: usize, used: usize },
    #[error(
        "the pinned maps under {bpffs} are of ABI {found}, this skepd needs {}: start it once with \
         --replace-maps (connections through services begin anew), or run the version that made \
         them",
        abi::ABI_VERSION
    )]
    OtherAbi { bpffs: String, found: u32 },
}

impl From<bpf_kernel::Error> for Error {
    fn from(error: bpf_kernel::Error) -> Self {
        match error {
            bpf_kernel::Error::MapMismatch { .. } => Error::OtherLayout(error),
            error => Error::Kernel(error),
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
