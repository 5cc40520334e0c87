//! What the files of a folder say, and what changed since the last look.
//!
//! - An object belongs to one file. The first that has it keeps it; in another it is an error.
//! - While anything is wrong in a file, nothing it said before goes away: what can be read is
//!   applied, the rest stays as it was when it was last right.
//! - The same holds over a restart, if the folder is told what its files were when they were last
//!   right ([`Folder::remember`]); also for a folder that is not there (yet).

use crate::desired::Change;
use crate::diagnostic::{Diagnostic, Severity};
use crate::manifest::{self, MAX_BYTES};
use model::{Object, ObjectRef};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Times of files are coarse: one that changed so short a time ago may have changed again since
/// without its time saying so (the kernel's clock for them ticks each 1 to 10 ms).
const RECENT: Duration = Duration::from_secs(1);
/// How deep folders may be nested.
const MAX_DEPTH: usize = 32;

#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<Arc<Path>, FileState>,
    /// Which files have an object, and which of them it belongs to.
    claims: HashMap<ObjectRef, Claim>,
    /// Objects that more than one file has.
    contested: BTreeSet<ObjectRef>,
    /// Files as they were when they were last right, in an earlier life; until the first look.
    remembered: BTreeMap<PathBuf, Vec<u8>>,
    /// The folder has been there.
    seen: bool,
}

#[derive(Debug, Default)]
struct FileState {
    stamp: Option<Stamp>,
    objects: HashMap<ObjectRef, Object>,
    diagnostics: Vec<Diagnostic>,
}

#[derive(Debug)]
struct Claim {
    owner: Arc<Path>,
    files: BTreeSet<Arc<Path>>,
}

/// Objects that are new, different or gone, and in which files.
type Touched = BTreeMap<ObjectRef, Vec<Arc<Path>>>;

/// What tells one content of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Too new to be relied on.
    recent: bool,
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        let now = SystemTime::now();
        let age = metadata.modified().ok().and_then(|time| now.duration_since(time).ok());
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            recent: age.is_none_or(|age| age < RECENT),
        }
    }

    /// Whether a file seen with this stamp, and now with `other`, surely has the same content.
    fn holds(&self, other: &Stamp) -> bool {
        !self.recent && Stamp { recent: false, ..*other } == *self
    }
}

