//! From time to columns.

use std::time::Duration;

/// A column's time in microseconds is one of these, or ten, a hundred ... times that.
const ROUND: [u64; 9] = [1000, 1250, 2000, 2500, 3125, 4000, 5000, 6250, 8000];

/// How much time a column stands for, and how many columns there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// In microseconds.
    per_column: u64,
    pub columns: usize,
}

impl Axis {
    /// The widest axis with a round scale that shows all up to `needed` in at most `room` columns,
    /// and of what comes after that up to `until` as much as there is room for.
    pub fn new(needed: Duration, until: Duration, room: usize) -> Self {
        let scales = (0..10).flat_map(|zeros| ROUND.map(|round| round * 10_u64.pow(zeros)));
        // An event at the very end takes a column, and so may one that it pushes on.
        let columns = |per_column| micros(needed) / per_column + 2;
        let per_column = scales.into_iter().find(|scale| columns(*scale) <= room as u64);
        let per_column = per_column.unwrap_or(u64::MAX);
        let wanted = micros(until).div_ceil(per_column).max(columns(per_column));
        Self { per_column, columns: usize::try_from(wanted).map_or(room, |all| all.min(room)) }
    }

    /// The column of a time, which may lie past the last.
    pub fn column(&self, at: Duration) -> usize {
        usize::try_from(micros(at) / self.per_column).unwrap_or(usize::MAX)
    }

    /// Where a column begins.
    pub fn begins(&self, column: usize) -> Duration {
        Duration::from_micros(self.per_column.saturating_mul(column as u64))
    }

    /// How many columns lie between two labels: a round time where that is possible.
    fn tick(&self) -> u64 {
        let round = (0..12).flat_map(|zeros| [1, 2, 5].map(|digit| digit * 10_u64.pow(zeros)));
        round
            .filter(|time| time % self.per_column == 0)
            .map(|time| time / self.per_column)
            .find(|columns| (7..=25).contains(columns))
            .unwrap_or(10)
    }

    /// The labels of columns: milliseconds, without the unit.
    pub fn labels(&self) -> Vec<(usize, String)> {
        let tick = self.tick();
        let ticks = (0..).step_by(usize::try_from(tick).unwrap_or(10));
        ticks
            .take_while(|column| *column < self.columns)
            .map(|column| (column, self.milliseconds(column)))
            .collect()
    }

    fn milliseconds(&self, column: usize) -> String {
        let micros = micros(self.begins(column));
        if micros.is_multiple_of(1000) {
            (micros / 1000).to_string()
        } else {
            format!("{}", micros as f64 / 1000.0)
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(needed: u64, until: u64, room: usize) -> Axis {
        Axis::new(Duration::from_millis(needed), Duration::from_millis(until), room)
    }

    #[test]
    fn the_scale_is_round_and_everything_needed_is_on_it() {
        for needed in [60, 101, 400, 999, 1003, 1201, 6100, 60_000, 600_000] {
            for room in [22, 35, 69, 109, 149] {
                let axis = axis(needed, needed + 100, room);
                assert!(axis.columns <= room, "{needed} {room} {axis:?}");
                let last = axis.column(Duration::from_millis(needed));
                assert!(last + 1 < axis.columns, "{needed} {room} {axis:?}");
                assert!(axis.columns * 3 > room, "{needed} {room} {axis:?}");
            }
        }
    }
}
