//! `healthCheckNodePort`: a balancer before the nodes asks each whether it has endpoints of a
//! service, as it would ask kube-proxy.
//!
//! | | |
//! |---|---|
//! | status | 200 if the node has endpoints that are ready, else 503 |
//! | `X-Load-Balancing-Endpoint-Weight` | how many |
//! | body | `{"service":{"namespace":…,"name":…},"localEndpoints":…,"serviceProxyHealthy":…}` |
//!
//! Endpoints are counted of the family that the balancer asks by.

use crate::http;
use hyper::{Response, StatusCode};
use model::{Kind, ObjectName, ObjectRef};
use serde_json::json;
use services::HealthCheck;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::task::JoinHandle;

/// The ports that are served, and those that could not be.
#[derive(Debug, Default)]
pub struct HealthPorts {
    served: BTreeMap<ObjectName, Served>,
    problems: BTreeMap<ObjectName, datapath::Problem>,
    /// Whether the kernel does what the objects say.
    healthy: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Served {
    port: u16,
    local: Arc<Local>,
    task: JoinHandle<()>,
}

/// Ready endpoints: IPv4, IPv6.
#[derive(Debug, Default)]
struct Local([AtomicUsize; 2]);

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthPorts {
    /// Serves what is wanted, and tries once more what could not be.
    pub fn update(&mut self, wanted: &[HealthCheck], healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
        self.served.retain(|name, served| {
            wanted.iter().any(|it| it.service == *name && it.port == served.port)
        });
        let mut problems = BTreeMap::new();
        for check in wanted {
            let local = match self.served.get(&check.service) {
                Some(served) => served.local.clone(),
                None => match self.open(check) {
                    Ok(local) => local,
                    Err(message) => {
                        problems.insert(check.service.clone(), problem(check, message));
                        continue;
                    }
                },
            };
            for (count, found) in local.0.iter().zip(check.local) {
                count.store(found, Ordering::Relaxed);
            }
        }
        for (name, problem) in &problems {
            if self.problems.get(name) != Some(problem) {
                tracing::warn!("{}", problem.message);
            }
        }
        self.problems = problems;
    }

    fn open(&mut self, check: &HealthCheck) -> Result<Arc<Local>, String> {
        let port = check.port;
        let holder = self.served.iter().find(|(_, served)| served.port == port);
        if let Some((holder, _)) = holder {
            return Err(format!("`healthCheckNodePort` {port} is service {holder}'s"));
        }
        let listener = http::listen_everywhere(port).map_err(|error| {
            format!("`healthCheckNodePort` {port} is not served, and tried again: {error}")
        })?;
        let local = Arc::new(Local::default());
        let (name, counts, healthy) = (check.service.clone(), local.clone(), self.healthy.clone());
        let answer: http::Answer = Arc::new(move |_, to: IpAddr| {
            let count = counts.0[usize::from(to.is_ipv6())].load(Ordering::Relaxed);
            let answer = answer(&name, count, healthy.load(Ordering::Relaxed));
            Box::pin(std::future::ready(answer))
        });
        let task = tokio::spawn(http::serve(listener, answer));
        self.served.insert(check.service.clone(), Served { port, local: local.clone(), task });
        Ok(local)
    }

    pub fn problems(&self) -> impl Iterator<Item = &datapath::Problem> {
        self.problems.values()
    }
}

fn problem(check: &HealthCheck, message: String) -> datapath::Problem {
    datapath::Problem {
        object: Some(ObjectRef { kind: Kind::Service, name: check.service.clone() }),
        origin: Some(check.origin.clone()),
        message,
        refused: false,
    }
}

fn answer(service: &ObjectName, count: usize, healthy: bool) -> Response<String> {
    let body = json!({
        "service": {"namespace": &*service.namespace, "name": &*service.name},
        "localEndpoints": count,
        "serviceProxyHealthy": healthy,
    });
    let mut response = Response::new(body.to_string());
    if count == 0 || !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-load-balancing-endpoint-weight", count.to_string()),
    ] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |count, healthy, status: u16, body: &str| {
            let response = answer(&ObjectName::new("shop", "web"), count, healthy);
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.body(), body);
            let weight = &response.headers()["x-load-balancing-endpoint-weight"];
            assert_eq!(weight, count.to_string().as_str());
        };
        let service = r#"{"service":{"namespace":"shop","name":"web"}"#;
        check(
            2,
            true,
            200,
            &format!(r#"{service},"localEndpoints":2,"serviceProxyHealthy":true}}"#),
        );
        check(
            0,
            true,
            503,
            &format!(r#"{service},"localEndpoints":0,"serviceProxyHealthy":true}}"#),
        );
        check(
            2,
            false,
            503,
            &format!(r#"{service},"localEndpoints":2,"serviceProxyHealthy":false}}"#),
        );
    }
}
