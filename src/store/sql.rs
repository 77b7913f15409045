//! The two databases and the few statements that differ between them.

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Embedded, one file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

impl Dialect {
    /// The dialect of a database URL; `None` if it is neither.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }

    /// The word for people and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A statement that the two databases spell differently.
#[derive(Debug, Clone, Copy)]
pub struct Sql {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

impl Sql {
    /// The spelling for a database.
    #[must_use]
    pub fn of(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }

    /// A statement of it, ready for its values.
    pub fn on(self, dialect: Dialect) -> Statement<'static> {
        sqlx::query(self.of(dialect))
    }
}

/// A statement with its values.
pub type Statement<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

/// Declares the statements of a file as constants, and `ALL` of them, so that a test can prepare each on both databases.
macro_rules! statements {
    ($($name:ident: $sqlite:expr $(, postgres: $postgres:expr)?;)+) => {
        $(const $name: $crate::store::sql::Sql = $crate::store::sql::statements!(@sql $sqlite $(, $postgres)?);)+

        /// Every statement of this file with its name.
        pub(in crate::store) const ALL: &[(&str, $crate::store::sql::Sql)] = &[$((stringify!($name), $name)),+];
    };
    (@sql $both:expr) => { $crate::store::sql::Sql { sqlite: $both, postgres: $both } };
    (@sql $sqlite:expr, $postgres:expr) => { $crate::store::sql::Sql { sqlite: $sqlite, postgres: $postgres } };
}
pub(in crate::store) use statements;
