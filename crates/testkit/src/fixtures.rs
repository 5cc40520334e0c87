//! Where published test vectors lie: beside the workspace, or where `SKEP_FIXTURES` says.

use std::env;
use std::path::{Path, PathBuf};

/// The path of a fixture, if it is there.
pub fn find(name: &str) -> Option<PathBuf> {
    let folder = env::var_os("SKEP_FIXTURES")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"));
    Some(folder.join(name)).filter(|path| path.exists())
}
