//! The node: desired state, what the datapath made of it, and what is wrong with either.
//!
//! One task owns it ([`crate::control`]); everything that reads or changes it goes through there,
//! so there is no lock and no half-applied change to see.

mod balancer;
mod names;
mod requests;

pub use requests::Outcome;

use crate::flows::names::Names;
use crate::health_ports::HealthPorts;
use datapath::{Datapath, Kept, Lease, Prepared, Problem};
use host::watch::Outside;
use model::{Kind, Model, Object, ObjectName, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use store::database::{Database, DatabaseError, StateOp};
use store::{Change, Desired, Diagnostic, Severity};

/// Tables of the agent's own state in the database.
const RECORDS: &str = "policy";
const LEASES: &str = "leases";

#[derive(Debug)]
pub struct Node {
    pub model: Model,
    pub datapath: Datapath,
    desired: Desired,
    names: Arc<Mutex<Names>>,
    /// What is wrong with manifests, by source.
    file_diagnostics: Vec<Diagnostic>,
    api_diagnostics: Vec<Diagnostic>,
    /// What the datapath found wrong, by object.
    problems: BTreeMap<Option<ObjectRef>, Vec<Problem>>,
    changed_at: BTreeMap<ObjectRef, SystemTime>,
    kept_leases: BTreeMap<ObjectName, Lease>,
    balancer_problem: Option<String>,
    health_ports: HealthPorts,
    pub files_changed_at: Option<SystemTime>,
    pub api_changed_at: Option<SystemTime>,
}

/// What the database holds of an earlier life.
pub fn kept(database: &Database) -> Result<Kept, DatabaseError> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let records = database.state_rows(RECORDS)?.into_iter();
    let leases = database.state_rows(LEASES)?.into_iter();
    Ok(Kept {
        records: records
            .map(|(key, value)| policy::Record { key: text(key), value: text(value) })
            .collect(),
        leases: leases.filter_map(|(key, value)| parse_lease(&text(key), &text(value))).collect(),
    })
}

/// `namespace/name` and `id address address`.
fn parse_lease(key: &str, value: &str) -> Option<(ObjectName, Lease)> {
    let (namespace, name) = key.split_once('/')?;
    let mut parts = value.split(' ');
    let id = parts.next()?.parse().ok()?;
    let addresses = parts.map(|part| part.parse().ok()).collect::<Option<Vec<IpAddr>>>()?;
    Some((ObjectName::new(namespace, name), Lease { id, addresses }))
}

fn lease_row(name: &ObjectName, lease: &Lease) -> (String, String) {
    let mut value = lease.id.to_string();
    for address in &lease.addresses {
        value.push(' ');
        value.push_str(&address.to_string());
    }
    (format!("{}/{}", name.namespace, name.name), value)
}

impl Node {
    /// Brings everything into force that the sources hold, and takes over what an earlier agent
    /// left in the kernel.
    pub async fn start(
        datapath: Datapath,
        desired: Desired,
        from_database: Change,
        from_files: Option<Change>,
        (host_addresses, outside): (Vec<IpAddr>, Vec<Outside>),
        names: Arc<Mutex<Names>>,
    ) -> anyhow::Result<Self> {
        let kept_leases = datapath.leases().clone();
        let mut node = Node {
            model: Model::default(),
            datapath,
            desired,
            names,
            file_diagnostics: Vec::new(),
            api_diagnostics: from_database.diagnostics.clone(),
            problems: BTreeMap::new(),
            changed_at: BTreeMap::new(),
            kept_leases,
            balancer_problem: None,
            health_ports: HealthPorts::default(),
            files_changed_at: None,
            api_changed_at: None,
        };
        for (key, _) in node.desired.database().state_rows(balancer::DRAINED)? {
            if let Some(backend) = std::str::from_utf8(&key).ok().and_then(|it| it.parse().ok()) {
                node.datapath.balancer_mut().drain(backend, true);
            }
        }
        let mut changed = node.take(from_database);
        if let Some(change) = from_files {
            let effective = node.desired.files_changed(change);
            node.note_file_diagnostics(effective.diagnostics.clone());
            changed.extend(node.take(effective));
        }
        let hosts = node.datapath.set_host_addresses(host_addresses, outside);
        node.keep(hosts.remember(), hosts.forget())?;
        // Tried again later. An agent that gave up here could not be asked what is wrong, nor told
        // what to take back.
        if let Err(error) = node.bring_into_force(&changed).await {
            tracing::error!("not everything is in force: {error:#}");
        }
        node.datapath.remove_strays().await?;
        node.forget_unused()?;
        Ok(node)
    }

