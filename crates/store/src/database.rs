//! What must outlive the agent: objects applied through the API, as their manifests' text, and
//! the agent's own small tables. One redb file.

use crate::diagnostic::{Diagnostic, Severity};
use crate::emit;
use crate::manifest::{self, Manifest, Parsed};
use model::{Kind, Object, ObjectName, ObjectRef};
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// (kind, namespace, name) -> `Stored` as JSON.
const OBJECTS: TableDefinition<(&str, &str, &str), &[u8]> = TableDefinition::new("objects");
/// (table, key) -> value, for the agent's own state.
const STATE: TableDefinition<(&str, &[u8]), &[u8]> = TableDefinition::new("state");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// Raised when older agents would misread what this one writes.
const FORMAT: u64 = 1;

/// Little is read after the start; redb's own default is 1 GiB.
const CACHE_BYTES: usize = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database {path} is damaged: {why}; move it away to start with an empty one")]
    Damaged { path: PathBuf, why: String },
    #[error(
        "the database {path} has format {found}, written by a newer skepd; this one reads up to {FORMAT}"
    )]
    Newer { path: PathBuf, found: u64 },
    #[error("the database {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("cannot open the database {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("the database failed: {0}")]
    Failed(String),
}

/// Answers of redb while the file is open; all mean that a request didn't happen.
fn failed(error: impl fmt::Display) -> DatabaseError {
    DatabaseError::Failed(error.to_string())
}

#[derive(Debug)]
pub struct Database {
    redb: redb::Database,
}

/// An object as it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its manifest, as it was written (a part of a larger text that can't stand alone: as `emit`
    /// writes it).
    pub text: String,
    /// What the user called the file it came from, and the line the text began on.
    pub file: String,
    pub line: u32,
    /// Milliseconds since 1970.
    applied_ms: u64,
}

impl Stored {
    pub fn applied(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.applied_ms)
    }
}

/// Key and value.
pub type StateRow = (Vec<u8>, Vec<u8>);

/// One change of the agent's own state, in a batch.
#[derive(Clone, Copy, Debug)]
pub enum StateOp<'a> {
    Put { table: &'a str, key: &'a [u8], value: &'a [u8] },
    Delete { table: &'a str, key: &'a [u8] },
}

impl Database {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Database, DatabaseError> {
        // Without the check, redb trusts a file that says it was closed in order.
        let opened = redb::Builder::new()
            .set_check_integrity_on_open(true)
            .set_cache_size(CACHE_BYTES)
            .create(path);
        let redb = opened.map_err(|error| open_error(path, error))?;
        let database = Database { redb };
        database.prepare(path)?;
        Ok(database)
    }

