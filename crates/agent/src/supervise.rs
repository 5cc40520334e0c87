//! Tasks that must go on: one that fails is started again and says so.

use std::fmt::Display;
use std::time::Duration;
use tokio::task::JoinHandle;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs what `make` makes, again and again, with growing pauses between failures. Ends when it
/// ends well.
pub fn supervise<F, E>(
    name: &'static str,
    mut make: impl FnMut() -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            // A task of its own, so that a panic in it is a failure like any other.
            match tokio::spawn(make()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!(task = name, %error, "failed; starting it again"),
                Err(error) if error.is_cancelled() => return,
                Err(error) => tracing::error!(task = name, %error, "panicked; starting it again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn goes_on_after_errors_and_panics() {
        let tries = Arc::new(AtomicU32::new(0));
        let counted = tries.clone();
        supervise("test", move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match number {
                    0 => Err("once"),
                    1 => panic!("twice"),
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(tries.load(Ordering::Relaxed), 3);
    }
}
