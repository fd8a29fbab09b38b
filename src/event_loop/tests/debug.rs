//! Debug mode and the watchdog: what held the loop is named, with its victims; what runs on time is not.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::manual::{Outside, manual};
use super::*;
use crate::task::{scope, sleep, spawn_named};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

type Findings = Rc<RefCell<Vec<Finding>>>;

/// A loop in debug mode, its outside, and what it finds.
fn debugged() -> (EventLoop, Rc<Outside>, Findings) {
    let (mut event_loop, outside) = manual();
    let findings = Findings::default();
    let found = Rc::clone(&findings);
    event_loop.on_finding(move |finding| found.borrow_mut().push(finding.clone()));
    event_loop.set_debug(true);
    (event_loop, outside, findings)
}

fn slow(findings: &Findings) -> Vec<SlowReport> {
    let slow = findings
        .borrow()
        .iter()
        .map(|finding| match finding {
            Finding::Slow(slow) => slow.clone(),
            other => panic!("{other}"),
        })
        .collect();
    findings.borrow_mut().clear();
    slow
}

fn turn(event_loop: &mut EventLoop) {
    event_loop.turn(TurnBudget::no_wait()).unwrap();
}

/// A callback that takes so long.
fn takes(outside: &Rc<Outside>, time: Duration) -> impl FnOnce(&mut Ctx<'_>) + 'static {
    let outside = Rc::clone(outside);
    move |_| outside.pass(time)
}

#[test]
fn a_slow_callback_is_named_with_its_duration_and_its_victims() {
    let (mut event_loop, outside, findings) = debugged();
    let here = line!();
    event_loop.call_soon(takes(&outside, 205 * MS));
    event_loop.call_soon(|_| {});
    let cancelled = event_loop.call_soon(|_| {});
    cancelled.cancel();
    event_loop.call_later(50 * MS, |_| {});
    event_loop.call_later(90 * MS, |_| {});
    event_loop.call_later(900 * MS, |_| {});
    event_loop.remote().wake(Token::new(9, 9));
    turn(&mut event_loop);
    let [slow] = &slow(&findings)[..] else {
        panic!("one report");
    };
    assert_eq!(
        (slow.work.kind, slow.work.origin.line()),
        ("callback", here + 1)
    );
    assert!(slow.work.origin.file().ends_with("tests/debug.rs"));
    assert_eq!(slow.took, 205 * MS);
    assert_eq!(
        slow.victims,
        Victims {
            ready: 2,
            timers: 2,
            longest_wait: 205 * MS,
            ..Victims::default()
        },
        "the callback and the woken token behind it, and the timers that came due meanwhile"
    );
    assert_eq!(
        slow.to_string(),
        format!(
            "slow: a callback created at {}:{}:16 held the loop for 205 ms; \
             4 had to wait, the first for 205 ms (2 ready, 2 due)",
            file!(),
            here + 1
        )
    );
}

#[test]
fn the_first_victim_has_waited_since_it_came_into_the_queue_or_was_due() {
    let (mut event_loop, outside, findings) = debugged();
    for time in [60 * MS, 100 * MS] {
        event_loop.call_soon(takes(&outside, time));
    }
    event_loop.call_soon(|_| {});
    turn(&mut event_loop);
    assert_eq!(slow(&findings)[0].victims.longest_wait, 160 * MS);
    // Due 30 ms before a turn begins.
    event_loop.call_later(10 * MS, |_| {});
    event_loop.call_soon(takes(&outside, 40 * MS));
    turn(&mut event_loop);
    event_loop.call_soon(takes(&outside, 100 * MS));
    turn(&mut event_loop);
    assert_eq!(slow(&findings)[0].victims.longest_wait, 130 * MS);
}

#[test]
fn a_slow_visit_names_its_kind_and_counts_those_with_events_behind_it() {
    let (mut event_loop, outside, findings) = debugged();
    let clock = Rc::clone(&outside);
    let mut ctx = event_loop.ctx();
    let blocking = ctx.add_source(|_| {
        Visited::by(move |_, _| {
            clock.pass(150 * MS);
            Next::Wait
        })
    });
    let other = ctx.add_source(|_| Visited::by(|_, _| Next::Wait));
    let events = [blocking, other, other].map(|token| (token, Readiness::READABLE));
    // More than are timed together when debug mode is off.
    let many: Vec<_> = [(other, Readiness::READABLE); 10]
        .into_iter()
        .chain(events)
        .collect();
    outside.events(&many);
    turn(&mut event_loop);
    let slow = slow(&findings);
    assert_eq!(slow.len(), 1);
    assert_eq!(slow[0].took, 150 * MS);
    assert_eq!(slow[0].work.kind, Inspection::default().kind);
    assert_eq!(slow[0].victims.visits, 2);
    assert_eq!(slow[0].victims.longest_wait, 150 * MS);
}

#[test]
fn what_takes_less_than_the_threshold_is_not_reported_and_the_threshold_can_be_moved() {
    let (mut event_loop, outside, findings) = debugged();
    event_loop.call_soon(takes(&outside, SLOW_THRESHOLD - MS));
    turn(&mut event_loop);
    assert!(findings.borrow().is_empty());
    event_loop.set_slow_threshold(10 * MS);
    event_loop.call_soon(takes(&outside, 10 * MS));
    turn(&mut event_loop);
    assert_eq!(slow(&findings).len(), 1);
}

#[test]
fn debug_mode_is_switched_on_and_off_while_the_loop_runs() {
    let (mut event_loop, outside) = manual();
    let findings = Findings::default();
    let found = Rc::clone(&findings);
    event_loop.on_finding(move |finding| found.borrow_mut().push(finding.clone()));
    let slow_turn = |event_loop: &mut EventLoop| {
        event_loop.call_soon(takes(&outside, 200 * MS));
        event_loop.call_soon(|_| {});
        turn(event_loop);
        findings.borrow_mut().drain(..).count()
    };
    assert_eq!(slow_turn(&mut event_loop), 0, "off at first");
    event_loop.call_soon(|ctx| ctx.set_debug(true));
    turn(&mut event_loop);
    assert_eq!(slow_turn(&mut event_loop), 1, "on");
    event_loop.remote().set_debug(false).unwrap();
    turn(&mut event_loop);
    assert_eq!(slow_turn(&mut event_loop), 0, "off again");
    // Those who stand in the queue when it is switched on count as waiting from then on.
    event_loop.call_soon(takes(&outside, 200 * MS));
    event_loop.call_soon(|_| {});
    event_loop.set_debug(true);
    assert_eq!(slow_turn(&mut event_loop), 2);
}

#[test]
fn a_task_that_is_slow_again_and_again_is_counted_and_named() {
    let (mut event_loop, outside, findings) = debugged();
    event_loop.spawn(async move {
        for _ in 0..3 {
            outside.pass(120 * MS);
            crate::task::yield_now().await;
        }
    });
    (0..5).for_each(|_| turn(&mut event_loop));
    let slow = slow(&findings);
    let times: Vec<_> = slow.iter().map(|slow| slow.times).collect();
    assert_eq!(times, [1, 2, 3]);
    assert!(slow.iter().all(|slow| slow.work.kind == "task"));
    assert!(
        slow[2]
            .to_string()
            .contains("for 120 ms, as 2 times before; nobody had to wait")
    );
}

#[test]
fn a_slow_end_is_found_as_well() {
    struct Late(Rc<Outside>);
    impl Source for Late {
        fn ready(&mut self, _: &mut Ctx<'_>, _: Readiness) -> Next {
            Next::Close
        }
        fn closed(&mut self, _: &mut Ctx<'_>) {
            self.0.pass(100 * MS);
        }
    }
    let (mut event_loop, outside, findings) = debugged();
    event_loop.start_source(Box::new(Late(outside)));
    turn(&mut event_loop);
    assert_eq!(slow(&findings).len(), 1);
}

#[test]
fn a_panic_names_what_panicked() {
    let (mut event_loop, _) = manual();
    let messages = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&messages);
    event_loop.on_panic(move |panicked| seen.borrow_mut().push(panicked.to_string()));
    let here = line!();
    event_loop.call_soon(|_| std::panic::resume_unwind(Box::new("first")));
    event_loop.spawn(async { std::panic::resume_unwind(Box::new("second")) });
    turn(&mut event_loop);
    let file = file!();
    let expected = [
        format!(
            "a callback created at {file}:{}:16 panicked: first",
            here + 1
        ),
        format!("a task created at {file}:{}:16 panicked: second", here + 2),
    ];
    assert_eq!(*messages.borrow(), expected);
}

