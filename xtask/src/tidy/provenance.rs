//! Where everything that is linked in comes from, and under which licence.

use super::Finding;
use super::metadata::Package;

/// What goes together with MIT OR Apache-2.0 without obligations for the source of others. MPL-2.0
/// is by file and asks for nothing as long as those files stay as they are.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// How the sources of released versions begin, for cargo. Crates of this workspace have no source
/// at all.
const REGISTRY: &str = "registry+";

pub fn check(packages: &[Package]) -> Vec<Finding> {
    let wrong = |package: &Package| [wrong_licence(package), wrong_source(package)];
    let findings = |package: &Package| {
        let place = format!("{} {}", package.name, package.version);
        wrong(package).into_iter().flatten().map(move |text| Finding::problem(&place, None, text))
    };
    packages.iter().flat_map(findings).collect()
}

fn wrong_licence(package: &Package) -> Option<String> {
    let Some(expression) = &package.license else {
        return Some("names no licence".to_owned());
    };
    match is_allowed(expression) {
        Some(true) => None,
        Some(false) => {
            Some(format!("its licence {expression} is not in xtask/src/tidy/provenance.rs"))
        }
        None => Some(format!("its licence {expression:?} is not an SPDX expression")),
    }
}

fn wrong_source(package: &Package) -> Option<String> {
    let source = package.source.as_ref().filter(|source| !source.starts_with(REGISTRY))?;
    Some(format!("comes from {source}: only released versions from a registry can be built later"))
}

/// Whether an SPDX expression can be satisfied with allowed licences; `None` if it isn't one.
fn is_allowed(expression: &str) -> Option<bool> {
    // The old way to say OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<_> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens };
    let allowed = parser.any()?;
    parser.tokens.is_empty().then_some(allowed)
}

struct Parser<'a> {
    tokens: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn accept(&mut self, token: &str) -> bool {
        match self.tokens {
            [first, rest @ ..] if *first == token => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// AND binds closer than OR.
    fn any(&mut self) -> Option<bool> {
        let mut allowed = self.all()?;
        while self.accept("OR") {
            allowed |= self.all()?;
        }
        Some(allowed)
    }

    fn all(&mut self) -> Option<bool> {
        let mut allowed = self.one()?;
        while self.accept("AND") {
            allowed &= self.one()?;
        }
        Some(allowed)
    }

    fn one(&mut self) -> Option<bool> {
        if self.accept("(") {
            let allowed = self.any()?;
            return self.accept(")").then_some(allowed);
        }
        let name = self.next().filter(|name| !["OR", "AND", "WITH", ")"].contains(name))?;
        if self.accept("WITH") {
            let exception = self.next()?;
            // An exception only ever permits more than the licence alone.
            let with = format!("{name} WITH {exception}");
            return Some(ALLOWED.contains(&with.as_str()) || ALLOWED.contains(&name));
        }
        Some(ALLOWED.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions() {
        let check = |expression, expect| assert_eq!(is_allowed(expression), expect, "{expression}");
        check("MIT", Some(true));
        check("MIT OR Apache-2.0", Some(true));
        check("MIT/Apache-2.0", Some(true));
        check("GPL-3.0-only", Some(false));
        check("GPL-2.0-only OR MIT", Some(true));
        check("GPL-2.0-only AND MIT", Some(false));
        check("(MIT OR GPL-2.0-only) AND Unicode-3.0", Some(true));
        check("MIT OR GPL-2.0-only AND GPL-3.0-only", Some(true));
        check("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", Some(true));
        check("", None);
        check("MIT OR", None);
        check("(MIT", None);
        check("MIT MIT", None);
    }
}
