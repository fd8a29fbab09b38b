//! Tasks, callbacks and timers on one thread: this loop, tokio's current-thread runtime, and async-executor with async-io.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use async_executor::LocalExecutor;
use tourbillon::event_loop::{EventLoop, TurnBudget};

/// A time that does not come.
const LATER: Duration = Duration::from_secs(30);

/// Runs tasks on one thread.
pub trait Peer {
    /// Whose it is.
    const NAME: &'static str;

    fn new() -> Self;

    /// Spawn `count` empty tasks, and run them all.
    fn spawn(&mut self, count: usize);

    /// Have `count` empty functions called soon, and call them all. A peer without callbacks spawns tasks that call them.
    fn call_soon(&mut self, count: usize);

    /// `count` times, one after another: begin to sleep, and do not wait for the end.
    fn sleep_and_cancel(&mut self, count: usize);
}

/// Poll `future` once, and drop it.
async fn begin(future: impl Future) {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

fn callback() {
    black_box(());
}

pub struct Tourbillon(EventLoop);

impl Peer for Tourbillon {
    const NAME: &'static str = "tourbillon";

    fn new() -> Self {
        Self(EventLoop::new().expect("a loop"))
    }

    fn spawn(&mut self, count: usize) {
        for _ in 0..count {
            drop(self.0.spawn(async {}));
        }
        self.run();
    }

    fn call_soon(&mut self, count: usize) {
        for _ in 0..count {
            self.0.call_soon(|_| callback());
        }
        self.run();
    }

    fn sleep_and_cancel(&mut self, count: usize) {
        let sleeps = async move {
            for _ in 0..count {
                begin(tourbillon::task::sleep(LATER)).await;
            }
        };
        self.0.run_until(sleeps).expect("it ends");
    }
}

impl Tourbillon {
    fn run(&mut self) {
        while !self.0.is_idle() {
            self.0.turn(TurnBudget::no_wait()).expect("a turn");
        }
    }
}

pub struct Tokio(tokio::runtime::Runtime);

impl Peer for Tokio {
    const NAME: &'static str = "tokio";

    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Self(runtime.expect("a runtime"))
    }

    fn spawn(&mut self, count: usize) {
        self.0.block_on(async {
            for _ in 1..count {
                drop(tokio::spawn(async {}));
            }
            // First in, first out: with the last one all have ended.
            tokio::spawn(async {}).await.expect("it ends");
        });
    }

    fn call_soon(&mut self, count: usize) {
        self.0.block_on(async {
            for _ in 1..count {
                drop(tokio::spawn(async { callback() }));
            }
            tokio::spawn(async { callback() }).await.expect("it ends");
        });
    }

    fn sleep_and_cancel(&mut self, count: usize) {
        self.0.block_on(async {
            for _ in 0..count {
                begin(tokio::time::sleep(LATER)).await;
            }
        });
    }
}

pub struct AsyncExecutor(LocalExecutor<'static>);

impl Peer for AsyncExecutor {
    const NAME: &'static str = "async-executor";

    fn new() -> Self {
        Self(LocalExecutor::new())
    }

    fn spawn(&mut self, count: usize) {
        let executor = &self.0;
        for _ in 1..count {
            executor.spawn(async {}).detach();
        }
        let last = executor.spawn(async {});
        async_io::block_on(executor.run(last));
    }

    fn call_soon(&mut self, count: usize) {
        let executor = &self.0;
        for _ in 1..count {
            executor.spawn(async { callback() }).detach();
        }
        let last = executor.spawn(async { callback() });
        async_io::block_on(executor.run(last));
    }

    fn sleep_and_cancel(&mut self, count: usize) {
        async_io::block_on(async {
            for _ in 0..count {
                begin(async_io::Timer::after(LATER)).await;
            }
        });
    }
}
