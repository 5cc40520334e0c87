//! The file format: one JSON object a step, as cyclonus' generator and simulator give them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use crate::manifest::Labels;
use crate::probe::Transport;

#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    pub case: u32,
    pub step: u32,
    pub steps: u32,
    #[serde(default)]
    pub description: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub policies: Vec<Value>,
    pub namespaces: BTreeMap<String, Labels>,
    pub pods: Vec<Pod>,
    pub verdicts: Vec<Expected>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: Labels,
    #[serde(rename = "IP")]
    pub ip: IpAddr,
    #[serde(default, deserialize_with = "null_as_default")]
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    pub port: u16,
    pub protocol: String,
    #[serde(default)]
    pub port_name: String,
}

/// One probe with its verdicts: `.` allowed, `X` denied.
#[derive(Clone, Debug, Deserialize)]
pub struct Expected {
    #[serde(rename = "F")]
    pub from: String,
    #[serde(rename = "T")]
    pub to: String,
    /// `TCP/80`, or with a port's name.
    #[serde(rename = "P")]
    pub port: String,
    #[serde(rename = "I")]
    pub ingress: Mark,
    #[serde(rename = "E")]
    pub egress: Mark,
    #[serde(rename = "C")]
    pub combined: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mark {
    #[serde(rename = ".")]
    Allowed,
    #[serde(rename = "X")]
    Denied,
}

impl Pod {
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The number of a port given as number or as name.
    pub fn port(&self, transport: Transport, port: &str) -> Option<u16> {
        let named = |container: &&Container| {
            container.port_name == port && container.protocol == transport.to_string()
        };
        port.parse().ok().or_else(|| self.containers.iter().find(named).map(|found| found.port))
    }
}

/// How gzip files begin (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads all steps of a file, unpacked or gzipped.
pub fn read(path: &Path) -> Result<Vec<Step>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut file = BufReader::new(file);
    let packed = file.fill_buf().is_ok_and(|begin| begin.starts_with(&GZIP));
    let reader: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut steps = Vec::new();
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), number + 1);
        let line = line.with_context(place)?;
        if !line.trim().is_empty() {
            let step: Step = serde_json::from_str(&line).with_context(place)?;
            steps.push(step);
        }
    }
    for policy in steps.iter_mut().flat_map(|step| &mut step.policies) {
        name_kind(policy);
    }
    if steps.is_empty() {
        bail!("{} holds no steps", path.display());
    }
    Ok(steps)
}

/// Some policies of the generator are objects of its own language, which need not say what they
/// are; a manifest does.
fn name_kind(policy: &mut Value) {
    if let Some(fields) = policy.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| "networking.k8s.io/v1".into());
        fields.entry("kind").or_insert_with(|| "NetworkPolicy".into());
    }
}

/// `TCP/80` as transport and port.
pub fn split_port(port: &str) -> Result<(Transport, &str)> {
    let (protocol, port) = port.split_once('/').unwrap_or((port, ""));
    let transport = match protocol {
        "TCP" => Transport::Tcp,
        "UDP" => Transport::Udp,
        "SCTP" => Transport::Sctp,
        other => bail!("unknown protocol {other:?}"),
    };
    Ok((transport, port))
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
