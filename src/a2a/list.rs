//! Listing tasks: by cursor, the newest status first.

use super::asked::Asked;
use super::error::{A2aError, Outcome};
use super::view::{Want, check_history, view_with};
use crate::store::a2a::{ToldFilter, ToldTask};
use muster_protocol::a2a::{ListTasksRequest, ListTasksResponse, State};
use muster_protocol::ids::{ContextId, TaskId};
use muster_protocol::time::Timestamp;
use std::collections::HashMap;

const DEFAULT_SIZE: u32 = 50;
const MOST: u32 = 100;

impl Asked {
    /// `ListTasks`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn list_tasks(&self, request: &ListTasksRequest) -> Outcome<ListTasksResponse> {
        let size = page_size(request.page_size, DEFAULT_SIZE)?;
        check_history(request.history_length)?;
        let token = request.page_token.as_deref().filter(|token| !token.is_empty());
        let before = token.map(read_token).transpose()?;
        let filter = ToldFilter {
            owner: self.who.id.clone(),
            context: request.context_id.clone().filter(|id| !id.is_empty()).map(ContextId),
            state: if request.status == State::Unspecified { None } else { request.status.known() },
            agent: self.agent.as_ref().map(|agent| self.app.tasks_of(agent)),
            since: request.status_timestamp_after,
        };
        if filter.context.as_ref().is_some_and(|context| context.0.contains('\0')) {
            return Err(A2aError::invalid("contextId", "must not contain U+0000"));
        }
        let store = &self.app.store;
        let mut found = store.told_tasks(&filter, before, size + 1).await?;
        let is_more = found.len() > size as usize;
        found.truncate(size as usize);
        let next_page_token = found.last().filter(|_| is_more).map(token_of).unwrap_or_default();
        let total = if before.is_none() && !is_more { found.len() as u64 } else { store.count_told(&filter).await? };
        let history = request.history_length.and_then(|n| usize::try_from(n).ok());
        let want = Want { history, artifacts: request.include_artifacts };
        let ids: Vec<TaskId> = found.iter().map(|told| told.record.task.id).collect();
        let later = if history == Some(0) { HashMap::new() } else { store.later_messages(&ids).await? };
        let mut tasks = Vec::with_capacity(found.len());
        for told in &found {
            tasks.push(view_with(&self.app, told, want, &later).await?);
        }
        Ok(ListTasksResponse { tasks, next_page_token, page_size: size, total_size: u32::try_from(total).unwrap_or(u32::MAX) })
    }
}

/// The size of a page.
///
/// # Errors
/// It is not from 1 to 100.
pub(super) fn page_size(asked: Option<i32>, default: u32) -> Outcome<u32> {
    match asked.map(u32::try_from) {
        None => Ok(default),
        Some(Ok(size)) if (1..=MOST).contains(&size) => Ok(size),
        Some(_) => Err(A2aError::invalid("pageSize", format!("must be from 1 to {MOST}"))),
    }
}

fn token_of(last: &ToldTask) -> String {
    format!("{}.{}", last.status_at.0, last.record.task.id)
}

fn read_token(token: &str) -> Outcome<(Timestamp, TaskId)> {
    let read = || {
        let (at, id) = token.split_once('.')?;
        Some((Timestamp(at.parse().ok()?), id.parse().ok()?))
    };
    read().ok_or_else(|| A2aError::invalid("pageToken", "is none that this server gave"))
}
