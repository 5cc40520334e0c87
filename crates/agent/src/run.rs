//! From a command line to a serving node, and down again.

use crate::balancer::{self, Balancing};
use crate::control::Control;
use crate::flows::history::History;
use crate::flows::names::Names;
use crate::flows::reader::{self, Enricher};
use crate::flows::record::Conversion;
use crate::lock::{NodeLock, PinsLock};
use crate::metrics;
use crate::node::{self, Node};
use crate::options::Options;
use crate::server::{Facts, Server, serve};
use crate::supervise::supervise;
use anyhow::{Context, bail};
use datapath::{Config, Connections, Datapath};
use futures::{FutureExt, StreamExt};
use host::process::BootClock;
use host::watch::{Change, Watch};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::files::Watch as Files;
use store::{Database, Desired};
use tokio::signal::unix::{SignalKind, signal};

/// How often workloads that aren't ready are looked at again.
const REFRESH: Duration = Duration::from_millis(500);
/// How often idle connections are looked for.
const COLLECT: Duration = Duration::from_secs(5);
/// How often identities that nothing has any more are forgotten.
const FORGET_IDENTITIES: Duration = Duration::from_secs(600);
/// How often it is looked whether known processes have become other programs.
const FORGET_PROCESSES: Duration = Duration::from_secs(2);
/// Interfaces and addresses change in groups, which are taken in together.
const CHANGES_SETTLE: Duration = Duration::from_millis(20);

/// Runs the node until SIGTERM or SIGINT. Everything in the kernel stays.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let _run_lock = NodeLock::acquire(&options.run_dir)?;
    bpf_kernel::privilege::check()?;
    bpf_kernel::mount::ensure_bpffs(&options.bpffs)?;
    let _pins_lock = PinsLock::acquire(&options.bpffs)?;
    std::fs::create_dir_all(&options.state_dir)
        .with_context(|| format!("cannot make {}", options.state_dir.display()))?;
    let database = Database::open(&options.state_dir.join("skep.redb"))?;
    let node_name = options.node_name.clone().unwrap_or_else(host_name);
    let datapath = Datapath::open(config(&options, &node_name), node::kept(&database)?)?;
    let (desired, from_database) = Desired::load(database)?;
    let mut files = match &options.manifests {
        Some(folder) => {
            let remembered = desired.remembered(folder)?;
            Some(Files::start(folder, remembered).context("cannot watch the manifests")?)
        }
        None => None,
    };
    let from_files = match &mut files {
        Some(files) => files.next().await,
        None => None,
    };

    let names = Arc::new(Mutex::new(Names::default()));
    let history = Arc::new(History::new(options.flow_history));
    let clock = BootClock::now()?;
    let enricher = Arc::new(Enricher {
        names: names.clone(),
        history: history.clone(),
        processes: datapath.processes()?,
        clock,
    });
    let netlink = datapath.node().clone();
    let watch = Watch::open(netlink.namespace())?;
    let addresses = host::watch::own_addresses(&netlink).await?;
    let outside = host::watch::outside(&netlink, &options.devices).await?;
    let events = datapath.events()?;
    let connections = datapath.connections()?;
    let node = Node::start(
        datapath,
        desired,
        from_database,
        from_files,
        (addresses, outside),
        names.clone(),
    )
    .await?;
    let (control, mut task) = Control::start(node);
    let facts = Arc::new(Facts::new(options.manifests.clone()));

    let balancing = Arc::new(Balancing::default());
    balancer::keep_up(&control, balancing.clone());
    read_events(&control, enricher.clone(), events);
    watch_addresses(&control, netlink, watch, options.devices.clone());
    refresh_workloads(&control);
    collect_connections(connections, enricher, facts.clone());
    forget_processes(names);
    forget_identities(&control);
    if let Some(files) = files {
        watch_files(&control, files);
    }

    if let Some(address) = options.metrics_address {
        let sources = metrics::Sources {
            control: control.clone(),
            facts: facts.clone(),
            history: history.clone(),
            balancing: balancing.clone(),
            node_name: node_name.as_str().into(),
        };
        metrics::serve(address, sources)
            .with_context(|| format!("cannot serve metrics at {address}"))?;
    }
    let socket = options.run_dir.join("skepd.sock");
    let server = Server {
        control,
        history,
        conversion: Conversion { node: node_name.into(), run: run_number(), clock },
        facts,
        balancing,
    };
    tracing::info!(socket = %socket.display(), "ready");
    let stop = stop()?;
    let stopped = async {
        tokio::select! {
            () = stop => {}
            _ = &mut task => {}
        }
    };
    serve(server, &socket, stopped).await?;
    remove_socket(&socket);
    if task.is_finished() {
        bail!("the task that owns the node has failed; the kernel goes on as it was");
    }
    tracing::info!("stopped; the kernel goes on forwarding and enforcing");
    Ok(())
}

