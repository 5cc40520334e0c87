//! `skep sim`: packets through the node's own programs, without a kernel.

mod told;

use crate::commands::prog::machine::Engine;
use crate::failure::Failure;
use crate::input;
use crate::output::{Format, Screen, diagnostic};
use model::{Model, ObjectName};
use serde_json::Value;
use sim::capture::Frame;
use sim::scenario::{Scenario, answer, network};
use sim::{Call, Fate, From, Node, Outside, Settings, Way};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use told::Told;

const LONG: &str = "\
Sends packets through the programs that Skep gives the kernel, with the tables that these manifests \
make, and tells each packet's way: translated to which backend, allowed by which rule, dropped for \
what reason. Needs no kernel and no privileges: the programs run in Skep's own runtime.

A packet is sent by the workload or the node that has its source address; all others come from \
outside, by the node's devices. With `process` a scenario's packet begins at a socket, whose address \
is translated; packets of a capture are what is on the wire. If the manifests have a LoadBalancer, \
what comes from outside meets the edge balancer first.";

const AFTER: &str = "\
Examples:
  skep sim -f examples/shop.yaml --scenario examples/packets/shop.yaml
  skep sim -f manifests/ --packets traffic.pcapng -w after.pcapng
  skep sim -f shop.yaml --packets client.pcap --address shop/client=10.244.0.7
  skep sim -f shop.yaml --packets outside.pcap --device eth0=192.0.2.1/24,2001:db8::1/64

Exit codes: 0 done, whatever became of the packets; 1 with --expect, if one met another fate;
2 a file can't be read or makes no sense, 4 a manifest was refused.";

/// Try packets on policies and services, without a kernel
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Manifests: files, folders
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Packets of a capture: pcap or pcapng
    #[arg(long, value_name = "FILE", required_unless_present = "scenario")]
    packets: Option<PathBuf>,

    /// Packets in a few words of YAML
    #[arg(long, value_name = "FILE", conflicts_with = "packets")]
    scenario: Option<PathBuf>,

    /// A workload's addresses, where the capture has others than the pool gives
    #[arg(long = "address", value_name = "WORKLOAD=ADDRESS,..")]
    addresses: Vec<String>,

    /// The node's own addresses
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    host_address: Vec<IpAddr>,

    /// An interface to the outside, with the node's addresses there
    #[arg(long = "device", value_name = "NAME=ADDRESS/LENGTH,..")]
    devices: Vec<String>,

    /// Write the packets as they arrived to a pcapng file; those that were dropped are left out
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Fail unless every packet of the scenario is delivered, left or dropped as its `expect` says
    #[arg(long)]
    expect: bool,

    /// What carries the programs out
    #[arg(long, value_enum, default_value_t = Engine::Interp, value_parser = ours)]
    engine: Engine,

    /// What chance begins with: the choice among backends
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

