//! gRPC of 1.0 (`lf.a2a.v1.A2AService`), on the same listeners as all else: its methods are a route behind the same guard. Its paths have no room for an
//! agent's name, so that a request's `tenant` names the agent, as the agent's card says.

mod codec;

use super::asked::Asked;
use super::error::{A2aError, Outcome, code_named, code_of_refusal};
use super::jsonrpc::Head;
use super::stream::Events;
use super::version::{Version, demand};
use crate::api::extract::{PathId, PathParam};
use crate::api::http_log::{REQUEST_ID, is_grpc};
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::lifecycle::Lifecycle;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use codec::Messages;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use muster_protocol::a2a::{ErrorKind, TaskPushNotificationConfig, pb};
use muster_protocol::error::{ErrorBody, code};
use prost::Message;
use std::future::Future;
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tower::service_fn;

/// The paths of the methods.
pub(crate) const PATH: &str = "/lf.a2a.v1.A2AService/{method}";

/// The name of a method in the path.
pub(crate) struct Method(String);

impl PathParam for Method {
    const NOUN: &'static str = "method";

    fn parse(segment: &str) -> Option<Self> {
        Some(Self(segment.to_owned()))
    }
}

/// Any method.
pub(crate) async fn handle(
    State(app): State<App>,
    who: Principal,
    PathId(Method(method)): PathId<Method>,
    head: Head,
    request: Request,
) -> Result<Response, ApiError> {
    if !is_grpc(request.headers()) {
        return Err(ApiError::UnsupportedMediaType("this address is for gRPC; A2A's other bindings have others".to_owned()));
    }
    Ok(Call { app, who, head, request }.named(method).await)
}

/// A request that says which agent it is for.
trait Addressed {
    fn tenant(&self) -> &str;
}

macro_rules! addressed {
    ($($name:ident),+ $(,)?) => {$(
        impl Addressed for pb::$name {
            fn tenant(&self) -> &str {
                &self.tenant
            }
        }
    )+};
}

addressed!(
    SendMessageRequest,
    GetTaskRequest,
    ListTasksRequest,
    CancelTaskRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
);

impl From<pb::Misfit> for A2aError {
    fn from(misfit: pb::Misfit) -> Self {
        Self::invalid(&crate::error::shown(&misfit.field), misfit.reason)
    }
}

/// A call of a method.
struct Call {
    app: App,
    who: Principal,
    head: Head,
    request: Request,
}

impl Call {
    async fn named(self, method: String) -> Response {
        match method.as_str() {
            "SendMessage" => {
                let send =
                    async |asked: Asked, q: pb::SendMessageRequest| Ok(pb::SendMessageResponse::from(asked.send(&q.try_into()?).await?));
                self.once(method, send).await
            }
            "SendStreamingMessage" => {
                self.told(method, async |asked, q: pb::SendMessageRequest| asked.send_streaming(&q.try_into()?).await).await
            }
            "GetTask" => self.once(method, async |asked, q: pb::GetTaskRequest| Ok(pb::Task::from(asked.get_task(&q.into()).await?))).await,
            "ListTasks" => {
                let list =
                    async |asked: Asked, q: pb::ListTasksRequest| Ok(pb::ListTasksResponse::from(asked.list_tasks(&q.try_into()?).await?));
                self.once(method, list).await
            }
            "CancelTask" => {
                self.once(method, async |asked, q: pb::CancelTaskRequest| Ok(pb::Task::from(asked.cancel(&q.try_into()?).await?))).await
            }
            "SubscribeToTask" => {
                self.told(method, async |asked, q: pb::SubscribeToTaskRequest| asked.subscribe(&q.into(), None).await).await
            }
            "GetExtendedAgentCard" => {
                let card = async |asked: Asked, _: pb::GetExtendedAgentCardRequest| Ok(pb::AgentCard::from(asked.extended_card().await?));
                self.once(method, card).await
            }
            _ => self.named_of_webhooks(method).await,
        }
    }

    async fn named_of_webhooks(self, method: String) -> Response {
        match method.as_str() {
            "CreateTaskPushNotificationConfig" => {
                let create = async |asked: Asked, q: pb::TaskPushNotificationConfig| {
                    Ok(pb::TaskPushNotificationConfig::from(asked.create_push(TaskPushNotificationConfig::from(q)).await?))
                };
                self.once(method, create).await
            }
            "GetTaskPushNotificationConfig" => {
                let get = async |asked: Asked, q: pb::GetTaskPushNotificationConfigRequest| {
                    Ok(pb::TaskPushNotificationConfig::from(asked.get_push(&q.into()).await?))
                };
                self.once(method, get).await
            }
            "ListTaskPushNotificationConfigs" => {
                let list = async |asked: Asked, q: pb::ListTaskPushNotificationConfigsRequest| {
                    Ok(pb::ListTaskPushNotificationConfigsResponse::from(asked.list_push(&q.into()).await?))
                };
                self.once(method, list).await
            }
            "DeleteTaskPushNotificationConfig" => {
                self.once(method, async |asked, q: pb::DeleteTaskPushNotificationConfigRequest| asked.delete_push(&q.into()).await).await
            }
            other => Status::unimplemented(format!("there is no method `{}`", crate::error::shown(other))).into_http(),
        }
    }

