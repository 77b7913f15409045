//! Pauses between tries.

use crate::opencode::server::jitter;
use std::time::Duration;

/// Pauses that double from `first` to `most`, each varied by a quarter so that many workers do not act as one.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    /// Pauses from `first` to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, tries: 0 }
    }

    /// It worked: begin anew.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let base = self.first.saturating_mul(2_u32.saturating_pow(self.tries)).min(self.most);
        self.tries = self.tries.saturating_add(1);
        base.mul_f64(0.75 + 0.5 * jitter())
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_most_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let pauses: Vec<f64> = (0..40).map(|_| backoff.pause().as_secs_f64()).collect();
        assert!((0.075..=0.125).contains(&pauses[0]) && (0.15..=0.25).contains(&pauses[1]), "{pauses:?}");
        assert!((3.75..=6.25).contains(&pauses[39]), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause() < Duration::from_millis(126));
    }
}
