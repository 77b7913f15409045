//! What many samples come to.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One number of the table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// The median of the rounds, or a percentile of all samples.
    pub(crate) value: f64,
    /// The lowest round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) low: Option<f64>,
    /// The highest round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) high: Option<f64>,
    /// How many operations or samples it rests on.
    pub(crate) samples: u64,
    /// How many operations failed; any makes it invalid.
    #[serde(default)]
    pub(crate) errors: u64,
    /// What the first failure said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
    /// What else there is to know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

impl Reading {
    /// A number that was read once.
    #[must_use]
    pub(crate) fn single(value: f64) -> Self {
        Self { value, samples: 1, ..Self::default() }
    }

    /// The median of rounds, with the lowest and the highest.
    #[must_use]
    pub(crate) fn of_rounds(rounds: &[f64], samples: u64) -> Self {
        let sorted = sorted(rounds);
        let value = at(&sorted, 0.5);
        Self { value, low: sorted.first().copied(), high: sorted.last().copied(), samples, ..Self::default() }
    }

    /// The same with something to know about it.
    #[must_use]
    pub(crate) fn noted(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// Samples of a latency, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    samples: Vec<f64>,
    /// How many operations failed.
    pub(crate) errors: u64,
    /// What the first failure said.
    pub(crate) first_error: Option<String>,
}

impl Latencies {
    /// Adds one.
    pub(crate) fn add(&mut self, sample: Duration) {
        self.samples.push(sample.as_secs_f64() * 1e3);
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    /// A percentile of all samples, from 0 to 1.
    #[must_use]
    pub(crate) fn percentile(&self, part: f64) -> Reading {
        let sorted = sorted(&self.samples);
        let samples = sorted.len() as u64;
        Reading { value: at(&sorted, part), samples, errors: self.errors, first_error: self.first_error.clone(), ..Reading::default() }
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which `part` of the sorted values lie.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index within a list of samples"
)]
fn at(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    sorted[((last as f64) * part).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_from_all_samples() {
        let mut latencies = Latencies::default();
        for n in (1..=100).rev() {
            latencies.add(Duration::from_millis(n));
        }
        let read = |part| latencies.percentile(part).value;
        assert!((read(0.5) - 51.0).abs() < 1.5 && (read(0.99) - 99.0).abs() < 1.5, "{} {}", read(0.5), read(0.99));
    }

    #[test]
    fn the_median_of_the_rounds_is_shown_with_the_lowest_and_the_highest() {
        let reading = Reading::of_rounds(&[3.0, 1.0, 2.0], 6);
        assert_eq!((reading.value, reading.low, reading.high), (2.0, Some(1.0), Some(3.0)));
    }
}
