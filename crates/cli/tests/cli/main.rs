//! The binary against an agent with canned answers, through a real socket.

mod agent;
mod balancer;
mod help;
#[path = "../programs/ran.rs"]
mod ran;

use agent::Canned;
use insta::assert_snapshot;
use ran::{Ran, skep};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

#[test]
fn apply() {
    let agent = Canned::start();
    agent.write("good.yaml", "kind: NetworkPolicy\n");
    agent.write("web.yaml", "kind: NetworkPolicy\nspec:\n  podSelecter: {}\n");
    assert_snapshot!(agent.skep("apply -f good.yaml"), @r#"
    NetworkPolicy shop/cache   created
    effective after 3.2 ms
    exit code 0
    "#);
    assert_snapshot!(agent.skep("apply -f good.yaml --dry-run"), @r#"
    NetworkPolicy shop/cache   created
    dry run: nothing was changed
    exit code 0
    "#);
    assert_snapshot!(agent.skep("apply -f web.yaml"), @r#"
    stderr: error: unknown field `podSelecter`
    stderr:   ┌─ web.yaml:3:3
    stderr:   │
    stderr: 3 │   podSelecter: {}
    stderr:   │   ^^^^^^^^^^^ did you mean `podSelector`?
    stderr: nothing was applied; 18 policies stay in force
    exit code 4
    "#);
    assert_snapshot!(agent.skep("apply -f missing.yaml"), @r#"
    stderr: error: cannot read missing.yaml: No such file or directory (os error 2)
    exit code 2
    "#);
    let colored = agent.skep("apply -f web.yaml --color always").err;
    assert!(colored.contains("\x1b["), "{colored:?}");
}

#[test]
fn apply_from_standard_input() {
    let agent = Canned::start();
    let mut child = agent
        .command("apply -f -")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"  podSelecter: {}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard input:1:3"));
}

#[test]
fn delete() {
    let agent = Canned::start();
    agent.write("good.yaml", "kind: NetworkPolicy\n");
    assert_snapshot!(agent.skep("delete -f good.yaml"), @r#"
    NetworkPolicy shop/cache   deleted
    effective after 900 µs
    exit code 0
    "#);
    assert_snapshot!(agent.skep("delete netpol cache other -n shop"), @r#"
    NetworkPolicy shop/cache   deleted
    NetworkPolicy shop/other   not found
    effective after 900 µs
    exit code 0
    "#);
    assert_snapshot!(agent.skep("delete netpol shop/other"), @r#"
    NetworkPolicy shop/other   not found
    effective after 900 µs
    exit code 1
    "#);
    assert_snapshot!(agent.skep("delete netpol shop/watched"), @r#"
    stderr: error: NetworkPolicy shop/watched is held by a watched manifest
    stderr:  = help: remove it from /etc/skep/shop.yaml
    stderr: nothing was deleted; 1 policy stays in force
    exit code 4
    "#);
    assert_eq!(agent.skep("delete").code, 2);
    assert_eq!(agent.skep("delete netpol").code, 2);
}

#[test]
fn get() {
    let agent = Canned::start();
    assert_snapshot!(agent.skep("get netpol -A"), @r#"
    NAMESPACE   NAME    STATUS     AGE         LABELS   SOURCE
    shop        cache   in force   1 min 1 s   -        api
    exit code 0
    "#);
    assert_snapshot!(agent.skep("get all -n shop"), @r#"
    KIND            NAMESPACE   NAME    STATUS     AGE         LABELS   SOURCE
    NetworkPolicy   shop        cache   in force   1 min 1 s   -        api
    exit code 0
    "#);
    assert_snapshot!(agent.skep("get NetworkPolicies"), @r#"
    stderr: nothing found in namespace default; -A looks in all namespaces
    exit code 0
    "#);
    assert_snapshot!(agent.skep("get netpol shop/cache -o yaml"), @r#"
    kind: NetworkPolicy
    exit code 0
    "#);
    assert_snapshot!(agent.skep("get netpol cache -n shop -o json"), @r#"
    {
      "kind": "NetworkPolicy"
    }
    exit code 0
    "#);
    assert_snapshot!(agent.skep("get netpol shop/other"), @r#"
    stderr: error: there is no NetworkPolicy shop/other
    exit code 1
    "#);
    assert_snapshot!(agent.skep("get netpol -l =x"), @r#"
    stderr: error: `=x` is not a label selector: the key is missing; write for example app=web,tier in (a,b),!old
    exit code 2
    "#);
    assert_snapshot!(agent.skep("get pods"), @r#"
    stderr: error: invalid value 'pods' for '<KIND>': no such kind; there are namespace (ns), workload (wl), service (svc), endpointslice (eps), networkpolicy (netpol), loadbalancer (lb)
    stderr:
    stderr: For more information, try '--help'.
    exit code 2
    "#);
}

#[test]
fn describe() {
    let agent = Canned::start();
    assert_snapshot!(agent.skep("describe netpol shop/cache"), @r#"
    NetworkPolicy   shop/cache
    Source          -
    Labels          -
    Status          in force
    Age             -

    Endpoints
      ID   WORKLOAD     IDENTITY   ADDRESSES   INTERFACE   POLICY    STATE   LABELS
      4    shop/cache   258        10.42.0.4   skep4       ingress   ready   -

    Recent drops
      14:02:11.318  shop/client                         ✗  shop/cache:6379 tcp             denied: no rule allows it
    exit code 0
    "#);
    assert_snapshot!(agent.skep("describe wl web"), @r#"
    stderr: error: there is no Workload default/web
    exit code 1
    "#);
    let yaml = agent.skep("describe netpol shop/cache -o yaml");
    assert!(yaml.out.contains("\n  kind: NetworkPolicy\n"), "{yaml}");
}

#[test]
fn status() {
    let agent = Canned::start();
    assert_snapshot!(agent.skep("status"), @r#"
    node       worker-1   up -   kernel 6.12.107   agent 0.1.0 (0 B)
    datapath   1 endpoint   0 services   0 backends   1 policy
    drops      1,204 packets   policy-default: no rule allows it
    events     0/s   0 lost   0 of the last 0 kept
    exit code 0
    "#);
    assert_snapshot!(agent.skep("status -o json"), @r#"
    {
      "node_name": "worker-1",
      "version": "0.1.0",
      "kernel_release": "6.12.107",
      "counts": {
        "endpoints": 1,
        "endpoints_ready": 1,
        "policies": 1
      },
      "drops": [
        {
          "reason": "POLICY_DEFAULT",
          "packets": 1204,
          "bytes": 72240
        }
      ]
    }
    exit code 0
    "#);
}

#[test]
fn lists() {
    let agent = Canned::start();
    assert_snapshot!(agent.skep("endpoint list"), @r#"
    ID   WORKLOAD     IDENTITY   ADDRESSES   INTERFACE   POLICY    STATE   LABELS
    4    shop/cache   258        10.42.0.4   skep4       ingress   ready   -
    exit code 0
    "#);
    assert_snapshot!(agent.skep("endpoint list -o yaml"), @r#"
    - id: 4
      namespace: shop
      workload: cache
      identity: 258
      addresses:
      - "10.42.0.4"
      interface: skep4
      state: READY
      ingress_restricted: true
    exit code 0
    "#);
    assert_snapshot!(agent.skep("svc ls"), @r#"
    SERVICE    KIND   ADDRESS             ALGORITHM   BACKEND   WORKLOAD   STATE
    shop/web          10.96.0.10:80/tcp   random      none
    exit code 0
    "#);
    assert_snapshot!(agent.skep("identity list"), @r#"
    IDENTITY   NAMESPACE   LABELS   ENDPOINTS
    1          -           host     -
    exit code 0
    "#);
    assert_snapshot!(agent.skep("identity list -o json"), @r#"
    [
      {
        "number": 1,
        "name": "host"
      }
    ]
    exit code 0
    "#);
}

#[test]
fn observe() {
    let agent = Canned::start();
    assert_snapshot!(agent.skep("observe"), @r#"
    14:02:11.318  shop/client                         ✗  shop/cache:6379 tcp             denied: no rule allows it
    14:02:11.318  shop/client                         ◄  shop/cache:6379 tcp             reply
    exit code 0
    "#);
    assert_snapshot!(agent.skep("observe -o table --verdict forwarded"), @r#"
    TIME          SOURCE                              DESTINATION                     PROTO   EVENT    VERDICT    REASON
    14:02:11.318  shop/client                         shop/cache:6379                 tcp     reply    forwarded  reply
    exit code 0
    "#);
    assert_snapshot!(agent.skep("observe -o json --to-workload shop/cache --kind drop"), @r#"
    {"time":"2026-01-31T14:02:11.318Z","kind":"DROP","verdict":"DROPPED","drop_reason":"POLICY_DEFAULT","l4":{"tcp":{"source_port":51514,"destination_port":6379,"flags":{"syn":true}}},"source":{"namespace":"shop","workload":"client"},"destination":{"namespace":"shop","workload":"cache"}}
    exit code 0
    "#);
    assert_eq!(agent.skep("observe --namespace other --last 5").out, "");
    assert_snapshot!(agent.skep("observe --port http"), @r#"
    stderr: error: `http` is not a port from 0 to 65535 or a range such as 8000-8100
    exit code 2
    "#);
    assert_snapshot!(agent.skep("observe --since yesterday"), @r#"
    stderr: error: invalid value 'yesterday' for '--since <TIME>': write a span before now such as 5m or 1h30m, or a time such as 2026-01-31T14:02:11Z
    stderr:
    stderr: For more information, try '--help'.
    exit code 2
    "#);
}

#[test]
fn observe_follows_until_it_is_ended() {
    let agent = Canned::start();
    let mut child = agent.command("observe -f").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("✗  shop/cache:6379 tcp"));
    assert!(lines.next().unwrap().unwrap().contains("reply"));
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn explain() {
    let agent = Canned::start();
    assert_snapshot!(agent.skep("policy explain --from shop/client --to shop/cache --port 80"), @r#"
    allowed

    egress   shop/client   not restricted (no policy selects it for egress)
    exit code 0
    "#);
    assert_snapshot!(agent.skep("policy explain --from shop/client --to shop/cache --port 81"), @r#"
    denied

    egress   shop/client   not restricted (no policy selects it for egress)
    exit code 1
    "#);
    assert_snapshot!(agent.skep("policy explain --from shop/client --to shop/nobody --port 80"), @r#"
    stderr: error: there is no workload shop/nobody
    exit code 2
    "#);
    assert_eq!(agent.skep("policy explain --from a --to b --port 0").code, 2);
    let json = agent.skep("policy explain --from a --to b --port 80 --protocol UDP -o json");
    assert!(json.out.contains(r#""allowed": true"#), "{json}");
}

#[test]
fn monitor() {
    let agent = Canned::start();
    assert_snapshot!(agent.skep("monitor drops --count 1"), @r#"
    REASON           PACKETS   BYTES      RATE
    policy-default   1,204     70.5 KiB   0/s    no rule allows it

    14:02:11.318  shop/client                         ✗  shop/cache:6379 tcp             denied: no rule allows it
    exit code 0
    "#);
}

#[test]
fn load_balancers() {
    let agent = Canned::start();
    for (command, code, wanted) in [
        ("lb status", 0, "native XDP"),
        ("lb list", 0, "tcp 203.0.113.10:443"),
        ("lb list -o json", 0, "\"ring_size\": 65537"),
        ("lb describe edge", 0, "10.0.0.2"),
        ("lb which --src 198.51.100.7:1 --dst 203.0.113.10:443", 0, "slot 17"),
        ("lb which --src 198.51.100.7:1 --dst 203.0.113.11:443", 1, "no VIP"),
        ("lb drain 10.0.0.1", 0, "203.0.113.10:443"),
        ("lb drain 10.0.0.9", 1, "no VIP has this backend"),
        ("lb metrics", 0, "skep_lb_packets_total 7"),
    ] {
        let answer = agent.skep(command);
        assert!(answer.to_string().contains(wanted), "skep {command}: {answer}");
        assert_eq!(answer.code, code, "skep {command}: {answer}");
    }
}

#[test]
fn a_capture_says_what_it_has_and_what_it_has_not() {
    let agent = Canned::start();
    let answer = agent.skep("lb capture --dropped --count 2 -w drops.pcapng");
    assert_snapshot!(answer, @"
    stderr: eth1: not captured, it has no XDP program
    stderr: 2 packets captured, 2 lost
    exit code 0
    ");
    let file = std::fs::read(agent.folder.path().join("drops.pcapng")).unwrap();
    let frames = sim::capture::read(&file).unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!((frames[0].interface.as_str(), frames[0].bytes.len()), ("eth0", 60));
    let answer = agent.skep("lb capture -w nowhere/drops.pcapng");
    assert_eq!(answer.code, 2, "{answer}");
    assert!(answer.err.contains("nowhere/drops.pcapng"), "{answer}");
}

#[test]
fn no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let run = |socket: &str| {
        let mut command = skep("status");
        command.current_dir(folder.path()).args(["--socket", socket]);
        Ran::of(command)
    };
    assert_snapshot!(run("skepd.sock"), @r#"
    stderr: error: cannot reach skepd at skepd.sock: there is no such socket. Is it running? Start it with `skepd` as root, or name its socket with --socket or SKEP_SOCKET
    exit code 3
    "#);
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("dead.sock")).unwrap());
    assert_snapshot!(run("dead.sock"), @r#"
    stderr: error: cannot reach skepd at dead.sock: nothing listens there. skepd has ended; start it again with `skepd` as root
    exit code 3
    "#);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let agent = Canned::start();
    let mut child =
        agent.command("observe -f").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
