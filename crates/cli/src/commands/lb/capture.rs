//! `skep lb capture`.

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::Screen;
use crate::when;
use api::v1::{CaptureBalancerRequest, CapturedPacket};
use bpf_interface::program::action_name;
use bpf_object::ProgramType;
use sim::capture::{Frame, Writer};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio_stream::StreamExt as _;

const LONG: &str = "\
Writes packets that the balancer met to a pcapng file: as they came (on an interface of the name of \
theirs), and if they were sent on, as they left (\"NAME out\"), each with a comment that says what \
was decided. Of each packet the first 512 bytes are kept, of what leaves 576.

Without a condition, every packet for a VIP and every packet dropped. With several, those that meet \
all; of --new-flows, --moved, --misses and --dropped one is enough. It goes on until Ctrl-C, \
--count or --duration. While nobody captures this costs nothing: interfaces then have a program \
that can't. Packets lost because they came quicker than they were written are counted.";

const AFTER: &str = "\
Examples:
  skep lb capture -w lb.pcapng --vip 203.0.113.10
  skep lb capture --dropped --duration 10s -w drops.pcapng
  skep lb capture --client 198.51.100.0/24 --new-flows --count 100 -w new.pcapng
  skep lb capture --backend 10.0.0.3 -w - | tcpdump -nr -";

/// Write packets with what the balancer decided about them to a pcapng file
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Where to write; - is the standard output
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,

    /// For this VIP: part of its name, or a LoadBalancer as NAMESPACE/NAME
    #[arg(long, value_name = "VIP")]
    vip: Option<String>,

    /// Sent to this backend
    #[arg(long, value_name = "ADDRESS")]
    backend: Option<std::net::IpAddr>,

    /// From this client, or this block of addresses
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,

    /// Dropped for this reason, as `skep lb status` calls it
    #[arg(long, value_name = "NAME")]
    reason: Option<String>,

    /// That begin a flow
    #[arg(long)]
    new_flows: bool,

    /// That went elsewhere than to the owner of their slot, because their flow is older than a change
    #[arg(long)]
    moved: bool,

    /// Whose flow should have been remembered and was not
    #[arg(long)]
    misses: bool,

    /// That were dropped
    #[arg(long)]
    dropped: bool,

    /// End after so many packets
    #[arg(short, long, value_name = "NUMBER")]
    count: Option<u64>,

    /// End after this time: 10s, 5m
    #[arg(short, long, value_name = "TIME", value_parser = when::parse_span)]
    duration: Option<Duration>,
}

