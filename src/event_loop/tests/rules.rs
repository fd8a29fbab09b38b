//! R1 to R11, in order.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::manual::manual;
use super::*;

const MS: Duration = Duration::from_millis(1);
const READABLE: Readiness = Readiness::READABLE;

fn turn(event_loop: &mut EventLoop) -> Turn {
    event_loop.turn(TurnBudget::no_wait()).unwrap()
}

#[test]
fn r1_the_ready_queue_takes_leftovers_then_io_then_timers_first_in_first_out() {
    let (mut event_loop, outside) = manual();
    let log = log();
    event_loop.call_soon(note(&log, "before"));
    event_loop.call_soon(note(&log, "left over"));
    let one = TurnBudget {
        callbacks: 1,
        ..TurnBudget::no_wait()
    };
    event_loop.turn(one).unwrap();
    assert_eq!(taken(&log), ["before"]);

    event_loop.call_later(MS, note(&log, "timer"));
    let theirs = Rc::clone(&log);
    let source = event_loop.ctx().add_source(|_| {
        Visited::by(move |ctx, _| {
            ctx.call_soon(note(&theirs, "io"));
            Next::Wait
        })
    });
    outside.pass(MS);
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["left over", "io", "timer"]);
}

#[test]
fn r1_a_message_runs_behind_io_and_before_timers() {
    let (mut event_loop, outside) = manual();
    let (sender, order) = std::sync::mpsc::channel();
    let note = |name: &'static str| {
        let sender = sender.clone();
        move |_: &mut Ctx<'_>| sender.send(name).unwrap()
    };
    event_loop.call_later(MS, note("timer"));
    event_loop
        .remote()
        .call_soon_threadsafe(note("message"))
        .unwrap();
    let io = note("io");
    let source = event_loop.ctx().add_source(|_| {
        Visited::by(move |ctx, _| {
            ctx.call_soon(io.clone());
            Next::Wait
        })
    });
    outside.pass(MS);
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(
        order.try_iter().collect::<Vec<_>>(),
        ["io", "message", "timer"]
    );
}

#[test]
fn r2_what_io_schedules_runs_in_this_turn_and_what_a_callback_schedules_in_the_next_after_its_poll()
{
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let source = event_loop.ctx().add_source(|_| {
        Visited::by(move |ctx, _| {
            theirs.borrow_mut().push("visit");
            let inner = Rc::clone(&theirs);
            ctx.call_soon(move |ctx| {
                inner.borrow_mut().push("callback of the visit");
                ctx.call_soon(note(&inner, "callback of the callback"));
            });
            Next::Wait
        })
    });
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["visit", "callback of the visit"]);
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(
        taken(&log),
        ["visit", "callback of the callback", "callback of the visit"]
    );
}

#[test]
fn r2_a_callback_that_schedules_itself_for_ever_does_not_keep_the_sockets_from_being_read() {
    fn again(ctx: &mut Ctx<'_>) {
        ctx.call_soon(again);
    }
    let (mut event_loop, _) = manual();
    event_loop.call_soon(again);
    for _ in 0..10 {
        assert_eq!(turn(&mut event_loop).callbacks, 1);
    }
}

#[test]
fn r2_what_a_flush_or_an_end_schedules_runs_in_the_next_turn() {
    struct Last(Log);
    impl Source for Last {
        fn ready(&mut self, ctx: &mut Ctx<'_>, readiness: Readiness) -> Next {
            assert_eq!(readiness, Readiness::FLUSH);
            ctx.call_soon(note(&self.0, "callback of the flush"));
            Next::Close
        }
        fn closed(&mut self, ctx: &mut Ctx<'_>) {
            ctx.call_soon(note(&self.0, "callback of the end"));
        }
    }
    let (mut event_loop, _) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let source = event_loop.ctx().add_source(|_| Box::new(Last(theirs)));
    event_loop.mark_dirty(source);
    assert_eq!(turn(&mut event_loop).callbacks, 0);
    assert_eq!(event_loop.stats().sources, 0, "it has ended");
    turn(&mut event_loop);
    assert_eq!(
        taken(&log),
        ["callback of the flush", "callback of the end"]
    );
}

#[test]
fn r3_callbacks_beyond_the_bound_keep_their_places() {
    let (mut event_loop, _) = manual();
    let ran = Rc::new(RefCell::new(Vec::new()));
    for number in 0..CALLBACKS_MAX + 500 {
        let ran = Rc::clone(&ran);
        event_loop.call_soon(move |_| ran.borrow_mut().push(number));
    }
    assert_eq!(turn(&mut event_loop).callbacks as usize, CALLBACKS_MAX);
    assert_eq!(
        event_loop.next_deadline(),
        Some(event_loop.handle().time()),
        "there is more to do"
    );
    assert_eq!(turn(&mut event_loop).callbacks, 500);
    assert!(ran.borrow().iter().copied().eq(0..CALLBACKS_MAX + 500));
}

