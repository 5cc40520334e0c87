//! A node's worth of manifests in one file. The figure is printed; the limit is generous, since
//! tests run unoptimised and beside others.

use std::fmt::Write;
use std::time::{Duration, Instant};

const SERVICES: usize = 10_000;
const ENDPOINTS: usize = 10;

#[test]
fn ten_thousand_services() {
    let mut text = String::new();
    for n in 0..SERVICES {
        let (high, low) = (n / 250, n % 250);
        write!(
            text,
            "apiVersion: v1
kind: Service
metadata:
  name: service-{n}
  namespace: shop
spec:
  clusterIP: 10.96.{high}.{low}
  ports:
  - name: http
    port: 80
    targetPort: 8080
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-{n}-x
  namespace: shop
  labels:
    kubernetes.io/service-name: service-{n}
addressType: IPv4
endpoints:
"
        )
        .unwrap();
        for endpoint in 0..ENDPOINTS {
            writeln!(text, "- addresses: [10.{}.{high}.{low}]", endpoint + 1).unwrap();
        }
        text.push_str("ports:\n- name: http\n  port: 8080\n---\n");
    }
    let start = Instant::now();
    let parsed = store::manifest::parse("services.yaml", &text);
    let took = start.elapsed();
    println!(
        "{SERVICES} services of {ENDPOINTS} endpoints, {:.1} MiB: {took:.2?}",
        text.len() as f64 / f64::from(1 << 20),
    );
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics.first());
    assert_eq!(parsed.manifests.len(), 2 * SERVICES);
    assert!(took < Duration::from_secs(15), "{took:?}");
}
