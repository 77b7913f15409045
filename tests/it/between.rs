//! Work that goes from server to server: messages, coordinations and forwarded tasks between real processes.

mod coordinated;
mod crashes;
mod forwarded;
mod hops;
mod lost;
mod messages;
mod quick;
mod trio;

use crate::support::Case;

pub(crate) fn all() -> Vec<Case> {
    let all = [quick::cases(), coordinated::cases(), messages::cases(), lost::cases(), hops::cases(), forwarded::cases(), crashes::cases()];
    all.into_iter().flatten().collect()
}
