//! What the node counts, for Prometheus: `skepd --metrics-address`.
//!
//! Numbers are those of `skep status` and `skep lb`, taken from the same messages, so that they
//! can't tell another story. Nothing is kept between scrapes: counters are the kernel's own.

mod connections;
mod node;
mod process;
pub mod text;

use crate::balancer::Balancing;
use crate::control::Control;
use crate::flows::history::History;
use crate::http;
use crate::server::{self, Facts};
use hyper::{Method, Response, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use text::Text;

pub use connections::ServiceTotals;

/// Version of the text format (Prometheus, "Exposition formats").
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape asks.
#[derive(Clone, Debug)]
pub struct Sources {
    pub control: Control,
    pub facts: Arc<Facts>,
    pub history: Arc<History>,
    pub balancing: Arc<Balancing>,
    pub node_name: Arc<str>,
}

/// Listens; answers until the runtime ends.
pub fn serve(address: SocketAddr, sources: Sources) -> std::io::Result<()> {
    let listener = http::listen(address)?;
    let answer: http::Answer = Arc::new(move |request, _| {
        let sources = sources.clone();
        Box::pin(async move {
            match (request.method(), request.uri().path()) {
                (&Method::GET | &Method::HEAD, "/metrics") => scrape(&sources).await,
                (&Method::GET | &Method::HEAD, _) => {
                    plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned())
                }
                _ => plain(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n".to_owned()),
            }
        })
    });
    tokio::spawn(http::serve(listener, answer));
    Ok(())
}

async fn scrape(sources: &Sources) -> Response<String> {
    let (facts, history) = (sources.facts.clone(), sources.history.clone());
    let (balancing, node_name) = (sources.balancing.clone(), sources.node_name.clone());
    let asked = sources.control.ask(move |node| {
        let status = server::status(node, &facts, &history, &node_name)?;
        let services = server::services(node);
        let known = |id| node.datapath.services().service(id).is_some();
        let totals = facts.connections.by_service(known);
        let revision = node.datapath.policy_epoch();
        let balancer = server::balancer_status(node, &balancing)?;
        let names = node::ServiceNames::of(node.datapath.services(), &totals);
        anyhow::Ok((status, services, names, revision, balancer))
    });
    let (status, services, totals, revision, balancer) = match asked.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::warn!("metrics: {error:#}");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n"));
        }
        Err(stopping) => return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{stopping}\n")),
    };
    let mut text = Text::default();
    node::write(&mut text, &status, revision);
    node::write_services(&mut text, &services, &totals);
    server::write_balancer(&mut text, &balancer);
    process::write(&mut text);
    let mut response = Response::new(text.into_string());
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static(CONTENT_TYPE));
    response
}

fn plain(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
