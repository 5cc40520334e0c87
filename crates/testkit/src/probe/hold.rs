//! Many connections that stay open, to see which of them break.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::sleep;

use super::protocol::{Held, Target};
use super::steady::{Connection, within};

#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<Mutex<Vec<Held>>>);

impl Hold {
    /// Opens a connection to each target, and returns once all are open or have failed.
    pub async fn open(targets: Vec<Target>, interval_ms: u64) -> Self {
        let hold = Self::default();
        let interval = Duration::from_millis(interval_ms);
        let opening: Vec<_> = targets
            .into_iter()
            .map(|target| {
                tokio::spawn(async move {
                    let opened = within(async {
                        let mut connection = Connection::open(&target).await?;
                        connection.exchange(0).await?;
                        Ok(connection)
                    });
                    opened.await
                })
            })
            .collect();
        for (number, opened) in opening.into_iter().enumerate() {
            let opened = opened.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            let mut held = Held::default();
            match opened {
                Ok(connection) => {
                    held.backend = connection.name().to_owned();
                    hold.state().push(held);
                    tokio::spawn(hold.clone().keep(number, connection, interval));
                }
                Err(error) => {
                    held.broken = Some(format!("never opened: {error}"));
                    hold.state().push(held);
                }
            }
        }
        hold
    }

    pub fn report(&self) -> Vec<Held> {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn keep(self, number: usize, mut connection: Connection, interval: Duration) {
        for exchange in 1u64.. {
            sleep(interval).await;
            match within(connection.exchange(exchange)).await {
                Ok(()) => self.state()[number].exchanges = exchange,
                Err(error) => {
                    self.state()[number].broken = Some(format!("exchange {exchange}: {error}"));
                    return;
                }
            }
        }
    }
}
