//! The errors of A2A, and how each binding spells them: version 1.0.1's numbers.

use super::rpc::rpc_code;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "a2a-protocol.org";
/// The type of an `ErrorInfo`.
pub const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such task, or it is not the caller's.
    TaskNotFound,
    /// The task has ended.
    TaskNotCancelable,
    /// The agent sends no push notifications.
    PushNotificationNotSupported,
    /// The agent does not do this, or not now.
    UnsupportedOperation,
    /// The agent cannot read a part, or the body.
    ContentTypeNotSupported,
    /// An agent that was asked answered nonsense.
    InvalidAgentResponse,
    /// There is no extended card.
    ExtendedAgentCardNotConfigured,
    /// The caller does not declare an extension that it must use.
    ExtensionSupportRequired,
    /// The agent does not speak this version.
    VersionNotSupported,
    /// The body is not JSON.
    Parse,
    /// The body is no request.
    InvalidRequest,
    /// There is no such operation.
    MethodNotFound,
    /// The parameters do not fit.
    InvalidParams,
    /// A fault of the server.
    Internal,
    /// The server cannot now; try again.
    Unavailable,
}

impl ErrorKind {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::TaskNotFound,
        Self::TaskNotCancelable,
        Self::PushNotificationNotSupported,
        Self::UnsupportedOperation,
        Self::ContentTypeNotSupported,
        Self::InvalidAgentResponse,
        Self::ExtendedAgentCardNotConfigured,
        Self::ExtensionSupportRequired,
        Self::VersionNotSupported,
        Self::Parse,
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::InvalidParams,
        Self::Internal,
        Self::Unavailable,
    ];

    /// JSON-RPC's number, HTTP's status, `google.rpc.Code` and the `ErrorInfo`'s reason: the one table.
    const fn row(self) -> (i64, u16, &'static str, &'static str) {
        match self {
            Self::TaskNotFound => (-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
            Self::TaskNotCancelable => (-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
            Self::PushNotificationNotSupported => (-32003, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED"),
            Self::UnsupportedOperation => (-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
            Self::ContentTypeNotSupported => (-32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
            Self::InvalidAgentResponse => (-32006, 500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
            Self::ExtendedAgentCardNotConfigured => (-32007, 400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
            Self::ExtensionSupportRequired => (-32008, 400, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED"),
            Self::VersionNotSupported => (-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
            Self::Parse => (rpc_code::PARSE_ERROR, 400, "INVALID_ARGUMENT", "JSON_PARSE_ERROR"),
            Self::InvalidRequest => (rpc_code::INVALID_REQUEST, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
            Self::MethodNotFound => (rpc_code::METHOD_NOT_FOUND, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
            Self::InvalidParams => (rpc_code::INVALID_PARAMS, 400, "INVALID_ARGUMENT", "INVALID_PARAMS"),
            Self::Internal => (rpc_code::INTERNAL_ERROR, 500, "INTERNAL", "INTERNAL_ERROR"),
            Self::Unavailable => (rpc_code::INTERNAL_ERROR, 503, "UNAVAILABLE", "UNAVAILABLE"),
        }
    }

    /// The number in JSON-RPC.
    #[must_use]
    pub const fn rpc_code(self) -> i64 {
        self.row().0
    }

    /// The status in HTTP+JSON.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        self.row().1
    }

    /// The name of the `google.rpc.Code`.
    #[must_use]
    pub const fn grpc_code(self) -> &'static str {
        self.row().2
    }

    /// The reason in the `ErrorInfo`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().3
    }
}
