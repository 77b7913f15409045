//! Which queued tasks workers get into their free slots.
//!
//! The queue of a worker, and that of all workers, is made of lanes: tasks for one codebase that ask the same of a worker. Whether a lane fits
//! is decided once, by its first task, so that however many tasks there are that a worker cannot take, those that it can are found. Two statements
//! answer for all workers of a batch: which lanes there are, and what the fitting ones begin with.

use super::claimant::Claimant;
use crate::domain::matching::{Needs, Offer, misfits};
use crate::store::Tx;
use crate::store::row::{Columns as _, to_json};
use crate::store::sql::statements;
use muster_protocol::ids::{CodebaseId, TaskId, WorkerId};
use muster_protocol::task::builtin_mode::REGISTER_CODEBASE;
use muster_protocol::time::Timestamp;
use sqlx::any::AnyRow;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// How many lanes one transaction looks at for a worker, which bounds how long it takes. Where there are more, the next one goes on behind them.
pub(super) const LANES: usize = 400;
/// How many lanes the poll of a plain worker looks at, all in one transaction: it has no second one.
pub(super) const LANES_OF_A_POLL: usize = 3 * LANES;

/// A place in the lanes of a worker: its own queue, then that of all workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LaneAt {
    queue: String,
    codebase: String,
    lane: String,
}

/// What a worker is looked for.
pub(super) struct Want<'a> {
    pub(super) claimant: &'a Claimant,
    /// How many tasks at most.
    pub(super) free: usize,
    /// Where to go on in the queue; from its beginning if nowhere.
    pub(super) after: Option<&'a LaneAt>,
    /// How many lanes are looked at.
    pub(super) most: usize,
}

/// What was found for it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Highest priority first, oldest first, each with the codebase it is to run in.
    pub(super) tasks: Vec<(TaskId, CodebaseId)>,
    /// Where the queue goes on; nothing if it was looked at to its end.
    pub(super) more: Option<LaneAt>,
}

macro_rules! next_lane {
    ($queue:literal, $codebase:literal, $lane:literal, $from:literal) => {
        concat!(
            "(SELECT t.id FROM ",
            $from,
            "tasks t WHERE t.state = 'submitted' AND t.held = 0 AND t.target_worker = ",
            $queue,
            " AND (t.target_codebase, t.lane) > (",
            $codebase,
            ", ",
            $lane,
            ") ORDER BY t.target_codebase, t.lane LIMIT 1)"
        )
    };
}

