//! Flows name the processes behind them, and the rules that decided.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::gate::Feature;
use testkit::manifest::network_policy;
use testkit::probe::{Transport, Verdict};
use testkit::{Binaries, Node, Plan, Pod, Skep, require_kernel, require_root};

const PATIENCE: Duration = Duration::from_secs(5);

/// The latest flow that the filters pick, as soon as there is one.
fn flow(skep: &Skep, filters: &[&str]) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let call = ["observe", "--last", "1", "-o", "json"];
        let text = skep.run(call.iter().chain(filters)).unwrap();
        if !text.trim().is_empty() {
            return serde_json::from_str(&text).unwrap();
        }
        assert!(Instant::now() < deadline, "no flow for {filters:?}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn flows_name_processes_and_rules() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let plan = |name| Plan { namespace: "shop", name, ports: &[], sockets: true };
    let [mut client, mut web] = Pod::apply(&node, [plan("client"), plan("web")]).unwrap();
    // Only now: of a socket that was there before its workload was known, the process isn't known.
    web.probe.serve(Transport::Tcp, 80).unwrap();
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{
            "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
            "ports": [{"protocol": "TCP", "port": 80}],
        }],
    });
    let skep = node.skep();
    skep.apply(&[network_policy(("shop", "web"), spec)]).unwrap();
    let binary = node.binaries().probe.display().to_string();

    for target in web.tcp(80) {
        let outcome = client.probe.probe_one(&target, PATIENCE).unwrap();
        assert_eq!(outcome.verdict, Verdict::Answered("shop/web".into()));
        let address = target.address.to_string();
        // The end, when both ends are known and everything is counted.
        let filters = ["--kind", "end", "--to-ip", &address, "--to-port", "80"];
        let flow = flow(&skep, &filters);
        assert_eq!(flow["source"]["workload"], "client", "{flow}");
        assert_eq!(flow["source"]["labels"]["app"], "client", "{flow}");
        assert_eq!(flow["destination"]["workload"], "web", "{flow}");
        assert_eq!(flow["source"]["process"]["pid"], client.probe.pid(), "{flow}");
        assert_eq!(flow["source"]["process"]["binary"], *binary, "{flow}");
        assert_eq!(flow["destination"]["process"]["pid"], web.probe.pid(), "{flow}");
        assert_eq!(flow["allowed_by"][0]["name"], "web", "{flow}");
        assert!(flow["forward"]["packets"].as_u64() >= Some(3), "{flow}");
        assert!(flow["reverse"]["packets"].as_u64() >= Some(2), "{flow}");
    }
    for target in web.tcp(81).iter().chain(&web.udp(81)) {
        let outcome = client.probe.probe_one(target, Duration::from_millis(200)).unwrap();
        assert_eq!(outcome.verdict, Verdict::Silent);
        let address = target.address.to_string();
        let protocol = target.transport.to_string().to_lowercase();
        let filters = ["--verdict", "dropped", "--to-ip", &address, "--protocol", &protocol];
        let flow = flow(&skep, &filters);
        assert_eq!(flow["drop_reason"], "POLICY_DEFAULT", "{flow}");
        assert_eq!(flow["source"]["process"]["pid"], client.probe.pid(), "{flow}");
        assert_eq!(flow["denied_by"][0]["name"], "web", "{flow}");
    }
}
