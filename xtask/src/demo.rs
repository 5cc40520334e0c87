//! `cargo xtask demo`: a small shop on an isolated node, with real programs and real requests.
//!
//! The manifests are those of `examples/`; this module makes the namespaces and cgroups that they
//! name, starts the programs in them, and tells what happens.

mod programs;
mod story;

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use testkit::{Node, Skep, Workload, gate, remains};

use crate::report::Step;
use crate::{binaries, setup, workspace};

/// The name that `examples/shop.yaml` has in its places.
const NODE: &str = "skep-demo";
const SHOP: &str = "examples/shop.yaml";
const PACKETS: &str = "examples/packets/shop.yaml";
const LOCKDOWN: &str = "examples/lockdown.yaml";

#[derive(Args)]
pub struct Options {
    /// Leave everything running, to look around
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// Remove what `--keep` left
    #[arg(long)]
    stop: bool,
}

pub fn run(options: &Options) -> Result<()> {
    if let Some(reason) = gate::missing_privilege() {
        if options.keep || options.stop {
            bail!("there is no demo to keep or to stop here: {reason}");
        }
        return without_kernel(&reason);
    }
    if options.stop {
        remains::remove(NODE);
        println!("the demo's node is gone");
        return Ok(());
    }
    setup::toolchain()?;
    setup::packages(&[setup::Group::Demo])?;
    let binaries = binaries::build()?;
    remains::remove_on_interrupt()?;

    let step = Step::start("node");
    let node = Node::start_named(NODE, &binaries)?;
    let shop = Shop::open(&node)?;
    step.done(format!("own network namespace, 4 workloads, {}", features(&shop.skep)?));

    story::tell(&shop)?;
    println!();
    if options.keep {
        shop.client.place.spawn(&mut programs::background_requests(&shop))?;
        farewell(&shop.skep);
        node.keep();
    } else {
        println!("Try it yourself: cargo xtask demo --keep, then skep observe -f");
    }
    Ok(())
}

/// Where the kernel can't be used, packets go through the same programs in Skep's own runtime.
fn without_kernel(reason: &str) -> Result<()> {
    println!("no kernel for the demo: {reason}");
    println!("so packets go through the same programs in Skep's own runtime (skep sim)\n");
    let skep = skep_alone()?;
    let mut sim = std::process::Command::new(&skep);
    sim.args(["sim", "-f", SHOP, "--scenario", PACKETS, "--expect"]);
    print!("{}", workspace::output(sim.current_dir(workspace::root()))?);
    println!("\nWith real programs, as root:  sudo -E env \"PATH=$PATH\" cargo xtask demo");
    Ok(())
}

/// The CLI, which is all that the simulator needs. Who may not write into the workspace, or has no
/// toolchain, takes the one that somebody else has built beside this program.
fn skep_alone() -> Result<PathBuf> {
    let build = || {
        setup::toolchain()?;
        let built = workspace::build(&["-p", "cli", "--bin", "skep"])?;
        let skep = built.executables.into_iter().find(|(name, _)| name == "skep");
        Ok(skep.context("cargo built no skep")?.1)
    };
    build().or_else(|error: anyhow::Error| {
        let beside = std::env::current_exe()?.with_file_name("skep");
        if !beside.is_file() {
            return Err(error);
        }
        println!(
            "it can't be built here ({error}),\nso the one that is there is used: {}\n",
            beside.display()
        );
        Ok(beside)
    })
}

/// The workloads of `examples/shop.yaml`, their programs running.
struct Shop {
    skep: Skep,
    probe: PathBuf,
    client: Workload,
    web: Workload,
    cache: IpAddr,
    service: IpAddr,
}

impl Shop {
    fn open(node: &Node) -> Result<Self> {
        let place = |name| node.workload_at("shop", name, name);
        let (client, cache) = (place("client")?, place("cache")?);
        let (web, web_2) = (place("web-1")?, place("web-2")?);
        let skep = node.skep();
        let mut apply = skep.command();
        workspace::output(apply.current_dir(workspace::root()).args(["apply", "-f", SHOP]))?;

        let folder = node.folder();
        programs::start_nginx(&web, &folder)?;
        programs::start_nginx(&web_2, &folder)?;
        programs::start_redis(&cache, &folder)?;
        let endpoints = skep.json(&["endpoint", "list"])?;
        let address = |name: &str| {
            let endpoint = endpoints.as_array()?.iter().find(|one| one["workload"] == name)?;
            endpoint["addresses"].as_array()?.iter().find_map(|one| one.as_str()?.parse().ok())
        };
        let address = |name: &str| {
            address(name).with_context(|| format!("workload shop/{name} has no address yet"))
        };
        let services = skep.json(&["service", "list"])?;
        let service = services.as_array().and_then(|list| list.first());
        let service = service.and_then(|one| one["address"].as_str()?.parse().ok());
        for (address, port) in
            [(address("web-1")?, 80), (address("web-2")?, 80), (address("cache")?, 6379)]
        {
            programs::wait_for(node, address, port)?;
        }
        Ok(Self {
            cache: address("cache")?,
            service: service.context("service shop/web has no address")?,
            skep,
            probe: node.binaries().probe.clone(),
            client,
            web,
        })
    }
}

/// Kernel and what of it is used: how programs are attached, and what the kernel has that it need
/// not have.
fn features(skep: &Skep) -> Result<String> {
    const WORTH_NAMING: [&str; 2] = ["ring buffer", "redirect to peer"];
    let status = skep.json(&["status"])?;
    let kernel = status["kernel_release"].as_str().unwrap_or_default();
    let kernel = kernel.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let programs = || status["programs"].as_array().into_iter().flatten();
    let of = |name: &str| programs().find(|program| program["name"] == name);
    let mut used: Vec<&str> = Vec::new();
    used.extend(of("from_endpoint").and_then(|program| program["attachment"].as_str()));
    let available = status["features"].as_array().into_iter().flatten();
    let available = available.filter(|feature| feature["available"] == true);
    let names = available.filter_map(|feature| feature["name"].as_str());
    used.extend(names.filter(|name| WORTH_NAMING.contains(name)));
    if of("connect4").is_some_and(|program| program["attached"].as_u64() > Some(0)) {
        used.push("socket LB");
    }
    Ok(format!("kernel {kernel}: {}", used.join(", ")))
}

fn farewell(skep: &Skep) {
    let call = format!("{} --socket {}", skep.binary.display(), skep.socket.display());
    println!("The node goes on. The client fetches a page every second. For example:");
    println!("  alias skep='{call}'");
    println!("  skep status");
    println!("  skep observe -f");
    println!("  skep policy explain --from shop/client --to shop/cache --port 6379");
    println!("  skep apply -f {LOCKDOWN}; sleep 3; skep delete -f {LOCKDOWN}");
    println!("  ip netns exec {NODE}-client curl http://10.96.0.10/");
    println!("To end it:  cargo xtask demo --stop");
}
