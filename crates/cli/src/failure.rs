//! Ways to fail, and the exit code of each. `skep --help` lists the codes.

use crate::output::{Paint, Screen};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code of a negative answer.
pub const NEGATIVE: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The answer is no; what there was to say has been said.
    #[error("")]
    Negative,
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Usage(String),
    #[error("cannot reach skepd at {socket}: {reason}", socket = .socket.display())]
    Unreachable { socket: PathBuf, reason: String },
    /// The agent refused the input; the diagnostics have been shown.
    #[error("")]
    Rejected,
    #[error("{0}")]
    Agent(String),
    #[error("cannot write: {0}")]
    Output(io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Negative | Failure::NotFound(_) => NEGATIVE,
            Failure::Usage(_) => 2,
            Failure::Unreachable { .. } => 3,
            Failure::Rejected => 4,
            Failure::Agent(_) | Failure::Output(_) => 5,
        }
    }

    /// Says what happened and gives the exit code.
    pub fn report(&self, screen: &Screen) -> ExitCode {
        // Who closes the pipe has seen enough.
        if matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let text = self.to_string();
        if !text.is_empty() {
            screen.complain(&format!(
                "{} {text}\n",
                screen.error_style().paint(Paint::Bad, "error:")
            ));
        }
        ExitCode::from(self.code())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

impl From<api::json::JsonError> for Failure {
    fn from(error: api::json::JsonError) -> Self {
        Failure::Agent(format!("skepd sent something odd: {error}"))
    }
}

/// From an answer of the agent.
impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            tonic::Code::NotFound => Failure::NotFound(message),
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Failure::Usage(message),
            tonic::Code::Unavailable => {
                Failure::Agent(format!("skepd cannot answer now: {message}; try again in a moment"))
            }
            tonic::Code::Unimplemented => Failure::Agent(
                "this skepd does not know the request: skep and skepd are of different versions \
                 (compare `skep --version` with `skep status`)"
                    .to_owned(),
            ),
            _ => Failure::Agent(format!("skepd failed: {message}; its log says more")),
        }
    }
}
