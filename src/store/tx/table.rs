//! The statement that writes all rows of a batch. Its columns are named once, here, for both databases.

use crate::store::sql::Sql;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Rows of a table, which come as a JSON array of arrays in a parameter of their own.
struct Rows {
    table: &'static str,
    how: How,
    /// In the order of the arrays; those that end in `#` are numbers.
    columns: &'static str,
    /// Columns of new rows that are always the same, and what they hold.
    fixed: &'static [(&'static str, &'static str)],
}

/// How rows are written.
#[derive(Clone, Copy)]
enum How {
    /// They are new.
    Insert,
    /// They are there; the first so many columns say which they are.
    Update(usize),
    /// They are new, or take the place of those with the same first so many columns.
    Put(usize),
    /// They are new, or the rest is added to those with the same first so many columns.
    Add(usize),
}
use How::{Add, Insert, Put, Update};

/// In the order of the parameters. SQLite carries them out one after the other; in PostgreSQL, where they are one statement, they see none of
/// each other's rows, so that no row may be in two of them.
const ALL: [Rows; 14] = [
    Rows {
        table: "contexts",
        how: Insert,
        columns: "id owner worker_id codebase_id session_id fork_of created_at# updated_at#",
        fixed: &[],
    },
    Rows {
        table: "tasks",
        how: Insert,
        columns: "id owner context_id parent_id retry_of title prompt mode model target target_worker target_codebase capabilities labels \
            priority# not_before# deadline# on_lost max_attempts# metadata state writing# result entries# created_at# updated_at# \
            completed_at# lane",
        fixed: &[("held", "0"), ("attempt", "0"), ("losses", "0"), ("codebase_id", "''"), ("continuation", "0"), ("changes", "'[]'")],
    },
    Rows {
        table: "tasks",
        how: Update(1),
        columns: "id state held# holder attempt# codebase_id writing# session_id started_at# disconnected_at# cancel_asked_at# \
            cancel_confirmed# verified# result error error_code usage changes entries# updated_at# completed_at# losses# continuation# \
            target_worker target_codebase",
        fixed: &[],
    },
    Rows { table: "tasks", how: Update(1), columns: "id entries# updated_at#", fixed: &[] },
    Rows {
        table: "attempts",
        how: Insert,
        columns: "task_id attempt# worker_id instance state outcome session_id assigned_at# started_at# ended_at# next_seq# bytes# hash",
        fixed: &[],
    },
    Rows {
        table: "attempts",
        how: Update(2),
        columns: "task_id attempt# instance state outcome session_id started_at# ended_at# next_seq# bytes# hash",
        fixed: &[],
    },
    Rows { table: "stream_entries", how: Insert, columns: "task_id task_seq# attempt# at# kind data", fixed: &[] },
    Rows { table: "events", how: Insert, columns: "seq# id origin epoch origin_seq# kind subject at# data", fixed: &[] },
    Rows { table: "log_head", how: Update(1), columns: "id# seq# shared#", fixed: &[] },
    Rows {
        table: "workers",
        how: Put(1),
        columns: "id name hostname capabilities labels models default_model slots# global_codebase_id protocol_version# version os arch \
            opencode_version instance former_instances registration# draining# drain_reason alarm registered_at# updated_at# last_seen#",
        fixed: &[("gone", "0")],
    },
    Rows {
        table: "codebases",
        how: Insert,
        columns: "id worker_id name path description agent_config is_global# parallel# git problem created_at# updated_at#",
        fixed: &[("offline", "0")],
    },
    Rows { table: "idempotency", how: Put(2), columns: "principal key hash task_id created_at#", fixed: &[] },
    Rows { table: "worker_models", how: Insert, columns: "worker_id model_id", fixed: &[] },
    Rows { table: "task_counts", how: Add(2), columns: "owner state n#", fixed: &[] },
];

/// PostgreSQL only: the batch is remembered, so that its fate can be looked up if the connection is lost while it commits. Its row is its id, when it
/// was, and before when others are forgotten.
const REMEMBER_BATCH: &str = "DELETE FROM batches WHERE committed_at < ($15::text::json -> 0 ->> 2)::bigint";
const ADD_BATCH: &str =
    "INSERT INTO batches (id, committed_at) SELECT v ->> 0, (v ->> 1)::bigint FROM json_array_elements($15::text::json) v";

static SQLITE: LazyLock<String> = LazyLock::new(|| {
    let statements: Vec<_> = ALL.iter().zip(1..).map(|(rows, n)| rows.statement(&format!("json_each(${n})"), "value", false)).collect();
    statements.join(";\n")
});

static POSTGRES: LazyLock<String> = LazyLock::new(|| {
    let source = |n: usize| format!("json_array_elements(${n}::text::json) v");
    let statements = ALL.iter().zip(1..).map(|(rows, n)| rows.statement(&source(n), "v", true));
    let mut sql = "WITH ".to_owned();
    for (n, statement) in (1..).zip(statements.chain([REMEMBER_BATCH.to_owned()])) {
        let comma = if n == 1 { "" } else { ",\n" };
        // Writing to a text does not fail.
        let _ = write!(sql, "{comma}rows_{n} AS ({statement})");
    }
    format!("{sql}\n{ADD_BATCH}")
});

/// The statement.
pub(super) fn write_all() -> Sql {
    Sql { sqlite: SQLITE.as_str(), postgres: POSTGRES.as_str() }
}

impl Rows {
    /// `source` yields the rows as `row`. PostgreSQL wants to be told what is a number.
    fn statement(&self, source: &str, row: &str, cast: bool) -> String {
        let columns: Vec<(&str, String)> = self
            .columns
            .split(' ')
            .enumerate()
            .map(|(n, column)| match column.strip_suffix('#') {
                Some(number) if cast => (number, format!("({row} ->> {n})::bigint")),
                _ => (column.trim_end_matches('#'), format!("{row} ->> {n}")),
            })
            .collect();
        let table = self.table;
        let listed = |items: &[&str]| items.join(", ");
        let fixed = self.fixed.iter().map(|(name, value)| (*name, *value));
        let (names, values): (Vec<_>, Vec<_>) = columns.iter().map(|(name, value)| (*name, value.as_str())).chain(fixed).unzip();
        let insert = format!("INSERT INTO {table} ({}) SELECT {} FROM {source}", listed(&names), listed(&values));
        let keys = match self.how {
            Insert => return insert,
            Put(keys) | Add(keys) => {
                let (key, rest) = names.split_at(keys);
                let key = key.join(", ");
                let older = |name: &str| if let Add(_) = self.how { format!("{table}.{name} + ") } else { String::new() };
                let set: Vec<_> = rest.iter().map(|name| format!("{name} = {}excluded.{name}", older(name))).collect();
                // SQLite would take ON for a part of the join without the WHERE.
                return format!("{insert} WHERE 1 = 1 ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "));
            }
            Update(keys) => keys,
        };
        let (keys, rest) = columns.split_at(keys);
        let set: Vec<_> = rest.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let found: Vec<_> = keys.iter().map(|(name, value)| format!("{table}.{name} = {value}")).collect();
        format!("UPDATE {table} SET {} FROM {source} WHERE {}", set.join(", "), found.join(" AND "))
    }
}
