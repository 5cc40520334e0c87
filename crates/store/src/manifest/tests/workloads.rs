use super::{check, one};
use model::{AddressRequest, ContainerRuntime, Object, Place, Workload};

fn with_spec(spec: &str) -> String {
    format!("apiVersion: skep.dev/v1\nkind: Workload\nmetadata: {{name: w}}\nspec: {spec}")
}

fn workload(spec: &str) -> Workload {
    match one(&with_spec(spec)) {
        Object::Workload(workload) => workload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn places() {
    let check = |runs: &str, expect: Place| {
        assert_eq!(workload(&format!("{{runs: {runs}}}")).place, expect, "{runs}");
    };
    check("{netns: web-1}", Place::Netns { path: "/run/netns/web-1".into(), cgroup: None });
    check(
        "{netns: /proc/7/ns/net, cgroup: demo/web}",
        Place::Netns { path: "/proc/7/ns/net".into(), cgroup: Some("demo/web".into()) },
    );
    check("{cgroup: /sys/fs/cgroup/x}", Place::Cgroup { path: "/sys/fs/cgroup/x".into() });
    check("{systemdUnit: nginx.service}", Place::SystemdUnit { unit: "nginx.service".into() });
    check(
        "{container: {runtime: podman, labels: {io.x: 'any thing'}}}",
        Place::Container {
            runtime: ContainerRuntime::Podman,
            name: None,
            labels: model::Labels::from_iter([("io.x", "any thing")]),
        },
    );
}

#[test]
fn defaults() {
    let read = workload("{runs: {netns: a}}");
    assert_eq!(read.interface, "eth0");
    assert_eq!(read.addresses, AddressRequest::Auto);
    assert_eq!(&*read.name.namespace, "default");
    let read = workload("{runs: {netns: a}, addresses: [10.0.0.1, 'fd00::1'], interface: net1}");
    let AddressRequest::Fixed(addresses) = read.addresses else { panic!("auto") };
    assert_eq!(addresses.len(), 2);
    assert_eq!(read.interface, "net1");
}

#[test]
fn wrong_places() {
    check!(&with_spec("{}"), @r"
    error: field `runs` is missing
      ┌─ m.yaml:4:7
    4 │ spec: {}
      │       ^^
    ");
    check!(&with_spec("{runs: {}}"), @r"
    error: `runs` doesn't say where the workload runs
      ┌─ m.yaml:4:14
    4 │ spec: {runs: {}}
      │              ^^
      = give one of netns, container, systemdUnit, cgroup
    ");
    check!(&with_spec("{runs: {netsn: a}}"), @r"
    error: unknown field `netsn`
      ┌─ m.yaml:4:15
    4 │ spec: {runs: {netsn: a}}
      │               ^^^^^ did you mean `netns`?
    ");
    check!(&with_spec("{runs: {netns: a, systemdUnit: b.service}}"), @r"
    error: `runs` names more than one place
      ┌─ m.yaml:4:14
    4 │ spec: {runs: {netns: a, systemdUnit: b.service}}
      │              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = give one of netns, container, systemdUnit, cgroup; only netns and cgroup go together
    ");
    check!(&with_spec("{runs: {netns: ../x}}"), @r"
    error: `netns` is not a usable path
      ┌─ m.yaml:4:22
    4 │ spec: {runs: {netns: ../x}}
      │                      ^^^^
      = give it without `..` and control characters
    ");
    check!(&with_spec("{runs: {netns: x/y}}"), @r"
    error: `netns` is a relative path
      ┌─ m.yaml:4:22
    4 │ spec: {runs: {netns: x/y}}
      │                      ^^^
      = give an absolute path, or the name of a file in /run/netns
    ");
    check!(&with_spec("{runs: {systemdUnit: nginx}}"), @r"
    error: `systemdUnit` must be the full name of a service, scope or slice
      ┌─ m.yaml:4:28
    4 │ spec: {runs: {systemdUnit: nginx}}
      │                            ^^^^^
      = write it like nginx.service
    ");
    check!(&with_spec("{runs: {container: {name: a}}}"), @r"
    error: field `runtime` is missing
      ┌─ m.yaml:4:26
    4 │ spec: {runs: {container: {name: a}}}
      │                          ^^^^^^^^^
    ");
    check!(&with_spec("{runs: {container: {runtime: cri-o, name: a}}}"), @r"
    error: `runtime` cannot be `cri-o`
      ┌─ m.yaml:4:36
    4 │ spec: {runs: {container: {runtime: cri-o, name: a}}}
      │                                    ^^^^^
      = it is one of docker, podman, containerd
    ");
    check!(&with_spec("{runs: {container: {runtime: docker}}}"), @r"
    error: `container` needs `name` or `labels` to find it by
      ┌─ m.yaml:4:26
    4 │ spec: {runs: {container: {runtime: docker}}}
      │                          ^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn host_ports() {
    let text = with_spec(
        "
  runs: {netns: a}
  ports:
  - {name: http, port: 8080, hostPort: 80}
  - {port: 53, protocol: UDP, hostPort: 53, hostIP: 192.0.2.1}
  - {name: metrics, port: 9000}
  - {port: 53, protocol: UDP, hostPort: 53, hostIP: '2001:db8::1'}
  - {port: 81, hostPort: 81, hostIP: 0.0.0.0}
",
    );
    let Object::Workload(read) = one(&text) else { panic!("another kind") };
    let told: Vec<String> = read
        .host_ports
        .iter()
        .map(|it| {
            format!("{}/{} {:?} {:?} {}", it.host_port, it.protocol, it.name, it.address, it.port)
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"80/TCP "http" None 8080"#,
            r#"53/UDP "" Some(192.0.2.1) 53"#,
            r#"53/UDP "" Some(2001:db8::1) 53"#,
            r#"81/TCP "" None 81"#,
        ]
    );
    assert_eq!(read.ports.len(), 2);
    let Object::Workload(again) = one(&crate::emit::to_yaml(&Object::Workload(read.clone())))
    else {
        panic!("a Workload is emitted as something else");
    };
    assert_eq!(Workload { origin: read.origin.clone(), ..again }, read);
}

#[test]
fn wrong_host_ports() {
    check!(&with_spec(
        "
  runs: {netns: a}
  ports:
  - {port: 80, hostPort: 80}
  - {port: 81, hostPort: 80, hostIP: 192.0.2.1}
  - {port: 82, hostPort: 82, hostIP: 127.0.0.1}
  - {name: x, port: 83, hostIP: 192.0.2.1}
"), @r"
    error: `hostPort` 80/TCP is given twice
      ┌─ m.yaml:8:5
    8 │   - {port: 81, hostPort: 80, hostIP: 192.0.2.1}
      │     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: 127.0.0.1 cannot be used here
      ┌─ m.yaml:9:38
    9 │   - {port: 82, hostPort: 82, hostIP: 127.0.0.1}
      │                                      ^^^^^^^^^ unspecified, loopback, link-local, broadcast or multicast

    error: `hostIP` without `hostPort`
       ┌─ m.yaml:10:33
    10 │   - {name: x, port: 83, hostIP: 192.0.2.1}
       │                                 ^^^^^^^^^
       = add one, or remove it
    ");
}

#[test]
fn wrong_rest() {
    check!(&with_spec(
        "
  runs: {netns: a}
  interface: a-very-long-interface
  addresses: [10.0.0.1/24, 0.0.0.0]
  ports:
  - {name: http, port: 80}
  - {name: http, port: 81}
  - {name: HTTP, port: 82}
  - {port: 83}
"), @r"
    error: not a valid interface name
      ┌─ m.yaml:6:14
    6 │   interface: a-very-long-interface
      │              ^^^^^^^^^^^^^^^^^^^^^
      = it has at most 15 characters, without spaces, `/` and `:`

    error: `10.0.0.1/24` is not an IP address
      ┌─ m.yaml:7:15
    7 │   addresses: [10.0.0.1/24, 0.0.0.0]
      │               ^^^^^^^^^^^
      = give the address without a prefix length

    error: port name `http` is given twice
       ┌─ m.yaml:10:5
    10 │   - {name: http, port: 81}
       │     ^^^^^^^^^^^^^^^^^^^^^^

    error: not a valid port name
       ┌─ m.yaml:11:12
    11 │   - {name: HTTP, port: 82}
       │            ^^^^
       = it has at most 15 lower-case letters, digits and single `-`, at least one of them a letter

    error: field `name` is missing
       ┌─ m.yaml:12:5
    12 │   - {port: 83}
       │     ^^^^^^^^^^
    ");
    check!(&with_spec("{runs: {netns: a}, addresses: []}"), @r"
    error: `addresses` is an empty list
      ┌─ m.yaml:4:37
    4 │ spec: {runs: {netns: a}, addresses: []}
      │                                     ^^
      = write auto, or leave it out, to get addresses from the node's pool
    ");
    check!(&with_spec("{runs: {netns: a}, addresses: [10.0.0.1, 10.0.0.1]}"), @r"
    error: 10.0.0.1 is given twice
      ┌─ m.yaml:4:48
    4 │ spec: {runs: {netns: a}, addresses: [10.0.0.1, 10.0.0.1]}
      │                                                ^^^^^^^^
    ");
    check!(&with_spec("{runs: {netns: a}, addresses: automatic}"), @r"
    error: `addresses` must be `auto` or a list of IP addresses
      ┌─ m.yaml:4:37
    4 │ spec: {runs: {netns: a}, addresses: automatic}
      │                                     ^^^^^^^^^
    ");
}
