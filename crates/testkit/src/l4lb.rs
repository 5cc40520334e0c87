//! Configurations under which the packets of the load balancer's fixtures must come out as they say,
//! by group, as manifests: those of the fixtures' README.

/// Addresses of backends.
const R4: &[&str] = &["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const R6: &[&str] = &["fc00::1", "fc00::2", "fc00::3"];
const ALL: &[&str] = &["10.0.0.1", "10.0.0.2", "10.0.0.3", "fc00::1", "fc00::2", "fc00::3"];

/// The manifest for a group.
pub fn of(group: &str) -> Option<String> {
    let mut out = Manifest::default();
    match group {
        "base" => out.ipip().drops_too_big().a(""),
        "gue" => out.gue().drops_too_big().a(""),
        "tpr" => out.ipip().a("tcpServerId: true"),
        "tpr_gue" => out.gue().a("tcpServerId: true"),
        "icmp_toobig" => out.ipip().a(""),
        "lpm_src" => out.gue().l(),
        "cidr_vip" => out.gue().c(),
        "hc" => out.ipip().h(),
        "hc_gue" => out.gue().h(),
        "stable_rt" => out.gue().s(),
        "xpop_decap" | "decap_stats" => out.gue().x(false),
        "egress_decap" => out.gue().x(true),
        "udp_flow_migration_1" => out.gue().m(false),
        "udp_flow_migration_2" => out.gue().m(true),
        "xdp_decap" => out.ipip().only_decapsulates("{ipip: true}"),
        "xdp_decap_gue" => out.gue().only_decapsulates("{ipip: true, gue: true}"),
        "tc_srcmatch" => out.gue().only_decapsulates("{gue: true, at: tc}"),
        _ => return None,
    };
    Some(out.finish())
}

#[derive(Default)]
struct Manifest {
    mode: &'static str,
    too_big: &'static str,
    /// Lines of `spec` after what all have.
    spec: Vec<String>,
    vips: Vec<String>,
}

impl Manifest {
    fn ipip(&mut self) -> &mut Self {
        self.mode = "ipip";
        self
    }

    fn gue(&mut self) -> &mut Self {
        self.mode = "gue";
        self
    }

    fn drops_too_big(&mut self) -> &mut Self {
        self.too_big = "drop";
        self
    }

    /// `address ports protocol`, further fields, backends.
    fn vip(&mut self, what: &str, more: &str, backends: &[&str]) {
        let backends = backends.iter().map(|address| format!("{{address: {address}}}"));
        self.vip_of(what, more, &backends.collect::<Vec<_>>());
    }

    fn vip_of(&mut self, what: &str, more: &str, backends: &[String]) {
        let mut words = what.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (address, ports, protocol) = (word(), word(), word());
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        let backends = backends.join(", ");
        self.vips.push(format!(
            "{{address: '{address}', ports: {ports}, protocol: {protocol}{more}, \
             backends: [{backends}]}}"
        ));
    }

    fn server_ids(&mut self) {
        let ids = [1022, 1023, 1025, 1024, 1026, 1027];
        self.spec.push("serverIds:".to_owned());
        for (id, backend) in ids.into_iter().zip(ALL) {
            for id in [id, id | 0x03_0000] {
                self.spec.push(format!("- {{id: {id}, backend: '{backend}'}}"));
            }
        }
    }

    /// `tcp` is for all TCP VIPs.
    fn a(&mut self, tcp: &str) {
        self.a_with(tcp, "", "");
    }

    fn a_with(&mut self, tcp: &str, first_udp: &str, v6_tcp: &str) {
        self.server_ids();
        let tcp_v6 = [tcp, v6_tcp].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>();
        self.vip("10.200.1.1 80 UDP", first_udp, R4);
        self.vip("10.200.1.1 80 TCP", tcp, R4);
        self.vip("10.200.1.2 all TCP", tcp, R4);
        let only_port = match tcp {
            "" => "hashOn: destinationPort".to_owned(),
            tcp => format!("hashOn: destinationPort, {tcp}"),
        };
        self.vip("10.200.1.4 all TCP", &only_port, R4);
        self.vip("10.200.1.3 80 TCP", tcp, R6);
        self.vip("fc00:1::1 80 TCP", &tcp_v6.join(", "), R6);
        self.vip("10.200.1.5 443 UDP", "quic: true", R4);
        self.vip("fc00:1::2 443 UDP", "quic: true", R6);
        let mut backends = R4.iter().map(|address| format!("{{address: {address}}}"));
        let forgetful = "{address: 10.0.0.1, forgetFlows: true}".to_owned();
        backends.next();
        let backends: Vec<String> = std::iter::once(forgetful).chain(backends).collect();
        self.vip_of("10.200.1.6 80 UDP", "udpFlowMigration: true", &backends);
        self.vip("10.200.1.99 80 TCP", tcp, &[]);
        self.vip("fc00:1::11 80 UDP", "", &[]);
    }

    fn l(&mut self) {
        self.spec.push("sourceRoutes:".to_owned());
        for (source, backend) in [
            ("192.168.0.0/17", "fc00::2307:1"),
            ("192.168.100.0/24", "fc00::2307:2"),
            ("fc00:2307::/32", "fc00::2307:3"),
            ("fc00:2307::/64", "fc00::2307:4"),
            ("fc00:2::/64", "fc00::2307:10"),
        ] {
            self.spec.push(format!("- {{source: '{source}', backend: '{backend}'}}"));
        }
        self.a_with("", "sourceRouting: true", "sourceRouting: true");
    }

    fn c(&mut self) {
        self.vip("fc00:1::/96 all TCP", "", &["fc00::1", "fc00::2"]);
        self.vip("fc00:2::/96 443 TCP", "", &["fc00::3", "fc00::4"]);
        self.vip("fc00:3::/96 all UDP", "", &["fc00::5", "fc00::6"]);
        self.vip("fc00:4::/96 443 UDP", "", &["fc00::7", "fc00::8"]);
    }

    fn h(&mut self) {
        self.spec.push("probes:".to_owned());
        self.spec.push("  localMac: 00:ff:de:ad:be:af".to_owned());
        self.spec.push("  marks:".to_owned());
        for (mark, backend) in [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "fc00::1")] {
            self.spec.push(format!("  - {{mark: {mark}, backend: '{backend}'}}"));
        }
        self.a("");
    }

    fn s(&mut self) {
        self.server_ids();
        self.vip("fc00:1::9 80 UDP", "udpStableRouting: true", R6);
        self.vip("10.200.1.90 80 UDP", "udpStableRouting: true", R4);
    }

    fn x(&mut self, egress: bool) {
        let egress = if egress { ", egress: ['fc00:1405::1']" } else { "" };
        self.spec.push(format!(
            "decapsulation: {{gue: true, destinations: ['fc00:1404::1']{egress}, \
             strictDestination: true}}"
        ));
        self.server_ids();
        self.vip("10.200.1.1 80 UDP", "", R4);
        self.vip("fc00:1::1 80 TCP", "", R6);
        self.vip("10.200.1.2 80 UDP", "", R6);
    }

    fn m(&mut self, down: bool) {
        self.server_ids();
        let backends = |leaves: bool| -> Vec<String> {
            let state = |address: &&str| match *address {
                "10.0.0.2" if leaves => ", state: draining, forgetFlows: true",
                _ => "",
            };
            let one = |address: &&str| format!("{{address: '{address}'{}}}", state(address));
            ALL.iter().map(one).collect()
        };
        self.vip_of("10.200.1.1 80 UDP", "udpFlowMigration: true", &backends(down));
        let both = "udpFlowMigration: true, udpStableRouting: true";
        self.vip_of("10.200.1.2 80 UDP", both, &backends(down));
        self.vip_of("10.200.1.3 80 UDP", "", &backends(false));
        self.vip_of("10.200.1.4 80 TCP", "", &backends(false));
    }

    fn only_decapsulates(&mut self, what: &str) {
        self.spec.push(format!("decapsulation: {what}"));
    }

    fn finish(&self) -> String {
        let mut lines: Vec<String> = [
            "apiVersion: skep.dev/v1",
            "kind: LoadBalancer",
            "metadata: {name: conformance}",
            "spec:",
            "  nextHop: 00:00:de:ad:be:af",
            "  hashing: {algorithm: katran, version: V1}",
            "  flows: {keep: all, table: 1000}",
        ]
        .map(str::to_owned)
        .to_vec();
        let too_big = if self.too_big.is_empty() { "answer" } else { self.too_big };
        lines.push(format!(
            "  delivery: {{mode: {}, guePort: 9886, mtu: 9216, tooBig: {too_big}, \
             sources: {{ipv4: 10.0.13.37, ipv6: 'fc00:2307::1337'}}}}",
            self.mode
        ));
        lines.extend(self.spec.iter().map(|line| format!("  {line}")));
        if !self.vips.is_empty() {
            lines.push("  vips:".to_owned());
            lines.extend(self.vips.iter().map(|vip| format!("  - {vip}")));
        }
        lines.join("\n") + "\n"
    }
}
