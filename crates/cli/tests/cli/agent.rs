//! An agent with canned answers on a Unix socket, and the command line pointed at it.

use crate::ran::{Ran, skep};
use api::filter::FlowFilters;
use api::v1::agent_server::{Agent, AgentServer};
use api::v1::*;
use std::pin::Pin;
use std::process::Command;
use tempfile::TempDir;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

/// Serves until it is dropped.
pub struct Canned {
    pub folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Canned {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(folder.path().join("skepd.sock")).unwrap()
        };
        let server = tonic::transport::Server::builder().add_service(AgentServer::new(Answers));
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Canned { folder, _runtime: runtime }
    }

    /// A file that `-f` can name, relative to the folder that commands run in.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Runs `skep` with these words; gives its exit code, and what it printed where.
    pub fn skep(&self, line: &str) -> Ran {
        Ran::of(self.command(line))
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = skep(line);
        command
            .current_dir(self.folder.path())
            .env("SKEP_SOCKET", self.folder.path().join("skepd.sock"));
        command
    }
}

struct Answers;

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

fn policy() -> ObjectRef {
    ObjectRef { kind: "NetworkPolicy".into(), namespace: "shop".into(), name: "cache".into() }
}

fn result(object: ObjectRef, outcome: object_result::Outcome) -> ObjectResult {
    ObjectResult { object: Some(object), outcome: outcome.into(), ..Default::default() }
}

