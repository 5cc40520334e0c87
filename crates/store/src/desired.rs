//! Both sources together: files win over what was applied through the API.
//!
//! An object of a file can't be changed or deleted through the API: the request is refused with
//! the name of the file. A file that brings an object which the API has too takes it over; when
//! the file gives it up, the API's is in force again.

use crate::database::{Database, DatabaseError, StateOp};
use crate::diagnostic::{Diagnostic, Severity};
use crate::manifest::{self, Parsed};
use model::{Object, ObjectRef, Origin};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Table of the database: path of a file -> its text when it was last right.
const FILES: &str = "files";

/// What changes in the desired state.
#[derive(Debug, Default)]
pub struct Change {
    /// New or different objects.
    pub upserts: Vec<Object>,
    pub removals: Vec<ObjectRef>,
    /// Everything that is wrong with the source now, not only what is new: they take the place of
    /// those of the change before from the same source.
    pub diagnostics: Vec<Diagnostic>,
    /// Files that are different and right now, with their text, and files that are gone: to be
    /// remembered for a start at which they are wrong.
    pub files: Vec<(PathBuf, Option<Vec<u8>>)>,
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
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
        let change = Change { upserts: objects, diagnostics, ..Change::default() };
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

    /// The files of a folder as they were when they were last right, for
    /// [`Watch::start`](crate::files::Watch::start).
    pub fn remembered(&self, folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, DatabaseError> {
        let rows = self.database.state_rows(FILES)?.into_iter();
        let files = rows.map(|(path, text)| (PathBuf::from(OsString::from_vec(path)), text));
        Ok(files.filter(|(path, _)| path.starts_with(folder)).collect())
    }

    fn remember(&self, files: &[(PathBuf, Option<Vec<u8>>)]) -> Result<(), DatabaseError> {
        let ops = files.iter().map(|(path, text)| {
            let key = path.as_os_str().as_bytes();
            match text {
                Some(value) => StateOp::Put { table: FILES, key, value },
                None => StateOp::Delete { table: FILES, key },
            }
        });
        let ops: Vec<_> = ops.collect();
        if ops.is_empty() { Ok(()) } else { self.database.change_state(&ops) }
    }

    /// Takes in a change of the files; what comes back is what changes in force.
    pub fn files_changed(&mut self, change: Change) -> Change {
        let Change { upserts, removals, mut diagnostics, files } = change;
        if let Err(error) = self.remember(&files) {
            let message = format!("a restart with a wrong file would lose what it said: {error}");
            diagnostics.push(Diagnostic::about_file(Severity::Warning, "", message));
        }
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

    /// Reads texts that came through the API (with the names of their files) and finds what is
    /// wrong with them: each, together, and against the watched files.
    pub fn check(&self, texts: &[(String, String)]) -> (Vec<Parsed>, Vec<Diagnostic>) {
        let mut all = Vec::new();
        let mut diagnostics = Vec::new();
        let mut seen: HashMap<ObjectRef, Origin> = HashMap::new();
        for (name, text) in texts {
            let parsed = manifest::parse(name, text);
            if parsed.manifests.is_empty() && parsed.diagnostics.is_empty() {
                let message = "there is no object in it".to_owned();
                diagnostics.push(Diagnostic::about_file(Severity::Error, name, message));
            }
            diagnostics.extend(parsed.diagnostics.iter().cloned());
            for object in parsed.objects() {
                let (reference, origin) = (object.reference(), object.origin());
                let mut wrong = |message, label: String, help| {
                    let diagnostic = Diagnostic::at(Severity::Error, origin, 0, message);
                    diagnostics.push(diagnostic.with_label(label).with_help(help));
                };
                if let Some(file) = self.files.get(&reference) {
                    wrong(
                        format!("{reference} comes from the file {file}"),
                        "files win over the API".to_owned(),
                        "change it there, or remove it from the file first",
                    );
                }
                if let Some(first) = seen.insert(reference.clone(), origin.clone()) {
                    wrong(
                        format!("{reference} is given twice"),
                        format!("first at {first}"),
                        "rename or remove one of them",
                    );
                }
            }
            all.push(parsed);
        }
        (all, diagnostics)
    }

    /// Keeps texts that were checked and have no errors: all of them, or none.
    pub fn keep(
        &mut self,
        texts: &[(String, String)],
        parsed: Vec<Parsed>,
    ) -> Result<(), DatabaseError> {
        self.database.put(texts, &parsed)?;
        let manifests = parsed.into_iter().flat_map(|parsed| parsed.manifests);
        self.api.extend(manifests.map(|it| (it.object.reference(), it.object)));
        Ok(())
    }

    /// Those of the objects that can't be deleted through the API, since only a file holds them.
    pub fn check_deletion(&self, objects: &[ObjectRef]) -> Vec<Diagnostic> {
        objects
            .iter()
            .filter(|object| !self.api.contains_key(object))
            .filter_map(|object| Some((object, self.files.get(object)?)))
            .map(|(object, origin)| {
                let message = format!("{object} comes from the file {origin}");
                Diagnostic::at(Severity::Error, origin, 0, message)
                    .with_label("files win over the API")
                    .with_help("remove it from the file")
            })
            .collect()
    }

    /// Deletes an object that was applied through the API.
    pub fn delete(&mut self, object: &ObjectRef) -> Result<Change, DeleteError> {
        // One that couldn't be read back isn't in `api`, but can be deleted.
        if !self.database.remove(object)? {
            return Err(DeleteError::Missing(object.clone()));
        }
        // Where a file hides the API's object, the file's stays in force.
        let was_in_force = self.api.remove(object).is_some() && !self.files.contains_key(object);
        let removals = if was_in_force { vec![object.clone()] } else { Vec::new() };
        Ok(Change { removals, ..Change::default() })
    }
}

#[cfg(test)]
mod tests;
