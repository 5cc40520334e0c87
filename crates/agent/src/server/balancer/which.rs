//! `skep lb which`: the choice that the program would make, made with its own hash.

use crate::node::Node;
use api::v1;
use datapath::Choice;
use model::Protocol;
use std::net::SocketAddr;
use tonic::Status;

pub fn which(
    node: &Node,
    request: &v1::WhichBackendRequest,
) -> Result<v1::WhichBackendResponse, Status> {
    let address = |name: &str, text: &str| {
        text.parse::<SocketAddr>().map_err(|_| {
            let message = format!("{name} `{text}`: expected ADDRESS:PORT, as 192.0.2.1:443");
            Status::invalid_argument(message)
        })
    };
    let source = address("source", &request.source)?;
    let destination = address("destination", &request.destination)?;
    let protocol = match request.protocol.as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => {
            let message = format!("protocol `{other}`: expected tcp or udp");
            return Err(Status::invalid_argument(message));
        }
    };
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Status::invalid_argument("source and destination are of different families"));
    }
    let balancer = node.datapath.balancer();
    let choice = balancer
        .choose(source, destination, protocol)
        .map_err(|error| Status::internal(error.to_string()))?
        .ok_or_else(|| {
            Status::not_found(format!(
                "{destination} is no VIP for {}; `skep lb list` shows them",
                protocol.name().to_ascii_lowercase()
            ))
        })?;
    let Choice { vip, slot, backend, steps } = choice;
    let line = backend.and_then(|backend| {
        let mut all = vip.backends.iter();
        all.find(|one| one.number == Some(backend.0)).map(|one| one.line)
    });
    Ok(v1::WhichBackendResponse {
        vip: vip.title.clone(),
        namespace: vip.object.namespace.to_string(),
        balancer: vip.object.name.to_string(),
        file: vip.origin.file.to_string(),
        line: vip.origin.line,
        backend: backend.map(|(_, key)| key.address.to_string()).unwrap_or_default(),
        backend_line: line.unwrap_or(0),
        steps,
        slot,
        ring_size: vip.ring_len,
    })
}
