//! `skep lb capture`: packets as the balancer met them, for as long as the client listens.

use crate::control::Control;
use api::v1;
use datapath::{Capture, CaptureError, CaptureNames, CaptureRequest, CapturedPacket};
use host::process::BootClock;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

pub type Packets = Pin<Box<dyn Stream<Item = Result<v1::CapturedPacket, Status>> + Send>>;

/// Packets that wait for a slow client; behind them the ring fills, which counts what it loses.
const BACKLOG: usize = 1_024;
/// How long a packet may wait in the ring.
const INTERVAL: Duration = Duration::from_millis(20);

/// When it returns, packets are captured.
pub async fn capture(
    control: &Control,
    request: v1::CaptureBalancerRequest,
) -> Result<Packets, Status> {
    let request = parse(request)?;
    let clock = BootClock::now().map_err(|error| Status::internal(error.to_string()))?;
    let (tell, told) = oneshot::channel();
    // A task of its own: what calls this ends wherever it waits when the client goes, and what was
    // begun by then must end, too.
    tokio::spawn(until_gone(control.clone(), request, clock, tell));
    let receiver = told.await.map_err(|_| Status::unavailable("the agent is stopping"))??;
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// From before interfaces capture until they don't any more.
async fn until_gone(
    control: Control,
    request: CaptureRequest,
    clock: BootClock,
    tell: oneshot::Sender<Result<mpsc::Receiver<Result<v1::CapturedPacket, Status>>, Status>>,
) {
    let begun = control
        .ask(move |node| {
            let balancer = node.datapath.balancer_mut();
            let lost = balancer.capture_lost()?;
            Ok::<_, CaptureError>((balancer.begin_capture(&request)?, lost))
        })
        .await
        .map_err(Status::from)
        .and_then(|begun| begun.map_err(refused));
    let (Capture { ring, names, left_out }, lost) = match begun {
        Ok(begun) => begun,
        Err(status) => {
            // Nobody to tell: nothing has begun.
            let _ = tell.send(Err(status));
            return;
        }
    };
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let first = v1::CapturedPacket { left_out, ..Default::default() };
    if tell.send(Ok(receiver)).is_ok()
        && sender.send(Ok(first)).await.is_ok()
        && let Err(status) = forward(&control, ring, &names, clock, lost, &sender).await
    {
        // The client may have gone.
        let _ = sender.send(Err(status)).await;
    }
    let ended = control.ask(|node| node.datapath.balancer_mut().end_capture()).await;
    // An agent that is stopping doesn't answer: its next start puts the usual program back.
    if let Ok(Err(error)) = ended {
        tracing::error!("interfaces still capture: {error}");
    }
}

/// Until the client has gone.
async fn forward(
    control: &Control,
    mut ring: bpf_kernel::AsyncRing,
    names: &CaptureNames,
    clock: BootClock,
    lost_before: u64,
    sender: &mpsc::Sender<Result<v1::CapturedPacket, Status>>,
) -> Result<(), Status> {
    let internal = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let mut lost_told = 0;
    loop {
        let mut packets = Vec::new();
        tokio::select! {
            () = sender.closed() => return Ok(()),
            read = ring.next(INTERVAL, |record| packets.extend(names.packet(record))) => {
                read.map_err(|error| internal(&error))?;
            }
        }
        for packet in packets {
            if sender.send(Ok(message(packet, clock))).await.is_err() {
                return Ok(());
            }
        }
        let lost = control.ask(|node| node.datapath.balancer().capture_lost()).await?;
        let lost = lost.map_err(|error| internal(&error))? - lost_before;
        if lost > lost_told {
            lost_told = lost;
            let message = v1::CapturedPacket { lost, ..Default::default() };
            if sender.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn refused(error: CaptureError) -> Status {
    let message = error.to_string();
    match error {
        CaptureError::NoVip(_) => Status::not_found(message),
        CaptureError::NoReason { .. } => Status::invalid_argument(message),
        CaptureError::NoBalancer | CaptureError::Busy | CaptureError::NoInterface => {
            Status::failed_precondition(message)
        }
        CaptureError::Datapath(_) => Status::internal(message),
    }
}

fn parse(request: v1::CaptureBalancerRequest) -> Result<CaptureRequest, Status> {
    let v1::CaptureBalancerRequest {
        vip,
        backend,
        client,
        reason,
        new_flows,
        moved,
        misses,
        dropped,
    } = request;
    let given = |text: String| (!text.is_empty()).then_some(text);
    let backend = given(backend)
        .map(|text| {
            text.parse().map_err(|_| {
                Status::invalid_argument(format!("backend `{text}`: expected an address"))
            })
        })
        .transpose()?;
    let client = given(client)
        .map(|text| {
            let block = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(Into::into));
            block.map_err(|_| {
                let message = format!("client `{text}`: expected an address, or one with /BITS");
                Status::invalid_argument(message)
            })
        })
        .transpose()?;
    Ok(CaptureRequest {
        vip: given(vip),
        backend,
        client,
        reason: given(reason),
        new_flows,
        moved,
        misses,
        dropped,
    })
}

fn message(packet: CapturedPacket, clock: BootClock) -> v1::CapturedPacket {
    let CapturedPacket { time_ns, interface, before, after, action, .. } = packet;
    v1::CapturedPacket {
        time: Some(clock.wall(time_ns).into()),
        interface,
        before: before.0,
        before_length: before.1,
        after: after.0,
        after_length: after.1,
        action,
        vip: packet.vip.unwrap_or_default(),
        backend: packet.backend.map(|backend| backend.to_string()).unwrap_or_default(),
        counted: packet.counted.unwrap_or_default().to_owned(),
        new_flow: packet.new_flow,
        moved: packet.moved,
        miss: packet.miss,
        lost: 0,
        left_out: Vec::new(),
    }
}
