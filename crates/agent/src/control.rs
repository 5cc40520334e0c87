//! The one task that owns the [`Node`], and the handle by which others reach it.

use crate::node::Node;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Something to do with the node, in turn.
type Job = Box<dyn for<'n> FnOnce(&'n mut Node) -> BoxFuture<'n, ()> + Send>;

/// Requests that may wait for the node before callers have to.
const QUEUE: usize = 64;

#[derive(Clone, Debug)]
pub struct Control {
    jobs: mpsc::Sender<Job>,
}

/// The agent is stopping.
#[derive(Debug, thiserror::Error)]
#[error("skepd is stopping")]
pub struct Stopping;

impl Control {
    /// Starts the task. It goes on for as long as there is a handle; that it has ended before says
    /// that a job has panicked, and the node is lost.
    pub fn start(mut node: Node) -> (Self, JoinHandle<()>) {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let task = tokio::spawn(async move {
            while let Some(job) = queue.recv().await {
                job(&mut node).await;
            }
        });
        (Control { jobs }, task)
    }

    /// Does `job` when its turn comes, and gives what it returns.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl for<'n> FnOnce(&'n mut Node) -> BoxFuture<'n, T> + Send + 'static,
    ) -> Result<T, Stopping> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(|node| {
            Box::pin(async move {
                let result = job(node).await;
                // The one who asked may have gone.
                let _ = answer.send(result);
            })
        });
        self.jobs.send(job).await.map_err(|_| Stopping)?;
        answered.await.map_err(|_| Stopping)
    }

    /// Asks a question that needs no waiting.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        self.run(|node| {
            let answer = question(node);
            Box::pin(std::future::ready(answer))
        })
        .await
    }
}