/// A future that waits for ever and keeps its waker, or does not.
struct Deaf(Rc<RefCell<Option<Waker>>>, bool);

impl Future for Deaf {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.1 {
            *self.0.borrow_mut() = Some(context.waker().clone());
        }
        waits_on("event", Detail::None);
        Poll::Pending
    }
}

#[test]
fn a_task_whose_future_kept_no_waker_is_found_lost_and_told_of_once() {
    let (mut event_loop, outside, findings) = debugged();
    let here = line!();
    let task = event_loop.spawn_named("listener", Deaf(Rc::default(), false));
    turn(&mut event_loop);
    assert!(
        findings.borrow().is_empty(),
        "it has only just begun to wait"
    );
    outside.pass(300 * MS);
    turn(&mut event_loop);
    let found = findings.borrow_mut().pop().expect("a finding");
    let Finding::Lost(lost) = &found else {
        panic!("{found}");
    };
    assert_eq!(lost.work.name.as_deref(), Some("listener"));
    assert_eq!(lost.work.origin.line(), here + 1);
    assert_eq!(lost.waits_on.map(|waits_on| waits_on.what), Some("event"));
    assert_eq!(
        found.to_string(),
        format!(
            "lost: the task \"listener\" created at {}:{}:27 has waited for 300 ms, for event, and nothing can wake it: \
             its last waker was dropped and had not been used",
            file!(),
            here + 1
        )
    );
    for _ in 0..5 {
        event_loop.call_soon(takes(&outside, 50 * MS));
        turn(&mut event_loop);
    }
    assert!(findings.borrow().is_empty(), "it is told of once");
    assert_eq!(event_loop.tasks().tasks[0].state, "lost");
    // What nothing can wake can still be ended.
    task.abort();
    turn(&mut event_loop);
    assert!(event_loop.tasks().tasks.is_empty());
}