impl Folder {
    /// Reads nothing yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Folder {
            root: root.into(),
            files: BTreeMap::new(),
            claims: HashMap::new(),
            contested: BTreeSet::new(),
            remembered: BTreeMap::new(),
            seen: false,
        }
    }

    /// Files as they were when they were last right, as [`Change::files`] gave them.
    pub fn remember(mut self, files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Self {
        self.remembered.extend(files);
        self
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at the folder again; reads the files that changed.
    pub fn scan(&mut self) -> Change {
        let mut listing = Listing::default();
        listing.walk(&self.root, 0);
        self.seen |= self.root.exists();
        // A folder that has never been there may yet be mounted.
        let hidden = |path: &Path| !self.seen || listing.hides(path);
        let gone: Vec<_> = self
            .files
            .keys()
            .filter(|path| !listing.files.contains_key(*path) && !hidden(path))
            .cloned()
            .collect();
        let recalled: Vec<PathBuf> = self
            .remembered
            .keys()
            .filter(|path| !listing.files.contains_key(path.as_path()) && hidden(path))
            .cloned()
            .collect();
        let mut touched = Touched::new();
        let mut files = Vec::new();
        for path in gone {
            if let Some(state) = self.files.remove(&path) {
                self.claim(&path, state.objects, &HashMap::new(), &mut touched);
            }
            files.push((path.to_path_buf(), None));
        }
        for path in recalled {
            let objects = self.recall(&path);
            let path: Arc<Path> = path.into();
            self.claim(&path, HashMap::new(), &objects, &mut touched);
            self.files.insert(path, FileState { objects, ..FileState::default() });
        }
        for (path, stamp) in &listing.files {
            if let Some(right) = self.read(path, *stamp, &mut touched) {
                files.push((path.to_path_buf(), Some(right)));
            }
        }
        // What is left was removed while nobody looked.
        files.extend(std::mem::take(&mut self.remembered).into_keys().filter_map(|path| {
            (!listing.files.contains_key(path.as_path())).then_some((path, None))
        }));
        let mut change = self.settle(touched);
        change.diagnostics.extend(listing.problems);
        change.files = files;
        change
    }

    /// The objects of a file as it was when it was last right.
    fn recall(&mut self, path: &Path) -> HashMap<ObjectRef, Object> {
        let Some(text) = self.remembered.remove(path) else { return HashMap::new() };
        let parsed = manifest::parse_bytes(&path.to_string_lossy(), &text);
        parsed.into_objects().into_iter().map(|object| (object.reference(), object)).collect()
    }

    /// Reads a file that may have changed; gives its text if it has, and nothing is wrong with it.
    fn read(&mut self, path: &Arc<Path>, stamp: Stamp, touched: &mut Touched) -> Option<Vec<u8>> {
        let known = self.files.get(path).and_then(|state| state.stamp);
        if known.is_some_and(|known| known.holds(&stamp)) {
            return None;
        }
        let name = path.to_string_lossy();
        let (bytes, parsed) = match content(path) {
            Ok(bytes) => {
                let parsed = manifest::parse_bytes(&name, &bytes);
                (bytes, parsed)
            }
            // It went away since it was listed: the next scan sees that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                let diagnostic = Diagnostic::about_file(Severity::Error, name, message);
                let diagnostics = vec![diagnostic];
                (Vec::new(), manifest::Parsed { manifests: Vec::new(), diagnostics })
            }
        };
        let old = self.files.remove(path).unwrap_or_default();
        let wrong = parsed.has_errors();
        let mut objects: HashMap<_, _> = match wrong {
            true if known.is_none() && old.objects.is_empty() => self.recall(path),
            true => old.objects.clone(),
            false => HashMap::new(),
        };
        let diagnostics = parsed.diagnostics;
        for manifest in parsed.manifests {
            objects.insert(manifest.object.reference(), manifest.object);
        }
        self.claim(path, old.objects, &objects, touched);
        self.files.insert(Arc::clone(path), FileState { stamp: Some(stamp), objects, diagnostics });
        (!wrong).then_some(bytes)
    }

    /// Notes which objects a file has, and which of them are new, different or gone.
    fn claim(
        &mut self,
        path: &Arc<Path>,
        old: HashMap<ObjectRef, Object>,
        new: &HashMap<ObjectRef, Object>,
        touched: &mut Touched,
    ) {
        for (reference, object) in new {
            if old.get(reference) != Some(object) {
                touched.entry(reference.clone()).or_default().push(Arc::clone(path));
            }
            let claim = self
                .claims
                .entry(reference.clone())
                .or_insert_with(|| Claim { owner: Arc::clone(path), files: BTreeSet::new() });
            claim.files.insert(Arc::clone(path));
        }
        for reference in old.into_keys().filter(|reference| !new.contains_key(reference)) {
            if let Some(claim) = self.claims.get_mut(&reference) {
                claim.files.remove(path);
            }
            touched.entry(reference).or_default().push(Arc::clone(path));
        }
    }

    /// Decides to which file each touched object belongs.
    fn settle(&mut self, touched: Touched) -> Change {
        let mut change = Change::default();
        for (reference, in_files) in touched {
            let Some(claim) = self.claims.get_mut(&reference) else { continue };
            let mut changed = in_files.contains(&claim.owner);
            if !claim.files.contains(&claim.owner) {
                changed = true;
                match claim.files.first() {
                    Some(next) => claim.owner = Arc::clone(next),
                    None => {
                        self.claims.remove(&reference);
                        self.contested.remove(&reference);
                        change.removals.push(reference);
                        continue;
                    }
                }
            }
            let owner = Arc::clone(&claim.owner);
            if claim.files.len() > 1 {
                self.contested.insert(reference.clone());
            } else {
                self.contested.remove(&reference);
            }
            if !changed {
                continue;
            }
            let object = self.files.get(&owner).and_then(|file| file.objects.get(&reference));
            change.upserts.extend(object.cloned());
        }
        change.diagnostics =
            self.files.values().flat_map(|file| file.diagnostics.iter().cloned()).collect();
        change.diagnostics.extend(self.contested.iter().flat_map(|object| self.conflicts(object)));
        change
    }

    fn conflicts(&self, reference: &ObjectRef) -> Vec<Diagnostic> {
        let object = |path| self.files.get(path)?.objects.get(reference);
        let Some(claim) = self.claims.get(reference) else { return Vec::new() };
        let Some(first) = object(&claim.owner).map(Object::origin) else { return Vec::new() };
        let others = claim.files.iter().filter(|path| **path != claim.owner);
        others
            .filter_map(object)
            .map(|second| {
                let message = format!("{reference} is given twice");
                Diagnostic::at(Severity::Error, second.origin(), 0, message)
                    .with_label(format!("first at {first}, which stays in force"))
                    .with_help("rename or remove one of them")
            })
            .collect()
    }
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte over the limit, so that the parser says what is wrong.
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Default)]
struct Listing {
    files: BTreeMap<Arc<Path>, Stamp>,
    problems: Vec<Diagnostic>,
    /// Folders that couldn't be listed: their files are not gone.
    hidden: Vec<PathBuf>,
    /// Folders by device and inode, so that links in a circle end.
    seen: HashSet<(u64, u64)>,
}

impl Listing {
    fn walk(&mut self, folder: &Path, depth: usize) {
        if let Err(error) = self.list(folder, depth) {
            let gone = error.kind() == io::ErrorKind::NotFound;
            if gone && depth > 0 {
                return;
            }
            let name = folder.to_string_lossy();
            self.problems.push(if gone {
                Diagnostic::about_file(
                    Severity::Note,
                    name,
                    "the folder does not exist (yet)".to_owned(),
                )
            } else {
                self.hidden.push(folder.to_owned());
                let message = format!("the folder cannot be read: {error}");
                Diagnostic::about_file(Severity::Error, name, message)
            });
        }
    }

    fn list(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        let metadata = fs::metadata(folder)?;
        if depth > MAX_DEPTH || !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        // In order, so that links to one folder are always read by the same name.
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Hidden files, among them the `..data` of volumes of Kubernetes, and what editors
            // leave while they save.
            if name.starts_with(['.', '#', '~']) {
                continue;
            }
            let path = entry.path();
            // Follows links; one that leads nowhere is no file.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                self.walk(&path, depth + 1);
            } else if metadata.is_file() && is_manifest(&path) {
                self.files.insert(path.into(), Stamp::new(&metadata));
            }
        }
        Ok(())
    }

    fn hides(&self, path: &Path) -> bool {
        self.hidden.iter().any(|folder| path.starts_with(folder))
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

#[cfg(test)]
mod tests;
