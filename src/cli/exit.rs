//! How a command ends: the exit codes, and the one line that says what went wrong.

use muster_protocol::client::ClientError;
use muster_protocol::task::{Task, TaskState};
use std::io;

/// Every exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    Unreachable,
    Refused,
    ServerFault,
    Canceled,
    Interrupted,
    OutputClosed,
}

impl Exit {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Refused,
        Self::ServerFault,
        Self::Canceled,
        Self::Interrupted,
        Self::OutputClosed,
    ];

    /// The number that the shell sees. The last two are what the shell reports for SIGINT and SIGPIPE.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::ServerFault => 5,
            Self::Canceled => 6,
            Self::Interrupted => 130,
            Self::OutputClosed => 141,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; the task that was followed is completed",
            Self::Failed => "the task failed or was rejected; or the command failed on this machine",
            Self::Usage => "wrong usage",
            Self::Unreachable => "the server cannot be reached",
            Self::Refused => "the server refused: no such thing, not allowed, or not in this state",
            Self::ServerFault => "the server has a fault, or is none of Muster's",
            Self::Canceled => "the task that was followed was canceled",
            Self::Interrupted => "ended by Ctrl-C; the task was canceled or left running, as chosen",
            Self::OutputClosed => "the reader of standard output went away",
        }
    }

    /// How following a task ends that is in a terminal state.
    pub(crate) fn of_task(task: &Task) -> Self {
        match task.state {
            TaskState::Completed => Self::Done,
            TaskState::Canceled => Self::Canceled,
            _ => Self::Failed,
        }
    }
}

/// The exit codes as `--help` shows them.
pub(crate) fn help() -> String {
    let lines: Vec<String> = Exit::ALL.iter().map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning())).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server or the way to it.
    Client(ClientError),
    /// The command was not given as it should be.
    Usage(String),
    /// The server has no such thing.
    NotFound(String),
    /// Standard output cannot be written.
    Output(io::Error),
    /// Ended by Ctrl-C.
    Interrupted(String),
    /// Anything else on this machine.
    Other(String),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::Address { .. }) | Self::Usage(_) => Exit::Usage,
            Self::Client(ClientError::Unreachable { .. }) => Exit::Unreachable,
            Self::Client(ClientError::Refused { status, .. }) if *status < 500 => Exit::Refused,
            Self::Client(ClientError::Refused { .. } | ClientError::Malformed { .. }) => Exit::ServerFault,
            Self::NotFound(_) => Exit::Refused,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::OutputClosed,
            Self::Interrupted(_) => Exit::Interrupted,
            Self::Output(_) | Self::Other(_) => Exit::Failed,
        }
    }

    /// One line that says what is wrong and what to do; none if there is nobody to tell.
    pub(crate) fn message(&self) -> Option<String> {
        Some(match self {
            Self::Client(error) => match error {
                ClientError::Unreachable { .. } => {
                    format!("{error}; start one with \"muster serve\" or name another with --server")
                }
                ClientError::Refused { status: 401, message, .. } if !message.contains("token") => {
                    format!("{error}; give a token with MUSTER_TOKEN or --token")
                }
                _ => error.to_string(),
            },
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return None,
            Self::Output(error) => format!("cannot write to standard output: {error}"),
            Self::Usage(message) | Self::NotFound(message) | Self::Interrupted(message) | Self::Other(message) => message.clone(),
        })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure, help};
    use muster_protocol::client::ClientError;
    use std::collections::HashSet;
    use std::io;

    fn refused(status: u16) -> Failure {
        let (code, message) = ("x".to_owned(), "no".to_owned());
        Failure::Client(ClientError::Refused { status, code, message, details: serde_json::Value::Null, retry_after: None })
    }

    #[test]
    fn every_exit_has_a_number_of_its_own_and_is_in_the_help() {
        let numbers: HashSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(numbers.len(), Exit::ALL.len());
        assert!(Exit::ALL.iter().all(|exit| help().contains(exit.meaning())));
    }

    #[test]
    fn failures_end_with_the_code_that_says_whose_fault_it_is() {
        let unreachable = ClientError::Unreachable { server: "http://h:1".to_owned(), reason: "connection refused".to_owned() };
        let unreachable = Failure::Client(unreachable);
        assert_eq!(unreachable.exit().code(), 3);
        assert_eq!(
            unreachable.message().unwrap(),
            "cannot reach the server at http://h:1: connection refused; start one with \"muster serve\" or name another with --server"
        );
        assert_eq!(refused(404).exit().code(), 4);
        assert_eq!(refused(503).exit().code(), 5);
        assert!(refused(401).message().unwrap().contains("MUSTER_TOKEN"));
        assert_eq!(Failure::Usage("?".to_owned()).exit().code(), 2);
    }

    #[test]
    fn a_reader_that_went_away_is_not_worth_a_word() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.exit(), closed.message()), (Exit::OutputClosed, None));
        assert_eq!(Failure::from(io::Error::other("disk full")).exit(), Exit::Failed);
    }
}