#[test]
fn a_waker_that_is_dropped_and_was_not_used_is_a_lost_wake_up() {
    let (mut event_loop, outside, findings) = debugged();
    let kept = Rc::default();
    event_loop.spawn(Deaf(Rc::clone(&kept), true));
    for _ in 0..3 {
        event_loop.call_soon(takes(&outside, 90 * MS));
        turn(&mut event_loop);
    }
    assert!(findings.borrow().is_empty(), "somebody can wake it");
    event_loop.call_soon(move |_| drop(kept.take()));
    turn(&mut event_loop);
    // A loop with nothing to do looks once more, when the time for it has come.
    for _ in 0..2 {
        event_loop.turn(TurnBudget::default()).unwrap();
    }
    let found = findings.borrow();
    assert!(matches!(found[..], [Finding::Lost(_)]), "{found:?}");
}

#[test]
fn tasks_that_wait_for_timers_jobs_channels_and_each_other_are_not_lost() {
    let (mut event_loop, outside, findings) = debugged();
    let (sender, receiver) = crate::sync::oneshot::channel::<()>();
    let task = event_loop.spawn(receiver);
    event_loop.spawn(task);
    event_loop.spawn(event_loop.sleep(Duration::from_secs(5)));
    let job = event_loop.run_in_executor(|| ()).unwrap();
    event_loop.spawn(job);
    let aborted = event_loop.spawn(std::future::pending::<()>());
    for _ in 0..9 {
        event_loop.call_soon(takes(&outside, 90 * MS));
        turn(&mut event_loop);
        aborted.abort();
    }
    assert!(findings.borrow().is_empty(), "{:?}", findings.borrow());
    drop(sender);
}