// From each place lane after lane, as many as are asked for at most.
macro_rules! lanes {
    ($places:literal) => {
        concat!(
            "WITH RECURSIVE place (n, queue, codebase, lane) AS (",
            $places,
            "),
            found (n, queue, depth, id) AS (
                SELECT p.n, p.queue, 1, ",
            next_lane!("p.queue", "p.codebase", "p.lane", ""),
            " FROM place p
                UNION ALL SELECT f.n, f.queue, f.depth + 1, ",
            next_lane!(
                "f.queue",
                "b.target_codebase",
                "b.lane",
                "(SELECT b.target_codebase, b.lane FROM tasks b WHERE b.id = f.id) b CROSS JOIN "
            ),
            " FROM found f WHERE f.id IS NOT NULL AND f.depth < $2)
            SELECT CAST(f.n AS BIGINT) AS n, t.target_codebase, t.lane, t.mode, t.model, t.capabilities, t.labels
            FROM found f CROSS JOIN tasks t WHERE t.id = f.id ORDER BY f.n, f.depth"
        )
    };
}

// A conversation runs one task at a time, in order. A worker that has not the directory hands a `register_codebase` back and is not asked again.
macro_rules! in_lanes {
    ($n:literal, $lanes:literal, $value:literal, $array:literal, $pair:literal, $text:literal) => {
        concat!(
            "SELECT CAST(",
            $n,
            " AS BIGINT) AS n, (SELECT ",
            $array,
            "(",
            $pair,
            "(q.id, q.priority))",
            $text,
            " FROM (
            SELECT t.id, t.priority FROM tasks t WHERE t.state = 'submitted' AND t.held = 0
            AND t.target_worker = ",
            $value,
            " ->> 0 AND t.target_codebase = ",
            $value,
            " ->> 1 AND t.lane = ",
            $value,
            " ->> 2 AND t.not_before <= $2
            AND NOT EXISTS (SELECT 1 FROM tasks e WHERE e.context_id = t.context_id AND e.completed_at IS NULL AND e.id <> t.id
                AND (e.held = 1 OR e.id < t.id))
            AND (t.mode <> 'register_codebase' OR NOT EXISTS (SELECT 1 FROM attempts a WHERE a.task_id = t.id AND (a.instance = ",
            $value,
            " ->> 3
                OR (a.instance IS NULL AND a.worker_id = ",
            $value,
            " ->> 4 AND a.outcome = 'handed_back'))))
            ORDER BY t.priority DESC, t.id LIMIT $3) q) AS found FROM ",
            $lanes
        )
    };
}

statements! {
    NEXT_LANES: lanes!("SELECT key, value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)"),
    postgres: lanes!("SELECT n, v ->> 0, v ->> 1, v ->> 2 FROM json_array_elements($1::text::json) WITH ORDINALITY AS j (v, n)");
    IN_LANES: in_lanes!("j.key", "json_each($1) j", "j.value", "json_group_array", "json_array", ""),
    postgres: in_lanes!("j.n", "json_array_elements($1::text::json) WITH ORDINALITY AS j (v, n)", "j.v", "json_agg", "json_build_array", "::text");
}

/// Chooses for all of them, in their order; none is found twice.
pub(super) async fn choose(tx: &mut Tx<'_>, wants: &[Want<'_>], now: Timestamp) -> sqlx::Result<Vec<Found>> {
    if wants.is_empty() {
        return Ok(Vec::new());
    }
    let chains = Chains::read(tx, wants).await?;
    let mut found = Vec::new();
    let mut fitting = Fitting::default();
    for want in wants {
        let (lanes, more) = chains.seen_by(want);
        let offer = Offer {
            worker: &want.claimant.id,
            capabilities: &want.claimant.capabilities,
            labels: &want.claimant.labels,
            models: &want.claimant.models,
        };
        let mut own = Vec::new();
        for lane in lanes {
            let Some(codebase) = want.claimant.room.place(lane.codebase().as_ref()) else { continue };
            if misfits(&lane.needs, &offer).is_empty() && want.claimant.room.has_place(&codebase, &lane.needs.mode) {
                own.push((fitting.enter(lane, want.claimant), codebase, lane));
            }
        }
        found.push((own, more));
    }
    let most = wants.iter().map(|want| want.free).sum();
    let heads = fitting.read(tx, most, now).await?;
    let mut taken = HashSet::new();
    Ok(wants.iter().zip(found).map(|(want, (lanes, more))| Found { tasks: take(want, &lanes, &heads, &mut taken), more }).collect())
}

/// The first of the lanes' tasks that nobody has taken and for which there is room.
fn take(
    want: &Want<'_>,
    lanes: &[(usize, CodebaseId, &Lane)],
    heads: &[Vec<(TaskId, i64)>],
    taken: &mut HashSet<TaskId>,
) -> Vec<(TaskId, CodebaseId)> {
    let mut all: Vec<_> = lanes
        .iter()
        .flat_map(|(n, codebase, lane)| {
            heads.get(*n).into_iter().flatten().map(move |(id, priority)| (Reverse(*priority), *id, codebase, *lane))
        })
        .collect();
    all.sort_by_key(|(priority, id, ..)| (*priority, *id));
    let mut room = want.claimant.room.clone();
    let mut chosen = Vec::new();
    for (_, id, codebase, lane) in all {
        if chosen.len() == want.free {
            break;
        }
        if !taken.contains(&id) && room.take(codebase, &lane.needs.mode) {
            taken.insert(id);
            chosen.push((id, codebase.clone()));
        }
    }
    chosen
}

/// Tasks of one queue that are for one codebase and ask the same of a worker.
struct Lane {
    at: LaneAt,
    needs: Needs,
}

impl Lane {
    fn read(row: &AnyRow, queue: &str) -> sqlx::Result<Self> {
        let needs = Needs {
            worker: (!queue.is_empty()).then(|| WorkerId(queue.to_owned())),
            codebase: None,
            model: row.maybe_text("model")?,
            capabilities: row.json("capabilities")?,
            labels: row.json("labels")?,
            mode: row.text("mode")?,
        };
        Ok(Self { at: LaneAt { queue: queue.to_owned(), codebase: row.text("target_codebase")?, lane: row.text("lane")? }, needs })
    }

    fn codebase(&self) -> Option<CodebaseId> {
        (!self.at.codebase.is_empty()).then(|| CodebaseId(self.at.codebase.clone()))
    }
}

/// The lanes after places in the queues.
struct Chains {
    by_place: HashMap<LaneAt, Vec<Lane>>,
}

impl Chains {
    async fn read(tx: &mut Tx<'_>, wants: &[Want<'_>]) -> sqlx::Result<Self> {
        let mut places: Vec<LaneAt> = Vec::new();
        let mut known = HashSet::new();
        for place in wants.iter().flat_map(places_of) {
            if known.insert(place.clone()) {
                places.push(place);
            }
        }
        let most = wants.iter().map(|want| want.most).max().unwrap_or(0);
        let asked: Vec<_> = places.iter().map(|place| (&place.queue, &place.codebase, &place.lane)).collect();
        let statement = NEXT_LANES.on(tx.dialect()).bind(to_json(&asked)).bind(i64::try_from(most).unwrap_or(i64::MAX));
        let mut by_place: HashMap<LaneAt, Vec<Lane>> = HashMap::new();
        for row in tx.all(statement).await? {
            let Some(place) = places.get(place_of(&row, tx)?) else { continue };
            by_place.entry(place.clone()).or_default().push(Lane::read(&row, &place.queue)?);
        }
        Ok(Self { by_place })
    }

    /// The lanes that a worker looks at: of its own queue, then of all workers'; and where to go on, if it may not look at more.
    fn seen_by(&self, want: &Want<'_>) -> (Vec<&Lane>, Option<LaneAt>) {
        let lanes = places_of(want).into_iter().flat_map(|place| self.by_place.get(&place).into_iter().flatten());
        let seen: Vec<&Lane> = lanes.take(want.most).collect();
        let more = if seen.len() == want.most { seen.last().map(|lane| lane.at.clone()) } else { None };
        (seen, more)
    }
}

/// Where a worker begins to look in its own queue and in that of all workers.
fn places_of(want: &Want<'_>) -> Vec<LaneAt> {
    let begin = |queue: &str| LaneAt { queue: queue.to_owned(), codebase: String::new(), lane: String::new() };
    match want.after {
        None => vec![begin(want.claimant.id.as_str()), begin("")],
        Some(after) if after.queue.is_empty() => vec![after.clone()],
        Some(after) => vec![after.clone(), begin("")],
    }
}

/// Counting from 0, as SQLite does; PostgreSQL counts from 1.
fn place_of(row: &AnyRow, tx: &Tx<'_>) -> sqlx::Result<usize> {
    let n = usize::try_from(row.count("n")?).unwrap_or(usize::MAX);
    Ok(match tx.dialect() {
        crate::store::sql::Dialect::Sqlite => n,
        crate::store::sql::Dialect::Postgres => n.saturating_sub(1),
    })
}

/// A lane as it is asked for: queue, codebase, name, and whom the rule on `register_codebase` is about.
type Asked = (String, String, String, String, String);

/// Lanes that fit somebody, each once.
#[derive(Default)]
struct Fitting {
    lanes: Vec<Asked>,
    places: HashMap<Asked, usize>,
}

impl Fitting {
    fn enter(&mut self, lane: &Lane, claimant: &Claimant) -> usize {
        // Whom it was shown before matters for that mode only; all other workers share the lane.
        let (instance, worker) = match lane.needs.mode.as_str() {
            REGISTER_CODEBASE => (claimant.instance.map(|instance| instance.to_string()).unwrap_or_default(), claimant.id.0.clone()),
            _ => (String::new(), String::new()),
        };
        let LaneAt { queue, codebase, lane } = lane.at.clone();
        let asked = (queue, codebase, lane, instance, worker);
        *self.places.entry(asked.clone()).or_insert_with(|| {
            self.lanes.push(asked);
            self.lanes.len() - 1
        })
    }

    /// The first tasks of each lane that may run now, with their priorities.
    async fn read(&self, tx: &mut Tx<'_>, most: usize, now: Timestamp) -> sqlx::Result<Vec<Vec<(TaskId, i64)>>> {
        let mut heads = vec![Vec::new(); self.lanes.len()];
        if self.lanes.is_empty() {
            return Ok(heads);
        }
        let statement = IN_LANES.on(tx.dialect()).bind(to_json(&self.lanes)).bind(now.0).bind(i64::try_from(most).unwrap_or(i64::MAX));
        for row in tx.all(statement).await? {
            if let Some(head) = heads.get_mut(place_of(&row, tx)?) {
                *head = row.maybe_json("found")?.unwrap_or_default();
            }
        }
        Ok(heads)
    }
}