    /// Lets go of identities and peers that nothing has had for a while.
    pub fn forget_unused(&mut self) -> anyhow::Result<()> {
        let forget = self.datapath.forget_unused();
        self.keep(&[], &forget)?;
        Ok(())
    }

    /// The files have changed.
    pub async fn files_changed(&mut self, change: Change) -> anyhow::Result<()> {
        let effective = self.desired.files_changed(change);
        self.note_file_diagnostics(effective.diagnostics.clone());
        self.files_changed_at = Some(SystemTime::now());
        let changed = self.take(effective);
        self.bring_into_force(&changed).await?;
        Ok(())
    }

    /// Tries again what wasn't ready, and looks whether workloads have moved.
    pub async fn refresh_workloads(&mut self) -> anyhow::Result<()> {
        self.serve_health_checks();
        let stale = self.datapath.stale_workloads();
        if stale.is_empty() && self.datapath.is_settled() {
            return Ok(());
        }
        self.bring_into_force(&stale).await?;
        Ok(())
    }

    /// The node's own addresses have changed.
    pub fn set_host_addresses(
        &mut self,
        addresses: Vec<IpAddr>,
        outside: Vec<Outside>,
    ) -> anyhow::Result<()> {
        let prepared = self.datapath.set_host_addresses(addresses, outside);
        self.commit(&prepared)
    }

