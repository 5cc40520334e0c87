//! The gRPC API on a Unix socket: requests to questions for the node, answers to messages.

mod balancer;
mod convert;
mod describe;
mod explain;
mod observe;
mod status;
mod tables;

pub use balancer::write as write_balancer;
pub use status::{Facts, status};

use crate::balancer::Balancing;
use crate::balancer::history::EventKind;
use crate::control::{Control, Stopping};
use crate::flows::history::History;
use crate::flows::record::Conversion;
use crate::node::{Node, Outcome};
use api::v1;
use api::v1::agent_server::{Agent, AgentServer};
use model::{Kind, ObjectName, ObjectRef, Selector};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How long a stopping agent goes on answering.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Every front-end of every service.
pub fn services(node: &Node) -> Vec<v1::Service> {
    tables::services(node, |_| true)
}

/// Everything about the edge balancer.
pub fn balancer_status(
    node: &Node,
    balancing: &Balancing,
) -> anyhow::Result<v1::BalancerStatusResponse> {
    balancer::status(node, balancing, "")
}

/// What requests need.
#[derive(Clone, Debug)]
pub struct Server {
    pub control: Control,
    pub history: Arc<History>,
    pub conversion: Conversion,
    pub facts: Arc<Facts>,
    pub balancing: Arc<Balancing>,
}

/// Serves on `socket` until `stop` resolves. The socket is root's alone.
pub async fn serve(
    server: Server,
    socket: &Path,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    use anyhow::Context;
    use std::os::unix::fs::PermissionsExt;
    // The lock on the run folder says that nobody else serves here.
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(socket)
        .with_context(|| format!("cannot listen at {}", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let stop = async move {
        stop.await;
        let _ = stopping.send(());
    };
    let serving = tonic::transport::Server::builder()
        .add_service(AgentServer::new(server).max_decoding_message_size(api::MAX_MESSAGE_BYTES))
        .serve_with_incoming_shutdown(
            tokio_stream::wrappers::UnixListenerStream::new(listener),
            stop,
        );
    // Requests are answered; who follows flows would never be done.
    let patience = async move {
        let _ = stopped.await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = serving => served?,
        () = patience => {}
    }
    Ok(())
}

impl From<Stopping> for Status {
    fn from(stopping: Stopping) -> Self {
        Status::unavailable(stopping.to_string())
    }
}

fn internal(error: anyhow::Error) -> Status {
    Status::internal(format!("{error:#}"))
}

fn selector(text: &str) -> Result<Selector, Status> {
    api::selector::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn kind(text: &str) -> Result<Kind, Status> {
    Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        Status::invalid_argument(format!("unknown kind `{text}`; known are {}", known.join(", ")))
    })
}

fn reference(message: &v1::ObjectRef) -> Result<ObjectRef, Status> {
    let name = ObjectName::new(message.namespace.as_str(), message.name.as_str());
    Ok(ObjectRef { kind: kind(&message.kind)?, name })
}

fn texts(files: Vec<v1::File>) -> Vec<(String, String)> {
    files.into_iter().map(|file| (file.name, file.text)).collect()
}

fn outcome_number(outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Created => v1::object_result::Outcome::Created,
        Outcome::Changed => v1::object_result::Outcome::Changed,
        Outcome::Unchanged => v1::object_result::Outcome::Unchanged,
        Outcome::Deleted => v1::object_result::Outcome::Deleted,
        Outcome::NotFound => v1::object_result::Outcome::NotFound,
    }
    .into()
}

