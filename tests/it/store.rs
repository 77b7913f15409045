//! The store, on both databases: every case runs once on SQLite and once on PostgreSQL.

mod append;
mod bench;
mod claim;
mod counts;
mod disaster;
mod external;
mod group_commit;
mod log;
mod lose;
mod opening;
mod own;
mod plain;
mod plans;
mod pull;
mod register;
mod report;
mod resume;
mod sessions;
mod submit;
mod tail;
mod walk;
mod webhooks;

use crate::support::Case;

pub(crate) fn cases() -> Vec<Case> {
    let files = [
        append::cases(),
        claim::cases(),
        counts::cases(),
        disaster::cases(),
        external::cases(),
        group_commit::cases(),
        log::cases(),
        lose::cases(),
        opening::cases(),
        own::cases(),
        plain::cases(),
        plans::cases(),
        pull::cases(),
        register::cases(),
        report::cases(),
        resume::cases(),
        sessions::cases(),
        submit::cases(),
        tail::cases(),
        walk::cases(),
        webhooks::cases(),
    ];
    files.into_iter().flatten().collect()
}
