//! The time axis of a picture.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The scales in microseconds per column. Each can also be multiplied by a power of ten.
const SCALES: [u64; 9] = [1000, 1250, 2000, 2500, 3125, 4000, 5000, 6250, 8000];
/// The possible numbers of columns from one label to the next.
const LABEL_SPACINGS: RangeInclusive<u64> = 7..=25;

pub struct Axis {
    micros_per_column: u64,
    pub columns: u16,
}

impl Axis {
    /// Returns the axis with the finest scale at which `end` fits in `max_columns` columns.
    pub fn new(end: Duration, max_columns: u16) -> Self {
        // Add a column for an event at the very end, and one for an event whose column is taken.
        let columns = |scale| end.as_micros() as u64 / scale + 2;
        let mut scales = (0..10).flat_map(|power| SCALES.map(|scale| scale * 10_u64.pow(power)));
        let scale = scales.find(|scale| columns(*scale) <= max_columns.into()).unwrap_or(u64::MAX);
        Self { micros_per_column: scale, columns: columns(scale) as u16 }
    }

    pub fn column(&self, time: Duration) -> u16 {
        u16::try_from(time.as_micros() as u64 / self.micros_per_column).unwrap_or(u16::MAX)
    }

    pub fn start(&self, column: u16) -> Duration {
        Duration::from_micros(self.micros_per_column.saturating_mul(column.into()))
    }

    /// Returns the labels that fit, each with its first column.
    pub fn labels(&self) -> Vec<(u16, String)> {
        let mut times = (0..12).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
        let is_spacing = |time: &u64| {
            time.is_multiple_of(self.micros_per_column)
                && LABEL_SPACINGS.contains(&(time / self.micros_per_column))
        };
        let spacing = times.find(is_spacing).map_or(10, |time| time / self.micros_per_column);
        let mut labels = Vec::new();
        for column in (0..self.columns).step_by(spacing as usize) {
            let unit = if column == 0 { " ms" } else { "" };
            let label = format!("{}{unit}", self.start(column).as_secs_f64() * 1000.0);
            if usize::from(column) + label.len() <= self.columns.into() {
                labels.push((column, label));
            }
        }
        labels
    }
}
