//! A future by hand: it waits for a value that a callback brings, and is polled twice.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tourbillon::event_loop::EventLoop;

/// Where a value is put for someone who waits for it.
#[derive(Default)]
struct Letterbox {
    letter: Option<&'static str>,
    waiting: Option<Waker>,
}

impl Letterbox {
    fn post(&mut self, letter: &'static str) {
        self.letter = Some(letter);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
            println!("callback: woke the task, which has not run yet");
        }
    }
}

struct NextLetter(Rc<RefCell<Letterbox>>);

impl Future for NextLetter {
    type Output = &'static str;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<&'static str> {
        let letterbox = &mut *self.0.borrow_mut();
        match letterbox.letter.take() {
            Some(letter) => {
                println!("poll: ready");
                Poll::Ready(letter)
            }
            None => {
                println!("poll: nothing yet, so the waker is kept");
                letterbox.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

pub(crate) fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    event_loop.on_finding(|finding| {
        let text = finding.to_string();
        println!("found: {}", text.split(" created").next().unwrap_or(&text));
    });
    event_loop.set_debug(true);

    let letterbox = Rc::new(RefCell::new(Letterbox::default()));
    let theirs = Rc::clone(&letterbox);
    event_loop.call_later(Duration::from_millis(20), move |_| {
        theirs.borrow_mut().post("hello");
    });
    event_loop.spawn_named("reader", async move {
        println!("task: waits for a letter");
        let letter = NextLetter(letterbox).await;
        println!("task: the letter says {letter}");
    });
    event_loop.call_later(Duration::from_millis(500), |ctx| ctx.stop());
    event_loop.run()
}