fn config(options: &Options, node_name: &str) -> Config {
    Config {
        bpffs: options.bpffs.clone(),
        cgroup_root: options.cgroup_root.clone(),
        node_name: node_name.to_owned(),
        zone: options.zone.clone(),
        host_cgroup: options.host_cgroup.clone(),
        pool_v4: options.pool_v4,
        pool_v6: options.pool_v6,
        conntrack_max: options.conntrack_max,
        peers_max: options.peers_max,
        ports_max: options.ports_max,
        flow_rate: options.flow_rate,
        drop_rate: options.drop_rate,
        redirect: !options.no_redirect,
        replace_maps: options.replace_maps,
        forwarding: options.lb_mode,
        send_on: options.dsr_dispatch,
        acceleration: options.lb_acceleration,
    }
}

fn read_events(control: &Control, enricher: Arc<Enricher>, events: bpf_kernel::AsyncRing) {
    let control = control.clone();
    let mut first = Some(events);
    supervise("events", move || {
        let (enricher, control, ring) = (enricher.clone(), control.clone(), first.take());
        async move {
            let ring = match ring {
                Some(ring) => ring,
                None => control.ask(|node| node.datapath.events()).await??,
            };
            reader::run(enricher, ring).await?;
            anyhow::Ok(())
        }
    });
}

fn watch_files(control: &Control, mut files: Files) {
    let control = control.clone();
    tokio::spawn(async move {
        while let Some(change) = files.next().await {
            let done = control.run(|node| Box::pin(node.files_changed(change))).await;
            match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("manifests: {error:#}"),
                Err(_) => return,
            }
        }
        tracing::error!("the manifests are not watched any more; restart skepd");
    });
}

/// Keeps the `host` identity to the addresses that the node has.
fn watch_addresses(control: &Control, netlink: host::Netlink, watch: Watch, devices: Vec<String>) {
    let control = control.clone();
    let mut first = Some(watch);
    supervise("addresses", move || {
        let (control, netlink, watch) = (control.clone(), netlink.clone(), first.take());
        let devices = devices.clone();
        async move {
            let mut watch = match watch {
                Some(watch) => watch,
                None => {
                    let watch = Watch::open(netlink.namespace())?;
                    // What changed while nobody watched.
                    let addresses = host::watch::own_addresses(&netlink).await?;
                    let outside = host::watch::outside(&netlink, &devices).await?;
                    control.ask(|node| node.set_host_addresses(addresses, outside)).await??;
                    watch
                }
            };
            while let Some(first) = watch.next().await {
                tokio::time::sleep(CHANGES_SETTLE).await;
                let mut changes = vec![first];
                while let Some(Some(next)) = watch.next().now_or_never() {
                    changes.push(next);
                }
                let mut addresses_changed = false;
                for change in changes {
                    match change {
                        Change::Link(_) => {}
                        Change::LinkGone(link) => {
                            control
                                .ask(move |node| node.datapath.interface_gone(link.index))
                                .await?;
                        }
                        Change::Address(_) | Change::AddressGone(_) | Change::Missed => {
                            addresses_changed = true;
                        }
                    }
                }
                if addresses_changed {
                    let addresses = host::watch::own_addresses(&netlink).await?;
                    let outside = host::watch::outside(&netlink, &devices).await?;
                    control.ask(|node| node.set_host_addresses(addresses, outside)).await??;
                }
            }
            anyhow::bail!("the kernel closed the netlink socket")
        }
    });
}

fn refresh_workloads(control: &Control) {
    let control = control.clone();
    supervise("workloads", move || {
        let control = control.clone();
        async move {
            loop {
                tokio::time::sleep(REFRESH).await;
                control.run(|node| Box::pin(node.refresh_workloads())).await??;
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            anyhow::Ok(())
        }
    });
}

/// Beside the node's task, since a walk of a long table takes a while.
fn collect_connections(connections: Connections, enricher: Arc<Enricher>, facts: Arc<Facts>) {
    let connections = Arc::new(connections);
    supervise("conntrack", move || {
        let (connections, enricher, facts) = (connections.clone(), enricher.clone(), facts.clone());
        async move {
            loop {
                let now = host::process::boot_time()?.as_nanos() as u64;
                let connections = connections.clone();
                let walk = move || connections.collect(now);
                let collected = tokio::task::spawn_blocking(walk).await??;
                facts.connections.note(&collected);
                for end in collected.ends {
                    enricher.record(end);
                }
                tokio::time::sleep(COLLECT).await;
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            anyhow::Ok(())
        }
    });
}

fn forget_identities(control: &Control) {
    let control = control.clone();
    supervise("identities", move || {
        let control = control.clone();
        async move {
            loop {
                tokio::time::sleep(FORGET_IDENTITIES).await;
                control.ask(|node| node.forget_unused()).await??;
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            anyhow::Ok(())
        }
    });
}

/// A process keeps its pid and start when it becomes another program.
fn forget_processes(names: Arc<Mutex<Names>>) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FORGET_PROCESSES).await;
            names.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).forget_processes();
        }
    });
}

fn stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn remove_socket(socket: &Path) {
    if let Err(error) = std::fs::remove_file(socket) {
        tracing::warn!(socket = %socket.display(), %error, "cannot remove the socket");
    }
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Tells this run of the agent from others, in ids of flows.
fn run_number() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|now| now.as_nanos() as u64).unwrap_or_default() ^ u64::from(std::process::id())
}
