//! The library's own source, built into the program, and where in it the phases of a turn stand: so the page shows the
//! lines that run.

use super::messages::{PhaseLines, TurnLines};
use crate::event_loop::Phase;

/// The files that the page may show.
const FILES: &[(&str, &str)] = &[
    ("event_loop/mod.rs", LOOP),
    (
        "event_loop/handle.rs",
        include_str!("../event_loop/handle.rs"),
    ),
    (
        "event_loop/source.rs",
        include_str!("../event_loop/source.rs"),
    ),
    ("event_loop/task.rs", include_str!("../event_loop/task.rs")),
    (
        "event_loop/mio_driver.rs",
        include_str!("../event_loop/mio_driver.rs"),
    ),
    ("parts/slab.rs", include_str!("../parts/slab.rs")),
    ("parts/wheel.rs", include_str!("../parts/wheel.rs")),
    ("net/accept.rs", include_str!("../net/accept.rs")),
    ("conn/connection.rs", include_str!("../conn/connection.rs")),
    ("conn/wire.rs", include_str!("../conn/wire.rs")),
    ("dial/inject.rs", include_str!("inject.rs")),
    ("dial/lesson.rs", include_str!("lesson.rs")),
];

const LOOP: &str = include_str!("../event_loop/mod.rs");
const LOOP_FILE: &str = "event_loop/mod.rs";

/// Each phase: its function, and what it does.
const PHASES: [(Phase, &str, &str); 7] = [
    (Phase::Park, "park", "sleep until something happens"),
    (
        Phase::Visit,
        "visit_sources",
        "visit whom the driver named, who was carried over, listeners last",
    ),
    (
        Phase::Messages,
        "take_messages",
        "what other threads sent joins the ready queue",
    ),
    (Phase::Timers, "fire_timers", "what is due joins it"),
    (
        Phase::Ready,
        "run_ready",
        "run what stands there now, first in, first out",
    ),
    (
        Phase::Flush,
        "flush_dirty",
        "one write for each connection that others gave bytes to",
    ),
    (
        Phase::Close,
        "close_finished",
        "what has ended is closed, and its slot is free",
    ),
];

/// The text of `path`, if the page may show it.
pub(super) fn file(path: &str) -> Option<&'static str> {
    let known = FILES.iter().find(|(known, _)| *known == path);
    known.map(|(_, text)| *text)
}

/// The files there are.
pub(super) fn files() -> Vec<&'static str> {
    FILES.iter().map(|(path, _)| *path).collect()
}

/// What the origins of things that this library creates begin with.
pub(super) fn origin_root() -> &'static str {
    file!().strip_suffix("dial/source.rs").unwrap_or_default()
}

/// Where the phases stand.
pub(super) fn phases() -> Vec<PhaseLines> {
    PHASES
        .iter()
        .map(|(phase, function, title)| {
            let (from, to) = lines_of(function).unwrap_or_default();
            PhaseLines {
                name: phase.name(),
                title,
                file: LOOP_FILE,
                from,
                to,
            }
        })
        .collect()
}

/// Where the turn stands.
pub(super) fn turn() -> Option<TurnLines> {
    let (from, to) = lines_of("take_steps")?;
    let calls = PHASES.iter().filter_map(|(_, function, _)| {
        let call = format!("self.{function}(");
        let line = LOOP.lines().skip(from).position(|it| it.contains(&call))?;
        Some(from + line + 1)
    });
    Some(TurnLines {
        file: LOOP_FILE,
        from,
        to,
        calls: calls.collect(),
    })
}

/// The first and the last line of a method of the loop, from 1.
fn lines_of(function: &str) -> Option<(usize, usize)> {
    let begins = [
        format!("    fn {function}("),
        format!("    pub fn {function}("),
    ];
    let is_first = |line: &str| begins.iter().any(|begin| line.starts_with(begin));
    let first = LOOP.lines().position(is_first)?;
    let length = LOOP.lines().skip(first).position(|line| line == "    }")?;
    Some((first + 1, first + length + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> &'static str {
        LOOP.lines().nth(number - 1).expect("a line").trim()
    }

    #[test]
    fn the_phases_of_the_page_are_the_functions_of_the_loop() {
        let turn = turn().expect("the turn is there");
        assert!(line(turn.from).starts_with("fn take_steps("));
        assert_eq!(line(turn.to), "}");
        assert!(turn.calls.is_sorted() && turn.calls.len() == PHASES.len());
        for ((phase, (expected, function, _)), call) in phases().iter().zip(PHASES).zip(&turn.calls)
        {
            assert_eq!(phase.name, expected.name());
            assert!(line(phase.from).starts_with(&format!("fn {function}(&mut self")));
            assert_eq!(line(phase.to), "}");
            assert!(phase.from < phase.to);
            assert!((turn.from..turn.to).contains(call));
            assert!(
                line(*call).contains(&format!("self.{function}(")),
                "{function}"
            );
        }
        let phases = PHASES.map(|(phase, ..)| phase);
        assert_eq!(phases, Phase::ALL);
    }

    #[test]
    fn files_are_named_as_they_lie_in_the_source() {
        assert_eq!(
            format!("{}{LOOP_FILE}", origin_root()),
            "src/event_loop/mod.rs"
        );
        assert!(file("parts/wheel.rs").is_some());
        assert!(file("../Cargo.toml").is_none());
    }
}
