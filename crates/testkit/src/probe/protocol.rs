//! What is said between a test and its `skep-probe`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
            Transport::Sctp => "SCTP",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Serve a port, on all addresses.
    Serve {
        transport: Transport,
        port: u16,
    },
    /// Serve UDP on one address alone, which answers then have.
    ServeAt {
        address: SocketAddr,
    },
    /// Take packets out of IPIP, GUE and Geneve.
    Decapsulate,
    /// Probe all at once.
    Probe {
        targets: Vec<Target>,
        window_ms: u64,
    },
    /// SCTP packets that came in since last asked.
    Arrivals,
    BeginSteady {
        target: Target,
        interval_ms: u64,
    },
    Steady,
    /// Open a connection to each target, and exchange something on each now and then.
    BeginHold {
        targets: Vec<Target>,
        interval_ms: u64,
    },
    Held,
    /// Fetch `/` over HTTP so many times, each over a connection of its own.
    Fetch {
        target: Target,
        times: usize,
    },
    /// Try again and again until the target accepts a TCP connection, or until it doesn't.
    Await {
        target: Target,
        answers: bool,
        limit_ms: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub transport: Transport,
    pub address: IpAddr,
    pub port: u16,
    /// Payload beyond the few bytes that a probe sends anyway (UDP only).
    #[serde(default)]
    pub extra_bytes: usize,
    /// Ask with sendto(2) and take an answer from the target's address only (UDP only).
    #[serde(default)]
    pub unconnected: bool,
    /// Port to ask from; any if 0 (TCP and UDP only).
    #[serde(default)]
    pub source_port: u16,
    /// Initiate tag of the packet that is sent (SCTP only).
    #[serde(default)]
    pub tag: u32,
}

impl Target {
    pub fn new(transport: Transport, address: IpAddr, port: u16) -> Self {
        Self {
            transport,
            address,
            port,
            extra_bytes: 0,
            unconnected: false,
            source_port: 0,
            tag: 0,
        }
    }

    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Own end, and the other as getpeername(2) tells it.
    pub local: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
    pub microseconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The probe of this name answered.
    Answered(String),
    /// Nothing came back within the window.
    Silent,
    /// The other end refused: the packet arrived where nobody serves.
    Refused,
    /// SCTP: sent; whether it arrived the receiver knows.
    Sent,
    Failed(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Answered(name) => write!(f, "answered by {name}"),
            Verdict::Silent => f.write_str("no answer"),
            Verdict::Refused => f.write_str("refused"),
            Verdict::Sent => f.write_str("sent"),
            Verdict::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// An SCTP INIT that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub port: u16,
    pub tag: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteadyReport {
    /// Exchanges on the long-lived connection, and how it broke, if it did.
    pub exchanges: u64,
    pub broken: Option<String>,
    /// Longest time between two exchanges on it.
    pub longest_gap_ms: u64,
    /// New connections that worked, and what became of those that did not.
    pub connections: u64,
    pub failures: Vec<String>,
}

/// A connection that is held open: with whom, how often something was exchanged, how it broke.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub backend: String,
    pub exchanges: u64,
    pub broken: Option<String>,
}

/// Answers over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// How often each body came.
    pub bodies: BTreeMap<String, usize>,
    pub failures: Vec<String>,
    /// From before connecting to the last byte, in ascending order.
    pub microseconds: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    Done,
    Outcomes(Vec<Outcome>),
    Arrivals(Vec<Arrival>),
    Steady(SteadyReport),
    Fetched(Fetched),
    Held(Vec<Held>),
    /// When it was so, in nanoseconds since boot.
    Since(u64),
    Failed(String),
}
