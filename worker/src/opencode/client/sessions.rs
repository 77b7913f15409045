//! The calls about sessions as a whole: listing them, reading them page by page, copying one.

use super::{OpenCodeClient, OpenCodeError, Session, check, decode, unreachable};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// The largest page of messages that is read, in bytes.
const MAX_PAGE: u64 = 32 << 20;

/// A session of `GET /experimental/session`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The session that made it.
    #[serde(default, rename = "parentID")]
    pub parent_id: Option<String>,
    /// Its directory.
    #[serde(default)]
    pub directory: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// OpenCode's id of the project.
    #[serde(default, rename = "projectID")]
    pub project_id: String,
    /// The version that made it.
    #[serde(default)]
    pub version: String,
    /// Counts of its changes.
    #[serde(default)]
    pub summary: Value,
    /// What was given when it was made.
    #[serde(default)]
    pub metadata: Value,
    /// When it was made and changed.
    #[serde(default)]
    pub time: ListedTime,
}

/// When a session was made and changed, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct ListedTime {
    /// Made.
    #[serde(default)]
    pub created: i64,
    /// Changed last.
    #[serde(default)]
    pub updated: i64,
}

/// Some messages, oldest first, as OpenCode gives them.
#[derive(Debug, Default)]
pub struct MessagePage {
    /// The messages; none if they are too large to be read.
    pub messages: Vec<Value>,
    /// Whether they are too large to be read.
    pub too_large: bool,
    /// Where the older ones begin.
    pub next: Option<String>,
}

impl OpenCodeClient {
    /// Sessions of all directories, the newest first: those changed at `since` or later, and before `before`.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn list_sessions(&self, since: Option<i64>, before: Option<i64>, limit: usize) -> Result<Vec<Listed>, OpenCodeError> {
        let path = "/experimental/session";
        let mut query = vec![("limit", limit.to_string()), ("archived", "true".to_owned())];
        query.extend(since.map(|since| ("start", since.to_string())));
        query.extend(before.map(|before| ("cursor", before.to_string())));
        self.read(self.request(Method::GET, path).query(&query), path).await
    }

    /// A page of a session's messages: the newest ones, or those before a cursor.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn message_page(&self, session: &str, limit: usize, before: Option<&str>) -> Result<MessagePage, OpenCodeError> {
        let path = format!("/session/{session}/message");
        let limit = limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(before.map(|cursor| ("before", cursor)));
        let response = self.request(Method::GET, &path).query(&query).send().await.map_err(|e| unreachable(&e))?;
        let response = check(response, &path).await?;
        let next = next_cursor(&response).filter(|next| before != Some(next));
        // OpenCode says how long its answers are before it sends them.
        if response.content_length().is_some_and(|length| length > MAX_PAGE) {
            return Ok(MessagePage { too_large: true, next, ..MessagePage::default() });
        }
        Ok(MessagePage { messages: decode(response, &path).await?, too_large: false, next })
    }

    /// Copies a session: all of its messages, or those before one.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn fork(&self, session: &str, before: Option<&str>) -> Result<Session, OpenCodeError> {
        let path = format!("/session/{session}/fork");
        let body = before.map_or_else(|| json!({}), |message| json!({"messageID": message}));
        self.read(self.request(Method::POST, &path).json(&body), &path).await
    }

    /// Replaces the metadata of a session.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn set_metadata(&self, session: &str, metadata: &Value) -> Result<Session, OpenCodeError> {
        let path = format!("/session/{session}");
        self.read(self.request(Method::PATCH, &path).json(&json!({"metadata": metadata})), &path).await
    }

    /// Gives up what is kept in memory of a directory, or of all: it is read again from the files. Ends the runs there.
    ///
    /// # Errors
    /// [`OpenCodeError`].
    pub async fn forget(&self, directory: Option<&str>) -> Result<(), OpenCodeError> {
        match directory {
            Some(directory) => self.call(Method::POST, "/instance/dispose", &[("directory", directory)], &json!({})).await,
            None => self.call(Method::POST, "/global/dispose", &[], &json!({})).await,
        }
    }
}

fn next_cursor(response: &Response) -> Option<String> {
    response.headers().get("x-next-cursor").and_then(|cursor| cursor.to_str().ok()).map(str::to_owned)
}
