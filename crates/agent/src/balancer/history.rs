//! What has become of backends, the latest of it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::SystemTime;

/// Events that are kept.
const KEPT: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub time: SystemTime,
    pub kind: EventKind,
    pub backend: IpAddr,
    /// What was checked, or which VIPs have the backend.
    pub subject: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Healthy,
    Unhealthy,
    FullWeight,
    Drained,
    Undrained,
}

impl EventKind {
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Healthy => "healthy",
            EventKind::Unhealthy => "unhealthy",
            EventKind::FullWeight => "full-weight",
            EventKind::Drained => "drained",
            EventKind::Undrained => "undrained",
        }
    }
}

#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Event>>);

impl History {
    /// Also said in the log.
    pub fn note(
        &self,
        kind: EventKind,
        backend: IpAddr,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) {
        let event = Event {
            time: SystemTime::now(),
            kind,
            backend,
            subject: subject.into(),
            message: message.into(),
        };
        let Event { subject, message, .. } = &event;
        tracing::info!(%backend, subject, message, "backend is {}", kind.name());
        let mut events = self.lock();
        if events.len() >= KEPT {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// The latest, oldest first.
    pub fn latest(&self, backend: Option<IpAddr>, most: usize) -> Vec<Event> {
        let events = self.lock();
        let wanted = |event: &&Event| backend.is_none_or(|backend| event.backend == backend);
        let mut latest: Vec<Event> =
            events.iter().rev().filter(wanted).take(most).cloned().collect();
        latest.reverse();
        latest
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Event>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_one_backend() {
        let history = History::default();
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let other: IpAddr = "10.0.0.2".parse().unwrap();
        for number in 0..3 {
            history.note(EventKind::Healthy, one, "tcp 80", number.to_string());
            history.note(EventKind::Drained, other, "", "");
        }
        let messages = |events: Vec<Event>| -> Vec<String> {
            events.into_iter().map(|event| event.message).collect()
        };
        assert_eq!(messages(history.latest(Some(one), 2)), ["1", "2"]);
        assert_eq!(history.latest(None, usize::MAX).len(), 6);
    }
}
