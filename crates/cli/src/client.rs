//! Reaching the agent.

use crate::failure::Failure;
use api::v1::agent_client::AgentClient;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Where the agent is; nothing is opened before [`connect`](Self::connect).
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
}

impl Agent {
    pub fn new(socket: PathBuf) -> Self {
        Agent { socket }
    }

    pub async fn connect(&self) -> Result<AgentClient<Channel>, Failure> {
        // Opened here rather than by tonic, whose errors don't tell why.
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let stream = Arc::new(Mutex::new(Some(stream)));
        let connector = tower::service_fn(move |_| {
            let stream = stream.lock().ok().and_then(|mut stream| stream.take());
            async move {
                stream
                    .map(TokioIo::new)
                    .ok_or_else(|| io::Error::other("the connection to skepd was closed"))
            }
        });
        // The address is never used, but HTTP/2 wants an authority.
        let channel = Endpoint::from_static("http://skepd")
            .connect_with_connector(connector)
            .await
            .map_err(|error| self.unreachable(&io::Error::other(error)))?;
        Ok(AgentClient::new(channel)
            .max_decoding_message_size(api::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(api::MAX_MESSAGE_BYTES))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such socket. Is it running? Start it with `skepd` as root, or name \
                 its socket with --socket or SKEP_SOCKET"
                    .to_owned()
            }
            io::ErrorKind::ConnectionRefused => {
                "nothing listens there. skepd has ended; start it again with `skepd` as root"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "only root may talk to it. Run this command with sudo".to_owned()
            }
            _ => error.to_string(),
        };
        Failure::Unreachable { socket: self.socket.clone(), reason }
    }
}
