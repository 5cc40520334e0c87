//! How every command speaks: one aligned line per step, the time at its end when it took some.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// A step is only worth a time from here on.
const WORTH_TELLING: Duration = Duration::from_secs(1);
const TIME_COLUMN: usize = 72;

/// A step that is under way. It says so when it takes long to do, and ends with one line.
#[derive(Debug)]
pub struct Step {
    name: &'static str,
    started: Instant,
}

impl Step {
    pub fn start(name: &'static str) -> Self {
        Self { name, started: Instant::now() }
    }

    /// What is being done right now and may take a while.
    pub fn doing(&self, what: impl Display) {
        println!("… {:<12} {what}", self.name);
    }

    pub fn done(self, what: impl Display) {
        let took = self.started.elapsed();
        let line = format!("✓ {:<12} {what}", self.name);
        if took >= WORTH_TELLING {
            println!("{line:<TIME_COLUMN$} {:>8}", duration(took));
        } else {
            println!("{line}");
        }
    }

    /// Not done, and the work goes on without.
    pub fn missing(self, what: impl Display) {
        println!("! {:<12} {what}", self.name);
    }
}

/// "2m 10s", "12s", "1.2s".
pub fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", took.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        _ => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(Duration::from_millis(1240)), "1.2s");
        assert_eq!(duration(Duration::from_secs(59)), "59s");
        assert_eq!(duration(Duration::from_secs(130)), "2m 10s");
    }
}
