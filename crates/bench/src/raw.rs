//! The raw limits of the machine: what the same work costs without Muster, in the same run.

pub(crate) mod disk;
pub(crate) mod http;
pub(crate) mod rows;