#[test]
fn r3_messages_beyond_the_bound_keep_their_places() {
    let (mut event_loop, _) = manual();
    let (sender, ran) = std::sync::mpsc::channel();
    for number in 0..MESSAGES_MAX + 10 {
        let sender = sender.clone();
        let send = move |_: &mut Ctx<'_>| sender.send(number).unwrap();
        event_loop.remote().call_soon_threadsafe(send).unwrap();
    }
    assert_eq!(turn(&mut event_loop).messages as usize, MESSAGES_MAX);
    assert_eq!(
        event_loop.next_deadline(),
        Some(event_loop.handle().time()),
        "there is more to do"
    );
    assert_eq!(turn(&mut event_loop).messages, 10);
    assert!(ran.try_iter().eq(0..MESSAGES_MAX + 10));
}

#[cfg(feature = "sim")]
mod served {
    use crate::sim::{Faults, Simulation, World};
    use crate::web::{App, Request};

    use super::*;

    fn simulated(faults: Faults, size: usize) -> (Simulation, Rc<Cell<u32>>) {
        let mut simulation = Simulation::new(World::with_faults(1, faults));
        simulation.add("server", EventLoop::with_driver);
        let calls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&calls);
        let answer = move |_: &Request, _: &mut ()| {
            counted.set(counted.get() + 1);
            vec![b'x'; size]
        };
        let app = App::new(()).get("/", answer);
        app.listen(&mut simulation.loop_mut(0).ctx(), "0.0.0.0:80")
            .unwrap();
        (simulation, calls)
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn r3_a_connection_answers_so_many_requests_in_a_visit_and_is_carried_over_for_the_rest() {
        let (mut simulation, calls) = simulated(Faults::none(), 1);
        let world = simulation.world().clone();
        let client = world.connect((world.address("server"), 80));
        client.send(REQUEST.repeat(1_000));
        let counted = Rc::clone(&calls);
        let mut before = 0;
        simulation.oracle("64 a visit", move |_| {
            let now = counted.get();
            let fresh = now - std::mem::replace(&mut before, now);
            (fresh <= 64)
                .then_some(())
                .ok_or(format!("{fresh} requests in a turn"))
        });
        simulation.run_until(|_| calls.get() == 1_000).unwrap();
    }

    #[test]
    fn r10_a_connection_whose_peer_does_not_take_its_answers_makes_no_more_of_them() {
        let faults = Faults {
            send_buffer_bytes: 1_000..=1_000,
            receive_buffer_bytes: 1_000..=1_000,
            ..Faults::none()
        };
        let (mut simulation, calls) = simulated(faults, 50_000);
        let world = simulation.world().clone();
        let client = world.connect((world.address("server"), 80));
        client.pause_reading();
        client.send(REQUEST.repeat(10));
        simulation.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(
            calls.get(),
            1,
            "the first answer fills every buffer there is"
        );
        client.resume_reading();
        simulation
            .run_until(|_| client.received_len() > 500_000)
            .unwrap();
        assert_eq!(calls.get(), 10);
    }
}

#[test]
fn r4_a_source_that_was_cut_off_is_visited_again_without_an_event() {
    let (mut event_loop, outside) = manual();
    let visits = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&visits);
    let source = event_loop.ctx().add_source(|_| {
        Visited::by(move |_, readiness| {
            theirs.borrow_mut().push(readiness);
            if theirs.borrow().len() < 3 {
                Next::Again
            } else {
                Next::Wait
            }
        })
    });
    outside.events(&[(source, READABLE)]);
    for _ in 0..5 {
        event_loop.turn(TurnBudget::wait_at_most(MS)).unwrap();
    }
    assert_eq!(
        *visits.borrow(),
        [READABLE, Readiness::NONE, Readiness::NONE]
    );
    let slept = outside.timeouts.borrow().clone();
    assert_eq!(
        slept[1..3],
        [Some(Duration::ZERO); 2],
        "no sleep while someone is carried over"
    );
    assert_eq!(slept[3], Some(MS));
}

