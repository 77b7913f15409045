//! Exports of messages: written as they are read, in chunks, the newest first, whatever their number.

use super::{CHUNK, flag};
use crate::api::extract::Query;
use crate::app::App;
use crate::auth::Principal;
use crate::domain::monitor::{Kinds, csv_cell};
use crate::error::ApiError;
use crate::monitor::Teller;
use crate::store::StoreError;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{Stream, StreamExt as _, once, unfold};
use muster_protocol::error::ErrorBody;
use muster_protocol::monitor::MonitorMessage;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use utoipa::IntoParams;

const DEFAULT_LIMIT: u64 = 10_000;
const CSV_HEAD: &str = "Timestamp,Type,Agent,Content,Response Time,Tokens,Error\n";

/// How much is exported.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// At most so many; 10000 if absent.
    limit: Option<u64>,
    /// `true`: all there are.
    all_messages: Option<String>,
}

impl ExportQuery {
    fn limit(&self) -> Result<u64, ApiError> {
        let all = flag("all_messages", self.all_messages.as_deref(), false)?;
        Ok(if all { u64::MAX } else { self.limit.unwrap_or(DEFAULT_LIMIT) })
    }
}

/// `GET /v1/monitor/export/json`
#[utoipa::path(get, path = "/v1/monitor/export/json", tag = "monitor", summary = "Export messages as JSON",
    description = "`{export_date, total_in_database, stats, messages, message_count}`, the newest message first.",
    params(ExportQuery), responses((status = 200, body = Object), (status = 400, body = ErrorBody)))]
pub(crate) async fn export_json(State(app): State<App>, _who: Principal, Query(query): Query<ExportQuery>) -> Result<Response, ApiError> {
    let limit = query.limit()?;
    let (total, stats, now) = (app.count_messages(&Kinds::default()).await?, app.monitor_stats().await?, app.now());
    let head = format!("{{\"export_date\":{},\"total_in_database\":{total},\"stats\":{},\"messages\":[", json!(now), json!(stats));
    let written = Arc::new(AtomicU64::new(0));
    let so_far = Arc::clone(&written);
    let rows = messages(app, limit).map(move |chunk| {
        let mut text = String::new();
        for message in chunk? {
            if so_far.fetch_add(1, Ordering::Relaxed) > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(&message).unwrap_or_else(|_| "null".to_owned()));
        }
        Ok(text)
    });
    let tail = once(async move { Ok(format!("],\"message_count\":{}}}", written.load(Ordering::Relaxed))) });
    let body = once(std::future::ready(Ok::<_, StoreError>(head))).chain(rows).chain(tail);
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

/// `GET /v1/monitor/export/csv`
#[utoipa::path(get, path = "/v1/monitor/export/csv", tag = "monitor", summary = "Export messages as CSV",
    description = "Every cell is quoted; one that a spreadsheet would take for a formula begins with `'`.",
    params(ExportQuery), responses((status = 200, content_type = "text/csv", body = String), (status = 400, body = ErrorBody)))]
pub(crate) async fn export_csv(State(app): State<App>, _who: Principal, Query(query): Query<ExportQuery>) -> Result<Response, ApiError> {
    let limit = query.limit()?;
    let name = format!("attachment; filename=\"a2a-logs-{}.csv\"", app.now().0 / 1_000);
    let rows = messages(app, limit).map(|chunk| chunk.map(|messages| messages.iter().map(csv_row).collect::<String>()));
    let body = once(std::future::ready(Ok::<_, StoreError>(CSV_HEAD.to_owned()))).chain(rows);
    Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)], Body::from_stream(body)).into_response())
}

fn csv_row(message: &MonitorMessage) -> String {
    let response_time = message.response_time.map(|ms| ms.to_string()).unwrap_or_default();
    let tokens = message.tokens.map(|tokens| tokens.to_string()).unwrap_or_default();
    let timestamp = message.timestamp.to_string();
    let cells = [
        timestamp.as_str(),
        &message.kind,
        &message.agent_name,
        &message.content,
        &response_time,
        &tokens,
        message.error.as_deref().unwrap_or_default(),
    ];
    let mut row = String::new();
    for (n, cell) in cells.into_iter().enumerate() {
        if n > 0 {
            row.push(',');
        }
        csv_cell(&mut row, cell);
    }
    row.push('\n');
    row
}

/// Up to `limit` messages in chunks, newest first, each read when the one before was sent. After an error there is no more, and the connection breaks
/// off: half an export must not look like a whole one.
fn messages(app: App, limit: u64) -> impl Stream<Item = Result<Vec<MonitorMessage>, StoreError>> + Send {
    unfold((Teller::new(app), u64::MAX, limit), |(mut teller, before, left)| async move {
        let most = u32::try_from(left.min(u64::from(CHUNK))).unwrap_or(CHUNK);
        if most == 0 {
            return None;
        }
        match teller.page(before, &Kinds::default(), most).await {
            Ok((messages, oldest)) => {
                let (oldest, count) = (oldest?, messages.len() as u64);
                Some((Ok(messages), (teller, oldest, left.saturating_sub(count))))
            }
            Err(error) => Some((Err(error), (teller, before, 0))),
        }
    })
}
