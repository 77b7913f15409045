//! Time, ids and randomness: passed in, so that tests can move and repeat them.

use muster_protocol::time::Timestamp;
use rand::TryRng as _;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::{ContextV7, Timestamp as UuidTimestamp, Uuid};

/// What tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may jump; for records and for people only.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point. It never jumps and counts suspend; for leases and limits.
    fn uptime(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn uptime(&self) -> Duration {
        #[cfg(target_os = "linux")]
        const ID: rustix::time::ClockId = rustix::time::ClockId::Boottime;
        // On macOS the monotonic clock counts suspend.
        #[cfg(not(target_os = "linux"))]
        const ID: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
        let at = rustix::time::clock_gettime(ID);
        Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    uptime: Mutex<Duration>,
    /// How far the wall clock was set on or back, in milliseconds.
    jumped: std::sync::atomic::AtomicI64,
}

impl ManualClock {
    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        *self.uptime.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
    }

    /// Sets the wall clock on, or back, as people and time servers do.
    pub fn jump(&self, milliseconds: i64) {
        self.jumped.fetch_add(milliseconds, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let jumped = self.jumped.load(std::sync::atomic::Ordering::Relaxed);
        Timestamp(1_700_000_000_000 + jumped + i64::try_from(self.uptime().as_millis()).unwrap_or(0))
    }

    fn uptime(&self) -> Duration {
        *self.uptime.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What makes ids and secrets.
pub trait Ids: Send + Sync + 'static {
    /// A UUID, version 7. Later ones sort after earlier ones, also within a millisecond.
    fn uuid(&self, now: Timestamp) -> Uuid;

    /// 32 bytes that nobody can guess.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    fn secret(&self) -> Result<[u8; 32], String>;
}

/// Ids and secrets from the system's randomness.
#[derive(Debug, Default)]
pub struct SystemIds(Mutex<ContextV7>);

impl Ids for SystemIds {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let context = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ms = now.0.unsigned_abs();
        let nanos = u32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0);
        Uuid::new_v7(UuidTimestamp::from_unix(&*context, ms / 1_000, nanos))
    }

    fn secret(&self) -> Result<[u8; 32], String> {
        let mut bytes = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock as _, Ids as _, ManualClock, SystemIds};
    use std::time::Duration;

    #[test]
    fn ids_of_one_millisecond_sort_in_the_order_they_were_made() {
        let (clock, ids) = (ManualClock::default(), SystemIds::default());
        let made: Vec<_> = (0..1_000).map(|_| ids.uuid(clock.now()).to_string()).collect();
        let mut sorted = made.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(made, sorted);
    }

    #[test]
    fn ids_go_on_in_order_when_the_clock_is_set_back() {
        let (clock, ids) = (ManualClock::default(), SystemIds::default());
        let made: Vec<_> = [0, -86_400_000, 5, 172_800_000, -1]
            .into_iter()
            .map(|jump| {
                clock.jump(jump);
                ids.uuid(clock.now()).to_string()
            })
            .collect();
        assert!(made.is_sorted(), "{made:?}");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        let before = clock.now();
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now().since(before), 2_000);
    }
}