#[test]
fn r5_a_timer_is_never_early_and_is_late_by_less_than_a_tick() {
    let (mut event_loop, outside) = manual();
    let late = Rc::new(RefCell::new(Vec::new()));
    for micros in [
        0, 1, 999, 1_000, 1_001, 63_999, 64_000, 5_000_000, 70_000_123,
    ] {
        outside.pass(Duration::from_micros(137));
        let when = event_loop.handle().time() + Duration::from_micros(micros);
        let late = Rc::clone(&late);
        event_loop.call_at(when, move |ctx| {
            assert!(ctx.time() >= when, "early by {:?}", when - ctx.time());
            late.borrow_mut().push(ctx.time() - when);
        });
    }
    for _ in 0..100 {
        event_loop.turn(TurnBudget::default()).unwrap();
    }
    assert_eq!(late.borrow().len(), 9);
    assert!(late.borrow().iter().all(|late| *late <= 2 * MS), "{late:?}");
}

#[test]
fn r5_a_timer_never_runs_in_the_turn_that_set_it_not_even_one_that_was_set_by_io() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let source = event_loop.ctx().add_source(|_| {
        Visited::by(move |ctx, readiness| {
            if readiness == Readiness::TIMER {
                theirs.borrow_mut().push("the source's timer");
                return Next::Wait;
            }
            theirs.borrow_mut().push("visit");
            ctx.call_at(ctx.now(), note(&theirs, "now"));
            ctx.call_at(ctx.now() - MS, note(&theirs, "past"));
            ctx.call_later(Duration::ZERO, note(&theirs, "at once"));
            ctx.set_timer(ctx.token(), ctx.now());
            Next::Wait
        })
    });
    // The moment is the beginning of a tick, which the wheel has not come to before this turn.
    outside.pass(10 * MS);
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["visit"]);
    event_loop.turn(TurnBudget::default()).unwrap();
    assert_eq!(
        taken(&log),
        ["now", "past", "at once", "the source's timer"]
    );
}

#[test]
fn r5_timers_of_one_tick_run_in_the_order_they_were_set() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let names = ["a", "b", "c", "d"];
    let handles = names.map(|name| event_loop.call_later(5 * MS, note(&log, name)));
    event_loop.call_later(4 * MS, note(&log, "an earlier tick"));
    // Moving counts as setting.
    assert!(handles[0].reset(5 * MS));
    outside.pass(7 * MS);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["an earlier tick", "b", "c", "d", "a"]);
}

#[test]
fn r6_what_was_cancelled_does_not_run_even_if_it_stands_in_the_ready_queue() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let second = Rc::new(RefCell::new(None));
    let (theirs, done) = (Rc::clone(&second), Rc::clone(&log));
    event_loop.call_later(MS, move |_| {
        let handle: CallHandle = theirs.take().unwrap();
        assert!(handle.is_pending());
        assert!(handle.cancel());
        assert!(handle.cancelled() && !handle.is_pending() && !handle.cancel());
        done.borrow_mut().push("first");
    });
    let alive = Rc::new(());
    let held = Rc::clone(&alive);
    second.replace(Some(event_loop.call_later(MS, move |_| drop(held))));
    outside.pass(MS);
    assert_eq!(turn(&mut event_loop).callbacks, 1);
    assert_eq!(taken(&log), ["first"]);
    assert_eq!(Rc::strong_count(&alive), 1, "what it captured is dropped");

    let soon = event_loop.call_soon(note(&log, "soon"));
    assert!(soon.cancel());
    turn(&mut event_loop);
    assert_eq!(taken(&log), [""; 0]);
}

#[test]
fn r6_what_was_moved_while_it_stood_in_the_ready_queue_runs_at_its_new_time_only() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let second = Rc::new(RefCell::new(None));
    let theirs = Rc::clone(&second);
    event_loop.call_later(MS, move |_| {
        let handle: CallHandle = theirs.take().unwrap();
        assert!(handle.reset(10 * MS));
    });
    second.replace(Some(event_loop.call_later(MS, note(&log, "second"))));
    outside.pass(MS);
    turn(&mut event_loop);
    assert_eq!(taken(&log), [""; 0]);
    outside.pass(9 * MS);
    turn(&mut event_loop);
    assert_eq!(taken(&log), [""; 0]);
    outside.pass(MS);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["second"]);
}

