//! Docker's API, which podman also serves.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use serde_json::Value;

use super::http::{Answer, encoded, fetch};
use super::{Container, Runtime, Wanted};
use crate::Result;

pub(super) async fn find(runtime: &Runtime, wanted: &Wanted) -> Result<Vec<Container>> {
    let ids = match wanted {
        Wanted::Name(name) => vec![name.clone()],
        Wanted::Labels(labels) => ids_with(runtime, labels).await?,
    };
    let mut found = Vec::new();
    for id in ids {
        // One that has ended since it was listed isn't there.
        found.extend(inspect(runtime, &id).await?);
    }
    Ok(found)
}

async fn ids_with(runtime: &Runtime, labels: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let filters = serde_json::json!({ "label": labels, "status": ["running"] });
    let target = format!("/containers/json?filters={}", encoded(&filters.to_string()));
    let answer = ask(runtime, &target).await?;
    let list = json(runtime, &answer)?;
    let list = list.as_array().ok_or_else(|| runtime.confusing("its list is not a list"))?;
    let id = |entry: &Value| entry["Id"].as_str().map(str::to_owned);
    list.iter()
        .map(|entry| id(entry).ok_or_else(|| runtime.confusing("a container without `Id`")))
        .collect()
}

/// A container by id or name, if it runs.
async fn inspect(runtime: &Runtime, id: &str) -> Result<Option<Container>> {
    let answer = ask(runtime, &format!("/containers/{}/json", encoded(id))).await?;
    if answer.status == 404 {
        return Ok(None);
    }
    let container = json(runtime, &answer)?;
    let pid = container["State"]["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    // A container that doesn't run has process 0.
    let Some(pid) = pid.filter(|pid| *pid != 0) else { return Ok(None) };
    let text = |field: &str| container[field].as_str().map(str::to_owned);
    let id = text("Id").ok_or_else(|| runtime.confusing("a container without `Id`"))?;
    let name = text("Name").ok_or_else(|| runtime.confusing("a container without `Name`"))?;
    let labels = container["Config"]["Labels"].as_object();
    let labels = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Ok(Some(Container {
        id,
        // Both write a slash before it.
        name: name.trim_start_matches('/').to_owned(),
        labels: labels.collect(),
        pid,
    }))
}

async fn ask(runtime: &Runtime, target: &str) -> Result<Answer> {
    fetch(&runtime.path, target).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => runtime.missing(),
        ErrorKind::TimedOut => runtime.confusing("it took longer than 10 s"),
        _ => runtime.confusing(error.to_string()),
    })
}

fn json(runtime: &Runtime, answer: &Answer) -> Result<Value> {
    let body = serde_json::from_slice::<Value>(&answer.body);
    match (answer.status, body) {
        (200, Ok(body)) => Ok(body),
        (200, Err(error)) => Err(runtime.confusing(format!("not JSON: {error}"))),
        (status, body) => {
            let message = body.ok().and_then(|body| body["message"].as_str().map(str::to_owned));
            let message = message.unwrap_or_else(|| "no message".into());
            Err(runtime.confusing(format!("status {status}: {message}")))
        }
    }
}
