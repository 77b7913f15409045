//! Who asks for work: what of a worker decides what it gets.

use crate::domain::matching::writes;
use crate::store::Tx;
use crate::store::row::{Columns as _, to_json};
use crate::store::sql::statements;
use muster_protocol::ids::{CodebaseId, InstanceId, WorkerId};
use muster_protocol::worker::OPENCODE;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, HashMap};

/// A worker, as far as giving it work needs it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Claimant {
    pub(in crate::store) id: WorkerId,
    pub(in crate::store) instance: Option<InstanceId>,
    /// Its former instances, as they are stored.
    pub(in crate::store) former: String,
    pub(in crate::store) registration: u64,
    pub(in crate::store) gone: bool,
    pub(in crate::store) is_plain: bool,
    pub(in crate::store) draining: bool,
    pub(in crate::store) slots: usize,
    pub(in crate::store) capabilities: Vec<String>,
    pub(in crate::store) labels: BTreeMap<String, String>,
    pub(in crate::store) global_codebase: Option<CodebaseId>,
    pub(in crate::store) models: Vec<String>,
    /// How many tasks it has.
    pub(in crate::store) held: usize,
    pub(super) room: Room,
}

/// How many writing tasks there are, and may be, in each codebase of a worker.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    writing: BTreeMap<CodebaseId, u64>,
    parallel: BTreeMap<CodebaseId, u64>,
    global: Option<CodebaseId>,
}

macro_rules! workers {
    ($ids:literal, $array:literal, $pair:literal, $text:literal) => {
        concat!(
            "SELECT w.id, w.instance, w.former_instances, w.registration, w.gone, w.draining, w.slots, w.capabilities, w.labels,
            w.global_codebase_id, w.protocol_version,
            (SELECT COUNT(*) FROM tasks t WHERE t.held = 1 AND t.holder = w.id) AS held,
            (SELECT ",
            $array,
            "(m.model_id)",
            $text,
            " FROM worker_models m WHERE m.worker_id = w.id) AS models,
            (SELECT ",
            $array,
            "(",
            $pair,
            "(c.id, c.parallel))",
            $text,
            " FROM codebases c WHERE c.worker_id = w.id) AS parallel,
            (SELECT ",
            $array,
            "(",
            $pair,
            "(q.codebase_id, q.n))",
            $text,
            " FROM (SELECT t.codebase_id, COUNT(*) AS n FROM tasks t
                WHERE t.held = 1 AND t.writing = 1 AND t.holder = w.id GROUP BY t.codebase_id) q) AS writing
            FROM workers w WHERE w.id IN (",
            $ids,
            ")"
        )
    };
}

statements! {
    // All that decides, in one look: what the worker is, its models, how many writing tasks run in each of its codebases, and how many may.
    CLAIMANTS: workers!("SELECT value FROM json_each($1)", "json_group_array", "json_array", ""),
    postgres: workers!("SELECT json_array_elements_text($1::text::json)", "json_agg", "json_build_array", "::text");
}

impl Claimant {
    /// One that is no worker: it takes what is meant for it alone.
    pub(super) fn outside(id: WorkerId) -> Self {
        Self {
            id,
            instance: None,
            former: String::new(),
            registration: 0,
            gone: false,
            is_plain: false,
            draining: false,
            slots: 0,
            capabilities: Vec::new(),
            labels: BTreeMap::new(),
            global_codebase: None,
            models: Vec::new(),
            held: 0,
            room: Room::default(),
        }
    }

    pub(super) async fn read(tx: &mut Tx<'_>, id: &WorkerId) -> sqlx::Result<Option<Self>> {
        Ok(Self::read_all(tx, &[id]).await?.remove(id))
    }

    /// All of them that there are.
    pub(super) async fn read_all(tx: &mut Tx<'_>, ids: &[&WorkerId]) -> sqlx::Result<HashMap<WorkerId, Self>> {
        let rows = tx.all(CLAIMANTS.on(tx.dialect()).bind(to_json(&ids))).await?;
        rows.iter().map(|row| Self::from(row).map(|claimant| (claimant.id.clone(), claimant))).collect()
    }

    fn from(row: &AnyRow) -> sqlx::Result<Self> {
        let is_plain = row.maybe_int("protocol_version")?.is_none();
        let mut capabilities: Vec<String> = row.json("capabilities")?;
        if is_plain && !capabilities.iter().any(|c| c == OPENCODE) {
            // In the earlier system capabilities are for people: each of its workers runs OpenCode.
            capabilities.push(OPENCODE.to_owned());
        }
        let global_codebase = row.maybe_text("global_codebase_id")?.map(CodebaseId);
        let counts =
            |name: &str| row.maybe_json::<Vec<(CodebaseId, u64)>>(name).map(|counts| counts.unwrap_or_default().into_iter().collect());
        Ok(Self {
            id: WorkerId(row.text("id")?),
            instance: row.maybe_parsed("instance")?,
            former: row.text("former_instances")?,
            registration: row.count("registration")?,
            gone: row.flag("gone")?,
            is_plain,
            draining: row.flag("draining")?,
            slots: usize::try_from(row.count("slots")?).unwrap_or(0),
            capabilities,
            labels: row.json("labels")?,
            models: row.maybe_json("models")?.unwrap_or_default(),
            held: usize::try_from(row.count("held")?).unwrap_or(usize::MAX),
            room: Room { writing: counts("writing")?, parallel: counts("parallel")?, global: global_codebase.clone() },
            global_codebase,
        })
    }
}

impl Room {
    /// Where a task for a codebase runs: in that one if the worker has it, in the global one if it is for none.
    pub(super) fn place(&self, asked: Option<&CodebaseId>) -> Option<CodebaseId> {
        let codebase = asked.or(self.global.as_ref())?;
        self.parallel.contains_key(codebase).then(|| codebase.clone())
    }

    pub(super) fn has_place(&self, codebase: &CodebaseId, mode: &str) -> bool {
        let writing = self.writing.get(codebase).copied().unwrap_or(0);
        !writes(mode, self.global.as_ref() == Some(codebase)) || writing < self.parallel.get(codebase).copied().unwrap_or(0)
    }

    /// Takes the place for a task, if there is one.
    pub(super) fn take(&mut self, codebase: &CodebaseId, mode: &str) -> bool {
        if !self.has_place(codebase, mode) {
            return false;
        }
        if writes(mode, self.global.as_ref() == Some(codebase)) {
            *self.writing.entry(codebase.clone()).or_default() += 1;
        }
        true
    }
}