    /// Everything that is wrong now: with manifests, with objects, with the node.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let manifests = self.file_diagnostics.iter().chain(&self.api_diagnostics).cloned();
        let problems = self.problems.values().flatten().map(diagnostic);
        let services = self
            .datapath
            .services()
            .problems()
            .into_iter()
            .map(|problem| Diagnostic::about_file(Severity::Warning, "", problem.to_string()));
        let health_ports = self.health_ports.problems().map(diagnostic);
        manifests.chain(problems).chain(services).chain(health_ports).collect()
    }

    /// What is wrong with one object.
    pub fn diagnostics_of(&self, object: &ObjectRef) -> Vec<Diagnostic> {
        let of_health_ports = self.health_ports.problems();
        let of_health_ports = of_health_ports.filter(|it| it.object.as_ref() == Some(object));
        let services = self.datapath.services().problems().into_iter();
        let services = services
            .filter(|problem| problem.object() == *object)
            .map(|problem| Diagnostic::about_file(Severity::Warning, "", problem.to_string()));
        let own = self.problems_of(object).iter().chain(of_health_ports).map(diagnostic);
        own.chain(services).collect()
    }

    pub fn problems_of(&self, object: &ObjectRef) -> &[Problem] {
        self.problems.get(&Some(object.clone())).map_or(&[], Vec::as_slice)
    }

    /// Errors in manifests.
    pub fn file_errors(&self) -> usize {
        self.file_diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    pub fn changed_at(&self, object: &ObjectRef) -> Option<SystemTime> {
        self.changed_at.get(object).copied()
    }

    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Takes objects into the model; says which differ.
    fn take(&mut self, change: Change) -> BTreeSet<ObjectRef> {
        let now = SystemTime::now();
        let mut changed = BTreeSet::new();
        for object in change.upserts {
            let reference = object.reference();
            if self.model.put(object) {
                self.changed_at.insert(reference.clone(), now);
                changed.insert(reference);
            }
        }
        for reference in change.removals {
            if self.model.remove(&reference) {
                self.changed_at.remove(&reference);
                changed.insert(reference);
            }
        }
        changed
    }

    /// Compiles and writes what `changed` names. Problems of single objects are noted; an error is
    /// the kernel's or the database's.
    async fn bring_into_force(
        &mut self,
        changed: &BTreeSet<ObjectRef>,
    ) -> anyhow::Result<Prepared> {
        let prepared = self.datapath.prepare(&self.model, changed).await;
        let committed = self.commit(&prepared);
        if committed.is_ok() {
            self.close_sockets(&prepared);
        }
        if changed.iter().any(|object| object.kind == Kind::LoadBalancer)
            && let Err(error) = self.keep_up_balancer().await
        {
            tracing::error!("balancer: {error}");
        }
        self.serve_health_checks();
        self.note_problems(changed, &prepared.problems);
        self.update_names(changed);
        committed.map(|()| prepared)
    }

    fn serve_health_checks(&mut self) {
        let checks = self.datapath.services().health_checks();
        self.health_ports.update(&checks, self.datapath.is_settled());
    }

    /// Beside the node's task: every workload's sockets are looked through.
    fn close_sockets(&self, prepared: &Prepared) {
        match self.datapath.closing(prepared) {
            Ok(Some(closing)) => {
                tokio::spawn(async {
                    let closed = closing.run().await;
                    if closed > 0 {
                        tracing::info!(closed, "sockets to departed backends are closed");
                    }
                });
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "sockets to departed backends are not closed"),
        }
    }

    /// Stores the numbers of what was prepared and writes it into the kernel. What is wrong is the
    /// node's problem until a commit goes well.
    fn commit(&mut self, prepared: &Prepared) -> anyhow::Result<()> {
        // A number that isn't stored costs one more decision per flow after a restart, a policy
        // that isn't written costs its effect now: so the database doesn't hold up the kernel.
        let kept = self.keep(prepared.remember(), prepared.forget());
        let committed = self.datapath.commit(prepared);
        let problem =
            |message: String| Problem { object: None, origin: None, message, refused: false };
        let kept = kept.err().map(|error| problem(format!("numbers are not stored: {error}")));
        let failed = committed.as_ref().err().map(|error| problem(error.to_string()));
        let problems: Vec<Problem> = kept.into_iter().chain(failed).collect();
        match problems.is_empty() {
            true => self.problems.remove(&None),
            false => self.problems.insert(None, problems),
        };
        Ok(committed?)
    }

    /// Stores numbers that must outlive the agent, in one transaction.
    fn keep(
        &mut self,
        remember: &[policy::Record],
        forget: &[String],
    ) -> Result<(), DatabaseError> {
        let leases = self.datapath.leases();
        let put: Vec<(String, String)> = leases
            .iter()
            .filter(|(name, lease)| self.kept_leases.get(name) != Some(lease))
            .map(|(name, lease)| lease_row(name, lease))
            .collect();
        let gone: Vec<String> = self
            .kept_leases
            .iter()
            .filter(|(name, _)| !leases.contains_key(name))
            .map(|(name, lease)| lease_row(name, lease).0)
            .collect();
        if put.is_empty() && gone.is_empty() && remember.is_empty() && forget.is_empty() {
            return Ok(());
        }
        let mut ops = Vec::new();
        for (key, value) in &put {
            let (key, value) = (key.as_bytes(), value.as_bytes());
            ops.push(StateOp::Put { table: LEASES, key, value });
        }
        ops.extend(gone.iter().map(|key| StateOp::Delete { table: LEASES, key: key.as_bytes() }));
        for record in remember {
            let (key, value) = (record.key.as_bytes(), record.value.as_bytes());
            ops.push(StateOp::Put { table: RECORDS, key, value });
        }
        ops.extend(
            forget.iter().map(|key| StateOp::Delete { table: RECORDS, key: key.as_bytes() }),
        );
        self.desired.database().change_state(&ops)?;
        self.kept_leases = leases.clone();
        Ok(())
    }

    fn note_file_diagnostics(&mut self, diagnostics: Vec<Diagnostic>) {
        for diagnostic in &diagnostics {
            if !self.file_diagnostics.contains(diagnostic) {
                match diagnostic.severity {
                    Severity::Error => tracing::error!("{diagnostic}"),
                    Severity::Warning => tracing::warn!("{diagnostic}"),
                    Severity::Note => tracing::info!("{diagnostic}"),
                }
            }
        }
        self.file_diagnostics = diagnostics;
    }

    fn note_problems(&mut self, changed: &BTreeSet<ObjectRef>, problems: &[Problem]) {
        let mut before: Vec<Problem> = Vec::new();
        for reference in changed {
            before.extend(self.problems.remove(&Some(reference.clone())).into_iter().flatten());
        }
        for problem in problems {
            if !before.contains(problem) {
                tracing::warn!("{}", diagnostic(problem));
            }
            self.problems.entry(problem.object.clone()).or_default().push(problem.clone());
        }
    }

    /// All objects of these kinds, by kind and name.
    pub fn objects(&self, kinds: &[Kind]) -> impl Iterator<Item = Object> {
        kinds.iter().flat_map(|kind| {
            let names: Vec<&ObjectName> = match kind {
                Kind::Namespace => self.model.namespaces.keys().collect(),
                Kind::Workload => self.model.workloads.keys().collect(),
                Kind::Service => self.model.services.keys().collect(),
                Kind::EndpointSlice => self.model.endpoint_slices.keys().collect(),
                Kind::NetworkPolicy => self.model.network_policies.keys().collect(),
                Kind::LoadBalancer => self.model.load_balancers.keys().collect(),
            };
            let references =
                names.into_iter().map(|name| ObjectRef { kind: *kind, name: name.clone() });
            references.filter_map(|reference| self.find(&reference)).collect::<Vec<_>>()
        })
    }

    /// The object of that name, whatever its kind.
    pub fn find(&self, reference: &ObjectRef) -> Option<Object> {
        let (model, name) = (&self.model, &reference.name);
        match reference.kind {
            Kind::Namespace => model.namespaces.get(name).cloned().map(Object::Namespace),
            Kind::Workload => model.workloads.get(name).cloned().map(Object::Workload),
            Kind::Service => model.services.get(name).cloned().map(Object::Service),
            Kind::EndpointSlice => {
                model.endpoint_slices.get(name).cloned().map(Object::EndpointSlice)
            }
            Kind::NetworkPolicy => {
                model.network_policies.get(name).cloned().map(Object::NetworkPolicy)
            }
            Kind::LoadBalancer => model.load_balancers.get(name).cloned().map(Object::LoadBalancer),
        }
    }
}

/// A datapath's problem as users see it.
pub fn diagnostic(problem: &Problem) -> Diagnostic {
    let severity = if problem.refused { Severity::Error } else { Severity::Warning };
    let message = match &problem.object {
        Some(object) => format!("{object}: {}", problem.message),
        None => problem.message.clone(),
    };
    match &problem.origin {
        Some(origin) => Diagnostic::at(severity, origin, 0, message),
        None => Diagnostic::about_file(severity, "", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_round_trip() {
        let name = ObjectName::new("shop", "web");
        let addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let lease = Lease { id: 7, addresses };
        let (key, value) = lease_row(&name, &lease);
        assert_eq!((key.as_str(), value.as_str()), ("shop/web", "7 10.0.0.1 fd00::1"));
        assert_eq!(parse_lease(&key, &value), Some((name, lease)));
        assert_eq!(parse_lease("shop", "7"), None);
        assert_eq!(parse_lease("a/b", "x"), None);
    }
}
