//! What an operation refuses, and how each binding says so.

use crate::error::{ApiError, FieldError};
use crate::store::StoreError;
use muster_protocol::a2a::rpc::RpcError;
use muster_protocol::a2a::{DOMAIN, ERROR_INFO, ErrorKind};
use muster_protocol::error::code;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{BadRequest, ErrorDetail, ErrorInfo, FieldViolation, StatusExt as _};

/// The type of the details that name fields.
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// A refusal.
#[derive(Debug)]
pub(crate) struct A2aError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    fields: Vec<FieldError>,
}

/// What an operation comes to.
pub(crate) type Outcome<T> = Result<T, A2aError>;

impl A2aError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), fields: Vec::new() }
    }

    /// A parameter that does not fit.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let fields = vec![FieldError::new(field, message.as_str())];
        Self { kind: ErrorKind::InvalidParams, message: format!("{field}: {message}"), fields }
    }

    /// A task that is not there, or not the caller's: nobody can tell which.
    pub(crate) fn no_task(id: &str) -> Self {
        Self::new(ErrorKind::TaskNotFound, format!("there is no task `{}`", crate::error::shown(id)))
    }

    fn details(&self) -> Vec<Value> {
        let mut details = vec![json!({ "@type": ERROR_INFO, "reason": self.kind.reason(), "domain": DOMAIN })];
        if !self.fields.is_empty() {
            let violations: Vec<_> = self.fields.iter().map(|f| json!({ "field": f.field, "description": f.message })).collect();
            details.push(json!({ "@type": BAD_REQUEST, "fieldViolations": violations }));
        }
        details
    }

    /// As JSON-RPC says it: with an array of details.
    pub(crate) fn rpc(&self) -> RpcError {
        RpcError { code: self.kind.rpc_code(), message: self.message.clone(), data: Value::Array(self.details()) }
    }

    /// As gRPC says it: the same details in the status.
    pub(super) fn status(&self) -> Status {
        let mut details = vec![ErrorDetail::ErrorInfo(ErrorInfo::new(self.kind.reason(), DOMAIN, []))];
        if !self.fields.is_empty() {
            let violations = self.fields.iter().map(|f| FieldViolation::new(&f.field, &f.message)).collect::<Vec<_>>();
            details.push(ErrorDetail::BadRequest(BadRequest::new(violations)));
        }
        Status::with_error_details_vec(code_named(self.kind.grpc_code()), &self.message, details)
    }

    /// As HTTP+JSON says it: a `google.rpc.Status`.
    pub(crate) fn body(&self) -> Value {
        let (code, status) = (self.kind.http_status(), self.kind.grpc_code());
        json!({ "error": { "code": code, "status": status, "message": self.message, "details": self.details() } })
    }
}

/// The `google.rpc.Code` of a name.
pub(super) fn code_named(name: &str) -> Code {
    match name {
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "NOT_FOUND" => Code::NotFound,
        "PERMISSION_DENIED" => Code::PermissionDenied,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "UNAVAILABLE" => Code::Unavailable,
        "UNAUTHENTICATED" => Code::Unauthenticated,
        _ => Code::Internal,
    }
}

/// The name of the `google.rpc.Code` of a refusal from before the operation.
pub(super) fn code_of_refusal(refusal: &str) -> &'static str {
    match refusal {
        code::UNAUTHENTICATED => "UNAUTHENTICATED",
        code::FORBIDDEN => "PERMISSION_DENIED",
        code::NOT_FOUND => "NOT_FOUND",
        code::OVERLOADED | code::STORAGE_UNAVAILABLE => "UNAVAILABLE",
        code::INTERNAL => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

impl From<A2aError> for Status {
    fn from(error: A2aError) -> Self {
        error.status()
    }
}

impl From<ApiError> for A2aError {
    fn from(error: ApiError) -> Self {
        let kind = match &error {
            ApiError::BadRequest(_)
            | ApiError::Invalid { .. }
            | ApiError::NotFound { .. }
            | ApiError::Conflict { .. }
            | ApiError::TooLarge { .. } => ErrorKind::InvalidParams,
            ApiError::Overloaded { .. } | ApiError::StorageUnavailable(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        if matches!(kind, ErrorKind::Internal | ErrorKind::Unavailable) {
            tracing::warn!(error = %error, "an A2A request failed");
        }
        let message = error.body().error.message;
        let fields = if let ApiError::Invalid { fields } = error { fields } else { Vec::new() };
        Self { kind, message, fields }
    }
}

impl From<StoreError> for A2aError {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::{A2aError, DOMAIN};
    use muster_protocol::a2a::ErrorKind;
    use std::collections::HashSet;
    use tonic_types::StatusExt as _;

    #[test]
    fn every_error_says_the_same_on_each_binding() {
        for kind in ErrorKind::ALL {
            let error = A2aError::new(kind, "no");
            let (rpc, http) = (error.rpc(), error.body());
            assert_eq!(rpc.data[0]["reason"], kind.reason());
            assert_eq!(rpc.data, http["error"]["details"]);
            assert_eq!((rpc.code, rpc.message.as_str()), (kind.rpc_code(), "no"));
            assert_eq!(http["error"]["code"], kind.http_status());
            let grpc = error.status();
            assert_eq!(grpc.message(), "no");
            // `NotFound` is `NOT_FOUND`.
            assert_eq!(format!("{:?}", grpc.code()).to_uppercase(), kind.grpc_code().replace('_', ""));
            let info = grpc.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (kind.reason(), DOMAIN));
        }
        let reasons: HashSet<_> = ErrorKind::ALL.into_iter().map(ErrorKind::reason).collect();
        assert_eq!(reasons.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn fields_are_named() {
        let error = A2aError::invalid("message.parts[0].raw", "is no base64");
        assert_eq!(error.rpc().data[1]["fieldViolations"][0]["field"], "message.parts[0].raw");
        assert_eq!(error.status().get_details_bad_request().unwrap().field_violations[0].field, "message.parts[0].raw");
        assert_eq!(error.message, "message.parts[0].raw: is no base64");
    }
}
