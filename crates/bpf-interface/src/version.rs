//! Versions of Linux.

use std::{fmt, str::FromStr};

/// The first two numbers of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

impl Version {
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Not a release, such as `6.1` or `6.1.0-50-cloud-amd64`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of Linux")]
pub struct NoVersion(String);

impl FromStr for Version {
    type Err = NoVersion;

    /// What follows the first two numbers is of no interest.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { major, minor }),
            _ => Err(NoVersion(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (text, expected) in [
            ("6.1", Some(Version::new(6, 1))),
            ("5.10.0-46-cloud-amd64", Some(Version::new(5, 10))),
            ("7.2+deb14", Some(Version::new(7, 2))),
            ("6", None),
            ("newest", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        assert!(Version::new(5, 10) > Version::new(5, 9));
    }
}
