use super::{check, one};
use model::{NetworkPolicy, Object, PolicyPeer, PortMatch};

fn with_spec(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec:\n{spec}"
    )
}

fn policy(spec: &str) -> NetworkPolicy {
    match one(&with_spec(spec)) {
        Object::NetworkPolicy(policy) => std::sync::Arc::unwrap_or_clone(policy),
        other => panic!("{other:?}"),
    }
}

#[test]
fn misspelt_field() {
    check!(&with_spec("  podSelecter: {}\n  ingress: []\n"), @r"
    error: unknown field `podSelecter`
      ┌─ m.yaml:5:3
    5 │   podSelecter: {}
      │   ^^^^^^^^^^^ did you mean `podSelector`?
    ");
}

#[test]
fn several_errors_at_once() {
    check!(&with_spec(
        "  podSelector: {matchLabels: {app: 1, \"-\": x, ok: a b}}
  policyTypes: [Ingres, egress]
  ingress:
  - form: []
    ports:
    - {port: 0}
    - {port: 70000, protocol: HTTP}
    - {port: \"80\"}
    - {port: Http}
    - {port: 80, endPort: 79}
    - {port: web, endPort: 90}
    - {endPort: 90}
    - {port: [80]}
"), @r#"
    error: `app` must be text
      ┌─ m.yaml:5:36
    5 │   podSelector: {matchLabels: {app: 1, "-": x, ok: a b}}
      │                                    ^ this is a number
      = write "1" in quotes

    error: not a valid label key
      ┌─ m.yaml:5:39
    5 │   podSelector: {matchLabels: {app: 1, "-": x, ok: a b}}
      │                                       ^^^
      = it has at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; before it a domain and `/` if you like

    error: not a valid label value
      ┌─ m.yaml:5:51
    5 │   podSelector: {matchLabels: {app: 1, "-": x, ok: a b}}
      │                                                   ^^^
      = it has at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends

    error: `policyTypes` cannot be `Ingres`
      ┌─ m.yaml:6:17
    6 │   policyTypes: [Ingres, egress]
      │                 ^^^^^^ did you mean `Ingress`?
      = it is one of Ingress, Egress

    error: unknown field `form`
      ┌─ m.yaml:8:5
    8 │   - form: []
      │     ^^^^ did you mean `from`?

    error: `port` is not a port
       ┌─ m.yaml:10:14
    10 │     - {port: 0}
       │              ^ ports are whole numbers, 1 to 65535

    error: `port` is not a port
       ┌─ m.yaml:11:14
    11 │     - {port: 70000, protocol: HTTP}
       │              ^^^^^ ports are whole numbers, 1 to 65535

    error: `protocol` cannot be `HTTP`
       ┌─ m.yaml:11:31
    11 │     - {port: 70000, protocol: HTTP}
       │                               ^^^^
       = it is one of TCP, UDP, SCTP

    error: `port` in quotes is the name of a port
       ┌─ m.yaml:12:14
    12 │     - {port: "80"}
       │              ^^^^
       = write 80 without quotes

    error: not a valid port name
       ┌─ m.yaml:13:14
    13 │     - {port: Http}
       │              ^^^^
       = it has at most 15 lower-case letters, digits and single `-`, at least one of them a letter

    error: `endPort` 79 is below `port` 80
       ┌─ m.yaml:14:27
    14 │     - {port: 80, endPort: 79}
       │                           ^^

    error: `endPort` cannot stand beside a named port
       ┌─ m.yaml:15:28
    15 │     - {port: web, endPort: 90}
       │                            ^^

    error: `endPort` needs a `port` where the range begins
       ┌─ m.yaml:16:17
    16 │     - {endPort: 90}
       │                 ^^

    error: `port` must be a port number
       ┌─ m.yaml:17:14
    17 │     - {port: [80]}
       │              ^^^^ this is a list
    "#);
}

#[test]
fn peers() {
    check!(&with_spec(
        "  ingress:
  - from:
    - {}
    - {podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}
    - {podSelector: null}
    - {podSelektor: {}}
    - podSelector: {matchLabels: {app: web}}
      namespaceSelector: x
    to: []
  egress:
  - from: []
"), @r"
    error: a peer needs `podSelector`, `namespaceSelector` or `ipBlock`
      ┌─ m.yaml:7:7
    7 │     - {}
      │       ^^
      = to select every peer, leave `from` or `to` out

    error: `ipBlock` cannot stand beside a selector in one peer
      ┌─ m.yaml:8:34
    8 │     - {podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}
      │                                  ^^^^^^^^^^^^^^^^^^
      = make them two peers: they are alternatives

    error: a peer needs `podSelector`, `namespaceSelector` or `ipBlock`
      ┌─ m.yaml:9:7
    9 │     - {podSelector: null}
      │       ^^^^^^^^^^^^^^^^^^^
      = to select every peer, leave `from` or `to` out

    error: unknown field `podSelektor`
       ┌─ m.yaml:10:8
    10 │     - {podSelektor: {}}
       │        ^^^^^^^^^^^ did you mean `podSelector`?

    error: `namespaceSelector` must be a mapping
       ┌─ m.yaml:12:26
    12 │       namespaceSelector: x
       │                          ^ this is text

    error: `to` does not belong in `ingress`
       ┌─ m.yaml:13:5
    13 │     to: []
       │     ^^ `ingress` rules have `from`

    error: `from` does not belong in `egress`
       ┌─ m.yaml:15:5
    15 │   - from: []
       │     ^^^^ `egress` rules have `to`
    ");
}

#[test]
fn blocks() {
    check!(&with_spec(
        "  ingress:
  - from:
    - ipBlock: {cidr: 10.0.0.1}
    - ipBlock: {cidr: 10.0.0.0/33}
    - ipBlock: {cidr: fd00::1}
    - ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 11.0.0.0/16, 10.0.0.0/8, fd00::/64, x]}
    - ipBlock: {except: [10.1.0.0/16]}
    - ipBlock: {cidr: \"::ffff:10.0.0.0/104\"}
    - ipBlock: {cidr: 010.0.0.0/8}
"), @r#"
    error: `10.0.0.1` is not an address block (CIDR)
      ┌─ m.yaml:7:23
    7 │     - ipBlock: {cidr: 10.0.0.1}
      │                       ^^^^^^^^
      = for this one address write 10.0.0.1/32

    error: `10.0.0.0/33` is not an address block (CIDR)
      ┌─ m.yaml:8:23
    8 │     - ipBlock: {cidr: 10.0.0.0/33}
      │                       ^^^^^^^^^^^
      = write it like 10.0.0.0/8 or fd00::/8

    error: `fd00::1` is not an address block (CIDR)
      ┌─ m.yaml:9:23
    9 │     - ipBlock: {cidr: fd00::1}
      │                       ^^^^^^^
      = for this one address write fd00::1/128

    warning: 10.1.2.3/8 has bits set behind its prefix
       ┌─ m.yaml:10:23
    10 │     - ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 11.0.0.0/16, 10.0.0.0/8, fd00::/64, x]}
       │                       ^^^^^^^^^^ read as 10.0.0.0/8

    error: 11.0.0.0/16 is not inside 10.0.0.0/8
       ┌─ m.yaml:10:57
    10 │     - ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 11.0.0.0/16, 10.0.0.0/8, fd00::/64, x]}
       │                                                         ^^^^^^^^^^^ `except` takes addresses out of `cidr`

    error: 10.0.0.0/8 is the whole of `cidr`
       ┌─ m.yaml:10:70
    10 │     - ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 11.0.0.0/16, 10.0.0.0/8, fd00::/64, x]}
       │                                                                      ^^^^^^^^^^ nothing would be left

    error: fd00::/64 is not inside 10.0.0.0/8
       ┌─ m.yaml:10:82
    10 │     - ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 11.0.0.0/16, 10.0.0.0/8, fd00::/64, x]}
       │                                                                                  ^^^^^^^^^ `except` takes addresses out of `cidr`

    error: `x` is not an address block (CIDR)
       ┌─ m.yaml:10:93
    10 │     - ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 11.0.0.0/16, 10.0.0.0/8, fd00::/64, x]}
       │                                                                                             ^
       = write it like 10.0.0.0/8 or fd00::/8

    error: field `cidr` is missing
       ┌─ m.yaml:11:16
    11 │     - ipBlock: {except: [10.1.0.0/16]}
       │                ^^^^^^^^^^^^^^^^^^^^^^^

    error: IPv4 addresses in the form of IPv6 addresses
       ┌─ m.yaml:12:23
    12 │     - ipBlock: {cidr: "::ffff:10.0.0.0/104"}
       │                       ^^^^^^^^^^^^^^^^^^^^^
       = write the block as an IPv4 block

    error: `010.0.0.0/8` is not an address block (CIDR)
       ┌─ m.yaml:13:23
    13 │     - ipBlock: {cidr: 010.0.0.0/8}
       │                       ^^^^^^^^^^^
       = write it like 10.0.0.0/8 or fd00::/8
    "#);
}

