//! Tells when a folder changes. Events only say *that* something happened; what, the scan finds
//! out, so that no order of events can confuse it.

use super::folder::Folder;
use crate::desired::Change;
use crate::diagnostic::Diagnostic;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc as channel;

/// How long a folder must be quiet before it is read: an editor's save is several events.
const QUIET: Duration = Duration::from_millis(50);
/// A folder that is never quiet is read this often.
const AT_LEAST: Duration = Duration::from_millis(500);
/// A look without an event: links may lead to files outside, which nobody watches.
const LOOK: Duration = Duration::from_secs(5);
/// The same where the kernel gives no events (too many watches).
const LOOK_WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// How soon the thread notices that nobody listens any more.
const TICK: Duration = Duration::from_millis(500);

/// A watched folder. The first change holds all that is in it.
#[derive(Debug)]
pub struct Watch {
    changes: channel::Receiver<Change>,
}

impl Watch {
    /// Starts a thread, which ends after the `Watch` is dropped. The folder need not exist yet.
    /// `remembered` is what its files were when they were last right, in an earlier life.
    pub fn start(
        folder: impl Into<PathBuf>,
        remembered: impl IntoIterator<Item = (PathBuf, Vec<u8>)>,
    ) -> io::Result<Watch> {
        let (sender, changes) = channel::channel(16);
        let folder = Folder::new(folder).remember(remembered);
        thread::Builder::new().name("manifests".to_owned()).spawn(move || run(folder, sender))?;
        Ok(Watch { changes })
    }

    /// The next change; `None` after the thread ended. Can be cancelled without losing one.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

fn run(mut folder: Folder, sender: channel::Sender<Change>) {
    let root = folder.root().to_owned();
    let (events, received) = mpsc::channel();
    let mut last: Option<Vec<Diagnostic>> = None;
    let mut armed: Option<Armed> = None;
    loop {
        // Watches before the scan: a change between the two gives an event.
        if armed.as_ref().is_none_or(|armed| armed.at != places(&root)) {
            armed = Some(Armed::new(&root, &events));
        }
        let change = folder.scan();
        let news = !change.upserts.is_empty()
            || !change.removals.is_empty()
            || !change.files.is_empty()
            || last.as_ref() != Some(&change.diagnostics);
        if news {
            last = Some(change.diagnostics.clone());
            if sender.blocking_send(change).is_err() {
                return;
            }
        }
        let watching = armed.as_ref().is_some_and(|armed| armed.watcher.is_some());
        let look = if watching { LOOK } else { LOOK_WITHOUT_EVENTS };
        if !wait(&received, &sender, look) {
            return;
        }
    }
}

/// Waits for an event, then for quiet; at most until the next look. `false` if nobody listens.
fn wait(received: &mpsc::Receiver<()>, sender: &channel::Sender<Change>, look: Duration) -> bool {
    let until = Instant::now() + look;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match received.recv_timeout(left.min(TICK)) {
            _ if sender.is_closed() => return false,
            Ok(()) => break,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return true,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    let first = Instant::now();
    while first.elapsed() < AT_LEAST && received.recv_timeout(QUIET).is_ok() {}
    true
}

/// The folder and its nearest parent that exists, by device and inode.
type Places = [Option<(u64, u64)>; 2];

struct Armed {
    watcher: Option<RecommendedWatcher>,
    at: Places,
}

impl Armed {
    fn new(root: &Path, events: &mpsc::Sender<()>) -> Self {
        let at = places(root);
        let watcher = watcher(root, events.clone())
            .inspect_err(|error| {
                tracing::warn!(
                    folder = %root.display(),
                    %error,
                    "no events for the folder of manifests; looking each second instead",
                );
            })
            .ok();
        Armed { watcher, at }
    }
}

fn watcher(root: &Path, events: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too, and must not cause the next scan.
        let matters = event.map_or(true, |event| !event.kind.is_access());
        if matters {
            // Fails only when the thread has ended.
            let _ = events.send(());
        }
    })?;
    if root.is_dir() {
        watcher.watch(root, RecursiveMode::Recursive)?;
    }
    // The folder may be made, replaced or be a link that is turned: its parent tells.
    if let Some(parent) = existing_parent(root) {
        watcher.watch(&parent, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn existing_parent(root: &Path) -> Option<PathBuf> {
    let root = std::path::absolute(root).ok()?;
    root.ancestors().skip(1).find(|parent| parent.is_dir()).map(Path::to_owned)
}

fn places(root: &Path) -> Places {
    let place = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    [place(root), existing_parent(root).as_deref().and_then(place)]
}

#[cfg(test)]
mod tests;
