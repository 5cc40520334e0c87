//! Forms of names, as Kubernetes defines them. Each answers with what a wrong one must be like.

/// RFC 1123 label.
pub fn label(name: &str) -> Result<(), &'static str> {
    let fits = name.len() <= 63 && is_label(name);
    fits.then_some(())
        .ok_or("at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends")
}

/// RFC 1123 subdomain: labels with dots between.
pub fn subdomain(name: &str) -> Result<(), &'static str> {
    let fits = name.len() <= 253 && name.split('.').all(is_label);
    fits.then_some(()).ok_or(
        "at most 253 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends",
    )
}

fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    is_bounded(name, inner, |b| b != b'-')
}

/// All characters are `inner`, the first and the last also `outer`; not empty.
fn is_bounded(name: &str, inner: impl Fn(u8) -> bool, outer: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    outer(*first) && outer(*last) && bytes.iter().all(|b| inner(*b))
}

fn is_qualified(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.len() <= 63 && is_bounded(name, inner, |b| b.is_ascii_alphanumeric())
}

pub fn label_key(key: &str) -> Result<(), &'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let fits = prefix.is_none_or(|prefix| subdomain(prefix).is_ok()) && is_qualified(name);
    fits.then_some(()).ok_or(
        "at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; before it a domain and `/` if you like",
    )
}

pub fn label_value(value: &str) -> Result<(), &'static str> {
    (value.is_empty() || is_qualified(value))
        .then_some(())
        .ok_or("at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends")
}

/// Name of a port (IANA service name).
pub fn port_name(name: &str) -> Result<(), &'static str> {
    let fits = name.len() <= 15
        && is_label(name)
        && !name.contains("--")
        && name.bytes().any(|b| b.is_ascii_lowercase());
    fits.then_some(()).ok_or(
        "at most 15 lower-case letters, digits and single `-`, at least one of them a letter",
    )
}

/// Name of a network interface (kernel, dev_valid_name in net/core/dev.c).
pub fn interface(name: &str) -> Result<(), &'static str> {
    let fits = !name.is_empty()
        && name.len() <= 15
        && !matches!(name, "." | "..")
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    fits.then_some(()).ok_or("at most 15 characters, without spaces, `/` and `:`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&str) -> Result<(), &'static str>, right: &[&str], wrong: &[&str]) {
        for name in right {
            assert!(rule(name).is_ok(), "{name:?} should be right");
        }
        for name in wrong {
            assert!(rule(name).is_err(), "{name:?} should be wrong");
        }
    }

    #[test]
    fn forms() {
        let long = "a".repeat(64);
        check(label, &["a", "web-1", "0"], &["", "-a", "a-", "A", "a.b", "a_b", &long, "ä"]);
        check(subdomain, &["a.b", "web-1", &long], &["", ".", "a..b", "a.", "a.-b"]);
        check(
            label_key,
            &["app", "kubernetes.io/name", "A_b.c-D"],
            &["", "/a", "a/", "a/b/c", "A.io/x", "-a", &long],
        );
        check(label_value, &["", "Web_1.0"], &["-", "a b", "a/b", &long]);
        check(
            port_name,
            &["http", "serve-80-tcp", "8a"],
            &["", "80", "a--b", "Http", "-a", "abcdefghijklmnop"],
        );
        check(interface, &["eth0", "veth.1"], &["", ".", "..", "a/b", "a b", "abcdefghijklmnop"]);
    }
}
