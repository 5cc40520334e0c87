//! The profiles that are part of Skep.

use super::Profile;

/// Their names, oldest first.
pub const KNOWN: &[&str] = &["5.10", "5.15", "6.1", "6.6", "6.12", "newest"];

/// The profile of that name.
pub fn embedded(name: &str) -> Option<Profile> {
    let text = match name {
        "5.10" => include_str!("../../profiles/5.10"),
        "5.15" => include_str!("../../profiles/5.15"),
        "6.1" => include_str!("../../profiles/6.1"),
        "6.6" => include_str!("../../profiles/6.6"),
        "6.12" => include_str!("../../profiles/6.12"),
        "newest" => include_str!("../../profiles/newest"),
        _ => return None,
    };
    // A test reads them all.
    Profile::parse(text).ok()
}
