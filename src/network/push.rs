//! What a peer sends by itself, as it cannot be reached.

use super::link::Link;
use super::receive::Receiver;
use crate::app::App;
use crate::error::ApiError;
use muster_protocol::error::code;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Line, PeerState, PushTaken, Pushed};
use std::sync::Arc;

/// Takes what a peer sends that cannot be reached.
///
/// # Errors
/// 409 if it must say hello first; what is wrong with what it sent.
pub async fn take_push(app: &App, peer: ServerId, pushed: Pushed) -> Result<PushTaken, ApiError> {
    let link = app.network.link(peer).ok_or_else(|| ApiError::not_found("peer", peer))?;
    let mut receiver = link.pushed.lock().await;
    let mut lines = Vec::with_capacity(pushed.lines.len());
    for line in pushed.lines {
        lines.push(serde_json::from_value::<Line>(line).map_err(|e| ApiError::invalid("lines", e.to_string()))?);
    }
    // Another start than the one that said hello last, so perhaps another server of that identity: who it is, and where, is to be found out first.
    let met = link.epoch();
    if !met.is_empty() && start_of(&lines).is_some_and(|start| start != met) {
        return Err(ApiError::conflict(code::CONFLICT, "another start of this server said hello meanwhile: say hello again"));
    }
    if matches!(lines.first(), Some(Line::Begin { .. })) {
        *receiver = Some(Receiver::new(app.clone(), Arc::clone(&link)));
    }
    let Some(receiver) = receiver.as_mut() else {
        return Err(ApiError::conflict(code::CONFLICT, "the first line must be `begin`"));
    };
    link.note_pushed(app);
    link.turn_if_down(app);
    if let Err(error) = receiver.take(lines).await {
        link.note_fault(app, error.to_string());
        return Err(ApiError::invalid("lines", error.to_string()));
    }
    Ok(PushTaken { place: receiver.place().clone(), followed: link.is_reached() })
}

/// The start of the server that sent these.
fn start_of(lines: &[Line]) -> Option<&str> {
    lines.iter().find_map(|line| match line {
        Line::Begin { place, .. } | Line::Told(place) => Some(place.epoch.as_str()),
        _ => None,
    })
}

impl Link {
    /// A peer that sends by itself does so again.
    fn turn_if_down(&self, app: &App) {
        if !self.is_heard() {
            self.turn(app, PeerState::OutboundOnly, Some("it cannot be reached from here, and sends what it has".to_owned()));
        }
    }
}
