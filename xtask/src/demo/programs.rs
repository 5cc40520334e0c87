//! The programs of the shop, each in its workload's place.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use testkit::probe::{Probe, Target, Transport};
use testkit::{Node, Workload};

use super::Shop;
use crate::workspace::find_program;

const START: Duration = Duration::from_secs(10);

/// A web server that answers every request with its workload's name.
pub fn start_nginx(workload: &Workload, folder: &Path) -> Result<()> {
    let folder = folder.join(&workload.name);
    fs::create_dir_all(&folder)?;
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, nginx_configuration(&workload.name, &folder))?;
    let mut command = workload.place.command(program("nginx")?);
    command.arg("-e").arg(folder.join("error.log")).arg("-p").arg(&folder);
    command.arg("-c").arg(&configuration);
    start(workload, &mut command)
}

fn nginx_configuration(name: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 80;
    listen [::]:80;
    default_type text/plain;
    return 200 \"{name}\\n\";
  }}
}}
"
    )
}

pub fn start_redis(workload: &Workload, folder: &Path) -> Result<()> {
    let folder = folder.join(&workload.name);
    fs::create_dir_all(&folder)?;
    let mut command = workload.place.command(program("redis-server")?);
    command.args(["--port", "6379", "--bind", "*", "-::*", "--protected-mode", "no"]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&folder);
    start(workload, &mut command)
}

/// `redis-cli ping`; its answer, or nothing if none came in time.
pub fn redis_ping(
    workload: &Workload,
    address: IpAddr,
    window: Duration,
) -> Result<Option<String>> {
    let mut command = workload.place.command(program("timeout")?);
    command.arg(format!("{}", window.as_secs_f64())).arg(program("redis-cli")?);
    command.args(["-h", &address.to_string(), "ping"]).stdin(Stdio::null());
    let output = workload.place.output(&mut command)?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success().then_some(answer))
}

/// One request with curl.
pub fn curl(workload: &Workload, address: IpAddr) -> Result<String> {
    let mut command = workload.place.command(program("curl")?);
    command.args(["-s", "--max-time", "2"]).arg(format!("http://{address}/"));
    let output = workload.place.output(command.stdin(Stdio::null()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A request every second for as long as the node lives.
pub fn background_requests(shop: &Shop) -> Command {
    let script = format!(
        "while sleep 1; do curl -s -o /dev/null --max-time 1 http://{}/; done",
        shop.service
    );
    let mut command = shop.client.place.command("/bin/sh");
    command.args(["-c", &script]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits until a port accepts connections from the node, which no policy restricts.
pub fn wait_for(node: &Node, address: IpAddr, port: u16) -> Result<()> {
    let mut probe = Probe::start(&node.binaries().probe, node.place(), "node")?;
    probe.begin_await(&Target::new(Transport::Tcp, address, port), true, START)?;
    probe.end_await().with_context(|| format!("nobody answers at {address} port {port}"))?;
    Ok(())
}

fn start(workload: &Workload, command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C is for us: it ends when its node does.
    command.process_group(0);
    workload.place.spawn(command).map(drop)
}

fn program(name: &str) -> Result<std::path::PathBuf> {
    find_program(name).with_context(|| format!("{name} is not installed"))
}
