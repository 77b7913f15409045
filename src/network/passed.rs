//! Events that a peer told of servers that are followed themselves: these are to tell them, and until they did, the peer's log is not done with.

use crate::store::federation::Line as Origin;
use muster_protocol::ids::ServerId;
use std::collections::VecDeque;
use std::time::Duration;

/// After so long a server that has told all it has would have told an event, too.
pub(super) const ENOUGH: Duration = Duration::from_secs(15);
/// How many events are remembered as one.
const TOGETHER: usize = 1_000;
/// How far back, and how much earlier, what is remembered together with an event may be.
const NEAR: usize = 16;
const SOON: Duration = Duration::from_secs(1);

/// Some events of one origin.
struct Few {
    /// The place of the first in the peer's log.
    at: u64,
    origin: Origin,
    /// The number of the last.
    number: u64,
    count: usize,
    /// When the first was told, in uptime.
    since: Duration,
}

/// All that were told, in the order of the peer's log. Many take little room: they are remembered a thousand at a time.
#[derive(Default)]
pub(super) struct PassedOver(VecDeque<Few>);

impl PassedOver {
    /// One more.
    pub(super) fn add(&mut self, at: u64, origin: Origin, number: u64, now: Duration) {
        let is_near = |some: &&mut Few| some.origin == origin && some.count < TOGETHER && now.saturating_sub(some.since) < SOON;
        if let Some(some) = self.0.iter_mut().rev().take(NEAR).find(is_near) {
            some.number = some.number.max(number);
            some.count += 1;
        } else {
            self.0.push_back(Few { at, origin, number, count: 1, since: now });
        }
    }

    /// Forgets the oldest as long as they are known by now.
    pub(super) fn forget(&mut self, is_known: impl Fn(&Origin, u64) -> bool) {
        while self.0.front().is_some_and(|some| is_known(&some.origin, some.number)) {
            self.0.pop_front();
        }
    }

    /// The place of the oldest.
    pub(super) fn begins_at(&self) -> Option<u64> {
        self.0.front().map(|some| some.at)
    }

    /// Whose the oldest are, and when they were told.
    pub(super) fn oldest(&self) -> Option<(ServerId, Duration)> {
        self.0.front().map(|some| (some.origin.0, some.since))
    }

    pub(super) fn drop_oldest(&mut self) {
        self.0.pop_front();
    }

    /// Whose they are.
    pub(super) fn origins(&self) -> impl Iterator<Item = ServerId> {
        self.0.iter().map(|some| some.origin.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{NEAR, PassedOver, TOGETHER};
    use muster_protocol::ids::ServerId;
    use std::time::Duration;
    use uuid::Uuid;

    fn origin(n: u128) -> (ServerId, String) {
        (ServerId(Uuid::from_u128(n)), "e".to_owned())
    }

    #[test]
    fn the_log_is_done_with_up_to_the_first_that_is_not_known() {
        let mut passed = PassedOver::default();
        passed.add(10, origin(1), 1, Duration::ZERO);
        passed.add(11, origin(2), 1, Duration::ZERO);
        passed.add(12, origin(1), 2, Duration::ZERO);
        assert_eq!(passed.begins_at(), Some(10));
        passed.forget(|_, number| number < 2);
        assert_eq!(passed.begins_at(), Some(10), "the second of the first origin is not known");
        passed.forget(|of, _| *of == origin(1));
        assert_eq!(passed.begins_at(), Some(11));
        assert_eq!(passed.origins().collect::<Vec<_>>(), [origin(2).0]);
        passed.forget(|_, _| true);
        assert_eq!((passed.begins_at(), passed.oldest()), (None, None));
    }

    #[test]
    fn a_hundred_thousand_take_little_room() {
        let mut passed = PassedOver::default();
        for n in 0..100_000_u64 {
            passed.add(n, origin(u128::from(n) % 3), n / 3 + 1, Duration::from_micros(n * 10));
        }
        assert!(passed.0.len() <= 100_000 / TOGETHER + 3 * NEAR, "{}", passed.0.len());
        assert_eq!(passed.begins_at(), Some(0));
    }

    #[test]
    fn what_was_told_later_is_judged_by_its_own_time() {
        let mut passed = PassedOver::default();
        passed.add(1, origin(1), 1, Duration::from_secs(1));
        passed.add(2, origin(1), 2, Duration::from_secs(9));
        assert_eq!(passed.oldest(), Some((origin(1).0, Duration::from_secs(1))));
        passed.drop_oldest();
        assert_eq!(passed.oldest(), Some((origin(1).0, Duration::from_secs(9))));
    }
}