fn microseconds(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl Agent for Server {
    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let v1::ApplyRequest { files, dry_run } = request.into_inner();
        let files = texts(files);
        let (applied, policies) = self
            .control
            .run(move |node| {
                Box::pin(async move {
                    let applied = node.apply(files, dry_run).await;
                    (applied, node.model.network_policies.len())
                })
            })
            .await?;
        let applied = applied.map_err(internal)?;
        let refused = applied.diagnostics.iter().any(store::Diagnostic::is_error);
        let results = applied.objects.iter().map(|(object, outcome)| v1::ObjectResult {
            object: Some(convert::object_ref(&object.reference())),
            outcome: outcome_number(*outcome),
            file: object.origin().file.to_string(),
            line: object.origin().line,
        });
        Ok(Response::new(v1::ApplyResponse {
            applied: !refused && !dry_run,
            results: results.collect(),
            diagnostics: applied.diagnostics.iter().filter_map(convert::diagnostic).collect(),
            effective_after_us: microseconds(applied.effective_after),
            policies_in_force: policies as u32,
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let v1::DeleteRequest { objects, files } = request.into_inner();
        let mut objects: Vec<ObjectRef> =
            objects.iter().map(reference).collect::<Result<_, _>>()?;
        let (named, diagnostics) = Node::named_in(&texts(files));
        if !diagnostics.is_empty() {
            return Ok(Response::new(v1::DeleteResponse {
                diagnostics: diagnostics.iter().filter_map(convert::diagnostic).collect(),
                ..Default::default()
            }));
        }
        objects.extend(named);
        let (deleted, policies) = self
            .control
            .run(move |node| {
                Box::pin(async move {
                    let deleted = node.delete(objects).await;
                    (deleted, node.model.network_policies.len())
                })
            })
            .await?;
        let deleted = deleted.map_err(internal)?;
        let results = deleted.objects.iter().map(|(object, outcome)| v1::ObjectResult {
            object: Some(convert::object_ref(object)),
            outcome: outcome_number(*outcome),
            ..Default::default()
        });
        Ok(Response::new(v1::DeleteResponse {
            applied: deleted.diagnostics.is_empty(),
            results: results.collect(),
            diagnostics: deleted.diagnostics.iter().filter_map(convert::diagnostic).collect(),
            effective_after_us: microseconds(deleted.effective_after),
            policies_in_force: policies as u32,
        }))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let request = request.into_inner();
        let kinds = match request.kind.as_str() {
            "" => Kind::ALL.to_vec(),
            text => vec![kind(text)?],
        };
        let selector = selector(&request.selector)?;
        let objects = self
            .control
            .ask(move |node| {
                let objects = node.objects(&kinds);
                let wanted = objects.filter(|object| {
                    let name = object.name();
                    let fits = |wanted: &str, text: &str| wanted.is_empty() || wanted == text;
                    fits(&request.namespace, &name.namespace)
                        && fits(&request.name, &name.name)
                        && selector.matches(&convert::labels_of(object))
                });
                wanted.map(|object| convert::object(node, &object)).collect()
            })
            .await?;
        Ok(Response::new(v1::GetResponse { objects }))
    }

    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        let request = request.into_inner();
        let object = reference(&request.object.unwrap_or_default())?;
        let most_drops = if request.max_drops == 0 { 10 } else { request.max_drops as usize };
        let subject = object.clone();
        let described = self.control.ask(move |node| describe::describe(node, &subject)).await?;
        let Some(mut described) = described else {
            let hint = format!("{object} does not exist; `skep get {}` lists them", object.kind);
            return Err(Status::not_found(hint));
        };
        described.drops = describe::drops(&self.history, &self.conversion, &object, most_drops);
        Ok(Response::new(described))
    }

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let (facts, history) = (self.facts.clone(), self.history.clone());
        let node_name = self.conversion.node.clone();
        let status =
            self.control.ask(move |node| status(node, &facts, &history, &node_name)).await?;
        status.map(Response::new).map_err(internal)
    }

    async fn list_endpoints(
        &self,
        request: Request<v1::ListEndpointsRequest>,
    ) -> Result<Response<v1::ListEndpointsResponse>, Status> {
        let request = request.into_inner();
        let selector = selector(&request.selector)?;
        let endpoints = self
            .control
            .ask(move |node| tables::endpoints(node, &request.namespace, &selector))
            .await?;
        Ok(Response::new(v1::ListEndpointsResponse { endpoints }))
    }

    async fn list_services(
        &self,
        request: Request<v1::ListServicesRequest>,
    ) -> Result<Response<v1::ListServicesResponse>, Status> {
        let namespace = request.into_inner().namespace;
        let services = self
            .control
            .ask(move |node| {
                tables::services(node, |name| namespace.is_empty() || *name.namespace == *namespace)
            })
            .await?;
        Ok(Response::new(v1::ListServicesResponse { services }))
    }

    async fn list_identities(
        &self,
        request: Request<v1::ListIdentitiesRequest>,
    ) -> Result<Response<v1::ListIdentitiesResponse>, Status> {
        let selector = selector(&request.into_inner().selector)?;
        let identities = self.control.ask(move |node| tables::identities(node, &selector)).await?;
        Ok(Response::new(v1::ListIdentitiesResponse { identities }))
    }

    type ObserveStream = observe::Flows;

    async fn observe(
        &self,
        request: Request<v1::ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let stream =
            observe::observe(request.into_inner(), self.history.clone(), self.conversion.clone())?;
        Ok(Response::new(stream))
    }

    async fn explain_policy(
        &self,
        request: Request<v1::ExplainPolicyRequest>,
    ) -> Result<Response<v1::ExplainPolicyResponse>, Status> {
        let request = request.into_inner();
        self.control.ask(move |node| explain::explain(node, &request)).await?.map(Response::new)
    }

    async fn balancer_status(
        &self,
        request: Request<v1::BalancerStatusRequest>,
    ) -> Result<Response<v1::BalancerStatusResponse>, Status> {
        let (balancing, filter) = (self.balancing.clone(), request.into_inner().filter);
        let asked =
            self.control.ask(move |node| balancer::status(node, &balancing, &filter)).await?;
        asked.map(Response::new).map_err(internal)
    }

    async fn which_backend(
        &self,
        request: Request<v1::WhichBackendRequest>,
    ) -> Result<Response<v1::WhichBackendResponse>, Status> {
        let request = request.into_inner();
        self.control.ask(move |node| balancer::which(node, &request)).await?.map(Response::new)
    }

    async fn drain_backend(
        &self,
        request: Request<v1::DrainBackendRequest>,
    ) -> Result<Response<v1::DrainBackendResponse>, Status> {
        let v1::DrainBackendRequest { backend, undo } = request.into_inner();
        let address: IpAddr = backend.parse().map_err(|_| {
            Status::invalid_argument(format!("backend `{backend}`: expected an address"))
        })?;
        let started = std::time::Instant::now();
        let (vips, changed) = self
            .control
            .ask(move |node| {
                let vips = node.datapath.balancer().compiler().vips_with(address);
                // What was drained before it left the manifests can still be given back.
                let known = undo || !vips.is_empty();
                (vips, known.then(|| node.drain(address, !undo)))
            })
            .await?;
        let Some(changed) = changed else {
            let hint = format!("no VIP has backend {address}; `skep lb list` shows them");
            return Err(Status::not_found(hint));
        };
        let changed = changed.map_err(internal)?;
        if changed {
            let kind = if undo { EventKind::Undrained } else { EventKind::Drained };
            self.balancing.history.note(kind, address, in_short(&vips), "by command");
        }
        Ok(Response::new(v1::DrainBackendResponse {
            vips,
            changed,
            effective_after_us: microseconds(started.elapsed()),
        }))
    }

    async fn balancer_history(
        &self,
        request: Request<v1::BalancerHistoryRequest>,
    ) -> Result<Response<v1::BalancerHistoryResponse>, Status> {
        let v1::BalancerHistoryRequest { backend, limit } = request.into_inner();
        let backend = match backend.as_str() {
            "" => None,
            text => Some(text.parse::<IpAddr>().map_err(|_| {
                Status::invalid_argument(format!("backend `{text}`: expected an address"))
            })?),
        };
        let most = if limit == 0 { usize::MAX } else { limit as usize };
        let events = self.balancing.history.latest(backend, most);
        Ok(Response::new(v1::BalancerHistoryResponse {
            events: events.into_iter().map(balancer::event).collect(),
        }))
    }

    type CaptureBalancerStream = balancer::Packets;

    async fn capture_balancer(
        &self,
        request: Request<v1::CaptureBalancerRequest>,
    ) -> Result<Response<Self::CaptureBalancerStream>, Status> {
        balancer::capture(&self.control, request.into_inner()).await.map(Response::new)
    }

    async fn balancer_metrics(
        &self,
        _request: Request<v1::BalancerMetricsRequest>,
    ) -> Result<Response<v1::BalancerMetricsResponse>, Status> {
        let balancing = self.balancing.clone();
        let text = self.control.ask(move |node| balancer::metrics(node, &balancing)).await?;
        let text = text.map_err(internal)?;
        Ok(Response::new(v1::BalancerMetricsResponse { text }))
    }
}

/// Some hundred VIPs may have one backend.
fn in_short(vips: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = vips.get(..SHOWN).unwrap_or(vips).join(", ");
    match vips.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