#[test]
fn expressions() {
    check!(&with_spec(
        "  podSelector:
    matchExpressions:
    - {key: a, operator: In}
    - {key: a, operator: NotIn, values: []}
    - {key: a, operator: Exists, values: [b]}
    - {key: a, operator: in, values: [b]}
    - {key: a, operator: In, values: [b, 7]}
    - {operator: Exists}
    - {key: a}
    - {key: a/b/c, operator: Exists}
"), @r#"
    error: operator `In` needs `values`
      ┌─ m.yaml:7:26
    7 │     - {key: a, operator: In}
      │                          ^^

    error: operator `NotIn` needs `values`
      ┌─ m.yaml:8:33
    8 │     - {key: a, operator: NotIn, values: []}
      │                                 ^^^^^^

    error: operator `Exists` takes no `values`
      ┌─ m.yaml:9:34
    9 │     - {key: a, operator: Exists, values: [b]}
      │                                  ^^^^^^
      = remove them, or use In or NotIn

    error: `operator` cannot be `in`
       ┌─ m.yaml:10:26
    10 │     - {key: a, operator: in, values: [b]}
       │                          ^^ did you mean `In`?
       = it is one of In, NotIn, Exists, DoesNotExist

    error: `values[]` must be text
       ┌─ m.yaml:11:42
    11 │     - {key: a, operator: In, values: [b, 7]}
       │                                          ^ this is a number
       = write "7" in quotes

    error: field `key` is missing
       ┌─ m.yaml:12:7
    12 │     - {operator: Exists}
       │       ^^^^^^^^^^^^^^^^^^

    error: field `operator` is missing
       ┌─ m.yaml:13:7
    13 │     - {key: a}
       │       ^^^^^^^^

    error: not a valid label key
       ┌─ m.yaml:14:13
    14 │     - {key: a/b/c, operator: Exists}
       │             ^^^^^
       = it has at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; before it a domain and `/` if you like
    "#);
}

#[test]
fn rules_without_effect() {
    check!(&with_spec(
        "  podSelector: {}
  policyTypes: [Ingress]
  egress:
  - {}
"), @r"
    warning: these `egress` rules have no effect
      ┌─ m.yaml:8:5
    8 │   - {}
      │     ^^
      = add Egress to policyTypes, or remove the rules
    ");
    check!(&with_spec("  podSelector: {}\n  egress: []\n"), @r"
    warning: an empty `egress` without `policyTypes` restricts nothing
      ┌─ m.yaml:6:11
    6 │   egress: []
      │           ^^
      = to deny all egress, add policyTypes: [Egress]
    ");
}

#[test]
fn directions_by_default() {
    let check = |spec, ingress: Option<usize>, egress: Option<usize>| {
        let policy = policy(spec);
        assert_eq!(policy.ingress.map(|rules| rules.len()), ingress, "{spec}");
        assert_eq!(policy.egress.map(|rules| rules.len()), egress, "{spec}");
    };
    check("  podSelector: {}\n", Some(0), None);
    check("  egress: [{}]\n", Some(0), Some(1));
    check("  policyTypes: []\n  egress: [{}]\n", Some(0), Some(1));
    check("  policyTypes: null\n  ingress: null\n", Some(0), None);
    check("  policyTypes: [Egress]\n", None, Some(0));
    check("  policyTypes: [Egress, Ingress]\n  ingress: [{}, {}]\n", Some(2), Some(0));
}

#[test]
fn peers_and_ports_by_default() {
    let read = policy(
        "  ingress:
  - {}
  - {from: null, ports: []}
  - from:
    - podSelector: {}
    - namespaceSelector: {}
    - {namespaceSelector: null, podSelector: {matchLabels: {a: b}}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports:
    - {}
    - {protocol: UDP}
    - {port: 53, protocol: SCTP}
    - {port: 8000, endPort: 8999}
    - {port: 9000, endPort: 9000}
    - {port: http}
",
    );
    let rules = read.ingress.unwrap();
    assert!(rules[0].peers.is_empty() && rules[0].ports.is_empty());
    assert!(rules[1].peers.is_empty() && rules[1].ports.is_empty());
    let peers: Vec<String> = rules[2]
        .peers
        .iter()
        .map(|peer| match peer {
            PolicyPeer::Workloads { namespaces: None, workloads } => format!("own: {workloads}"),
            PolicyPeer::Workloads { namespaces: Some(namespaces), workloads } => {
                format!("{namespaces}: {workloads}")
            }
            PolicyPeer::Block { block, except } => format!("{block} without {except:?}"),
        })
        .collect();
    assert_eq!(
        peers,
        [
            "own: everything",
            "everything: everything",
            "own: a=b",
            "10.0.0.0/8 without [10.1.0.0/16]"
        ]
    );
    let ports: Vec<String> = rules[2]
        .ports
        .iter()
        .map(|port| match &port.port {
            PortMatch::Any => format!("{} any", port.protocol),
            PortMatch::Range(first, last) => format!("{} {first}-{last}", port.protocol),
            PortMatch::Name(name) => format!("{} {name}", port.protocol),
        })
        .collect();
    assert_eq!(
        ports,
        ["TCP any", "UDP any", "SCTP 53-53", "TCP 8000-8999", "TCP 9000-9000", "TCP http"]
    );
}

#[test]
fn rules_know_their_lines() {
    let read =
        policy("  ingress:\n  - ports: [{port: 80}]\n  -\n    from: []\n  egress: [{}, {}]\n");
    let places = |rules: Option<Vec<model::PolicyRule>>| -> Vec<(u32, u32)> {
        rules.unwrap().iter().map(|rule| (rule.origin.line, rule.origin.column)).collect()
    };
    assert_eq!(places(read.ingress), [(6, 5), (8, 5)]);
    assert_eq!(places(read.egress), [(9, 12), (9, 16)]);
    assert_eq!((read.origin.line, read.origin.column), (1, 1));
    assert_eq!(&*read.origin.file, "m.yaml");
}
