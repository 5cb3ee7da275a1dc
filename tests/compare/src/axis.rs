//! The time axis of a picture.

use std::time::Duration;

/// The scales: the microseconds in a column, and the columns from one label to the next. A power of ten
/// can multiply the microseconds.
const SCALES: [(u64, usize); 5] = [(1000, 10), (1250, 8), (2000, 10), (3125, 16), (5000, 10)];

pub struct Axis {
    micros_per_column: u64,
    columns_per_label: usize,
    pub columns: u16,
}

impl Axis {
    /// Returns the axis with the finest scale at which `end` fits in `max_columns` columns.
    pub fn new(end: Duration, max_columns: u16) -> Self {
        let mut factor = 1;
        loop {
            for (micros, columns_per_label) in SCALES {
                let micros_per_column = micros * factor;
                // Add a column for an event at the very end, and one for an event whose column is taken.
                let columns = end.as_micros() as u64 / micros_per_column + 2;
                if columns <= max_columns.into() {
                    return Self { micros_per_column, columns_per_label, columns: columns as u16 };
                }
            }
            factor *= 10;
        }
    }

    pub fn column(&self, time: Duration) -> u16 {
        (time.as_micros() as u64 / self.micros_per_column) as u16
    }

    pub fn start(&self, column: u16) -> Duration {
        Duration::from_micros(self.micros_per_column * u64::from(column))
    }

    /// Returns the labels that fit, each with its first column.
    pub fn labels(&self) -> Vec<(u16, String)> {
        let mut labels = Vec::new();
        for column in (0..self.columns).step_by(self.columns_per_label) {
            let unit = if column == 0 { " ms" } else { "" };
            let label = format!("{}{unit}", self.start(column).as_secs_f64() * 1000.0);
            if usize::from(column) + label.len() <= self.columns.into() {
                labels.push((column, label));
            }
        }
        labels
    }
}
