//! The rows of a measure written without the server: into its own tables, copies of a row of its own, as many in a commit as it has clients.

use crate::database::{Database, Kind};
use crate::load::{CLIENTS, Plan, per_second};
use crate::stats::{Latencies, Reading};
use anyhow::{Context as _, Result};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use std::time::Instant;

/// A table that is written, and the columns that differ from row to row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: &'static str,
    /// What must be unique.
    pub(crate) keys: &'static [&'static str],
}

/// What a durable create writes: a task, its conversation, its event.
pub(crate) const CREATE: [Table; 3] = [
    Table { name: "contexts", keys: &["id"] },
    Table { name: "tasks", keys: &["id", "context_id"] },
    Table { name: "events", keys: &["seq", "id", "origin_seq"] },
];

/// What a registration with ten models writes.
#[must_use]
pub(crate) fn registration() -> Vec<Table> {
    let event = Table { name: "events", keys: &["seq", "id", "origin_seq"] };
    let model = Table { name: "worker_models", keys: &["model_id", "worker_id"] };
    let worker = Table { name: "workers", keys: &["id"] };
    let codebase = Table { name: "codebases", keys: &["id", "worker_id"] };
    [worker, codebase, event, event].into_iter().chain(std::iter::repeat_n(model, 10)).collect()
}

/// Statements that copy rows of tables, `n` of each at a time.
pub(crate) struct Copier {
    connection: AnyConnection,
    statements: Vec<String>,
    next: i64,
}

impl Copier {
    /// Prepares the copying of the tables' rows in a database that a server has left.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn new(database: &Database, tables: &[Table]) -> Result<Self> {
        let mut connection = database.connect().await?;
        let mut statements = Vec::new();
        for (place, table) in tables.iter().enumerate() {
            let columns = database.columns(&mut connection, table.name).await?;
            let values: Vec<_> = columns.iter().map(|column| value(database.kind, table, column, place)).collect();
            let numbers = match database.kind {
                Kind::Sqlite => "(SELECT value AS n FROM json_each($1))",
                Kind::Postgres => "(SELECT value::bigint AS n FROM json_array_elements_text($1::text::json))",
            };
            statements.push(format!(
                "INSERT INTO {0} ({1}) SELECT {2} FROM {numbers} j, (SELECT * FROM {0} ORDER BY {3} DESC LIMIT 1) r",
                table.name,
                columns.join(", "),
                values.join(", "),
                table.keys[0],
            ));
        }
        Ok(Self { connection, statements, next: 1 << 40 })
    }

    /// Commits `rows` rows of each table.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn commit(&mut self, rows: usize) -> Result<()> {
        let last = self.next + i64::try_from(rows)?;
        let numbers = serde_json::to_string(&(self.next..last).collect::<Vec<_>>())?;
        self.next = last;
        let mut transaction = self.connection.begin().await?;
        for statement in &self.statements {
            let copied = sqlx::query(AssertSqlSafe(statement.as_str())).bind(numbers.clone()).execute(&mut *transaction).await;
            anyhow::ensure!(copied.with_context(|| statement.clone())?.rows_affected() == rows as u64, "not all rows were copied");
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Rows a second, as many in a commit as there are clients.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn rates(&mut self, plan: Plan) -> Result<Reading> {
        let warm = Instant::now();
        while warm.elapsed() < plan.warm_up {
            self.commit(CLIENTS).await?;
        }
        let (mut rates, mut all) = (Vec::new(), 0);
        for _ in 0..plan.rounds {
            let (begun, mut done) = (Instant::now(), 0);
            while begun.elapsed() < plan.round {
                self.commit(CLIENTS).await?;
                done += CLIENTS as u64;
            }
            rates.push(per_second(done, begun.elapsed()));
            all += done;
        }
        Ok(Reading::of_rounds(&rates, all))
    }

    /// How long commits of one row of each table take, one after the other.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn single_commits(&mut self, times: u32) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        for _ in 0..times {
            let begun = Instant::now();
            self.commit(1).await?;
            latencies.add(begun.elapsed());
        }
        Ok(latencies)
    }
}

/// What a column of a copy holds. Texts get the number and the place of the statement, so that no two copies are alike.
fn value(kind: Kind, table: &Table, column: &str, place: usize) -> String {
    let is_number = ["seq", "origin_seq"].contains(&column);
    let shift = place as u64 * (1 << 44);
    match (table.keys.contains(&column), is_number, kind) {
        (false, _, _) => format!("r.{column}"),
        (true, true, _) => format!("j.n + {shift}"),
        (true, false, Kind::Sqlite) => format!("'copy-' || j.n || '-{place}'"),
        (true, false, Kind::Postgres) => format!("'copy-' || j.n::text || '-{place}'"),
    }
}
