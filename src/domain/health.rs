//! Whether an agent of others is there, and when it is looked at next.

use muster_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest time between two looks at an agent that is not there.
const LONGEST: Duration = Duration::from_mins(5);
/// The shortest.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the looks at an agent found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it is there, and the one that was added.
    pub up: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Since when it is so.
    pub since: Timestamp,
    /// When it was looked at last.
    pub checked_at: Timestamp,
    /// How often in a row it was not there.
    pub failures: u32,
    /// Whether its card is another one's: it is given nothing then.
    #[serde(default)]
    pub is_another: bool,
}

impl Health {
    /// One that is there.
    #[must_use]
    pub fn up(now: Timestamp) -> Self {
        Self { up: true, reason: None, since: now, checked_at: now, failures: 0, is_another: false }
    }

    /// After another look: `fault` is why it is not there.
    #[must_use]
    pub fn seen(&self, fault: Option<String>, is_another: bool, now: Timestamp) -> Self {
        let up = fault.is_none();
        Self {
            up,
            since: if up == self.up { self.since } else { now },
            checked_at: now,
            failures: if up { 0 } else { self.failures.saturating_add(1) },
            reason: fault,
            is_another,
        }
    }

    /// Whether it is to be looked at. `every` is for one that is there; one that is not is looked at sooner, then ever later. `luck` (0 to 255)
    /// spreads the looks at many agents.
    #[must_use]
    pub fn is_due(&self, every: Duration, luck: u8, now: Timestamp) -> bool {
        let pause =
            if self.up { every } else { (every / 8).max(SHORTEST).saturating_mul(1 << self.failures.min(12)).min(LONGEST.max(every)) };
        let pause = pause + pause / 1024 * u32::from(luck);
        now.since(self.checked_at) >= u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Health;
    use muster_protocol::time::Timestamp;
    use std::time::Duration;

    const EVERY: Duration = Duration::from_secs(32);

    #[test]
    fn since_when_is_since_the_change() {
        let up = Health::up(Timestamp(1_000)).seen(None, false, Timestamp(2_000));
        assert_eq!((up.since, up.checked_at), (Timestamp(1_000), Timestamp(2_000)));
        let down = up.seen(Some("gone".into()), false, Timestamp(3_000)).seen(Some("still".into()), false, Timestamp(4_000));
        assert_eq!((down.since, down.failures, down.reason.as_deref()), (Timestamp(3_000), 2, Some("still")));
        assert_eq!(down.seen(None, false, Timestamp(5_000)), Health { checked_at: Timestamp(5_000), ..Health::up(Timestamp(5_000)) });
    }

    #[test]
    fn one_that_is_away_is_looked_at_ever_more_seldom() {
        let down = |failures| Health { up: false, failures, ..Health::up(Timestamp(0)) };
        assert!(!down(1).is_due(EVERY, 0, Timestamp(7_999)) && down(1).is_due(EVERY, 0, Timestamp(8_000)));
        assert!(!down(3).is_due(EVERY, 0, Timestamp(31_999)) && down(3).is_due(EVERY, 0, Timestamp(32_000)));
        assert!(down(u32::MAX).is_due(EVERY, 0, Timestamp(300_000)));
        assert!(
            !Health::up(Timestamp(0)).is_due(EVERY, 0, Timestamp(31_999))
                && !Health::up(Timestamp(0)).is_due(EVERY, 255, Timestamp(32_001))
        );
    }
}