#[tonic::async_trait]
impl Agent for Answers {
    async fn apply(&self, request: Request<ApplyRequest>) -> Answer<ApplyResponse> {
        let request = request.into_inner();
        for file in &request.files {
            let position = file.text.lines().position(|line| line == "  podSelecter: {}");
            if let Some(position) = position {
                let diagnostic = Diagnostic {
                    severity: diagnostic::Severity::Error.into(),
                    file: file.name.clone(),
                    line: position as u32 + 1,
                    column: 3,
                    end_column: 14,
                    message: "unknown field `podSelecter`".into(),
                    label: "did you mean `podSelector`?".into(),
                    ..Default::default()
                };
                let diagnostics = vec![diagnostic];
                return answer(ApplyResponse {
                    diagnostics,
                    policies_in_force: 18,
                    ..Default::default()
                });
            }
        }
        answer(ApplyResponse {
            applied: !request.dry_run,
            results: vec![result(policy(), object_result::Outcome::Created)],
            effective_after_us: if request.dry_run { 0 } else { 3_200 },
            policies_in_force: 19,
            ..Default::default()
        })
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<DeleteResponse> {
        let request = request.into_inner();
        let objects = if request.files.is_empty() { request.objects } else { vec![policy()] };
        if objects.iter().any(|object| object.name == "watched") {
            let diagnostic = Diagnostic {
                severity: diagnostic::Severity::Error.into(),
                message: "NetworkPolicy shop/watched is held by a watched manifest".into(),
                help: "remove it from /etc/skep/shop.yaml".into(),
                ..Default::default()
            };
            return answer(DeleteResponse {
                diagnostics: vec![diagnostic],
                policies_in_force: 1,
                ..Default::default()
            });
        }
        let outcome = |object: &ObjectRef| match object.name.as_str() {
            "cache" => object_result::Outcome::Deleted,
            _ => object_result::Outcome::NotFound,
        };
        let results: Vec<ObjectResult> = objects
            .into_iter()
            .map(|object| {
                let outcome = outcome(&object);
                result(object, outcome)
            })
            .collect();
        answer(DeleteResponse {
            applied: true,
            results,
            effective_after_us: 900,
            ..Default::default()
        })
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<GetResponse> {
        let request = request.into_inner();
        api::selector::parse(&request.selector)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let wanted = |filter: &str, value: &str| filter.is_empty() || filter == value;
        let object = Object {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: "cache".into(),
            file: "api".into(),
            status: "in force".into(),
            yaml: "kind: NetworkPolicy\n".into(),
            json: r#"{"kind":"NetworkPolicy"}"#.into(),
            age: Some(prost_types::Duration { seconds: 61, nanos: 0 }),
            ..Default::default()
        };
        let found = wanted(&request.kind, &object.kind)
            && wanted(&request.namespace, &object.namespace)
            && wanted(&request.name, &object.name);
        answer(GetResponse { objects: if found { vec![object] } else { Vec::new() } })
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Answer<DescribeResponse> {
        let reference = request.into_inner().object.unwrap_or_default();
        if reference != policy() {
            let ObjectRef { kind, namespace, name } = reference;
            return Err(Status::not_found(format!("there is no {kind} {namespace}/{name}")));
        }
        let object = Object {
            kind: reference.kind,
            namespace: reference.namespace,
            name: reference.name,
            status: "in force".into(),
            ..Default::default()
        };
        answer(DescribeResponse {
            object: Some(object),
            endpoints: vec![endpoint()],
            drops: vec![denied()],
            ..Default::default()
        })
    }

    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        answer(StatusResponse {
            node_name: "worker-1".into(),
            version: "0.1.0".into(),
            kernel_release: "6.12.107".into(),
            counts: Some(Counts {
                endpoints: 1,
                endpoints_ready: 1,
                policies: 1,
                ..Default::default()
            }),
            drops: vec![DropCount {
                reason: DropReason::PolicyDefault.into(),
                packets: 1_204,
                bytes: 72_240,
            }],
            ..Default::default()
        })
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Answer<ListEndpointsResponse> {
        answer(ListEndpointsResponse { endpoints: vec![endpoint()] })
    }

    async fn list_services(&self, _: Request<ListServicesRequest>) -> Answer<ListServicesResponse> {
        let service = Service {
            namespace: "shop".into(),
            name: "web".into(),
            address: "10.96.0.10".into(),
            port: 80,
            protocol: "tcp".into(),
            algorithm: "random".into(),
            ..Default::default()
        };
        answer(ListServicesResponse { services: vec![service] })
    }

    async fn list_identities(
        &self,
        _: Request<ListIdentitiesRequest>,
    ) -> Answer<ListIdentitiesResponse> {
        let host = Identity { number: 1, name: "host".into(), ..Default::default() };
        answer(ListIdentitiesResponse { identities: vec![host] })
    }

    type CaptureBalancerStream = Pin<Box<dyn Stream<Item = Result<CapturedPacket, Status>> + Send>>;

    async fn capture_balancer(
        &self,
        _: Request<CaptureBalancerRequest>,
    ) -> Answer<Self::CaptureBalancerStream> {
        let first = CapturedPacket { left_out: vec!["eth1".into()], ..Default::default() };
        let packet = CapturedPacket {
            interface: "eth0".into(),
            before: vec![2; 60],
            before_length: 1_500,
            action: 1,
            vip: "tcp 203.0.113.10:443".into(),
            counted: "no-backend".into(),
            ..Default::default()
        };
        let lost = CapturedPacket { lost: 2, ..Default::default() };
        let all = [first, packet.clone(), lost, packet].map(Ok);
        answer(Box::pin(tokio_stream::iter(all).chain(tokio_stream::pending())))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<Flow, Status>> + Send>>;

    async fn observe(&self, request: Request<ObserveRequest>) -> Answer<Self::ObserveStream> {
        let request = request.into_inner();
        let filters = FlowFilters::parse(&request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let reply = Flow { kind: FlowKind::Reply.into(), verdict: 1, ..denied() };
        let flows = [denied(), reply].into_iter().filter(move |flow| filters.matches(flow));
        let flows = tokio_stream::iter(flows.map(Ok).collect::<Vec<_>>());
        if request.follow {
            answer(Box::pin(flows.chain(tokio_stream::pending())))
        } else {
            answer(Box::pin(flows))
        }
    }

    async fn explain_policy(
        &self,
        request: Request<ExplainPolicyRequest>,
    ) -> Answer<ExplainPolicyResponse> {
        let request = request.into_inner();
        if request.to == "shop/nobody" {
            return Err(Status::not_found("there is no workload shop/nobody"));
        }
        let direction = DirectionExplanation {
            direction: Direction::Egress.into(),
            subject: request.from,
            allowed: true,
            ..Default::default()
        };
        answer(ExplainPolicyResponse {
            allowed: request.port == 80,
            directions: vec![direction],
            ..Default::default()
        })
    }

    async fn balancer_status(
        &self,
        _: Request<BalancerStatusRequest>,
    ) -> Answer<BalancerStatusResponse> {
        let backend = |address: &str, weight| VipBackend {
            address: address.into(),
            weight,
            state: vip_backend::State::Serving.into(),
            ..Default::default()
        };
        let vip = Vip {
            name: "tcp 203.0.113.10:443".into(),
            namespace: "default".into(),
            balancer: "edge".into(),
            delivery: "ipip".into(),
            flows: "moved".into(),
            ring_size: 65_537,
            backends: vec![backend("10.0.0.1", 1), backend("10.0.0.2", 10)],
            ..Default::default()
        };
        let interface = BalancerInterface {
            name: "eth0".into(),
            attachment: "native XDP".into(),
            ..Default::default()
        };
        answer(BalancerStatusResponse {
            interfaces: vec![interface],
            vips: vec![vip],
            ..Default::default()
        })
    }

    async fn which_backend(
        &self,
        request: Request<WhichBackendRequest>,
    ) -> Answer<WhichBackendResponse> {
        if request.into_inner().destination != "203.0.113.10:443" {
            return Err(Status::not_found("no VIP has this address and port"));
        }
        answer(WhichBackendResponse {
            vip: "tcp 203.0.113.10:443".into(),
            namespace: "default".into(),
            balancer: "edge".into(),
            backend: "10.0.0.2".into(),
            steps: vec!["slot 17 belongs to 10.0.0.2".into()],
            slot: 17,
            ring_size: 65_537,
            ..Default::default()
        })
    }

    async fn drain_backend(
        &self,
        request: Request<DrainBackendRequest>,
    ) -> Answer<DrainBackendResponse> {
        if request.into_inner().backend != "10.0.0.1" {
            return Err(Status::not_found("no VIP has this backend"));
        }
        let vips = vec!["tcp 203.0.113.10:443".to_owned()];
        answer(DrainBackendResponse { vips, changed: true, effective_after_us: 800 })
    }

    async fn balancer_history(
        &self,
        _: Request<BalancerHistoryRequest>,
    ) -> Answer<BalancerHistoryResponse> {
        answer(BalancerHistoryResponse::default())
    }

    async fn balancer_metrics(
        &self,
        _: Request<BalancerMetricsRequest>,
    ) -> Answer<BalancerMetricsResponse> {
        answer(BalancerMetricsResponse { text: "skep_lb_packets_total 7\n".into() })
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        id: 4,
        namespace: "shop".into(),
        workload: "cache".into(),
        identity: 258,
        addresses: vec!["10.42.0.4".into()],
        interface: "skep4".into(),
        state: endpoint::State::Ready.into(),
        ingress_restricted: true,
        ..Default::default()
    }
}

fn denied() -> Flow {
    let end = |name: &str| FlowEnd {
        namespace: "shop".into(),
        workload: name.into(),
        ..Default::default()
    };
    Flow {
        time: Some(prost_types::Timestamp { seconds: 1_769_868_131, nanos: 318_000_000 }),
        kind: FlowKind::Drop.into(),
        verdict: Verdict::Dropped.into(),
        drop_reason: DropReason::PolicyDefault.into(),
        l4: Some(Layer4::new(6, (51514, 6379), (0, 0), 2)),
        source: Some(end("client")),
        destination: Some(end("cache")),
        ..Default::default()
    }
}
