//! What this server tells of itself: made again when something happened, and now and then, as machines fall silent without an event.

use crate::app::App;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The shortest and the longest time between two.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(5);

/// Keeps it up to date as long as there is somebody to tell.
pub(super) async fn keep(app: App) {
    let (mut log, mut links) = (app.store.hub().log(), app.network.changes());
    loop {
        log.mark_unchanged();
        links.mark_unchanged();
        let is_alone = app.network.links().is_empty();
        if !is_alone {
            match app.what_is_told().await {
                Ok(state) => {
                    app.network.told.send_if_modified(|told| {
                        let is_news = told.as_deref() != Some(&state);
                        if is_news {
                            *told = Some(Arc::new(state));
                        }
                        is_news
                    });
                }
                Err(error) => tracing::warn!(%error, "what there is cannot be told to peers"),
            }
        }
        let something = async {
            if is_alone {
                drop(links.changed().await);
            } else {
                drop(timeout(LATE, log.changed()).await);
                sleep(SOON).await;
            }
        };
        tokio::select! {
            () = something => {}
            () = app.life.stopping() => return,
        }
    }
}