    /// A piece of a message takes two bytes on the wire and sixty times as many in memory, more than one of JSON: so messages are smaller than bodies.
    fn grpc<Q: Message + Default + 'static, A: Message + 'static>(&self) -> Grpc<Messages<Q, A>> {
        Grpc::new(Messages::new()).max_decoding_message_size(self.app.config.limits.max_body / 4)
    }

    /// A method with one answer.
    async fn once<Q, A, F, Fut>(self, method: String, operation: F) -> Response
    where
        Q: Addressed + Message + Default + 'static,
        A: Message + 'static,
        F: FnOnce(Asked, Q) -> Fut,
        Fut: Future<Output = Outcome<A>>,
    {
        let mut grpc = self.grpc();
        let (request, mut rest) = self.apart(method, operation);
        let service = service_fn(move |asks: tonic::Request<Streaming<Q>>| {
            let rest = rest.take();
            async move {
                let (caller, operation) = rest.ok_or_else(asked_twice)?;
                let asks = one(asks.into_inner()).await?;
                let asked = caller.asked(asks.tenant()).await?;
                Ok(tonic::Response::new(operation(asked, asks).await?))
            }
        });
        grpc.client_streaming(service, request).await.map(Body::new)
    }

    /// A method that is answered with a stream.
    async fn told<Q, F, Fut>(self, method: String, operation: F) -> Response
    where
        Q: Addressed + Message + Default + 'static,
        F: FnOnce(Asked, Q) -> Fut + Send,
        Fut: Future<Output = Outcome<Events>>,
    {
        let life = self.app.life.clone();
        let mut grpc = self.grpc();
        let (request, mut rest) = self.apart(method, operation);
        let service = service_fn(move |asks: tonic::Request<Streaming<Q>>| {
            let (rest, life) = (rest.take(), life.clone());
            async move {
                let (caller, operation) = rest.ok_or_else(asked_twice)?;
                let asks = one(asks.into_inner()).await?;
                let asked = caller.asked(asks.tenant()).await?;
                Ok(tonic::Response::new(until_stopped(operation(asked, asks).await?, life)))
            }
        });
        grpc.streaming(service, request).await.map(Body::new)
    }

    /// The request, and for its one message: who asks, and what is done.
    fn apart<F>(self, method: String, operation: F) -> (Request, Option<(Caller, F)>) {
        let Self { app, who, head, request } = self;
        (request, Some((Caller { app, who, head, method }, operation)))
    }
}

fn asked_twice() -> Status {
    Status::internal("one request is answered once")
}

/// The one message of a request. It is read here and not by tonic, to which a body without any is a fault of the server.
async fn one<Q>(mut messages: Streaming<Q>) -> Result<Q, Status> {
    let none = || A2aError::new(ErrorKind::InvalidRequest, "the body holds no message").status();
    messages.message().await?.ok_or_else(none)
}

/// Who asks.
struct Caller {
    app: App,
    who: Principal,
    head: Head,
    method: String,
}

impl Caller {
    async fn asked(self, tenant: &str) -> Outcome<Asked> {
        let app = self.app.clone();
        let asked = self.head.asked(self.app, self.who, None)?;
        demand(Version::V1, asked.version, &self.method)?;
        if tenant.is_empty() {
            return Ok(asked);
        }
        match app.agent_named(tenant).await {
            Ok(agent) => Ok(Asked { agent: Some(agent), ..asked }),
            Err(ApiError::NotFound { what }) => Err(A2aError::invalid("tenant", format!("there is no {what}"))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The events, and where they are cut short (the store fails, the server stops), a status that says so.
fn until_stopped(events: Events, life: Lifecycle) -> BoxStream<'static, Result<pb::StreamResponse, Status>> {
    let next = async |left: Option<(Events, Lifecycle)>| {
        let (mut events, life) = left?;
        tokio::select! {
            biased;
            event = events.next() => match event? {
                Ok((_, event)) => Some((Ok(event.into()), Some((events, life)))),
                Err(error) => Some((Err(error.status()), None)),
            },
            () = life.stopping() => Some((Err(Status::unavailable("the server stops; subscribe to the task again")), None)),
        }
    };
    unfold(Some((events, life)), next).boxed()
}

/// Refusals from before the operation (what path, who asks, how much) as gRPC spells them, also where it is turned off: its clients cannot read others.
pub(crate) async fn spelled(request: Request, next: Next) -> Response {
    let is_grpc = is_grpc(request.headers());
    let response = next.run(request).await;
    let Some(ErrorBody { error, .. }) = response.extensions().get::<ErrorBody>().filter(|_| is_grpc) else { return response };
    let code = if error.code == code::NOT_FOUND { Code::Unimplemented } else { code_named(code_of_refusal(&error.code)) };
    let mut spelled: Response = Status::new(code, &error.message).into_http();
    if let Some(id) = response.headers().get(REQUEST_ID) {
        spelled.headers_mut().insert(REQUEST_ID, id.clone());
    }
    spelled
}
