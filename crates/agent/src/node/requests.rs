//! Changes that come through the API: all of a request, or nothing.

use super::Node;
use model::{Object, ObjectRef};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};
use store::DeleteError;
use store::{Change, Diagnostic, manifest};

/// What a request to apply did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Empty if there was an error.
    pub objects: Vec<(Object, Outcome)>,
    pub diagnostics: Vec<Diagnostic>,
    pub effective_after: Duration,
}

/// What a request to delete did.
#[derive(Debug, Default)]
pub struct Deleted {
    pub objects: Vec<(ObjectRef, Outcome)>,
    pub diagnostics: Vec<Diagnostic>,
    pub effective_after: Duration,
}

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
    Deleted,
    NotFound,
}

impl Node {
    /// Applies the texts of files. Errors are in the diagnostics, and then nothing was applied.
    pub async fn apply(
        &mut self,
        files: Vec<(String, String)>,
        dry_run: bool,
    ) -> anyhow::Result<Applied> {
        let started = Instant::now();
        let (parsed, mut diagnostics) = self.desired.check(&files);
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Ok(Applied { diagnostics, ..Applied::default() });
        }
        let objects: Vec<Object> =
            parsed.iter().flat_map(manifest::Parsed::objects).cloned().collect();
        let outcome_of = |object: &Object| match self.find(&object.reference()) {
            None => Outcome::Created,
            Some(before) if before == *object => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
        };
        let outcomes: Vec<Outcome> = objects.iter().map(outcome_of).collect();
        let objects: Vec<(Object, Outcome)> = objects.into_iter().zip(outcomes).collect();
        if dry_run {
            return Ok(Applied { objects, diagnostics, ..Applied::default() });
        }

        // In force first, stored then: what the datapath refuses is never stored.
        let before: Vec<(ObjectRef, Option<Object>)> = objects
            .iter()
            .map(|(object, _)| (object.reference(), self.find(&object.reference())))
            .collect();
        let upserts = objects.iter().map(|(object, _)| object.clone()).collect();
        let changed = self.take(Change { upserts, ..Change::default() });
        let prepared = match self.bring_into_force(&changed).await {
            Ok(prepared) => prepared,
            Err(error) => {
                // What the caller is told has failed must not come into force with the next try.
                if let Err(again) = self.restore(before).await {
                    tracing::warn!(
                        "what was before a failed request is not in force yet: {again:#}"
                    );
                }
                return Err(error);
            }
        };
        let refused: Vec<Diagnostic> =
            prepared.problems.iter().filter(|p| p.refused).map(super::diagnostic).collect();
        if !refused.is_empty() {
            self.restore(before).await?;
            diagnostics.extend(refused);
            return Ok(Applied { diagnostics, ..Applied::default() });
        }
        for (object, _) in &objects {
            let found = self.diagnostics_of(&object.reference());
            let new = found.into_iter().filter(|it| !diagnostics.contains(it));
            diagnostics.extend(new.collect::<Vec<_>>());
        }
        let effective_after = started.elapsed();
        if let Err(error) = self.desired.keep(&files, parsed) {
            self.restore(before).await?;
            return Err(error.into());
        }
        self.api_changed_at = Some(SystemTime::now());
        Ok(Applied { objects, diagnostics, effective_after })
    }

    /// Puts back what was there before a request that failed half-way.
    async fn restore(&mut self, before: Vec<(ObjectRef, Option<Object>)>) -> anyhow::Result<()> {
        let mut change = Change::default();
        for (reference, object) in before {
            match object {
                Some(object) => change.upserts.push(object),
                None => change.removals.push(reference),
            }
        }
        let changed = self.take(change);
        self.bring_into_force(&changed).await?;
        Ok(())
    }

    /// Deletes objects of the API. One that only a file holds is an error, and then nothing is deleted.
    pub async fn delete(&mut self, objects: Vec<ObjectRef>) -> anyhow::Result<Deleted> {
        let started = Instant::now();
        let diagnostics = self.desired.check_deletion(&objects);
        if !diagnostics.is_empty() {
            return Ok(Deleted { diagnostics, ..Deleted::default() });
        }
        let mut outcomes = Vec::new();
        let mut changed = BTreeSet::new();
        let mut failed = None;
        for object in objects {
            match self.desired.delete(&object) {
                Ok(change) => {
                    changed.extend(self.take(change));
                    outcomes.push((object, Outcome::Deleted));
                }
                Err(DeleteError::Missing(object)) => {
                    outcomes.push((object, Outcome::NotFound));
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // Also what went before the failure: it is stored no longer.
        self.bring_into_force(&changed).await?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        self.api_changed_at = Some(SystemTime::now());
        Ok(Deleted {
            objects: outcomes,
            diagnostics: Vec::new(),
            effective_after: started.elapsed(),
        })
    }

    /// The objects that texts describe; only kinds and names matter.
    pub fn named_in(files: &[(String, String)]) -> (Vec<ObjectRef>, Vec<Diagnostic>) {
        let mut references = Vec::new();
        let mut diagnostics = Vec::new();
        for (name, text) in files {
            let parsed = manifest::parse(name, text);
            diagnostics.extend(parsed.diagnostics.iter().filter(|d| d.is_error()).cloned());
            references.extend(parsed.objects().map(Object::reference));
        }
        (references, diagnostics)
    }
}
