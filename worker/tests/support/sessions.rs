//! What the stand-in for the control plane keeps of sessions, and how often it was told.

use muster_protocol::session::{SessionMessage, SessionReport, SyncMessages, SyncSessions};
use muster_protocol::worker::RegisterWorker;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A session as it was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) codebase: String,
    pub(crate) report: SessionReport,
    pub(crate) messages: BTreeMap<String, SessionMessage>,
}

impl Told {
    /// The texts of all messages, with who said them.
    pub(crate) fn said(&self) -> Vec<String> {
        let text = |message: &SessionMessage| {
            let texts = message.parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str());
            format!("{}: {}", message.role.as_deref().unwrap_or_default(), texts.collect::<Vec<_>>().join(""))
        };
        let mut all: Vec<&SessionMessage> = self.messages.values().collect();
        all.sort_by_key(|message| message.time["created"].as_i64());
        all.into_iter().map(text).collect()
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    pub(crate) server: u32,
    pub(crate) all: BTreeMap<String, Told>,
    /// How many rows and messages were told, again and again.
    pub(crate) rows: usize,
    pub(crate) messages: usize,
    /// The largest body.
    pub(crate) largest: usize,
}

impl Sessions {
    pub(crate) fn codebases(&self, registered: &RegisterWorker) -> Vec<Value> {
        let codebase = |codebase: &muster_protocol::codebase::RegisterCodebase| {
            json!({"id": format!("{}-{}", codebase.name, self.server), "name": codebase.name, "path": codebase.path, "description": "",
                "worker_id": registered.worker_id, "status": "active", "is_global": codebase.is_global, "git": null, "created_at": 0, "updated_at": 0})
        };
        registered.codebases.iter().map(codebase).collect()
    }

    pub(crate) fn route(&mut self, codebase: &str, rest: &[&str], body: &[u8]) -> (u16, Value) {
        if !codebase.ends_with(&format!("-{}", self.server)) {
            return (404, json!({"error": {"code": "not_found", "message": "no such codebase", "details": null}, "detail": ""}));
        }
        self.largest = self.largest.max(body.len());
        match rest {
            ["sync"] => {
                let body: SyncSessions = serde_json::from_slice(body).unwrap();
                self.rows += body.sessions.len();
                let count = body.sessions.len();
                for report in body.sessions {
                    let messages = self.all.remove(&report.id.0).map(|told| told.messages).unwrap_or_default();
                    self.all.insert(report.id.0.clone(), Told { codebase: codebase.to_owned(), report, messages });
                }
                for id in body.deleted {
                    self.all.remove(&id.0);
                }
                (200, json!({"success": true, "sessions_count": count}))
            }
            [session, "messages", "sync"] => {
                let body: SyncMessages = serde_json::from_slice(body).unwrap();
                let Some(told) = self.all.get_mut(*session) else {
                    return (404, json!({"error": {"code": "not_found", "message": "no such session", "details": null}, "detail": ""}));
                };
                self.messages += body.messages.len();
                let count = body.messages.len();
                told.messages.extend(body.messages.into_iter().map(|message| (message.id.clone(), message)));
                for id in body.deleted {
                    told.messages.remove(&id);
                }
                (200, json!({"success": true, "messages_count": count}))
            }
            _ => (404, json!({"error": {"code": "not_found", "message": "", "details": null}, "detail": ""})),
        }
    }
}
