//! What is noted of a peer as it speaks.

use super::link::{AFTER_FAULT, Link, SILENCE};
use crate::app::App;
use crate::sync::lock;
use muster_protocol::peer::{Hello, Place, ServerState};
use std::sync::Arc;
use std::time::Duration;

impl Link {
    /// It answered a hello.
    pub(super) fn met(&self, hello: &Hello) {
        let mut status = lock(&self.status);
        hello.name.clone_into(&mut status.name);
        hello.epoch.clone_into(&mut status.epoch);
        status.is_stranger = false;
        status.version = Some(hello.version.clone());
    }

    /// Something came from it.
    pub(super) fn heard(&self, app: &App) {
        let mut status = lock(&self.status);
        status.heard = app.clock.uptime();
        status.last_seen = Some(app.now());
    }

    /// It sent something by itself.
    pub(super) fn note_pushed(&self, app: &App) {
        self.heard(app);
        lock(&self.status).pushed = Some(app.clock.uptime());
    }

    /// Whether it sends by itself.
    pub(super) fn is_sending(&self, app: &App) -> bool {
        lock(&self.status).pushed.is_some_and(|at| app.clock.uptime().saturating_sub(at) <= SILENCE)
    }

    /// It is not to be looked for where it is not.
    pub(super) fn forget_address(&self) {
        lock(&self.status).url.clear();
    }

    pub(super) fn note_place(&self, place: &Place) {
        lock(&self.status).place = place.clone();
    }

    pub(super) fn note_told(&self, told: Arc<ServerState>) {
        lock(&self.status).told = Some(told);
    }

    pub(super) fn note_fault(&self, app: &App, fault: String) {
        let mut status = lock(&self.status);
        (status.fault, status.faulted) = (Some(fault), app.clock.uptime());
    }

    /// It said something that is right; a fault of before is forgotten in the end.
    pub(super) fn is_right(&self, app: &App) {
        let mut status = lock(&self.status);
        if app.clock.uptime().saturating_sub(status.faulted) > AFTER_FAULT {
            status.fault = None;
        }
    }

    /// What it says is wrong with this server; answers whether that is news.
    pub(super) fn note_accusation(&self, accusation: Option<String>) -> bool {
        let mut status = lock(&self.status);
        let is_news = status.accusation != accusation;
        status.accusation = accusation;
        is_news
    }

    /// It has told all that it has to tell.
    pub(super) fn note_idle(&self, app: &App) {
        lock(&self.status).idle = app.clock.uptime();
    }

    /// When it had told all, last.
    pub(super) fn idle(&self) -> Duration {
        lock(&self.status).idle
    }

    /// Notes under which address its agents are known now; answers whether that is another one.
    pub(super) fn agents_are_at(&self, url: &str) -> bool {
        lock(&self.status).agents_at.replace(url.to_owned()).is_none_or(|former| former != url)
    }

    /// Whether it was only told of so far.
    pub(super) fn is_stranger(&self) -> bool {
        lock(&self.status).is_stranger
    }

    /// It said hello: this is the start of it that counts, and where it says that it is.
    pub(super) fn said_hello(&self, epoch: &str, url: &str) {
        let mut status = lock(&self.status);
        epoch.clone_into(&mut status.epoch);
        url.clone_into(&mut status.advertised);
    }
}
