//! `skep service list`: front-ends and their backends.

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::{self, Cell, Format, Paint, Screen, Style, Table, or_dash, qualified};
use api::flow::socket_address;
use api::v1::backend::State;
use api::v1::{Backend, ListServicesRequest, Service};
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep service list
  skep service list -n shop
  skep service list -o json | jq '.[] | select(.backends | not) | .name'

One line for each address and port of a service, and one for each further backend.";

/// Services as the kernel has them
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List services: addresses, ports, algorithm, backends
    #[command(visible_alias = "ls", after_help = AFTER)]
    List {
        /// Only services of this namespace
        #[arg(short, long, value_name = "NAME")]
        namespace: Option<String>,

        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
}

pub async fn run(command: Command, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let Command::List { namespace, output } = command;
    let request = ListServicesRequest { namespace: namespace.unwrap_or_default() };
    let mut client = agent.connect().await?;
    let services = client.list_services(request).await?.into_inner().services;
    match output {
        Format::Table => screen.print(&table(&services, screen.style()))?,
        Format::Json => screen.print_json(&output::values(&services)?)?,
        Format::Yaml => screen.print_yaml(&output::values(&services)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn table(services: &[Service], style: Style) -> String {
    let mut table =
        Table::new(["SERVICE", "KIND", "ADDRESS", "ALGORITHM", "BACKEND", "WORKLOAD", "STATE"]);
    for service in services {
        let mut name = qualified(&service.namespace, &service.name);
        if !service.port_name.is_empty() {
            name += &format!(":{}", service.port_name);
        }
        let address = if service.address.is_empty() {
            format!("headless {}/{}", service.port, service.protocol)
        } else {
            format!("{}/{}", socket_address(&service.address, service.port), service.protocol)
        };
        let kind = if service.address.is_empty() { "-" } else { &service.kind };
        let mut head: [Cell; 4] =
            [name.into(), kind.into(), address.into(), or_dash(service.algorithm.clone()).into()];
        if service.backends.is_empty() {
            let [name, kind, address, algorithm] = head;
            let none = Cell::new(Paint::Warning, "none");
            table.row([name, kind, address, algorithm, none, "".into(), "".into()]);
            continue;
        }
        for backend in &service.backends {
            let [name, kind, address, algorithm] = head;
            let [backend, workload, state] = cells(backend);
            table.row([name, kind, address, algorithm, backend, workload, state]);
            head = ["".into(), "".into(), "".into(), "".into()];
        }
    }
    table.render(style)
}

fn cells(backend: &Backend) -> [Cell; 3] {
    let state = match backend.state() {
        State::Active => Cell::new(Paint::Good, "active"),
        State::Terminating => Cell::new(Paint::Warning, "terminating"),
        State::NotReady => Cell::new(Paint::Warning, "not ready"),
        State::Unknown => Cell::from("-"),
    };
    let workload = match backend.workload.as_str() {
        "" => "-".to_owned(),
        name => qualified(&backend.namespace, name),
    };
    [socket_address(&backend.address, backend.port).into(), workload.into(), state]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_in_a_table() {
        let backend = |number| Backend {
            address: format!("10.42.0.{number}"),
            port: 8080,
            namespace: "shop".into(),
            workload: format!("web-{number}"),
            state: State::Active.into(),
        };
        let web = Service {
            namespace: "shop".into(),
            name: "web".into(),
            port_name: "http".into(),
            address: "10.96.0.10".into(),
            port: 80,
            protocol: "tcp".into(),
            algorithm: "maglev".into(),
            backends: vec![backend(1), backend(2)],
            kind: "ClusterIP".into(),
        };
        let dns = Service {
            namespace: "kube-system".into(),
            name: "dns".into(),
            address: "fd00:96::a".into(),
            port: 53,
            protocol: "udp".into(),
            algorithm: "random".into(),
            kind: "NodePort".into(),
            ..Default::default()
        };
        insta::assert_snapshot!(table(&[web, dns], Style::PLAIN), @r#"
        SERVICE           KIND        ADDRESS               ALGORITHM   BACKEND          WORKLOAD     STATE
        shop/web:http     ClusterIP   10.96.0.10:80/tcp     maglev      10.42.0.1:8080   shop/web-1   active
                                                                        10.42.0.2:8080   shop/web-2   active
        kube-system/dns   NodePort    [fd00:96::a]:53/udp   random      none
        "#);
    }
}
