//! When a figure is worth an alert: on its way up across a threshold, and when it is well below again.

use serde::Serialize;

#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    Info,
    Warning,
    Critical,
}

#[derive(Serialize, PartialEq, Debug)]
pub(crate) struct Alert {
    pub(crate) level: Level,
    pub(crate) message: String,
}

/// One figure and its thresholds.
pub(crate) struct Alarm {
    figure: &'static str,
    unit: &'static str,
    warning: f64,
    critical: f64,
    /// The highest threshold that was crossed and not left behind since.
    level: Level,
}

/// A figure is below a threshold again when it is below this much of it, so that one that stays around it is not
/// reported at each tick.
const BELOW: f64 = 0.9;

impl Alarm {
    pub(crate) fn new(
        figure: &'static str,
        unit: &'static str,
        warning: f64,
        critical: f64,
    ) -> Self {
        Self {
            figure,
            unit,
            warning,
            critical,
            level: Level::Info,
        }
    }

    /// The figure of this tick. An alert when it has crossed a threshold since the last one.
    pub(crate) fn observe(&mut self, value: f64) -> Option<Alert> {
        let reached = if value >= self.critical {
            Level::Critical
        } else if value >= self.warning {
            Level::Warning
        } else {
            Level::Info
        };
        let held = if value < self.warning * BELOW {
            Level::Info
        } else if value < self.critical * BELOW {
            self.level.min(Level::Warning)
        } else {
            self.level
        };
        let before = std::mem::replace(&mut self.level, reached.max(held));
        let is_over = self.level == Level::Info && before > Level::Info;
        (self.level > before || is_over).then(|| self.alert(value))
    }

    fn alert(&self, value: f64) -> Alert {
        let Self { figure, unit, .. } = self;
        let digits = usize::from(value.fract() != 0.0);
        let value = format!("{value:.digits$}{unit}");
        let message = match self.level {
            Level::Info => format!("{figure} back to {value}"),
            Level::Warning => format!("{figure} at {value} (warning from {}{unit})", self.warning),
            Level::Critical => format!(
                "{figure} at {value} (critical from {}{unit})",
                self.critical
            ),
        };
        Alert {
            level: self.level,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which levels a series of values rings at, and when.
    fn check(values: &[f64], expected: &[(usize, Level)]) {
        let mut alarm = Alarm::new("CPU", " %", 80.0, 95.0);
        let rung: Vec<_> = values
            .iter()
            .enumerate()
            .filter_map(|(tick, value)| Some((tick, alarm.observe(*value)?.level)))
            .collect();
        assert_eq!(rung, expected, "{values:?}");
    }

    #[test]
    fn each_crossing_rings_once() {
        use Level::{Critical, Info, Warning};
        check(&[0.0, 79.9, 80.0, 90.0, 94.9], &[(2, Warning)]);
        check(&[80.0, 95.0, 99.0, 95.0], &[(0, Warning), (1, Critical)]);
        check(
            &[99.0, 10.0, 99.0],
            &[(0, Critical), (1, Info), (2, Critical)],
        );
        check(&[80.0, 72.0, 80.0, 71.9], &[(0, Warning), (3, Info)]);
        check(
            &[95.0, 86.0, 95.0, 85.0, 95.0],
            &[(0, Critical), (4, Critical)],
        );
        check(&[10.0, 0.0], &[]);
    }

    #[test]
    fn an_alert_says_the_figure_and_the_threshold() {
        let mut alarm = Alarm::new("Connections", "", 100.0, 500.0);
        let mut said = |value| alarm.observe(value).expect("an alert").message;
        assert_eq!(said(120.0), "Connections at 120 (warning from 100)");
        assert_eq!(said(500.0), "Connections at 500 (critical from 500)");
        assert_eq!(said(3.0), "Connections back to 3");
        let mut alarm = Alarm::new("Loop lag", " ms", 50.0, 250.0);
        let message = alarm.observe(61.25).expect("an alert").message;
        assert_eq!(message, "Loop lag at 61.2 ms (warning from 50 ms)");
    }
}