#[test]
fn the_table_of_tasks_says_who_waits_for_what_since_when_and_who_has_spawned_it() {
    let (mut event_loop, outside) = manual();
    let handle = event_loop.handle().clone();
    let here = line!();
    let report = event_loop.spawn_named("report", async move {
        let fetch = handle.spawn_named("fetch", handle.sleep(Duration::from_secs(3)));
        handle.spawn_named("deaf", async move {
            spawn_named("deafer", Deaf(Rc::default(), false));
            Deaf(Rc::default(), false).await;
        });
        crate::task::yield_now().await;
        let _ = fetch.await;
    });
    event_loop.spawn_named("other", Deaf(Rc::default(), false));
    event_loop.call_later(Duration::from_secs(7), |_| {});
    let source = |_| Visited::by(|_, _| Next::Wait) as Box<dyn Source>;
    event_loop.ctx().add_source(source);
    (0..3).for_each(|_| turn(&mut event_loop));
    outside.pass(Duration::from_millis(1250));
    event_loop.spawn_named("late", async {});
    let place = |line: u32, column: u32| format!("{}:{}:{column}", file!(), here + line);
    let expected = [
        "5 tasks, 2 timers, 1 other source: 1 unnamed; 1 about to start".to_owned(),
        "task          state    age    waits on             for    created at".to_owned(),
        "report        waiting  1.3 s  task fetch           1.3 s  ".to_owned() + &place(1, 29),
        "├─ fetch      waiting  1.3 s  timer, due in 1.8 s  1.3 s  ".to_owned() + &place(2, 28),
        "└─ deaf       lost     1.3 s  event                1.3 s  ".to_owned() + &place(3, 16),
        "   └─ deafer  lost     1.3 s  event                1.3 s  ".to_owned() + &place(4, 13),
        "other         lost     1.3 s  event                1.3 s  ".to_owned() + &place(10, 16),
    ];
    let table = event_loop.tasks().to_string();
    assert_eq!(table.lines().collect::<Vec<_>>(), expected, "\n{table}");
    // Whose parent has ended is a root.
    report.abort();
    turn(&mut event_loop);
    let table = event_loop.tasks().to_string();
    let names = table.lines().map(|row| row.split("  ").next());
    let expected = ["task", "other", "fetch", "deaf", "└─ deafer"];
    assert!(names.skip(1).eq(expected.map(Some)), "\n{table}");
}

#[test]
fn other_threads_ask_for_the_tasks_and_hear_when_there_is_no_loop() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn_named("waiting", std::future::pending::<()>());
    let remote = event_loop.remote();
    let asking = std::thread::spawn(move || {
        let tasks = remote.tasks(LONG);
        remote.stop().unwrap();
        (remote, tasks)
    });
    event_loop.run().unwrap();
    let (remote, tasks) = asking.join().unwrap();
    assert_eq!(tasks.unwrap().tasks[0].name.as_deref(), Some("waiting"));
    let late = remote.tasks(MS).unwrap_err();
    assert_eq!(
        late.kind(),
        std::io::ErrorKind::TimedOut,
        "it does not turn"
    );
    drop(event_loop);
    let gone = remote.tasks(LONG).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotConnected);
}

fn scopes(findings: &Findings) -> Vec<ScopeReport> {
    let scope = |finding| match finding {
        Finding::Scope(scope) => scope,
        other => panic!("{other}"),
    };
    findings.borrow_mut().drain(..).map(scope).collect()
}

#[test]
fn a_scope_times_an_operation_and_reports_its_failure_in_any_mode() {
    let (mut event_loop, outside, findings) = debugged();
    event_loop.set_debug(false);
    let clock = Rc::clone(&outside);
    let here = line!();
    let failing = async move {
        let load = async move {
            clock.pass(20 * MS);
            sleep(100 * MS).await;
            clock.pass(5 * MS);
            Err::<(), _>("no such user")
        };
        scope("load").wait(load).await
    };
    assert_eq!(event_loop.run_until(failing).unwrap(), Err("no such user"));
    let reports = scopes(&findings);
    let [report] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(report.busy, 25 * MS);
    assert!(report.took >= 125 * MS && report.took < 130 * MS);
    assert_eq!(report.origin.line(), here + 8);
    assert!(
        report
            .to_string()
            .starts_with("scope \"load\" opened at src/")
    );
    let end = "failed after 125 ms, 25 ms of it at work: no such user";
    assert!(report.to_string().ends_with(end), "{report}");
}

