use super::*;
use crate::ground::{output, privileged};

/// Deletes the name also when the test fails.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        NetNamespace::delete(&self.0).unwrap();
    }
}

fn named(what: &str) -> Named {
    Named(format!("skep-test-{what}-{}", std::process::id()))
}

#[test]
fn a_named_namespace_comes_and_goes() {
    if !privileged("a_named_namespace_comes_and_goes") {
        return;
    }
    let named = named("named");
    let made = NetNamespace::create(&named.0).unwrap();
    assert_eq!(made.path(), Path::new(DIRECTORY).join(&named.0));
    assert_eq!(NetNamespace::open(&named.0).unwrap(), made);
    assert_eq!(NetNamespace::open(made.path()).unwrap(), made);
    assert!(names().unwrap().contains(&named.0));
    assert!(output(&made, "ip netns list").contains(&named.0), "iproute2 sees it");
    let link = output(&made, &format!("ip netns exec {} ip -br link", named.0));
    assert!(link.starts_with("lo") && link.contains("UP"), "{link}");
    let again = NetNamespace::create(&named.0);
    assert!(matches!(again, Err(Error::NamespaceExists { .. })), "{again:?}");

    assert!(NetNamespace::delete(&named.0).unwrap());
    assert!(!NetNamespace::delete(&named.0).unwrap());
    let gone = NetNamespace::open(&named.0).unwrap_err();
    let expect = format!("there is no network namespace {DIRECTORY}/{}", named.0);
    assert!(gone.to_string().starts_with(&expect), "{gone}");
    assert!(made.run(|| ()).is_ok(), "open values outlive the name");
}

#[test]
fn iproute2_and_skep_delete_each_others() {
    if !privileged("iproute2_and_skep_delete_each_others") {
        return;
    }
    let named = named("other");
    let here = NetNamespace::current().unwrap();
    NetNamespace::create(&named.0).unwrap();
    output(&here, &format!("ip netns delete {}", named.0));
    assert!(matches!(NetNamespace::open(&named.0), Err(Error::NamespaceMissing { .. })));
    output(&here, &format!("ip netns add {}", named.0));
    NetNamespace::open(&named.0).unwrap();
    assert!(NetNamespace::delete(&named.0).unwrap());
}

#[test]
fn identity() {
    if !privileged("identity") {
        return;
    }
    let here = NetNamespace::current().unwrap();
    assert_eq!(here, NetNamespace::of_process(std::process::id()).unwrap());
    let other = NetNamespace::unnamed().unwrap();
    assert_ne!(here, other);
    assert_ne!(here.identity(), other.identity());
    let cookies = (here.cookie().unwrap(), other.cookie().unwrap());
    assert_ne!(cookies.0, cookies.1);
    assert_eq!(cookies.0, here.cookie().unwrap());
}

#[test]
fn running_inside_leaves_the_caller_where_it_was() {
    if !privileged("running_inside_leaves_the_caller_where_it_was") {
        return;
    }
    let here = NetNamespace::current().unwrap();
    let other = NetNamespace::unnamed().unwrap();
    let inside = other.run(|| NetNamespace::current().unwrap()).unwrap();
    assert_eq!(inside, other);
    assert_eq!(NetNamespace::current().unwrap(), here);
}

#[test]
fn what_is_not_a_namespace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("left-over");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(NetNamespace::open(&file), Err(Error::NotANamespace { .. })));
    let other_kind = NetNamespace::open("/proc/self/ns/mnt").unwrap();
    assert!(matches!(other_kind.run(|| ()), Err(Error::NotANamespace { .. } | Error::File { .. })));
    let gone = NetNamespace::of_process(u32::MAX);
    assert!(matches!(gone, Err(Error::ProcessMissing { pid: u32::MAX })), "{gone:?}");
    for name in ["", ".", "..", "a/b", "a\0b"] {
        assert!(matches!(NetNamespace::create(name), Err(Error::NamespaceName { .. })), "{name:?}");
        assert!(matches!(NetNamespace::delete(name), Err(Error::NamespaceName { .. })), "{name:?}");
    }
}
