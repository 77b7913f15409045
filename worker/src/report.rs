//! Reporting one attempt: that it is begun, its entries in order, its end. Resumable: what the server has is known from
//! its answers, everything else waits in the journal for as long as it takes.

use crate::agent::{Fatal, Shared};
use crate::backoff::Backoff;
use crate::clock::BootTime;
use crate::spool::FinalReport;
use crate::task::attempt::{Attempt, Stop};
use muster_protocol::client::ClientError;
use muster_protocol::error::code;
use muster_protocol::stream::AppendEntries;
use muster_protocol::task::{ReportStatus, ReportedStatus};
use muster_protocol::worker::AttemptState;
use std::sync::Arc;
use std::time::Duration;

/// How much is sent at once, in bytes.
const BATCH: u64 = 262_144;
/// What a result is cut to if the server refuses its size, in bytes.
const CUT_RESULT: usize = 65_536;

/// What is to be said next.
enum Next {
    Begun(Option<String>),
    Entries,
    End(Box<FinalReport>),
    Nothing,
}

/// Where reporting goes from here.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    Go,
    Pause,
    PauseLong,
    Done,
}

/// Reports an attempt to its end, then lets it go.
pub async fn deliver(shared: Arc<Shared>, attempt: Arc<Attempt>) {
    let mut reporter = Reporter { known: Known::Nothing, batch: BATCH, cut_result: false };
    if attempt.journal.is_started() {
        // An attempt of an earlier start: what is known of it will be in its end.
        reporter.known = Known::of(attempt.journal.prepared().map(|prepared| prepared.session_id.0));
    }
    tokio::select! {
        () = reporter.run(&shared, &attempt) => {}
        () = attempt.closed() => {}
        // What is not delivered stays in the journal for the next start.
        () = shared.exit.cancelled() => return,
    }
    attempt.journal.remove();
    shared.table.remove(attempt.id);
}

/// What the server knows of the beginning of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Begun,
    Session(String),
}

impl Known {
    fn of(session: Option<String>) -> Self {
        session.map_or(Self::Begun, Self::Session)
    }
}

struct Reporter {
    /// What the server knows.
    known: Known,
    batch: u64,
    cut_result: bool,
}