#[test]
fn a_scope_that_succeeds_is_reported_when_it_is_slow_or_in_debug_mode() {
    let (mut event_loop, outside, findings) = debugged();
    event_loop.set_debug(false);
    let run = move |_: &mut Ctx<'_>| {
        for slow_after in [20 * MS, 10 * MS] {
            let call = || {
                outside.pass(10 * MS);
                Ok::<_, &str>(())
            };
            scope("compute").slow_after(slow_after).run(call).unwrap();
        }
    };
    event_loop.call_soon(run.clone());
    turn(&mut event_loop);
    let is_slow = |report: &ScopeReport| report.is_slow;
    let reports = scopes(&findings);
    assert_eq!(reports.iter().map(is_slow).collect::<Vec<_>>(), [true]);
    assert!(
        reports[0]
            .to_string()
            .starts_with("slow: scope \"compute\" ")
    );
    event_loop.set_debug(true);
    event_loop.call_soon(run);
    turn(&mut event_loop);
    let reports = scopes(&findings);
    assert_eq!(
        reports.iter().map(is_slow).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn a_scope_tells_a_panic_from_an_operation_that_was_given_up() {
    let (mut event_loop, _, findings) = debugged();
    event_loop.on_panic(|_| {});
    let waiting = event_loop.spawn(async {
        let wait = std::future::pending::<Result<(), &str>>();
        scope("waiting").wait(wait).await
    });
    event_loop.call_soon(|_| {
        let _: Result<(), &str> = scope("panicking").run(|| panic!("on purpose"));
    });
    turn(&mut event_loop);
    waiting.abort();
    turn(&mut event_loop);
    let ends: Vec<_> = (scopes(&findings).into_iter())
        .map(|report| (report.name, report.end))
        .collect();
    assert_eq!(
        ends,
        [
            ("panicking".into(), ScopeEnd::Panicked),
            ("waiting".into(), ScopeEnd::Left)
        ]
    );
}

/// A real loop with a watchdog, and its reports.
fn watched(after: Duration) -> (EventLoop, mpsc::Receiver<StallReport>) {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.on_panic(|panicked| panic!("{panicked}"));
    let (tell, told) = mpsc::channel();
    event_loop
        .start_watchdog(after, move |report| {
            let _ = tell.send(report.clone());
        })
        .unwrap();
    (event_loop, told)
}

#[test]
fn a_callback_that_blocks_for_200_ms_is_named_while_it_lasts_again_and_when_it_is_over() {
    let (mut event_loop, told) = watched(50 * MS);
    let here = line!();
    event_loop.call_soon(move |ctx| {
        let began = Instant::now();
        // Blocked, it hears of itself.
        let first = told.recv_timeout(LONG).expect("a report while it lasts");
        assert_eq!(
            (first.work.kind, first.work.origin.line()),
            ("callback", here + 1)
        );
        assert!(first.lasted >= 50 * MS && first.lasted <= began.elapsed());
        assert!(!first.is_over);
        assert!(first.to_string().contains(" and still does"), "{first}");
        let second = told.recv_timeout(LONG).expect("another report");
        assert!(second.lasted >= first.lasted * 2, "the gaps grow");
        let rest = (200 * MS).saturating_sub(began.elapsed());
        std::thread::sleep(rest);
        ctx.call_later(20 * MS, move |ctx| {
            let last = told.try_iter().last();
            let last = last.unwrap_or_else(|| told.recv_timeout(LONG).expect("the end"));
            assert!(last.is_over && last.lasted >= 200 * MS, "{last}");
            assert_eq!(last.work, first.work);
            ctx.stop();
        });
    });
    event_loop.run().unwrap();
}

#[test]
fn a_task_that_does_not_yield_is_named_while_it_computes() {
    let (mut event_loop, told) = watched(20 * MS);
    let here = line!();
    let task = event_loop.spawn(async move {
        let mut sum = 0_u64;
        loop {
            sum = std::hint::black_box(sum.wrapping_add(1));
            if let Ok(report) = told.try_recv() {
                return report;
            }
        }
    });
    let report = event_loop.run_until(task).unwrap().unwrap();
    assert_eq!(
        (report.work.kind, report.work.origin.line()),
        ("task", here + 1)
    );
    assert!(report.lasted >= 20 * MS);
}

#[test]
fn a_loop_that_sleeps_is_no_stall_and_the_watchdog_ends_with_it() {
    let (mut event_loop, told) = watched(20 * MS);
    event_loop.call_later(100 * MS, |ctx| ctx.stop());
    event_loop.run().unwrap();
    drop(event_loop);
    // The thread has ended, or this would wait.
    assert!(told.recv().is_err());
}