pub async fn run(args: Args, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let name = args.write.display().to_string();
    let failed = |error: &dyn std::fmt::Display| Failure::Usage(format!("{name}: {error}"));
    let out: Box<dyn Write> = match args.write.as_os_str() == "-" {
        true => Box::new(io::stdout()),
        false => Box::new(File::create(&args.write).map_err(|error| failed(&error))?),
    };
    let mut writer = Writer::new(out).map_err(|error| failed(&error))?;
    let mut client = agent.connect().await?;
    let mut packets = client.capture_balancer(request(&args)).await?.into_inner();
    let deadline = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    let (mut count, mut lost) = (0, 0);
    while args.count.is_none_or(|most| count < most) {
        let packet = tokio::select! {
            packet = packets.next() => packet,
            () = &mut deadline => break,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(packet) = packet else {
            screen.complain("skepd ended the capture; it is stopping or was restarted\n");
            break;
        };
        let packet = packet?;
        if packet.before_length == 0 {
            // What goes before all packets, or stands between them.
            lost = lost.max(packet.lost);
            for interface in &packet.left_out {
                screen.complain(&format!("{interface}: not captured, it has no XDP program\n"));
            }
            continue;
        }
        for frame in frames(&packet) {
            match writer.add(&frame.0, frame.1) {
                Ok(()) => {}
                // Who reads has had enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(ExitCode::SUCCESS);
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        count += 1;
    }
    screen.complain(&summary(count, lost));
    Ok(ExitCode::SUCCESS)
}

fn summary(count: u64, lost: u64) -> String {
    let packets = if count == 1 { "packet" } else { "packets" };
    match lost {
        0 => format!("{count} {packets} captured\n"),
        lost => format!("{count} {packets} captured, {lost} lost\n"),
    }
}

fn request(args: &Args) -> CaptureBalancerRequest {
    CaptureBalancerRequest {
        vip: args.vip.clone().unwrap_or_default(),
        backend: args.backend.map(|backend| backend.to_string()).unwrap_or_default(),
        client: args.client.clone().unwrap_or_default(),
        reason: args.reason.clone().unwrap_or_default(),
        new_flows: args.new_flows,
        moved: args.moved,
        misses: args.misses,
        dropped: args.dropped,
    }
}

/// As it came, and as it left if it did; each with its whole length.
fn frames(packet: &CapturedPacket) -> Vec<(Frame, u32)> {
    let stamp = packet.time.unwrap_or_default();
    let time = Duration::new(stamp.seconds.max(0) as u64, stamp.nanos.max(0) as u32);
    let action = action_name(ProgramType::XDP, packet.action).unwrap_or("unknown");
    let comment = comment(packet, action);
    let mut frames = vec![(
        Frame {
            time,
            interface: packet.interface.clone(),
            bytes: packet.before.clone(),
            comment: comment.clone(),
        },
        packet.before_length,
    )];
    if matches!(action, "XDP_TX" | "XDP_REDIRECT") {
        let interface = format!("{} out", packet.interface);
        let bytes = packet.after.clone();
        frames.push((Frame { time, interface, bytes, comment }, packet.after_length));
    }
    frames
}

/// `tcp 203.0.113.10:443: sent to 10.0.0.3 (XDP_TX), new flow`.
fn comment(packet: &CapturedPacket, action: &str) -> String {
    let subject = if packet.vip.is_empty() { "no VIP" } else { &packet.vip };
    let mut text = match (action, packet.backend.as_str()) {
        ("XDP_DROP", _) => format!("{subject}: dropped"),
        ("XDP_PASS", "") => format!("{subject}: left to the stack"),
        ("XDP_PASS", backend) => format!("{subject}: to {backend} on this machine"),
        (action, "") => format!("{subject}: answered ({action})"),
        (action, backend) => format!("{subject}: sent to {backend} ({action})"),
    };
    let kinds = [
        (packet.new_flow, "new flow"),
        (packet.moved, "not to its slot's owner: its flow is older than a change"),
        (packet.miss, "its flow was not remembered"),
    ];
    for note in kinds.into_iter().filter(|(is, _)| *is).map(|(_, note)| note) {
        text.push_str(", ");
        text.push_str(note);
    }
    if !packet.counted.is_empty() {
        text.push_str(", ");
        text.push_str(&packet.counted);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(action: u32, backend: &str, counted: &str, expected: &str, frames: usize) {
        let packet = CapturedPacket {
            vip: "tcp 203.0.113.10:80".into(),
            action,
            backend: backend.into(),
            counted: counted.into(),
            new_flow: counted.is_empty(),
            ..Default::default()
        };
        let made = super::frames(&packet);
        assert_eq!(made.len(), frames, "{expected}");
        assert_eq!(made[0].0.comment, format!("tcp 203.0.113.10:80: {expected}"));
    }

    #[test]
    fn a_packet_says_what_became_of_it() {
        check(3, "10.0.0.3", "", "sent to 10.0.0.3 (XDP_TX), new flow", 2);
        check(1, "", "no-backend", "dropped, no-backend", 1);
        check(3, "", "echo-answered", "answered (XDP_TX), echo-answered", 2);
        check(2, "10.0.0.3", "", "to 10.0.0.3 on this machine, new flow", 1);
    }

    #[test]
    fn what_was_lost_is_said() {
        assert_eq!(summary(1, 0), "1 packet captured\n");
        assert_eq!(summary(10, 7), "10 packets captured, 7 lost\n");
    }
}