impl Reporter {
    async fn run(&mut self, shared: &Shared, attempt: &Attempt) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let next = self.next(attempt);
            if matches!(next, Next::Nothing) {
                attempt.wake.notified().await;
                continue;
            }
            match self.say(shared, attempt, next).await {
                Then::Go => backoff.reset(),
                Then::Pause => tokio::time::sleep(backoff.pause()).await,
                Then::PauseLong => tokio::time::sleep(Duration::from_secs(30)).await,
                Then::Done => return,
            }
        }
    }

    fn next(&self, attempt: &Attempt) -> Next {
        let journal = &attempt.journal;
        let end = journal.end_report();
        if attempt.state() != AttemptState::Assigned && end.is_none() {
            let session = journal.prepared().map(|prepared| prepared.session_id.0);
            if self.known != Known::of(session.clone()) {
                return Next::Begun(session);
            }
        }
        if journal.acknowledged() < journal.next_seq() {
            return Next::Entries;
        }
        end.map_or(Next::Nothing, |report| Next::End(Box::new(report)))
    }

    async fn say(&mut self, shared: &Shared, attempt: &Attempt, next: Next) -> Then {
        let sent = BootTime::now();
        let mut done = false;
        let answer = match next {
            Next::Begun(session) => self.begun(shared, attempt, session).await,
            Next::Entries => self.entries(shared, attempt).await,
            Next::End(report) => {
                done = true;
                self.end(shared, attempt, *report).await
            }
            Next::Nothing => Ok(()),
        };
        match answer {
            Ok(()) => {
                shared.contact.reached();
                attempt.renew(sent);
                if done { Then::Done } else { Then::Go }
            }
            Err(error) => self.refused(shared, attempt, &error, done),
        }
    }

    async fn begun(&mut self, shared: &Shared, attempt: &Attempt, session: Option<String>) -> Result<(), ClientError> {
        let body = ReportStatus { session_id: session.as_deref().map(Into::into), ..status(shared, attempt, ReportedStatus::Running) };
        shared.server.report_status(attempt.id.task_id, &body).await?;
        self.known = Known::of(session);
        attempt.begun_known.send_replace(true);
        Ok(())
    }

    async fn entries(&self, shared: &Shared, attempt: &Attempt) -> Result<(), ClientError> {
        let entries = match attempt.journal.batch(self.batch) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!("{}: its journal cannot be read: {error}", attempt.describe());
                return Err(ClientError::Malformed { server: "the spool".to_owned(), reason: error.to_string() });
            }
        };
        let Some(first) = entries.first() else { return Ok(()) };
        let body = AppendEntries {
            worker_id: shared.worker_id.clone(),
            instance: Some(shared.instance),
            attempt: attempt.id.attempt,
            first_seq: first.seq,
            entries,
        };
        let appended = shared.server.append_entries(attempt.id.task_id, &body).await?;
        attempt.journal.acknowledge(appended.next_seq);
        Ok(())
    }

    async fn end(&self, shared: &Shared, attempt: &Attempt, report: FinalReport) -> Result<(), ClientError> {
        let digest = attempt.journal.digest();
        let result = report.result.map(|result| if self.cut_result { cut(&result) } else { result });
        let body = ReportStatus {
            result,
            error: report.error,
            error_code: report.error_code,
            session_id: attempt.journal.prepared().map(|prepared| prepared.session_id),
            usage: report.usage,
            changes: report.changes,
            entries: Some(attempt.journal.next_seq()),
            bytes: Some(digest.bytes),
            hash: Some(digest.hash),
            ..status(shared, attempt, report.status)
        };
        shared.server.report_status(attempt.id.task_id, &body).await.map(drop)
    }

    /// Decides what a failed request means.
    fn refused(&mut self, shared: &Shared, attempt: &Attempt, error: &ClientError, end: bool) -> Then {
        shared.contact.failed(error);
        match error.code() {
            code::GAP => {
                if let Some(next_seq) = error.next_seq() {
                    attempt.journal.acknowledge(next_seq);
                    return Then::Go;
                }
                Then::Pause
            }
            code::STALE_ATTEMPT | code::TERMINAL | code::HELD | code::NOT_FOUND => {
                tracing::info!("{}: no longer wanted by the server: {error}", attempt.describe());
                attempt.stop(Stop::Drop);
                // A run that is still going has to stop before its journal is forgotten; that closes the attempt.
                if end { Then::Done } else { Then::PauseLong }
            }
            code::SUPERSEDED => {
                shared.end(Fatal::Superseded(error.to_string()));
                Then::PauseLong
            }
            code::NOT_REGISTERED => {
                shared.register_again.notify_one();
                Then::Pause
            }
            code::TOO_LARGE => self.too_large(attempt, error, end),
            _ if error.is_retryable() => Then::Pause,
            _ => {
                tracing::warn!("{}: the server does not take a report: {error}", attempt.describe());
                Then::PauseLong
            }
        }
    }

    fn too_large(&mut self, attempt: &Attempt, error: &ClientError, end: bool) -> Then {
        if end && !self.cut_result {
            tracing::warn!("{}: its result is larger than the server takes ({error}); only its beginning is reported", attempt.describe());
            self.cut_result = true;
            return Then::Go;
        }
        if !end && self.batch > 1 {
            self.batch /= 4;
            return Then::Go;
        }
        tracing::warn!("{}: a report is larger than the server takes: {error}", attempt.describe());
        Then::PauseLong
    }
}

fn status(shared: &Shared, attempt: &Attempt, status: ReportedStatus) -> ReportStatus {
    let report = ReportStatus::new(status, shared.worker_id.clone(), attempt.id.attempt);
    ReportStatus { instance: Some(shared.instance), ..report }
}

fn cut(result: &str) -> String {
    let end = (0..=CUT_RESULT.min(result.len())).rev().find(|at| result.is_char_boundary(*at)).unwrap_or(0);
    format!(
        "{}\n\n[cut: the whole result has {} bytes, more than the server takes in one report; it is in the task's stream]",
        &result[..end],
        result.len()
    )
}
