//! The time axis of a picture.

use std::time::Duration;

/// A column's time in microseconds is one of these, or ten, a hundred ... times that.
const ROUND: [u64; 9] = [1000, 1250, 2000, 2500, 3125, 4000, 5000, 6250, 8000];

#[derive(Debug)]
pub struct Axis {
    micros_per_column: u64,
    pub columns: usize,
}

impl Axis {
    /// Returns the widest axis with a round scale that shows everything up to `needed` in at most
    /// `room` columns. Of the time from there to `until` it shows what fits.
    pub fn new(needed: Duration, until: Duration, room: usize) -> Self {
        let scales = (0..10).flat_map(|zeros| ROUND.map(|round| round * 10_u64.pow(zeros)));
        // An event at the very end takes a column, and so may one that it pushes on.
        let columns = |scale| micros(needed) / scale + 2;
        let scale = scales.into_iter().find(|scale| columns(*scale) <= room as u64);
        let micros_per_column = scale.unwrap_or(u64::MAX);
        let wanted = micros(until).div_ceil(micros_per_column).max(columns(micros_per_column));
        let columns = usize::try_from(wanted).map_or(room, |all| all.min(room));
        Self { micros_per_column, columns }
    }

    pub fn column(&self, at: Duration) -> usize {
        usize::try_from(micros(at) / self.micros_per_column).unwrap_or(usize::MAX)
    }

    pub fn start(&self, column: usize) -> Duration {
        Duration::from_micros(self.micros_per_column.saturating_mul(column as u64))
    }

    pub fn labels(&self) -> Vec<(usize, String)> {
        let round = (0..12).flat_map(|zeros| [1, 2, 5].map(|digit| digit * 10_u64.pow(zeros)));
        let ticks = round.filter(|time| time % self.micros_per_column == 0);
        let mut ticks = ticks.map(|time| time / self.micros_per_column);
        let tick = ticks.find(|columns| (7..=25).contains(columns)).unwrap_or(10);
        let columns = (0..self.columns).step_by(usize::try_from(tick).unwrap_or(10));
        let milliseconds = |column| self.start(column).as_secs_f64() * 1000.0;
        let unit = |column| if column == 0 { " ms" } else { "" };
        columns.map(|it| (it, format!("{}{}", milliseconds(it), unit(it)))).collect()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
