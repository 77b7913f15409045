//! What a peer reads here: what there is, what happens, and every few seconds a sign that this server is there.

use crate::app::App;
use crate::domain::federation::resume;
use crate::store::StoreError;
use futures_util::stream::{Stream, unfold};
use muster_protocol::event::Event;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Complaint, Line, Place, ServerState};
use std::time::Duration;
use tokio::time::timeout;

/// How often something is said.
const SIGN: Duration = Duration::from_millis(2_500);
/// How many events are read at once.
const PAGE: u32 = 500;

/// A peer's reading.
pub(super) struct Feed {
    app: App,
    reader: ServerId,
    /// The reader's start: what it wrote during that, it knows.
    reader_epoch: String,
    place: u64,
    /// What is said first.
    first: Option<Line>,
    said: Option<ServerState>,
    /// What was said last of whether the reader is heard.
    said_heard: Option<bool>,
}

impl Feed {
    /// Begins where the reader was.
    pub(super) async fn begin(app: App, reader: ServerId, reader_epoch: String, asked: &Place) -> Result<Self, StoreError> {
        let epochs = app.store.epochs().await?;
        let epochs: Vec<_> = epochs.iter().map(|start| (start.epoch.as_str(), start.begins_at)).collect();
        let (place, fault) = resume(asked, &epochs, app.store.log_head().await?);
        if let Some(fault) = &fault {
            tracing::warn!(peer.id = %reader, "a peer reads on from place {place}: {fault}");
        }
        let first = Some(Line::Begin { place: place_in(&app, place), fault });
        Ok(Self { app, reader, reader_epoch, place, first, said: None, said_heard: None })
    }

    /// What is to be said next; waits for it. None if the reader is no peer any more.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Line>>, StoreError> {
        let (mut log, mut changes, mut told) = (self.app.store.hub().log(), self.app.network.changes(), self.app.network.told.subscribe());
        let mut lines: Vec<_> = self.first.take().into_iter().collect();
        loop {
            log.mark_unchanged();
            changes.mark_unchanged();
            told.mark_unchanged();
            let Some(link) = self.app.network.link(self.reader) else { return Ok(None) };
            lines.extend(self.news());
            let heard = link.is_heard();
            if self.said_heard.replace(heard) != Some(heard) {
                lines.push(Line::Heard(heard));
            }
            let events = self.app.store.events_after(self.place, PAGE).await?;
            if let Some(last) = events.last() {
                self.place = last.sequence;
                let (reader, epoch) = (self.reader, self.reader_epoch.clone());
                lines.extend(events.into_iter().filter(|event| is_for(event, reader, &epoch)).map(|event| Line::Event(Box::new(event))));
                lines.push(Line::Told(place_in(&self.app, self.place)));
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            let waited = timeout(SIGN, async {
                tokio::select! {
                    _ = log.changed() => {}
                    _ = changes.changed() => {}
                    _ = told.changed() => {}
                }
            });
            if waited.await.is_err() {
                return Ok(Some(vec![Line::Told(place_in(&self.app, self.place))]));
            }
        }
    }

    /// What there is, if the reader does not know it.
    fn news(&mut self) -> Option<Line> {
        let told = self.app.network.told.borrow().clone()?;
        let complaint = self.app.network.complaint(self.reader, self.app.clock.uptime());
        let complaints = complaint.into_iter().map(|message| Complaint { server_id: self.reader, message }).collect();
        let state = ServerState { peers: self.app.network.known_peers(self.reader), complaints, ..ServerState::clone(&told) };
        if self.said.as_ref() == Some(&state) {
            return None;
        }
        self.said = Some(state.clone());
        Some(Line::State(Box::new(state)))
    }
}

/// What is not shared has no number; and what a reader wrote itself since it was started, it knows.
fn is_for(event: &Event, reader: ServerId, reader_epoch: &str) -> bool {
    event.originseq.is_some() && !(event.origin == reader && event.epoch == reader_epoch)
}

fn place_in(app: &App, sequence: u64) -> Place {
    Place { epoch: app.store.identity().epoch.clone(), sequence }
}

/// The feed as lines of JSON.
///
/// # Errors
/// Of the store.
pub async fn lines(
    app: App,
    reader: ServerId,
    reader_epoch: String,
    asked: &Place,
) -> Result<impl Stream<Item = Vec<u8>> + Send + 'static, StoreError> {
    let feed = Feed::begin(app, reader, reader_epoch, asked).await?;
    Ok(unfold(feed, |mut feed| async move {
        match feed.next().await {
            Ok(lines) => lines.map(|lines| (written(&lines), feed)),
            Err(error) => {
                tracing::warn!(%error, "a peer's reading ends: the log cannot be read");
                None
            }
        }
    }))
}

fn written(lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        match serde_json::to_writer(&mut text, line) {
            Ok(()) => text.push(b'\n'),
            Err(error) => tracing::error!("a line for a peer cannot be written: {error}"),
        }
    }
    text
}