    fn prepare(&self, path: &Path) -> Result<(), DatabaseError> {
        let damaged = |error: TableError| DatabaseError::Damaged {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let write = self.redb.begin_write().map_err(failed)?;
        {
            let mut meta = write.open_table(META).map_err(damaged)?;
            let found = meta.get(FORMAT_KEY).map_err(failed)?.map(|format| format.value());
            match found {
                Some(found) if found > FORMAT => {
                    return Err(DatabaseError::Newer { path: path.to_owned(), found });
                }
                Some(_) => {}
                None => {
                    meta.insert(FORMAT_KEY, FORMAT).map_err(failed)?;
                }
            }
            write.open_table(OBJECTS).map_err(damaged)?;
            write.open_table(STATE).map_err(damaged)?;
        }
        write.commit().map_err(failed)
    }

    /// Keeps the objects of texts; all or none.
    pub(crate) fn put(
        &self,
        texts: &[(String, String)],
        parsed: &[Parsed],
    ) -> Result<(), DatabaseError> {
        let applied_ms = milliseconds(SystemTime::now());
        let write = self.redb.begin_write().map_err(failed)?;
        {
            let mut objects = write.open_table(OBJECTS).map_err(failed)?;
            for ((file, text), parsed) in texts.iter().zip(parsed) {
                for manifest in &parsed.manifests {
                    let (text, line) = own_text(file, text, manifest);
                    let stored = Stored { text, file: file.clone(), line, applied_ms };
                    let bytes = serde_json::to_vec(&stored).map_err(failed)?;
                    let reference = manifest.object.reference();
                    objects.insert(key(&reference), bytes.as_slice()).map_err(failed)?;
                }
            }
        }
        write.commit().map_err(failed)
    }

    /// Says whether it was there.
    pub(crate) fn remove(&self, object: &ObjectRef) -> Result<bool, DatabaseError> {
        let write = self.redb.begin_write().map_err(failed)?;
        let found = {
            let mut objects = write.open_table(OBJECTS).map_err(failed)?;
            objects.remove(key(object)).map_err(failed)?.is_some()
        };
        write.commit().map_err(failed)?;
        Ok(found)
    }

    pub fn stored(&self, object: &ObjectRef) -> Result<Option<Stored>, DatabaseError> {
        let read = self.redb.begin_read().map_err(failed)?;
        let objects = read.open_table(OBJECTS).map_err(failed)?;
        let found = objects.get(key(object)).map_err(failed)?;
        found.map(|bytes| serde_json::from_slice(bytes.value()).map_err(failed)).transpose()
    }

    /// All objects. One that this version can't read any more is left out, with diagnostics.
    pub(crate) fn load_all(&self) -> Result<(Vec<Object>, Vec<Diagnostic>), DatabaseError> {
        let read = self.redb.begin_read().map_err(failed)?;
        let table = read.open_table(OBJECTS).map_err(failed)?;
        let mut objects = Vec::new();
        let mut diagnostics = Vec::new();
        for row in table.iter().map_err(failed)? {
            let (key, bytes) = row.map_err(failed)?;
            let (kind, namespace, name) = key.value();
            let reference = Kind::ALL
                .into_iter()
                .find(|known| known.name() == kind)
                .map(|kind| ObjectRef { kind, name: ObjectName::new(namespace, name) });
            let found = reference.as_ref().and_then(|reference| {
                let stored: Stored = serde_json::from_slice(bytes.value()).ok()?;
                let parsed = manifest::parse_from_line(&stored.file, &stored.text, stored.line);
                let errors = parsed.diagnostics.iter().filter(|d| d.is_error()).cloned();
                diagnostics.extend(errors);
                parsed.into_objects().into_iter().find(|object| object.reference() == *reference)
            });
            match found {
                Some(object) => objects.push(object),
                None => diagnostics.push(
                    Diagnostic::about_file(
                        Severity::Error,
                        "",
                        format!("the stored {kind} {namespace}/{name} cannot be read any more"),
                    )
                    .with_help("apply it again, or delete it"),
                ),
            }
        }
        Ok((objects, diagnostics))
    }

    pub fn state(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, DatabaseError> {
        let read = self.redb.begin_read().map_err(failed)?;
        let state = read.open_table(STATE).map_err(failed)?;
        let found = state.get((table, key)).map_err(failed)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    /// All rows of one of the agent's tables, by key.
    pub fn state_rows(&self, table: &str) -> Result<Vec<StateRow>, DatabaseError> {
        let read = self.redb.begin_read().map_err(failed)?;
        let state = read.open_table(STATE).map_err(failed)?;
        let mut rows = Vec::new();
        for row in state.range((table, &[][..])..).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            let (of, key) = key.value();
            if of != table {
                break;
            }
            rows.push((key.to_vec(), value.value().to_vec()));
        }
        Ok(rows)
    }

    pub fn put_state(&self, table: &str, key: &[u8], value: &[u8]) -> Result<(), DatabaseError> {
        self.change_state(&[StateOp::Put { table, key, value }])
    }

    /// All of them or none; on disk when this returns.
    pub fn change_state(&self, ops: &[StateOp<'_>]) -> Result<(), DatabaseError> {
        let write = self.redb.begin_write().map_err(failed)?;
        {
            let mut state = write.open_table(STATE).map_err(failed)?;
            for op in ops {
                match *op {
                    StateOp::Put { table, key, value } => {
                        state.insert((table, key), value).map_err(failed)?;
                    }
                    StateOp::Delete { table, key } => {
                        state.remove((table, key)).map_err(failed)?;
                    }
                }
            }
        }
        write.commit().map_err(failed)
    }
}

fn key(object: &ObjectRef) -> (&str, &str, &str) {
    (object.kind.name(), &object.name.namespace, &object.name.name)
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The part of a text that is one object's manifest, and its line: it reads as the same object,
/// at the same places. Where no part of the text does (a list's element that uses another's
/// anchor), it is written anew, since keeping the whole text with each element could take any
/// amount of space.
fn own_text(file: &str, text: &str, manifest: &Manifest) -> (String, u32) {
    // The only document of a text needs no trial, which takes as long as reading it did.
    if manifest.source == (0..text.len()) {
        return (text.to_owned(), manifest.line);
    }
    let part = text.get(manifest.source.clone()).unwrap_or_default();
    // An element of a list stands behind its dash; spaces put it back to its column.
    let line_start = text.get(..manifest.source.start).unwrap_or_default();
    let before = line_start.rsplit('\n').next().unwrap_or_default();
    let part = " ".repeat(before.chars().count()) + part;
    let parsed = manifest::parse_from_line(file, &part, manifest.line);
    match parsed.manifests.as_slice() {
        [only] if only.object == manifest.object => (part, manifest.line),
        _ => (emit::to_yaml(&manifest.object), manifest.line),
    }
}

fn open_error(path: &Path, error: redb::DatabaseError) -> DatabaseError {
    use redb::StorageError;
    let path = path.to_owned();
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => DatabaseError::InUse { path },
        redb::DatabaseError::Storage(StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            DatabaseError::Open { path, source }
        }
        redb::DatabaseError::UpgradeRequired(found) => {
            DatabaseError::Newer { path, found: u64::from(found) }
        }
        error => DatabaseError::Damaged { path, why: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
