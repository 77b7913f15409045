//! Webhooks of tasks: kept, read, forgotten, and told what becomes of their tasks.
//!
//! ```text
//! a commit ─▶ hub: which tasks changed ─▶ driver: whose turn it is ─▶ turn: stream entries after the webhook's place,
//!             as A2A events ─▶ post: one request each, to public addresses only ─▶ the place moves on
//! ```

mod driver;
mod post;
mod queue;
mod turn;

pub(crate) use driver::deliver;

use super::asked::Asked;
use super::error::{A2aError, Outcome};
use super::list::page_size;
use super::version::Version;
use crate::domain::webhook::is_public;
use crate::store::webhooks::{DeleteWebhook, MOST_WEBHOOKS, PutWebhook};
use muster_protocol::a2a::{
    DeletePushConfigRequest, ErrorKind, GetPushConfigRequest, ListPushConfigsRequest, ListPushConfigsResponse, TaskPushNotificationConfig,
};
use muster_protocol::ids::{MAX_ID_LEN, TaskId, is_acceptable_id};
use url::Url;

/// All of a task's.
const ALL: u32 = 100;

impl Asked {
    /// `CreateTaskPushNotificationConfig`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn create_push(&self, config: TaskPushNotificationConfig) -> Outcome<TaskPushNotificationConfig> {
        self.check_push(&config)?;
        let task = self.own(&config.task_id).await?.record.task.id;
        self.put_push(task, config, None).await
    }

    /// `GetTaskPushNotificationConfig`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn get_push(&self, request: &GetPushConfigRequest) -> Outcome<TaskPushNotificationConfig> {
        self.demand_push()?;
        let task = self.own(&request.task_id).await?.record.task.id;
        let found = if is_acceptable_id(&request.id) { self.app.store.webhook_config(task, &request.id).await? } else { None };
        found.ok_or_else(|| {
            let message = format!("the task has no webhook `{}`", crate::error::shown(&request.id));
            A2aError::new(ErrorKind::TaskNotFound, message)
        })
    }

    /// `ListTaskPushNotificationConfigs`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn list_push(&self, request: &ListPushConfigsRequest) -> Outcome<ListPushConfigsResponse> {
        self.demand_push()?;
        let size = page_size(request.page_size, ALL)?;
        let task = self.own(&request.task_id).await?.record.task.id;
        let after = request.page_token.as_deref().unwrap_or_default();
        if !after.is_empty() && !is_acceptable_id(after) {
            return Err(A2aError::invalid("pageToken", "is none that this server gave"));
        }
        let mut configs = self.app.store.webhook_configs(task, after, size + 1).await?;
        let is_more = configs.len() > size as usize;
        configs.truncate(size as usize);
        let next_page_token = configs.last().filter(|_| is_more).map(|last| last.id.clone()).unwrap_or_default();
        Ok(ListPushConfigsResponse { configs, next_page_token })
    }

    /// `DeleteTaskPushNotificationConfig`, as often as one likes.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn delete_push(&self, request: &DeletePushConfigRequest) -> Outcome<()> {
        self.demand_push()?;
        let task = self.own(&request.task_id).await?.record.task.id;
        if is_acceptable_id(&request.id) {
            self.app.store.write(DeleteWebhook { task, id: request.id.clone() }).await?;
        }
        Ok(())
    }

    fn demand_push(&self) -> Outcome<()> {
        if self.app.config.a2a.push_notifications {
            return Ok(());
        }
        Err(A2aError::new(
            ErrorKind::PushNotificationNotSupported,
            "this server sends no push notifications; subscribe to the task instead",
        ))
    }

    /// Checks a webhook by itself.
    pub(super) fn check_push(&self, config: &TaskPushNotificationConfig) -> Outcome<()> {
        self.demand_push()?;
        if !config.id.is_empty() && !is_acceptable_id(&config.id) {
            return Err(A2aError::invalid("id", format!("must be 1 to {MAX_ID_LEN} printable ASCII characters without space or slash")));
        }
        let url = Url::parse(&config.url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else { return Err(A2aError::invalid("url", "must be an http or https address")) };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(A2aError::invalid("url", "must not name a user or a password; use `authentication`"));
        }
        let address = post::literal(&url).filter(|address| !self.app.config.a2a.webhooks_to_private && !is_public(*address));
        if let Some(address) = address {
            let reason =
                format!("{address} is no public address: nothing is sent there (the server's `a2a.webhooks_to_private` allows it)");
            return Err(A2aError::invalid("url", reason));
        }
        let is_visible = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
        let authentication = config.authentication.as_ref();
        let words =
            [config.token.as_deref(), authentication.map(|a| a.scheme.as_str()), authentication.and_then(|a| a.credentials.as_deref())];
        if words.into_iter().flatten().any(|word| !is_visible(word)) {
            return Err(A2aError::invalid("authentication", "token, scheme and credentials are sent as headers: printable ASCII only"));
        }
        Ok(())
    }

    /// Keeps a webhook that was checked; it is told the task as it is at a place, and all that follows. Without an id it gets one: in 0.3 the
    /// task's, by which it is read back.
    pub(super) async fn put_push(
        &self,
        task: TaskId,
        config: TaskPushNotificationConfig,
        begins_at: Option<u64>,
    ) -> Outcome<TaskPushNotificationConfig> {
        let now = self.app.now();
        let id = match (config.id.is_empty(), self.version) {
            (false, _) => config.id.clone(),
            (true, Version::V03) => task.to_string(),
            (true, Version::V1) => self.app.ids.uuid(now).to_string(),
        };
        let config = TaskPushNotificationConfig { id, task_id: task.to_string(), ..config };
        let (version, revision) = (self.version.as_str(), self.app.ids.uuid(now));
        if !self.app.store.write(PutWebhook { task, config: config.clone(), version, revision, begins_at, now }).await? {
            return Err(A2aError::invalid("id", format!("the task has {MOST_WEBHOOKS} webhooks already; delete one")));
        }
        Ok(config)
    }
}
