//! A caller by gRPC behind the same face as the others: what it asks and what it is answered is written as JSON.

use crate::support::Http;
use anyhow::{Result, bail};
use muster_protocol::a2a::{self as v1, pb};
use prost::Message;
use reqwest::header::HOST;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel as Connection, Endpoint};
use tonic::{Extensions, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// One that sends what the HTTP caller sends.
pub(super) struct Channel {
    grpc: Grpc<Connection>,
    metadata: MetadataMap,
}

type Told = Result<Value, Status>;

impl Channel {
    pub(super) fn of(http: &Http) -> Result<Self> {
        let mut headers = http.headers().clone();
        let mut endpoint = Endpoint::from_shared(http.base().to_owned())?;
        if let Some(host) = headers.remove(HOST) {
            endpoint = endpoint.origin(format!("http://{}", host.to_str()?).parse()?);
        }
        Ok(Self { grpc: Grpc::new(endpoint.connect_lazy()), metadata: MetadataMap::from_headers(headers) })
    }

    fn asks<Q>(&self, message: Q) -> Request<Q> {
        Request::from_parts(self.metadata.clone(), Extensions::default(), message)
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::unknown(format!("no connection: {error}")))
    }

    /// A method with one answer.
    pub(super) async fn once<Q, A>(&mut self, method: &str, message: Q) -> Result<Result<A, Status>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/{}/{method}", pb::SERVICE).parse()?;
        let asks = self.asks(message);
        if let Err(status) = self.ready().await {
            return Ok(Err(status));
        }
        Ok(self.grpc.unary(asks, path, ProstCodec::default()).await.map(tonic::Response::into_inner))
    }

    /// The same in JSON.
    async fn told<Q, P, W, A>(&mut self, method: &str, params: Value) -> Result<Told>
    where
        Q: DeserializeOwned + Into<P>,
        P: Message + 'static,
        W: Message + Default + TryInto<A> + 'static,
        W::Error: Into<anyhow::Error>,
        A: Serialize,
    {
        let asks: Q = serde_json::from_value(params)?;
        Ok(match self.once::<P, W>(method, asks.into()).await? {
            Ok(answer) => Ok(serde_json::to_value(answer.try_into().map_err(Into::into)?)?),
            Err(status) => Err(status),
        })
    }

    /// What an operation answers.
    ///
    /// # Errors
    /// The parameters cannot be said in gRPC.
    pub(super) async fn call(&mut self, operation: &str, params: Value) -> Result<Told> {
        match operation {
            "SendMessage" => {
                self.told::<v1::SendMessageRequest, pb::SendMessageRequest, pb::SendMessageResponse, v1::SendMessageResponse>(
                    operation, params,
                )
                .await
            }
            "GetTask" => self.told::<v1::GetTaskRequest, pb::GetTaskRequest, pb::Task, v1::Task>(operation, params).await,
            "ListTasks" => {
                self.told::<v1::ListTasksRequest, pb::ListTasksRequest, pb::ListTasksResponse, v1::ListTasksResponse>(operation, params)
                    .await
            }
            "CancelTask" => self.told::<v1::CancelTaskRequest, pb::CancelTaskRequest, pb::Task, v1::Task>(operation, params).await,
            "GetExtendedAgentCard" => {
                self.told::<v1::GetExtendedCardRequest, pb::GetExtendedAgentCardRequest, pb::AgentCard, v1::AgentCard>(operation, params)
                    .await
            }
            "SendStreamingMessage" | "SubscribeToTask" => Ok(match self.stream(operation, params).await? {
                Ok(_) => bail!("{operation} is answered with a stream"),
                Err(status) => Err(status),
            }),
            _ => self.call_of_webhooks(operation, params).await,
        }
    }

    async fn call_of_webhooks(&mut self, operation: &str, params: Value) -> Result<Told> {
        use pb::TaskPushNotificationConfig as Spelled;
        use v1::{GetPushConfigRequest as One, TaskPushNotificationConfig as Config};
        match operation {
            "CreateTaskPushNotificationConfig" => self.told::<Config, Spelled, Spelled, Config>(operation, params).await,
            "GetTaskPushNotificationConfig" => {
                self.told::<One, pb::GetTaskPushNotificationConfigRequest, Spelled, Config>(operation, params).await
            }
            "ListTaskPushNotificationConfigs" => {
                self.told::<v1::ListPushConfigsRequest, pb::ListTaskPushNotificationConfigsRequest, pb::ListTaskPushNotificationConfigsResponse, v1::ListPushConfigsResponse>(operation, params).await
            }
            "DeleteTaskPushNotificationConfig" => {
                let one: One = serde_json::from_value(params)?;
                let gone = self.once::<_, ()>(operation, pb::DeleteTaskPushNotificationConfigRequest::from(one)).await?;
                Ok(gone.map(|()| json!({})))
            }
            other => bail!("there is no {other}"),
        }
    }

    /// Opens a stream.
    pub(super) async fn stream(&mut self, operation: &str, params: Value) -> Result<Result<Streaming<pb::StreamResponse>, Status>> {
        if operation == "SubscribeToTask" {
            let asks: v1::SubscribeRequest = serde_json::from_value(params)?;
            return self.open(operation, pb::SubscribeToTaskRequest::from(asks)).await;
        }
        let asks: v1::SendMessageRequest = serde_json::from_value(params)?;
        self.open(operation, pb::SendMessageRequest::from(asks)).await
    }

    async fn open<Q: Message + 'static>(&mut self, method: &str, message: Q) -> Result<Result<Streaming<pb::StreamResponse>, Status>> {
        let path = format!("/{}/{method}", pb::SERVICE).parse()?;
        let asks = self.asks(message);
        if let Err(status) = self.ready().await {
            return Ok(Err(status));
        }
        Ok(self.grpc.server_streaming(asks, path, ProstCodec::default()).await.map(tonic::Response::into_inner))
    }
}
