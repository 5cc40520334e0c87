//! `skepd --metrics-address`, as Prometheus reads it.

use super::world::{NODE_PORT, check, get, web, world_with};
use std::collections::{BTreeMap, BTreeSet};
use testkit::gate::Feature;
use testkit::{eventually, require_kernel, require_root};

const PORT: u16 = 9965;

/// Series by name with their labels; panics on what isn't the text format (version 0.0.4).
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect(line);
            let metric = name.split('{').next().unwrap();
            let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(metric.chars().all(right), "{line}");
            assert!(types.contains_key(metric) && helped.contains(metric), "{line}");
            assert_eq!(name.contains('{'), name.ends_with('}'), "{line}");
            let value: f64 = value.parse().expect(line);
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    assert!(text.ends_with('\n'));
    series
}

#[test]
fn everything_that_is_counted_is_served() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let address = format!("[::]:{PORT}");
    let mut world = world_with(&["--metrics-address", &address]);
    world.apply(web(|_| {}), &world.everybody());
    let router = world.client.0.router;
    check(&mut world.client.1, router, NODE_PORT, super::EVERYBODY);
    let place = &world.client.0.machine.place;
    let scrape = || {
        let answer = get(place, router[0], PORT, "/metrics").unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        answer.body
    };
    let tcp = r#"{namespace="shop",service="web",port="tcp"}"#;
    // Flows of services are counted when the table is walked.
    eventually("flows of the service are counted", || {
        parse(&scrape())
            .get(&format!("skep_service_packets_total{tcp}"))
            .is_some_and(|it| *it > 0.0)
    });
    let found = parse(&scrape());
    let at_least = |name: &str, least: f64| {
        let value = found.get(name).unwrap_or_else(|| panic!("no {name} in {found:#?}"));
        assert!(*value >= least, "{name} {value}");
    };
    for name in [
        "skep_policy_revision",
        "skep_front_ends",
        "skep_identities",
        "skep_connections_created_total",
        "skep_connections_capacity",
        "skep_forwarded_packets_total",
        "skep_service_packets_translated_total",
        "skep_flow_events_total",
        "skep_endpoints{state=\"ready\"}",
        "skep_map_entries{map=\"services\"}",
        "skep_programs_attached{program=\"from_outside\"}",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
    ] {
        at_least(name, 1.0);
    }
    for name in [
        "skep_flow_events_lost_total",
        "skep_flow_events_limited_total",
        "skep_endpoints{state=\"not_ready\"}",
        "skep_diagnostics{severity=\"error\"}",
        "skep_service_series_omitted",
        "process_cpu_seconds_total",
    ] {
        at_least(name, 0.0);
    }
    let of = |metric: &str, more: &str| format!("{metric}{}{more}}}", tcp.trim_end_matches('}'));
    at_least(&of("skep_service_backends", ",state=\"ready\""), 6.0);
    assert!(found.keys().any(|name| name.starts_with("skep_build_info{version=")), "{found:#?}");

    // One source of truth: the balancer's part is what `skep lb metrics` would say.
    let own = world.node.skep().run(["lb", "metrics"]).unwrap();
    assert!(scrape().contains(own.lines().next().unwrap()), "{own}");
    assert_eq!(get(place, router[0], PORT, "/").unwrap().status, 404);
}