#[test]
fn r7_after_closed_nothing_reaches_a_source_and_a_stale_token_names_nobody() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let token = event_loop.ctx().add_source(|_| {
        Visited::and_closed(&log, "closed", move |ctx, _| {
            theirs.borrow_mut().push("visit");
            ctx.wake(ctx.token());
            ctx.mark_dirty(ctx.token());
            let (token, now) = (ctx.token(), ctx.now());
            ctx.set_timer(token, now);
            Next::Close
        })
    });
    outside.events(&[(token, READABLE), (token, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["visit", "closed"]);

    // The slot is used again, by somebody else.
    let other = event_loop.ctx().add_source(|_| {
        let theirs = Rc::clone(&log);
        Visited::by(move |_, _| {
            theirs.borrow_mut().push("the next one");
            Next::Wait
        })
    });
    assert_eq!(
        (other.index(), other.generation()),
        (token.index(), token.generation() + 1)
    );
    outside.pass(5 * MS);
    outside.events(&[(token, READABLE)]);
    event_loop.wake(token);
    assert_eq!(turn(&mut event_loop).visits, 0);
    event_loop.ctx().close(token);
    turn(&mut event_loop);
    assert!(event_loop.inspect(other).is_some() && event_loop.inspect(token).is_none());
    outside.events(&[(other, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the next one"]);
}

#[test]
fn r7_a_source_closed_by_another_during_its_own_visit_closes_at_the_end_of_the_turn() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let token = event_loop.ctx().add_source(|_| {
        Visited::and_closed(&log, "closed", move |ctx, _| {
            ctx.close(ctx.token());
            theirs.borrow_mut().push("still in the visit");
            Next::Wait
        })
    });
    outside.events(&[(token, READABLE)]);
    event_loop.call_soon(note(&log, "callback"));
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["still in the visit", "callback", "closed"]);
}

#[test]
fn r7_a_waker_that_outlives_its_task_wakes_nobody_who_has_its_place() {
    let (mut event_loop, _) = manual();
    let polled = || {
        let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let (counts, keeps) = (Rc::clone(&polls), Rc::clone(&waker));
        let future = move |end: Poll<()>| {
            poll_fn(move |context| {
                counts.set(counts.get() + 1);
                keeps.replace(Some(context.waker().clone()));
                end
            })
        };
        (polls, waker, future)
    };
    let (_, old, ends_at_once) = polled();
    event_loop.spawn(ends_at_once(Poll::Ready(())));
    turn(&mut event_loop);
    let (polls, own, waits) = polled();
    event_loop.spawn(waits(Poll::Pending));
    turn(&mut event_loop);
    let (token, _) = event_loop.census().next().unwrap();
    assert_eq!((token.index(), token.generation()), (0, 1));

    old.take().unwrap().wake();
    turn(&mut event_loop);
    assert_eq!(polls.get(), 1);
    own.take().unwrap().wake();
    turn(&mut event_loop);
    assert_eq!(polls.get(), 2);
}

#[test]
fn r8_a_task_that_is_woken_many_times_is_polled_once_and_one_that_wakes_itself_in_the_next_turn() {
    let (mut event_loop, _) = manual();
    let polls = Rc::new(Cell::new(0));
    let waker = Rc::new(RefCell::new(None));
    let (theirs, kept) = (Rc::clone(&polls), Rc::clone(&waker));
    event_loop.spawn(poll_fn(move |context| {
        theirs.set(theirs.get() + 1);
        if theirs.get() == 2 {
            context.waker().wake_by_ref();
            context.waker().wake_by_ref();
        }
        kept.replace(Some(context.waker().clone()));
        Poll::<()>::Pending
    }));
    turn(&mut event_loop);
    assert_eq!(polls.get(), 1);
    let waker = waker.take().unwrap();
    for _ in 0..5 {
        waker.wake_by_ref();
    }
    turn(&mut event_loop);
    assert_eq!(polls.get(), 2, "five wakes, one poll");
    turn(&mut event_loop);
    assert_eq!(
        polls.get(),
        3,
        "woken during its poll, polled in the next turn"
    );
    turn(&mut event_loop);
    assert_eq!(polls.get(), 3);
}

#[test]
fn r9_listeners_are_visited_after_all_other_sources_those_carried_over_included() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let noting = |name: &'static str, next: Next| {
        let log = Rc::clone(&log);
        Visited::by(move |_, _| {
            log.borrow_mut().push(name);
            next
        })
    };
    let mut ctx = event_loop.ctx();
    let address = "127.0.0.1:80".parse().unwrap();
    let (listener, _) = ctx
        .listen(address, |_| noting("listener", Next::Again))
        .unwrap();
    let served = ctx.add_source(|_| noting("served", Next::Wait));
    let carried = ctx.add_source(|_| noting("carried", Next::Again));
    outside.events(&[
        (listener, READABLE),
        (carried, READABLE),
        (served, READABLE),
    ]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["carried", "served", "listener"]);
    outside.events(&[(served, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["served", "carried", "listener"]);
}

#[test]
fn r11_stop_completes_the_turn_and_run_can_be_called_again() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let flushed = event_loop.ctx().add_source(|_| {
        Visited::by(move |_, readiness| {
            assert_eq!(readiness, Readiness::FLUSH);
            theirs.borrow_mut().push("flush");
            Next::Wait
        })
    });
    let theirs = Rc::clone(&log);
    let stopper = event_loop.ctx().add_source(|_| {
        Visited::and_closed(&log, "closed", move |ctx, _| {
            ctx.stop();
            ctx.mark_dirty(flushed);
            ctx.call_soon(note(&theirs, "callback"));
            Next::Close
        })
    });
    outside.events(&[(stopper, READABLE)]);
    event_loop.run().unwrap();
    assert_eq!(taken(&log), ["callback", "flush", "closed"]);
    assert!(!event_loop.is_running());
    event_loop.call_later(MS, |ctx| {
        assert!(ctx.is_running());
        ctx.stop();
    });
    event_loop.run().unwrap();
}

#[test]
fn r11_stop_in_a_callback_lets_those_behind_it_run_and_what_they_schedule_waits_for_the_next_run() {
    let (mut event_loop, _) = manual();
    let log = log();
    event_loop.call_soon(|ctx| ctx.stop());
    let theirs = Rc::clone(&log);
    event_loop.call_soon(move |ctx| {
        theirs.borrow_mut().push("behind it");
        let inner = Rc::clone(&theirs);
        ctx.call_soon(move |ctx| {
            inner.borrow_mut().push("the next run");
            ctx.stop();
        });
    });
    event_loop.run().unwrap();
    assert_eq!(taken(&log), ["behind it"]);
    event_loop.run().unwrap();
    assert_eq!(taken(&log), ["the next run"]);
}

// ---- a source that becomes another --------------------------------------------------------------------------------

#[test]
fn who_comes_in_a_sources_place_has_its_token_its_timers_and_its_end() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let first = event_loop.ctx().add_source(|_| {
        Visited::and_closed(&log, "the first is closed", move |ctx, _| {
            theirs.borrow_mut().push("the first");
            let again = Rc::clone(&theirs);
            let token = ctx.token();
            let second = Visited::and_closed(&theirs, "the second is closed", move |ctx, _| {
                again.borrow_mut().push("the second");
                assert_eq!(ctx.token(), token);
                Next::Wait
            });
            ctx.become_source(second, Next::Again)
        })
    });
    event_loop.ctx().set_timer_tick(first, 5);
    outside.events(&[(first, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the first"]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the second"], "it was carried over");
    outside.pass(10 * MS);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the second"], "the timer is its own now");
    event_loop.ctx().close(first);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the second is closed"]);
}

#[test]
fn who_becomes_another_and_is_to_end_ends_as_the_other() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let source = event_loop.ctx().add_source(|_| {
        Visited::and_closed(&log, "the first is closed", move |ctx, _| {
            let token = ctx.token();
            ctx.close(token);
            let second = Visited::and_closed(&theirs, "the second is closed", |_, _| Next::Wait);
            ctx.become_source(second, Next::Wait)
        })
    });
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the second is closed"]);
    assert_eq!(event_loop.stats().sources, 0);
}

