//! Both sources together: files win over what was applied through the API.
//!
//! An object of a file can't be changed or deleted through the API: the request is refused with
//! the name of the file. A file that brings an object which the API has too takes it over; when
//! the file gives it up, the API's is in force again.

use crate::database::{Database, DatabaseError};
use crate::diagnostic::{Diagnostic, Severity};
use crate::manifest::{self, Parsed};
use model::{Object, ObjectRef, Origin};
use std::collections::HashMap;

/// What changes in the desired state.
#[derive(Debug, Default)]
pub struct Change {
    /// New or different objects.
    pub upserts: Vec<Object>,
    pub removals: Vec<ObjectRef>,
    /// Everything that is wrong with the source now, not only what is new: they take the place of
    /// those of the change before from the same source.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a request to apply did.
#[derive(Debug)]
pub struct Applied {
    pub change: Change,
    /// All objects of the text, also those that were in force already.
    pub objects: Vec<(ObjectRef, Outcome)>,
    /// Warnings and notes.
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing was applied.
    #[error("{}", summary(.0))]
    Refused(Vec<Diagnostic>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    let errors: Vec<_> =
        diagnostics.iter().filter(|d| d.is_error()).map(ToString::to_string).collect();
    errors.join("\n")
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("{object} comes from the file {origin}; change the file to remove it")]
    OfFile { object: ObjectRef, origin: Origin },
    #[error("{0} does not exist")]
    Missing(ObjectRef),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

#[derive(Debug)]
pub struct Desired {
    database: Database,
    /// Objects of the API, also those that a file hides.
    api: HashMap<ObjectRef, Object>,
    /// Where the objects of files stand.
    files: HashMap<ObjectRef, Origin>,
}

impl Desired {
    /// Starts from the database; the change holds all its objects.
    pub fn load(database: Database) -> Result<(Desired, Change), DatabaseError> {
        let (objects, diagnostics) = database.load_all()?;
        let api = objects.iter().map(|object| (object.reference(), object.clone())).collect();
        let change = Change { upserts: objects, removals: Vec::new(), diagnostics };
        Ok((Desired { database, api, files: HashMap::new() }, change))
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Objects that files hold.
    pub fn file_objects(&self) -> usize {
        self.files.len()
    }

    /// Objects applied through the API, also those that a file hides.
    pub fn api_objects(&self) -> usize {
        self.api.len()
    }

    /// The file that an object in force comes from; `None` if it comes from the API or isn't there.
    pub fn file_origin(&self, object: &ObjectRef) -> Option<&Origin> {
        self.files.get(object)
    }

    /// Takes in a change of the files; what comes back is what changes in force.
    pub fn files_changed(&mut self, change: Change) -> Change {
        let Change { upserts, removals, mut diagnostics } = change;
        let mut effective = Change::default();
        for reference in removals {
            self.files.remove(&reference);
            match self.api.get(&reference) {
                Some(object) => effective.upserts.push(object.clone()),
                None => effective.removals.push(reference),
            }
        }
        for object in upserts {
            self.files.insert(object.reference(), object.origin().clone());
            effective.upserts.push(object);
        }
        let mut hidden: Vec<_> = self
            .api
            .keys()
            .filter_map(|reference| Some((self.files.get(reference)?, reference)))
            .collect();
        hidden.sort();
        diagnostics.extend(hidden.into_iter().map(|(origin, reference)| {
            let message = format!("{reference} was also applied through the API");
            Diagnostic::at(Severity::Warning, origin, 0, message)
                .with_label("the file's is in force")
                .with_help("remove it from the file, or from the API by deleting it")
        }));
        effective.diagnostics = diagnostics;
        effective
    }

    /// Applies a text that came through the API: all of it, or nothing.
    pub fn apply(&mut self, file: &str, text: &str) -> Result<Applied, ApplyError> {
        self.apply_parsed(file, text, manifest::parse(file, text))
    }

    /// The same for a text that has been read already.
    pub fn apply_parsed(
        &mut self,
        file: &str,
        text: &str,
        parsed: Parsed,
    ) -> Result<Applied, ApplyError> {
        let mut diagnostics = parsed.diagnostics;
        for manifest in &parsed.manifests {
            let reference = manifest.object.reference();
            if let Some(origin) = self.files.get(&reference) {
                let message = format!("{reference} comes from the file {origin}");
                diagnostics.push(
                    Diagnostic::at(Severity::Error, manifest.object.origin(), 0, message)
                        .with_label("files win over the API")
                        .with_help("change it there, or remove it from the file first"),
                );
            }
        }
        if parsed.manifests.is_empty() && diagnostics.is_empty() {
            let message = "there is no object in it".to_owned();
            diagnostics.push(Diagnostic::about_file(Severity::Error, file, message));
        }
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(ApplyError::Refused(diagnostics));
        }
        self.database.put(file, text, &parsed.manifests)?;
        let mut change = Change::default();
        let mut objects = Vec::new();
        for manifest in parsed.manifests {
            let reference = manifest.object.reference();
            let before = self.api.insert(reference.clone(), manifest.object.clone());
            let outcome = match before {
                None => Outcome::Created,
                Some(before) if before == manifest.object => Outcome::Unchanged,
                Some(_) => Outcome::Changed,
            };
            if outcome != Outcome::Unchanged {
                change.upserts.push(manifest.object);
            }
            objects.push((reference, outcome));
        }
        Ok(Applied { change, objects, diagnostics })
    }

    /// Deletes an object that was applied through the API.
    pub fn delete(&mut self, object: &ObjectRef) -> Result<Change, DeleteError> {
        let file = self.files.get(object);
        if let Some(origin) = file
            && !self.api.contains_key(object)
        {
            return Err(DeleteError::OfFile { object: object.clone(), origin: origin.clone() });
        }
        // One that couldn't be read back isn't in `api`, but can be deleted.
        if !self.database.remove(object)? {
            return Err(DeleteError::Missing(object.clone()));
        }
        // Where a file hides the API's object, the file's stays in force.
        let was_in_force = self.api.remove(object).is_some() && file.is_none();
        let removals = if was_in_force { vec![object.clone()] } else { Vec::new() };
        Ok(Change { removals, ..Change::default() })
    }
}

#[cfg(test)]
mod tests;
