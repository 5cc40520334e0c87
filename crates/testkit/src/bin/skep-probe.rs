//! `skep-probe NAME`: serves and asks in a workload's place. See [`testkit::probe`].

#![forbid(unsafe_code)]

use std::io;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "probe".into());
    testkit::probe::serve::run(name).await
}
