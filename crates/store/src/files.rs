//! A folder of manifests, watched.

mod folder;
mod watch;

pub use folder::Folder;
pub use watch::Watch;
