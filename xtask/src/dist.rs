//! `cargo xtask dist`: what one installs on a node, as one archive with its checksum.
