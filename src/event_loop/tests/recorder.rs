//! The recorder: what happens is in the records, once, in order, with its name; and nothing is, when it is off.

use std::collections::HashMap;

use super::manual::manual;
use super::*;
use crate::task::{sleep, spawn};

const MS: Duration = Duration::from_millis(1);

fn turn(event_loop: &mut EventLoop) {
    event_loop.turn(TurnBudget::no_wait()).unwrap();
}

fn whats(event_loop: &EventLoop) -> Vec<What> {
    let records = event_loop.recorder().since(0);
    records.map(Record::what).collect()
}

/// How often each kind of record is there, by the name of the kind.
fn tally(event_loop: &EventLoop) -> HashMap<String, usize> {
    let mut tally = HashMap::new();
    for what in whats(event_loop) {
        let text = format!("{what:?}");
        let kind = text.split([' ', '{']).next().unwrap();
        *tally.entry(kind.to_owned()).or_default() += 1;
    }
    tally
}

#[test]
fn what_is_recorded_is_unpacked_as_it_was() {
    let recorder = Recorder::new(Instant::now());
    recorder.switch(true, false);
    let token = Token::new(0xfedc_ba98, 0x7654_3210);
    let name = recorder.name_of(Location::caller(), || "http");
    let readiness = Readiness::READABLE | Readiness::FLUSH;
    let (took_ns, timer) = ((1 << 44) - 1, u64::MAX - 1);
    let some = Some(token);
    let mut all = vec![
        What::Turn {
            number: u64::MAX,
            took_ns,
        },
        What::Poll {
            asked_ns: None,
            slept_ns: took_ns,
            events: 1024,
        },
        What::Poll {
            asked_ns: Some(0),
            slept_ns: 0,
            events: 0,
        },
        What::Visit {
            token,
            readiness,
            name,
            took_ns,
        },
        What::Callback {
            call: timer,
            name,
            took_ns: 1,
        },
        What::Panicked { name },
        What::Added { token, name },
        What::Removed { token },
        What::Read {
            token: some,
            transfer: Transfer::Bytes(65_536),
        },
        What::Read {
            token: None,
            transfer: Transfer::WouldBlock,
        },
        What::Wrote {
            token: some,
            transfer: Transfer::Failed,
        },
        What::Marked { token },
        What::Spawned { task: 7 },
        What::Began { task: 7 },
        What::TimerSet {
            timer,
            due_tick: 75_000,
        },
        What::TimerCancelled { timer },
        What::Cascaded { timers: 64 },
        What::TimerFired {
            timer,
            due_tick: took_ns,
        },
        What::Message,
        What::Submitted { job: 1 },
        What::JobDone { job: 1 },
    ];
    all.extend(Phase::ALL.map(|phase| What::Phase { phase, took_ns }));
    all.extend(Gauge::ALL.map(|gauge| What::Gauge {
        gauge,
        value: u64::MAX,
    }));
    for why in [Why::Asked, Why::Timer, Why::Message] {
        all.extend([
            What::Woken { token, why },
            What::Called { call: timer, why },
        ]);
    }
    all.iter().for_each(|what| recorder.push(*what));
    recorder.state_changed(token, "websocket", "closing");

    let mut records = recorder.since(0);
    for what in all {
        assert_eq!(records.next().unwrap().what(), what);
    }
    let Some(What::State {
        token: changed,
        state,
    }) = records.next().map(Record::what)
    else {
        panic!("the state comes last");
    };
    assert_eq!(changed, token);
    assert_eq!(recorder.state(state), ("websocket", "closing"));
    assert_eq!(recorder.name(name).kind, "http");
    assert!(records.next().is_none());
}

#[test]
fn what_is_off_records_nothing_and_allocates_nothing() {
    let (mut event_loop, _) = manual();
    event_loop.call_soon(|ctx| {
        ctx.call_later(MS, |_| {});
        spawn(async {});
    });
    for _ in 0..3 {
        turn(&mut event_loop);
    }
    assert!(!event_loop.recorder().is_on());
    assert_eq!(event_loop.recorder().written(), 0);
    assert_eq!(event_loop.recorder().since(0).len(), 0);

    // What was recorded before it was switched off stays.
    event_loop.record(true);
    turn(&mut event_loop);
    event_loop.record(false);
    let written = event_loop.recorder().written();
    assert!(written > 0);
    event_loop.call_soon(|_| {});
    turn(&mut event_loop);
    assert_eq!(event_loop.recorder().written(), written);
    assert_eq!(event_loop.recorder().since(0).len() as u64, written);
}

