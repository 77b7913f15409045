//! A stand-in for the control plane's side of the worker's protocol: it assigns what a test tells it to and keeps what the
//! worker reports, with the refusals that the protocol names. The real one is tried against the worker elsewhere.

use super::sessions::Sessions;
use muster_protocol::digest::OutputDigest;
use muster_protocol::ids::TaskId;
use muster_protocol::stream::{AppendEntries, Entry};
use muster_protocol::task::{ReportStatus, ReportedStatus};
use muster_protocol::worker::{Drain, Pull, RegisterWorker};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(2);

/// What is known of one task.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) assignment: Value,
    pub(crate) attempt: u64,
    pub(crate) assigned: bool,
    pub(crate) begun: u32,
    pub(crate) session: Option<String>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) end: Option<ReportStatus>,
    pub(crate) verified: bool,
}

impl Known {
    /// All text of a kind.
    pub(crate) fn said(&self, kind: &str) -> String {
        self.data(kind).iter().filter_map(|data| data["delta"].as_str().map(str::to_owned)).collect()
    }

    /// The data of all entries of a kind.
    pub(crate) fn data(&self, kind: &str) -> Vec<Value> {
        self.entries
            .iter()
            .filter(|entry| entry.kind.as_str() == kind)
            .map(|entry| serde_json::from_str(entry.data.get()).unwrap())
            .collect()
    }
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own that a test turns")]
struct State {
    tasks: HashMap<TaskId, Known>,
    cancel: HashSet<TaskId>,
    registrations: Vec<RegisterWorker>,
    refuse_all: bool,
    refuse_begun: bool,
    refuse_drain: bool,
    lose_pull_answers: u32,
    superseded: bool,
    unregistered: bool,
    draining: bool,
    /// What the worker tells of its sessions; none of it is known to a server that was just set up.
    sessions: Sessions,
    drain_reason: Option<String>,
}

pub(crate) struct Plane {
    pub(crate) url: String,
    state: Mutex<State>,
    changed: Condvar,
}

impl Plane {
    pub(crate) fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let plane = Arc::new(Self { url, state: Mutex::default(), changed: Condvar::new() });
        let server = Arc::clone(&plane);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.serve(stream));
            }
        });
        plane
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Gives a task to the worker at its next pull.
    pub(crate) fn assign(&self, assignment: Value) -> TaskId {
        let id: TaskId = serde_json::from_value(assignment["task"]["id"].clone()).unwrap();
        let attempt = assignment["attempt"].as_u64().unwrap();
        self.lock().tasks.insert(id, Known { assignment, attempt, ..Known::default() });
        self.changed.notify_all();
        id
    }

    pub(crate) fn cancel(&self, id: TaskId) {
        self.lock().cancel.insert(id);
        self.changed.notify_all();
    }

    /// Gives the task to somebody else: what this worker says of it from now on is stale.
    pub(crate) fn take_away(&self, id: TaskId) {
        self.lock().tasks.get_mut(&id).unwrap().attempt += 1;
    }

    pub(crate) fn refuse_all(&self, refuse: bool) {
        self.lock().refuse_all = refuse;
    }

    pub(crate) fn refuse_begun(&self, refuse: bool) {
        self.lock().refuse_begun = refuse;
    }

    pub(crate) fn refuse_drain(&self, refuse: bool) {
        self.lock().refuse_drain = refuse;
    }

    pub(crate) fn lose_pull_answers(&self, count: u32) {
        self.lock().lose_pull_answers = count;
    }

    pub(crate) fn supersede(&self) {
        self.lock().superseded = true;
        self.changed.notify_all();
    }

    /// What the worker has told of its sessions.
    pub(crate) fn sessions(&self) -> Sessions {
        self.lock().sessions.clone()
    }

    /// Forgets everything: codebases get new ids.
    pub(crate) fn lose_database(&self) {
        let mut state = self.lock();
        state.sessions = Sessions { server: state.sessions.server + 1, ..Sessions::default() };
        state.registrations.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// Forgets the worker.
    pub(crate) fn forget(&self) {
        self.lock().registrations.clear();
        self.changed.notify_all();
    }

    pub(crate) fn unregistered(&self) -> bool {
        self.lock().unregistered
    }

    pub(crate) fn draining(&self) -> bool {
        self.lock().draining
    }

    pub(crate) fn drain_reason(&self) -> Option<String> {
        let state = self.lock();
        state.drain_reason.clone().filter(|_| state.draining)
    }

    pub(crate) fn registration(&self) -> Option<RegisterWorker> {
        self.lock().registrations.last().cloned()
    }

    pub(crate) fn task(&self, id: TaskId) -> Known {
        self.lock().tasks[&id].clone()
    }

    /// Waits until a task is as wanted.
    pub(crate) fn wait(&self, id: TaskId, what: &str, wanted: impl Fn(&Known) -> bool) -> Known {
        super::wait_for(&format!("{what} of task {id}"), super::LONG, || Some(self.task(id)).filter(|known| wanted(known)))
    }

    /// Waits until a task has ended.
    pub(crate) fn ended(&self, id: TaskId) -> (Known, ReportStatus) {
        let known = self.wait(id, "the end", |known| known.end.is_some());
        let end = known.end.clone().unwrap();
        (known, end)
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some((path, body)) = request(&mut reader) {
            if self.lock().refuse_all {
                return;
            }
            let Some((status, answer)) = self.route(&path, &body) else { return };
            let text = answer.to_string();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())).is_err() {
                return;
            }
        }
    }

    /// The answer; none if the connection is to be cut.
    fn route(&self, path: &str, body: &[u8]) -> Option<(u16, Value)> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["v1", "opencode", "workers", "register"] => Some(self.register(serde_json::from_slice(body).unwrap())),
            ["v1", "opencode", "workers", _, "pull"] => self.pull(&serde_json::from_slice(body).unwrap()),
            ["v1", "opencode", "workers", _, "drain"] => {
                let drain: Drain = serde_json::from_slice(body).unwrap();
                let mut state = self.lock();
                if state.refuse_drain {
                    return Some(refusal(503, "overloaded", &Value::Null));
                }
                state.draining = true;
                state.drain_reason = drain.reason;
                Some((200, json!({"success": true})))
            }
            ["v1", "opencode", "workers", _, "resume"] => {
                self.lock().draining = false;
                Some((200, json!({"success": true})))
            }
            ["v1", "opencode", "workers", _, "unregister"] => {
                self.lock().unregistered = true;
                Some((200, json!({"success": true})))
            }
            ["v1", "opencode", "codebases", codebase, "sessions", rest @ ..] => {
                let mut state = self.lock();
                Some(state.sessions.route(codebase, rest, body))
            }
            ["v1", "opencode", "tasks", id, "stream"] => Some(self.append(id.parse().unwrap(), serde_json::from_slice(body).unwrap())),
            ["v1", "opencode", "tasks", id, "status"] => Some(self.report(id.parse().unwrap(), serde_json::from_slice(body).unwrap())),
            _ => Some(refusal(404, "not_found", &Value::Null)),
        }
    }

    fn register(&self, body: RegisterWorker) -> (u16, Value) {
        let codebases = self.lock().sessions.codebases(&body);
        let worker = json!({"worker_id": body.worker_id, "name": body.name, "hostname": null, "capabilities": [], "models": [],
            "global_codebase_id": null, "status": "active", "registered_at": 0, "last_seen": 0, "drain_reason": self.drain_reason()});
        self.lock().registrations.push(body);
        self.changed.notify_all();
        (
            200,
            json!({"success": true, "worker": worker, "registration": 1, "lease_ms": 6_000, "wait_ms": WAIT.as_millis(), "codebases": codebases}),
        )
    }

    fn pull(&self, pull: &Pull) -> Option<(u16, Value)> {
        let begun = Instant::now();
        let running: HashSet<(TaskId, u64)> = pull.running.iter().map(|entry| (entry.task_id, entry.attempt)).collect();
        let mut state = self.lock();
        loop {
            if state.superseded {
                return Some(refusal(409, "superseded", &Value::Null));
            }
            if state.registrations.is_empty() {
                return Some(refusal(409, "not_registered", &Value::Null));
            }
            let mut assign = Vec::new();
            let mut cancel = Vec::new();
            let asked: Vec<TaskId> = state.cancel.iter().copied().collect();
            for (id, known) in &mut state.tasks {
                if known.end.is_none() && !running.contains(&(*id, known.attempt)) {
                    known.assigned = true;
                    assign.push(known.assignment.clone());
                }
            }
            for id in asked {
                let known = &state.tasks[&id];
                if known.end.is_none() {
                    cancel.push(json!({"task_id": id, "attempt": known.attempt}));
                }
            }
            let gone = |(id, attempt): &&(TaskId, u64)| state.tasks.get(id).is_none_or(|known| known.attempt != *attempt);
            let drop: Vec<Value> = running.iter().filter(gone).map(|(id, attempt)| json!({"task_id": id, "attempt": attempt})).collect();
            if !(assign.is_empty() && cancel.is_empty() && drop.is_empty()) {
                if state.lose_pull_answers > 0 {
                    state.lose_pull_answers -= 1;
                    return None;
                }
                state.cancel.clear();
                return Some((200, json!({"lease_ms": 6_000, "assign": assign, "cancel": cancel, "drop": drop})));
            }
            let left = WAIT.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Some((200, json!({"lease_ms": 6_000})));
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn append(&self, id: TaskId, body: AppendEntries) -> (u16, Value) {
        let mut state = self.lock();
        let Some(known) = state.tasks.get_mut(&id) else { return refusal(404, "not_found", &Value::Null) };
        if known.attempt != body.attempt {
            return refusal(409, "stale_attempt", &Value::Null);
        }
        let have = known.entries.len() as u64;
        if body.first_seq > have {
            return refusal(409, "gap", &json!({"next_seq": have}));
        }
        for entry in body.entries.into_iter().filter(|entry| entry.seq >= have) {
            known.entries.push(entry);
        }
        (200, json!({"next_seq": known.entries.len()}))
    }

    fn report(&self, id: TaskId, body: ReportStatus) -> (u16, Value) {
        let mut state = self.lock();
        let refuse_begun = state.refuse_begun;
        let Some(known) = state.tasks.get_mut(&id) else { return refusal(404, "not_found", &Value::Null) };
        if Some(known.attempt) != body.attempt {
            return refusal(409, "stale_attempt", &Value::Null);
        }
        if body.status == ReportedStatus::Running {
            if refuse_begun {
                return refusal(503, "overloaded", &Value::Null);
            }
            known.begun += 1;
            known.session = body.session_id.map(|session| session.0).or(known.session.take());
        } else {
            if body.entries.is_some_and(|count| count > known.entries.len() as u64) {
                return refusal(409, "gap", &json!({"next_seq": known.entries.len()}));
            }
            let mut digest = OutputDigest::default();
            known.entries.iter().for_each(|entry| digest.add(entry));
            known.verified = body.hash.as_ref() == Some(&digest.hash) && body.bytes == Some(digest.bytes);
            assert!(known.end.is_none(), "task {id} was ended twice");
            known.end = Some(body);
        }
        (200, json!({"success": true, "task": known.assignment["task"]}))
    }
}

fn refusal(status: u16, code: &str, details: &Value) -> (u16, Value) {
    (status, json!({"error": {"code": code, "message": code, "details": details}, "detail": code}))
}

/// Path and body of the next request of a connection.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|read| *read > 0)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}
