//! A process in a workload's place that serves ports and asks others, told what to do over its
//! standard input, one line of JSON a request.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::Place;

pub mod protocol;
pub mod serve;

mod arrivals;
mod ask;
mod change;
mod decapsulate;
mod fetch;
mod hold;
mod steady;

pub use protocol::{
    Arrival, Fetched, Held, Outcome, Request, Response, SteadyReport, Target, Transport, Verdict,
};

/// Who answered, and what happened instead where nobody did.
pub fn names(outcomes: &[Outcome]) -> BTreeSet<String> {
    let name = |outcome: &Outcome| match &outcome.verdict {
        Verdict::Answered(name) => name.clone(),
        other => other.to_string(),
    };
    outcomes.iter().map(name).collect()
}

/// A running `skep-probe`. It ends when this is dropped.
#[derive(Debug)]
pub struct Probe {
    name: String,
    child: Child,
    requests: Option<ChildStdin>,
    responses: BufReader<ChildStdout>,
}

impl Probe {
    /// Starts one that calls itself `name` to whoever asks.
    pub fn start(binary: &Path, place: &Place, name: &str) -> Result<Self> {
        let mut command = place.command(binary);
        command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = place.spawn(&mut command)?;
        let requests = child.stdin.take();
        let responses = child.stdout.take().context("skep-probe has no output")?;
        Ok(Self { name: name.into(), child, requests, responses: BufReader::new(responses) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Serves ports of both transports that have them.
    pub fn serve(&mut self, transport: Transport, port: u16) -> Result<()> {
        match self.ask(&Request::Serve { transport, port })? {
            Response::Done => Ok(()),
            other => self.unexpected(&other),
        }
    }

    /// Serves UDP on one address, which answers then have as source.
    pub fn serve_at(&mut self, address: SocketAddr) -> Result<()> {
        match self.ask(&Request::ServeAt { address })? {
            Response::Done => Ok(()),
            other => self.unexpected(&other),
        }
    }

    /// Takes packets out of IPIP, GUE (UDP port 6080) and Geneve (6081), and receives what was
    /// inside. Its network namespace must have the inner destinations.
    pub fn decapsulate(&mut self) -> Result<()> {
        match self.ask(&Request::Decapsulate)? {
            Response::Done => Ok(()),
            other => self.unexpected(&other),
        }
    }

    /// Probes all targets at once; each ends within the window.
    pub fn probe(&mut self, targets: &[Target], window: Duration) -> Result<Vec<Outcome>> {
        self.begin_probe(targets, window)?;
        self.end_probe()
    }

    /// First half of [`probe`](Self::probe), so that several probes can work at the same time.
    pub fn begin_probe(&mut self, targets: &[Target], window: Duration) -> Result<()> {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.send(&Request::Probe { targets: targets.to_vec(), window_ms })
    }

    pub fn end_probe(&mut self) -> Result<Vec<Outcome>> {
        match self.receive()? {
            Response::Outcomes(outcomes) => Ok(outcomes),
            other => self.unexpected(&other),
        }
    }

    /// One target alone.
    pub fn probe_one(&mut self, target: &Target, window: Duration) -> Result<Outcome> {
        let outcomes = self.probe(std::slice::from_ref(target), window)?;
        outcomes.into_iter().next().context("no outcome for the target")
    }

    /// SCTP packets that have come in since it was last asked.
    pub fn arrivals(&mut self) -> Result<Vec<Arrival>> {
        match self.ask(&Request::Arrivals)? {
            Response::Arrivals(arrivals) => Ok(arrivals),
            other => self.unexpected(&other),
        }
    }

    /// From now on: one connection to the target held open with an exchange every `interval`, and
    /// a new connection with an exchange as often.
    pub fn begin_steady(&mut self, target: &Target, interval: Duration) -> Result<()> {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::BeginSteady { target: target.clone(), interval_ms })? {
            Response::Done => Ok(()),
            other => self.unexpected(&other),
        }
    }

    /// How the steady traffic has fared so far.
    pub fn steady(&mut self) -> Result<SteadyReport> {
        match self.ask(&Request::Steady)? {
            Response::Steady(report) => Ok(report),
            other => self.unexpected(&other),
        }
    }

    /// Opens a connection to each target and keeps them, with an exchange every `interval`. Comes
    /// back once all are open.
    pub fn begin_hold(&mut self, targets: &[Target], interval: Duration) -> Result<Vec<Held>> {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::BeginHold { targets: targets.to_vec(), interval_ms })? {
            Response::Held(held) => Ok(held),
            other => self.unexpected(&other),
        }
    }

    /// How they have fared so far, in their order.
    pub fn held(&mut self) -> Result<Vec<Held>> {
        match self.ask(&Request::Held)? {
            Response::Held(held) => Ok(held),
            other => self.unexpected(&other),
        }
    }

    /// Fetches `/` so many times, one after the other.
    pub fn fetch(&mut self, target: &Target, times: usize) -> Result<Fetched> {
        match self.ask(&Request::Fetch { target: target.clone(), times })? {
            Response::Fetched(fetched) => Ok(fetched),
            other => self.unexpected(&other),
        }
    }

    /// Begins to watch a target for beginning or ceasing to accept TCP connections.
    pub fn begin_await(&mut self, target: &Target, answers: bool, limit: Duration) -> Result<()> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.send(&Request::Await { target: target.clone(), answers, limit_ms })
    }

    /// Since when it has been so, in time since boot.
    pub fn end_await(&mut self) -> Result<Duration> {
        match self.receive()? {
            Response::Since(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
            other => self.unexpected(&other),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Response> {
        self.send(request)?;
        self.receive()
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let requests = self.requests.as_mut().context("skep-probe has no input")?;
        requests.write_all(&line).with_context(|| format!("skep-probe {} is gone", self.name))
    }

    fn receive(&mut self) -> Result<Response> {
        let mut line = String::new();
        if self.responses.read_line(&mut line)? == 0 {
            bail!("skep-probe {} ended: {}", self.name, self.child.wait()?);
        }
        match serde_json::from_str(&line)? {
            Response::Failed(error) => bail!("skep-probe {}: {error}", self.name),
            response => Ok(response),
        }
    }

    fn unexpected<T>(&self, response: &Response) -> Result<T> {
        bail!("skep-probe {} answered something else: {response:?}", self.name)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It ends at the end of its input; a hanging one is killed.
        drop(self.requests.take());
        for _ in 0..100 {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