#[test]
fn the_oldest_are_overwritten_and_counted_as_lost() {
    let recorder = Recorder::new(Instant::now());
    recorder.set_capacity(5);
    recorder.switch(true, false);
    let push = |jobs: std::ops::Range<u64>| {
        jobs.for_each(|job| recorder.push(What::Submitted { job }));
    };
    let jobs = |since: Since<'_>| -> Vec<u64> {
        since
            .map(|record| match record.what() {
                What::Submitted { job } => job,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    push(0..3);
    let since = recorder.since(0);
    assert_eq!((since.next_cursor(), since.lost(), since.len()), (3, 0, 3));
    assert_eq!(jobs(since), [0, 1, 2]);
    // 5 is rounded up to 8.
    push(3..20);
    let since = recorder.since(3);
    assert_eq!((since.next_cursor(), since.lost()), (20, 9));
    assert_eq!(jobs(since), (12..20).collect::<Vec<_>>());
    assert_eq!(jobs(recorder.since(18)), [18, 19]);
    assert_eq!(recorder.since(20).len(), 0);
    // A cursor of another recorder, or of the future.
    assert_eq!(recorder.since(99).len(), 0);
    assert_eq!(recorder.since(99).next_cursor(), 20);
}

#[test]
fn whole_turns_are_recorded_whoever_switches_when() {
    let (mut event_loop, _) = manual();
    event_loop.call_soon(|ctx| ctx.record(true));
    event_loop.call_soon(|_| {});
    turn(&mut event_loop);
    assert_eq!(event_loop.recorder().written(), 0);
    event_loop.call_soon(|ctx| ctx.record(false));
    event_loop.call_soon(|_| {});
    turn(&mut event_loop);
    turn(&mut event_loop);
    let tally = tally(&event_loop);
    assert_eq!((tally["Turn"], tally["Callback"]), (1, 2));
}

#[test]
fn a_callback_is_recorded_with_its_name_its_time_and_what_asked_for_it() {
    let (mut event_loop, outside) = manual();
    event_loop.record(true);
    let clock = Rc::clone(&outside);
    let line = line!() + 1;
    event_loop.call_soon(move |_| clock.pass(3 * MS));
    outside.pass(MS);
    turn(&mut event_loop);
    let recorder = event_loop.recorder();
    let mut called = None;
    for record in recorder.since(0) {
        match record.what() {
            What::Called { call, why } => called = Some((call, why)),
            What::Callback {
                call,
                name,
                took_ns,
            } => {
                assert_eq!(called, Some((call, Why::Asked)));
                let name = recorder.name(name);
                assert_eq!((name.kind, name.origin.unwrap().line()), ("callback", line));
                assert_eq!((record.at_ns(), took_ns), (1_000_000, 3_000_000));
                assert_eq!(record.depth(), 0);
                return;
            }
            _ => {}
        }
    }
    panic!("no callback was recorded");
}

#[test]
fn a_timer_is_followed_from_its_setting_to_what_it_calls() {
    let (mut event_loop, outside) = manual();
    event_loop.record(true);
    event_loop.call_later(5 * MS, |_| {});
    let cancelled = event_loop.call_later(7 * MS, |_| {});
    let moved = event_loop.call_later(MS, |_| {});
    moved.reset(90 * MS);
    cancelled.cancel();
    outside.pass(6 * MS);
    turn(&mut event_loop);
    outside.pass(90 * MS);
    turn(&mut event_loop);

    let whats = whats(&event_loop);
    let set: Vec<(u64, u64)> = whats
        .iter()
        .filter_map(|what| match what {
            What::TimerSet { timer, due_tick } => Some((*timer, *due_tick)),
            _ => None,
        })
        .collect();
    assert_eq!(set.iter().map(|it| it.1).collect::<Vec<_>>(), [5, 7, 1, 90]);
    assert_eq!(set[2].0, set[3].0, "a timer that is moved keeps its name");
    assert!(whats.contains(&What::TimerCancelled { timer: set[1].0 }));
    for (timer, due_tick) in [set[0], set[3]] {
        let fired = What::TimerFired { timer, due_tick };
        let at = whats.iter().position(|what| *what == fired).unwrap();
        let What::Called {
            call,
            why: Why::Timer,
        } = whats[at + 1]
        else {
            panic!("whom it calls comes next: {:?}", whats[at + 1]);
        };
        let runs = |what: &&What| matches!(what, What::Callback { call: ran, .. } if *ran == call);
        assert_eq!(whats.iter().filter(runs).count(), 1);
    }
    // The one of 90 ms was in the second ring.
    assert!(whats.contains(&What::Cascaded { timers: 1 }));
}

#[test]
fn a_task_is_followed_from_its_spawn_through_its_wakes_to_its_end() {
    let (mut event_loop, outside) = manual();
    event_loop.record(true);
    let line = Rc::new(std::cell::Cell::new(0));
    let here = Rc::clone(&line);
    event_loop.call_soon(move |_| {
        here.set(line!() + 1);
        spawn(async { sleep(2 * MS).await });
    });
    for _ in 0..3 {
        turn(&mut event_loop);
        outside.pass(3 * MS);
    }
    let whats = whats(&event_loop);
    let at = |wanted: &dyn Fn(&What) -> bool| whats.iter().position(wanted).unwrap();
    let spawned = at(&|what| matches!(what, What::Spawned { .. }));
    let What::Spawned { task } = whats[spawned] else {
        unreachable!()
    };
    let began = at(&|what| *what == What::Began { task });
    let What::Added { token, name } = whats[began - 1] else {
        panic!("it gets its place first: {:?}", whats[began - 1]);
    };
    let name = event_loop.recorder().name(name);
    assert_eq!(
        (name.kind, name.origin.unwrap().line()),
        ("task", line.get())
    );
    let polled =
        |what: &&What| matches!(what, What::Visit { token: polled, .. } if *polled == token);
    assert_eq!(whats.iter().filter(polled).count(), 2);
    let woken = at(&|what| {
        *what
            == What::Woken {
                token,
                why: Why::Timer,
            }
    });
    let removed = at(&|what| *what == What::Removed { token });
    assert!(spawned < began && began < woken && woken < removed);
}

#[test]
fn a_message_and_a_job_are_followed_across_threads() {
    let (mut event_loop, outside) = manual();
    event_loop.record(true);
    let remote = event_loop.remote();
    std::thread::spawn(move || remote.call_soon_threadsafe(|_| {}).unwrap())
        .join()
        .unwrap();
    let job = event_loop.run_in_executor(|| 7).unwrap();
    job.on_done(|_, seven| assert_eq!(seven.unwrap(), 7));
    turn(&mut event_loop);
    outside.run_jobs();
    turn(&mut event_loop);
    let whats = whats(&event_loop);
    let position = |what| whats.iter().position(|it| *it == what).unwrap();
    let message = position(What::Message);
    assert!(matches!(
        whats[message + 1],
        What::Called {
            why: Why::Message,
            ..
        }
    ));
    assert!(position(What::Submitted { job: 1 }) < position(What::JobDone { job: 1 }));
    assert_eq!(tally(&event_loop)["Message"], 2);
}

#[test]
fn a_visit_inside_another_is_told_by_its_depth() {
    let (mut event_loop, outside) = manual();
    event_loop.record(true);
    let (inside, around) = (Rc::clone(&outside), Rc::clone(&outside));
    event_loop.start_source(Visited::by(move |ctx, _| {
        let clock = Rc::clone(&inside);
        let inner = ctx.add_source(|_| {
            Visited::by(move |ctx, _| {
                clock.pass(MS);
                ctx.mark_dirty(ctx.token());
                Next::Close
            })
        });
        ctx.visit(inner, Readiness::NONE);
        around.pass(2 * MS);
        Next::Wait
    }));
    turn(&mut event_loop);
    let records: Vec<Record> = event_loop.recorder().since(0).collect();
    let visits: Vec<(u8, Option<u64>)> = records
        .iter()
        .filter(|record| matches!(record.what(), What::Visit { .. }))
        .map(|record| (record.depth(), record.took_ns()))
        .collect();
    assert_eq!(visits, [(1, Some(1_000_000)), (0, Some(3_000_000))]);
    let is_mark = |record: &&Record| matches!(record.what(), What::Marked { .. });
    assert_eq!(records.iter().find(is_mark).unwrap().depth(), 2);
}

#[test]
fn a_panic_is_recorded_with_what_panicked() {
    let (mut event_loop, _) = manual();
    event_loop.on_panic(|_| {});
    event_loop.record(true);
    let line = line!() + 1;
    event_loop.call_soon(|_| panic!("on purpose"));
    turn(&mut event_loop);
    let name = whats(&event_loop).iter().find_map(|what| match what {
        What::Panicked { name } => Some(*name),
        _ => None,
    });
    let name = event_loop.recorder().name(name.unwrap());
    assert_eq!(name.origin.unwrap().line(), line);
}

#[test]
fn names_beyond_the_limit_are_unknown_and_those_before_it_stay() {
    let recorder = Recorder::new(Instant::now());
    recorder.switch(true, false);
    let origin = |_| -> Origin { Box::leak(Box::new(*Location::caller())) };
    let origins: Vec<Origin> = (0..NAMES_MAX + 10).map(origin).collect();
    let names: Vec<NameId> = origins
        .iter()
        .map(|origin| recorder.name_of(origin, || "task"))
        .collect();
    assert_eq!(names[NAMES_MAX], NameId::UNKNOWN);
    assert_eq!(recorder.name(names[NAMES_MAX]).origin, None);
    for (origin, name) in origins.iter().zip(&names).take(NAMES_MAX) {
        assert_eq!(recorder.name_of(origin, || unreachable!()), *name);
        assert!(std::ptr::eq(recorder.name(*name).origin.unwrap(), *origin));
    }
}