#[test]
fn who_has_become_another_and_another_is_the_last_one() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let theirs = Rc::clone(&log);
    let source = event_loop.ctx().add_source(|_| {
        Visited::by(move |ctx, _| {
            let third = Visited::and_closed(&theirs, "the third is closed", |_, _| Next::Wait);
            let next = ctx.become_source(third, Next::Close);
            let second = Visited::and_closed(&theirs, "the second is closed", |_, _| Next::Wait);
            ctx.become_source(second, next)
        })
    });
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["the third is closed"]);
}

#[test]
fn who_becomes_nobody_is_closed() {
    let (mut event_loop, outside) = manual();
    let log = log();
    let source = event_loop
        .ctx()
        .add_source(|_| Visited::and_closed(&log, "closed", |_, _| Next::Become));
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(taken(&log), ["closed"]);
}

#[test]
fn a_panic_while_the_source_before_is_dropped_is_caught() {
    struct Bomb;
    impl Source for Bomb {
        fn ready(&mut self, ctx: &mut Ctx<'_>, _: Readiness) -> Next {
            ctx.become_source(Visited::by(|_, _| Next::Wait), Next::Wait)
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped")
        }
    }
    let (mut event_loop, outside) = manual();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&reports);
    event_loop.on_panic(move |panicked| theirs.borrow_mut().push(panicked.message.clone()));
    let source = event_loop.ctx().add_source(|_| Box::new(Bomb));
    outside.events(&[(source, READABLE)]);
    turn(&mut event_loop);
    assert_eq!(*reports.borrow(), ["dropped"]);
    assert_eq!(event_loop.stats().sources, 1);
}