fn ours(word: &str) -> Result<Engine, String> {
    match word {
        "interp" => Ok(Engine::Interp),
        "jit" => Ok(Engine::Jit),
        _ => Err("the engines here are interp and jit".to_owned()),
    }
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let model = read_manifests(&args.files, screen)?;
    let mut settings = Settings { seed: args.seed, ..Settings::default() };
    settings.host_addresses.clone_from(&args.host_address);
    if args.engine == Engine::Jit {
        settings.engine = bpf_vm::Engine::Jit;
    }
    for word in &args.addresses {
        let (name, addresses) = addresses(word)?;
        if !model.workloads.contains_key(&name) {
            return Err(Failure::Usage(format!("--address {word}: there is no such workload")));
        }
        settings.addresses.insert(name, addresses);
    }
    for word in &args.devices {
        settings.devices.push(device(word)?);
    }
    let scenario = args.scenario.as_deref().map(read_scenario).transpose()?;
    if let Some(Scenario { node, .. }) = &scenario {
        settings.host_addresses.extend(&node.addresses);
        for words in &node.devices {
            settings.devices.push(words.device().map_err(failed)?);
        }
    }
    let mut node = Node::new(&model, &settings).map_err(failed)?;
    let sent = match (&scenario, &args.packets) {
        (Some(scenario), _) => of_scenario(scenario, &node)?,
        (None, Some(path)) => of_capture(path, &node)?,
        (None, None) => Vec::new(),
    };
    let names = told::Names::new(&model);
    let (mut text, mut values, mut arrived) = (String::new(), Vec::new(), Vec::new());
    let mut unexpected = 0;
    let mut last = None;
    let mut queue: std::collections::VecDeque<Sent> = sent.into();
    let mut number = 0;
    while let Some(packet) = queue.pop_front() {
        number += 1;
        pass_time(&node, &mut last, packet.time)?;
        let way = match (&packet.call, packet.from) {
            (Some(call), From::Endpoint(from)) => node.call(from, call, &packet.frame),
            _ => node.send(packet.from, &packet.frame),
        };
        let way = way.map_err(failed)?;
        let receiver = match way.fate {
            Fate::Delivered(to) => Some(From::Endpoint(to)),
            Fate::Left(device) => Some(From::Device(device)),
            Fate::Host => Some(From::Host),
            _ => None,
        };
        if let (true, Some(from)) = (packet.answer, receiver)
            && let Some(frame) = answer(&way.frame)
        {
            let back = Sent { from, frame, answer: false, ..packet.clone() };
            queue.push_front(Sent { expect: None, call: None, ..back });
        }
        let is_expected = packet.expect.as_deref().is_none_or(|word| word == fate(&way));
        unexpected += usize::from(!is_expected);
        let told = Told { number, node: &mut node, names: &names, sent: &packet, way: &way };
        match args.output {
            Format::Table => text += &told.text(is_expected, screen.style()),
            _ => values.push(told.value()),
        }
        let interface = match way.fate {
            Fate::Delivered(to) => Some(node.endpoints()[to].name.to_string()),
            Fate::Left(device) => Some(node.devices()[device].name.clone()),
            Fate::Host => Some("host".to_owned()),
            _ => None,
        };
        if let Some(interface) = interface {
            let comment = told::comment(number, &way);
            arrived.push(Frame { time: packet.time, interface, bytes: way.frame, comment });
        }
    }
    match args.output {
        Format::Table => screen.print(&text)?,
        Format::Json => screen.print_json(&Value::Array(values))?,
        Format::Yaml => screen.print_yaml(&Value::Array(values))?,
    }
    if let Some(path) = &args.write {
        let bytes = sim::capture::write(&arrived).map_err(failed)?;
        crate::commands::prog::object_file::write(path, &bytes)?;
    }
    if args.expect && unexpected > 0 {
        return Err(Failure::NotFound(format!(
            "{unexpected} of {number} packets met another fate"
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// A packet that is to be sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub from: From,
    pub frame: Vec<u8>,
    /// By a call on a socket.
    pub call: Option<Call>,
    /// Since 1970; zero if nothing says when.
    time: Duration,
    /// Whoever gets it answers.
    answer: bool,
    /// What should become of it.
    pub expect: Option<String>,
}

fn failed(error: sim::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// What became of a packet, in a word.
pub fn fate(way: &Way) -> &'static str {
    match way.fate {
        Fate::Delivered(_) => "delivered",
        Fate::Host => "host",
        Fate::Left(_) => "left",
        Fate::Dropped(_) | Fate::Balanced | Fate::NoHops | Fate::NoInterface => "dropped",
    }
}

/// As much time as lies between the packets of a capture.
fn pass_time(node: &Node, last: &mut Option<Duration>, now: Duration) -> Result<(), Failure> {
    let passed = last.replace(now).map_or(Duration::ZERO, |last| now.saturating_sub(last));
    let nanoseconds = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
    node.advance(nanoseconds).map_err(failed)
}

fn read_manifests(paths: &[PathBuf], screen: &Screen) -> Result<Model, Failure> {
    let files = input::read(paths)?;
    let mut model = Model::default();
    let mut diagnostics = Vec::new();
    let mut is_refused = false;
    for file in &files {
        let parsed = store::manifest::parse(&file.name, &file.text);
        is_refused |= parsed.has_errors();
        diagnostics.extend(parsed.diagnostics.iter().map(diagnostic::of_manifest));
        for object in parsed.into_objects() {
            model.put(object);
        }
    }
    if !diagnostics.is_empty() {
        screen.complain(&diagnostic::render(&diagnostics, &files, screen.error_style()));
    }
    if is_refused { Err(Failure::Rejected) } else { Ok(model) }
}

fn addresses(word: &str) -> Result<(ObjectName, Vec<IpAddr>), Failure> {
    let wrong =
        || Failure::Usage(format!("--address {word}: write NAMESPACE/NAME=ADDRESS,ADDRESS"));
    let (name, list) = word.split_once('=').ok_or_else(wrong)?;
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let list: Result<Vec<IpAddr>, _> = list.split(',').map(str::parse).collect();
    Ok((ObjectName::new(namespace, name), list.map_err(|_| wrong())?))
}

fn device(word: &str) -> Result<Outside, Failure> {
    let wrong =
        || Failure::Usage(format!("--device {word}: write NAME=ADDRESS/LENGTH,ADDRESS/LENGTH"));
    let (name, list) = word.split_once('=').ok_or_else(wrong)?;
    let addresses: Option<Vec<_>> = list.split(',').map(network).collect();
    Ok(Outside { name: name.to_owned(), addresses: addresses.ok_or_else(wrong)? })
}

fn read_scenario(path: &Path) -> Result<Scenario, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    Scenario::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn of_scenario(scenario: &Scenario, node: &Node) -> Result<Vec<Sent>, Failure> {
    let mut list = Vec::new();
    for (number, packet) in scenario.packets.iter().enumerate() {
        for (from, frame) in packet.frames(node, number).map_err(failed)? {
            let time = Duration::from_millis(list.len() as u64);
            let expect = packet.expect.map(|expect| expect.word().to_owned());
            let call = packet.call();
            if call.is_some() && !matches!(from, From::Endpoint(_)) {
                return Err(Failure::Usage(format!(
                    "packet {}: only workloads have processes here",
                    number + 1
                )));
            }
            list.push(Sent { from, frame, call, time, answer: packet.answer, expect });
        }
    }
    Ok(list)
}

fn of_capture(path: &Path, node: &Node) -> Result<Vec<Sent>, Failure> {
    let bytes = crate::commands::prog::object_file::read(path)?;
    let frames = sim::capture::read(&bytes)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    let sent = |frame: Frame| {
        let source = sim::headers(&frame.bytes).map(|headers| headers.source);
        Sent {
            from: source.map_or(From::Device(0), |source| From::of(source, node)),
            frame: frame.bytes,
            call: None,
            time: frame.time,
            answer: false,
            expect: None,
        }
    };
    Ok(frames.into_iter().map(sent).collect())
}
