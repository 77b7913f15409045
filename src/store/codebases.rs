//! Codebases: the key is (worker, path), so the same path on two machines is two codebases.

use super::attempts::{End, FinishTask};
use super::row::{Columns as _, to_json};
use super::sql::{Sql, statements};
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use muster_protocol::codebase::{Codebase, CodebaseStatus, RegisterCodebase};
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, WorkerId};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// Which codebases a list shows.
#[derive(Debug, Clone, Default)]
pub struct CodebaseFilter {
    /// Only of this worker.
    pub worker: Option<WorkerId>,
    /// Only with this path.
    pub path: Option<String>,
    /// Only with this name.
    pub name: Option<String>,
    /// Only with this in name or path, in any case.
    pub text: Option<String>,
}

macro_rules! select {
    () => {
        "SELECT c.id, c.worker_id, c.name, c.path, c.description, c.agent_config, c.is_global, c.parallel, c.git, c.problem, c.offline, \
         c.created_at, c.updated_at, w.name AS worker_name FROM codebases c LEFT JOIN workers w ON w.id = c.worker_id "
    };
}

statements! {
    GET: concat!(select!(), "WHERE c.id = $1");
    BY_ID: concat!(select!(), "WHERE c.id IN (SELECT value FROM json_each($1))"),
    postgres: concat!(select!(), "WHERE c.id IN (SELECT json_array_elements_text($1::text::json))");
    OF_WORKERS: concat!(select!(), "WHERE c.worker_id IN (SELECT value FROM json_each($1)) ORDER BY c.is_global DESC, c.name, c.id"),
    postgres: concat!(select!(), "WHERE c.worker_id IN (SELECT json_array_elements_text($1::text::json)) ORDER BY c.is_global DESC, c.name, c.id");
    AT: concat!(select!(), "WHERE c.worker_id = $1 AND c.path = $2");
    OF_WORKER: concat!(select!(), "WHERE c.worker_id = $1 ORDER BY c.is_global DESC, c.name, c.id");
    LIST: concat!(select!(), "WHERE ($1 = '' OR c.worker_id = $1) AND ($2 = '' OR c.path = $2) AND ($3 = '' OR c.name = $3)
        ORDER BY c.name, c.id LIMIT 5000");
    UPDATE: "UPDATE codebases SET name = $2, description = $3, agent_config = $4, is_global = $5, parallel = $6, git = $7, problem = $8,
        offline = 0, updated_at = $9 WHERE id = $1";
    DELETE: "DELETE FROM codebases WHERE id = $1";
    SET_GLOBAL: "UPDATE codebases SET is_global = CASE WHEN id = $2 THEN 1 ELSE 0 END, offline = CASE WHEN id = $2 THEN 0 ELSE offline END
        WHERE worker_id = $1 AND (is_global = 1 OR id = $2)";
    SET_OFFLINE: "UPDATE codebases SET offline = $2 WHERE worker_id = $1";
}

/// The statement that reads codebases by their ids, a JSON array.
pub(in crate::store) fn codebases_by_id() -> Sql {
    BY_ID
}

pub(in crate::store) fn read(row: &AnyRow) -> sqlx::Result<Codebase> {
    let offline = row.flag("offline")?;
    Ok(Codebase {
        id: CodebaseId(row.text("id")?),
        name: row.text("name")?,
        path: row.text("path")?,
        description: row.text("description")?,
        worker_id: Some(WorkerId(row.text("worker_id")?)),
        worker_name: row.maybe_text("worker_name")?,
        status: if offline { CodebaseStatus::Offline } else { CodebaseStatus::Active },
        problem: row.maybe_text("problem")?,
        is_global: row.flag("is_global")?,
        parallel: row.small("parallel")?,
        git: row.maybe_json("git")?,
        agent_config: row.json("agent_config")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Store {
    /// A codebase.
    ///
    /// # Errors
    /// Of the database.
    pub async fn codebase(&self, id: &CodebaseId) -> Result<Option<Codebase>, StoreError> {
        let row = GET.on(self.dialect()).bind(id.0.clone()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Codebases by name.
    ///
    /// # Errors
    /// Of the database.
    pub async fn codebases(&self, filter: &CodebaseFilter) -> Result<Vec<Codebase>, StoreError> {
        let query = LIST
            .on(self.dialect())
            .bind(filter.worker.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(filter.path.clone().unwrap_or_default())
            .bind(filter.name.clone().unwrap_or_default());
        let rows = query.fetch_all(self.readers()).await?;
        let mut codebases = rows.iter().map(read).collect::<sqlx::Result<Vec<_>>>()?;
        if let Some(text) = filter.text.as_ref().map(|text| text.to_lowercase()) {
            codebases.retain(|c| c.name.to_lowercase().contains(&text) || c.path.to_lowercase().contains(&text));
        }
        Ok(codebases)
    }
}

impl Tx<'_> {
    /// The codebases of workers.
    pub(in crate::store) async fn codebases_of_all(&mut self, workers: &[WorkerId]) -> sqlx::Result<Vec<Codebase>> {
        self.all(OF_WORKERS.on(self.dialect()).bind(to_json(&workers))).await?.iter().map(read).collect()
    }

    pub(in crate::store) async fn codebases_of(&mut self, worker: &WorkerId) -> sqlx::Result<Vec<Codebase>> {
        self.all(OF_WORKER.on(self.dialect()).bind(worker.0.clone())).await?.iter().map(read).collect()
    }

    /// Makes a codebase the only global one of its worker; it is there whenever its worker is.
    pub(in crate::store) async fn set_global_codebase(&mut self, worker: &WorkerId, id: &CodebaseId) -> sqlx::Result<()> {
        self.execute(SET_GLOBAL.on(self.dialect()).bind(worker.0.clone()).bind(id.0.clone())).await.map(|_| ())
    }

    pub(in crate::store) async fn set_codebases_offline(&mut self, worker: &WorkerId, _now: Timestamp) -> sqlx::Result<()> {
        self.execute(SET_OFFLINE.on(self.dialect()).bind(worker.0.clone()).bind(1_i64)).await.map(|_| ())
    }

    pub(in crate::store) async fn set_codebases_online(&mut self, worker: &WorkerId, _now: Timestamp) -> sqlx::Result<()> {
        self.execute(SET_OFFLINE.on(self.dialect()).bind(worker.0.clone()).bind(0_i64)).await.map(|_| ())
    }
}

/// Registers a codebase, or changes the one at its place.
#[derive(Debug, Clone)]
pub struct PutCodebase {
    /// The worker that has it.
    pub worker: WorkerId,
    /// What it is.
    pub codebase: RegisterCodebase,
    /// Settings of earlier clients; those that are there stay if absent.
    pub agent_config: Option<Value>,
    /// Its id, if it is new.
    pub new_id: CodebaseId,
    /// When.
    pub now: Timestamp,
}

impl PutCodebase {
    pub(in crate::store) fn registered(worker: &WorkerId, codebase: &RegisterCodebase, new_id: &CodebaseId, now: Timestamp) -> Self {
        Self { worker: worker.clone(), codebase: codebase.clone(), agent_config: None, new_id: new_id.clone(), now }
    }

    pub(in crate::store) async fn put(&self, tx: &mut Tx<'_>) -> sqlx::Result<Codebase> {
        let at = AT.on(tx.dialect()).bind(self.worker.0.clone()).bind(self.codebase.path.clone());
        let known = tx.optional(at).await?.as_ref().map(read).transpose()?;
        let id = self.write(tx, known.as_ref()).await?;
        tx.codebase(&id).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Puts it where this one is known, and answers its id.
    pub(in crate::store) async fn write(&self, tx: &mut Tx<'_>, known: Option<&Codebase>) -> sqlx::Result<CodebaseId> {
        match known {
            Some(known) => self.update(tx, known).await?,
            None => self.insert(tx),
        }
        Ok(known.map_or(&self.new_id, |known| &known.id).clone())
    }

    /// The codebase as it is stored if it is new.
    pub(in crate::store) fn made(&self, worker_name: &str) -> Codebase {
        let c = &self.codebase;
        Codebase {
            id: self.new_id.clone(),
            name: c.name.clone(),
            path: c.path.clone(),
            description: c.description.clone(),
            worker_id: Some(self.worker.clone()),
            worker_name: Some(worker_name.to_owned()),
            status: CodebaseStatus::Active,
            problem: c.problem.clone(),
            is_global: c.is_global,
            parallel: c.parallel.unwrap_or(1),
            git: c.git.clone(),
            agent_config: self.agent_config.clone().unwrap_or_else(|| json!({})),
            created_at: self.now,
            updated_at: self.now,
        }
    }

    fn insert(&self, tx: &mut Tx<'_>) {
        let c = &self.codebase;
        let columns = json!([
            self.new_id,
            self.worker,
            c.name,
            c.path,
            c.description,
            to_json(&self.agent_config.clone().unwrap_or_else(|| json!({}))),
            i64::from(c.is_global),
            c.parallel.unwrap_or(1),
            c.git.as_ref().map(to_json),
            c.problem,
            self.now.0,
            self.now.0,
        ]);
        tx.insert_codebase(&self.worker, &columns);
        let data = json!({ "name": c.name, "path": c.path, "worker_id": self.worker });
        tx.event(NewEvent { kind: kind::CODEBASE_REGISTERED, subject: format!("codebases/{}", self.new_id), at: self.now, data });
    }

    async fn update(&self, tx: &mut Tx<'_>, known: &Codebase) -> sqlx::Result<()> {
        let c = &self.codebase;
        let agent_config = self.agent_config.as_ref().unwrap_or(&known.agent_config);
        let statement = UPDATE
            .on(tx.dialect())
            .bind(known.id.0.clone())
            .bind(c.name.clone())
            .bind(c.description.clone())
            .bind(to_json(agent_config))
            .bind(i64::from(c.is_global || known.is_global))
            .bind(i64::from(c.parallel.unwrap_or(known.parallel)))
            .bind(c.git.as_ref().map(to_json))
            .bind(c.problem.clone())
            .bind(self.now.0);
        tx.execute(statement).await.map(|_| ())
    }
}

impl Write for PutCodebase {
    const NAME: &'static str = "put_codebase";
    type Output = Codebase;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Codebase> {
        self.put(tx).await
    }
}

/// Removes a codebase from the registry; its directory stays, what waits for it fails.
#[derive(Debug, Clone)]
pub struct RemoveCodebase {
    /// Which.
    pub id: CodebaseId,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveOutcome {
    /// Removed.
    Removed,
    /// There is no such codebase.
    NotFound,
    /// It is a worker's home directory, which stays.
    IsGlobal,
}

impl Write for RemoveCodebase {
    const NAME: &'static str = "remove_codebase";
    type Output = RemoveOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<RemoveOutcome> {
        let Some(codebase) = tx.codebase(&self.id).await? else { return Ok(RemoveOutcome::NotFound) };
        if codebase.is_global {
            return Ok(RemoveOutcome::IsGlobal);
        }
        for record in tx.tasks_queued_for(&self.id).await? {
            FinishTask { record: &record, end: End::codebase_removed(&self.id), now: self.now }.apply(tx).await?;
        }
        tx.execute(DELETE.on(tx.dialect()).bind(self.id.0.clone())).await?;
        let data = json!({ "name": codebase.name, "path": codebase.path, "worker_id": codebase.worker_id });
        tx.event(NewEvent { kind: kind::CODEBASE_REMOVED, subject: format!("codebases/{}", self.id), at: self.now, data });
        Ok(RemoveOutcome::Removed)
    }
}
