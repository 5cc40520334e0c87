//! Traffic that goes on and on, to see whether anything disturbs it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::protocol::{SteadyReport, Target};

/// An exchange that takes longer counts as lost: several retransmissions would fit in.
const PATIENCE: Duration = Duration::from_secs(5);
/// More would only repeat each other.
const FAILURES_KEPT: usize = 20;

#[derive(Clone, Debug)]
pub struct Steady(Arc<Mutex<SteadyReport>>);

impl Steady {
    pub fn begin(target: Target, interval_ms: u64) -> Self {
        let steady = Self(Arc::default());
        let interval = Duration::from_millis(interval_ms);
        tokio::spawn(steady.clone().hold(target.clone(), interval));
        tokio::spawn(steady.clone().renew(target, interval));
        steady
    }

    pub fn report(&self) -> SteadyReport {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, SteadyReport> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn hold(self, target: Target, interval: Duration) {
        let mut connection = match within(Connection::open(&target)).await {
            Ok(connection) => connection,
            Err(error) => {
                self.state().broken = Some(format!("never opened: {error}"));
                return;
            }
        };
        let mut last = Instant::now();
        for number in 0u64.. {
            if let Err(error) = within(connection.exchange(number)).await {
                self.state().broken = Some(format!("exchange {number}: {error}"));
                return;
            }
            let gap = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
            last = Instant::now();
            {
                let mut state = self.state();
                state.exchanges += 1;
                state.longest_gap_ms = state.longest_gap_ms.max(gap);
            }
            sleep(interval).await;
        }
    }

    async fn renew(self, target: Target, interval: Duration) {
        for number in 0u64.. {
            let outcome = within(async {
                let mut connection = Connection::open(&target).await?;
                connection.exchange(number).await
            });
            let outcome = outcome.await;
            {
                let mut state = self.state();
                match outcome {
                    Ok(()) => state.connections += 1,
                    Err(error) if state.failures.len() < FAILURES_KEPT => {
                        state.failures.push(format!("connection {number}: {error}"));
                    }
                    Err(_) => {}
                }
            }
            sleep(interval).await;
        }
    }
}

pub(super) async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("nothing in {PATIENCE:?}"));
    timeout(PATIENCE, work).await.map_err(late)?
}

/// One to a probe's port, whose name it has read.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    name: String,
}

impl Connection {
    pub async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.socket_address()).await?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut name = String::new();
        reader.read_line(&mut name).await?;
        Ok(Self { stream: reader, name: name.trim_end().to_owned() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a number and expects it back.
    pub async fn exchange(&mut self, number: u64) -> io::Result<()> {
        let question = number.to_be_bytes();
        self.stream.get_mut().write_all(&question).await?;
        let mut answer = [0; 8];
        self.stream.read_exact(&mut answer).await?;
        if answer != question {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another answer than sent"));
        }
        Ok(())
    }
}
