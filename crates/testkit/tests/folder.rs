//! The watched folder: changes take effect, and what is wrong disturbs nothing else.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use testkit::gate::Feature;
use testkit::manifest::{network_policy, stream};
use testkit::probe::{Probe, Target, Transport, Verdict};
use testkit::{Binaries, Node, Plan, Pod, eventually, require_kernel, require_root};

fn reaches(probe: &mut Probe, address: IpAddr) -> bool {
    let target = Target::new(Transport::Tcp, address, 80);
    let outcome = probe.probe_one(&target, Duration::from_millis(200)).unwrap();
    outcome.verdict == Verdict::Answered("shop/web".into())
}

#[test]
fn files_take_effect_and_wrong_ones_do_not() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let plan = |name| Plan { namespace: "shop", name, ports: &[80], sockets: true };
    let [mut client, web] = Pod::apply(&node, [plan("client"), plan("web")]).unwrap();
    let nothing =
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]});
    let nothing = stream(&[network_policy(("shop", "nothing"), nothing)]);
    let file = node.manifests().join("nothing.yaml");
    let client = &mut client.probe;
    assert!(reaches(client, web.v4), "before");

    fs::write(&file, &nothing).unwrap();
    eventually("a new file", || !reaches(client, web.v4));
    fs::remove_file(&file).unwrap();
    eventually("a file that is gone", || reaches(client, web.v4));

    // Wrong in different ways, each beside a good one.
    let wrong = [
        ("syntax.yaml", "apiVersion: [v1\n", "syntax.yaml"),
        ("kind.yaml", "apiVersion: v1\nkind: Sevrice\nmetadata: {name: x}\n", "Sevrice"),
        (
            "field.yaml",
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec:\n  podSelecter: {}\n",
            "podSelecter",
        ),
        (
            "cidr.json",
            r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "y", "namespace": "shop"}, "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]}}"#,
            "10.0.0.0/33",
        ),
        (
            "place.yaml",
            "apiVersion: skep.dev/v1\nkind: Workload\nmetadata: {name: lost, namespace: shop}\nspec: {runs: {netns: skt-no-such-namespace}}\n",
            "skt-no-such-namespace",
        ),
    ];
    for (name, text, told) in wrong {
        fs::write(node.manifests().join(name), text).unwrap();
        eventually(name, || {
            let status = node.skep().json(&["status"]).unwrap();
            status["diagnostics"].to_string().contains(told)
        });
        assert!(reaches(client, web.v4), "{name} has no effect");
    }
    fs::write(&file, &nothing).unwrap();
    eventually("a good file among wrong ones", || !reaches(client, web.v4));
    fs::remove_file(&file).unwrap();
    eventually("it is gone again", || reaches(client, web.v4));

    for (name, _, _) in wrong {
        fs::remove_file(node.manifests().join(name)).unwrap();
    }
    eventually("no complaints are left", || {
        node.skep().json(&["status"]).unwrap().get("diagnostics").is_none()
    });
}

#[test]
fn an_application_is_all_or_nothing() {
    require_root!();
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let good = network_policy(("shop", "good"), json!({"podSelector": {}}));
    let wrong = network_policy(("shop", "wrong"), json!({"podSelecter": {}}));
    let error = node.skep().apply(&[good, wrong]).unwrap_err().to_string();
    assert!(error.contains("podSelecter") && error.contains("nothing was applied"), "{error}");
    let status = node.skep().json(&["status"]).unwrap();
    assert_eq!(status["counts"]["policies"].as_u64().unwrap_or(0), 0, "{status}");
}
