//! A loop that another thread steps: it stands still before each task and callback, and says what comes next.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tourbillon::event_loop::{Control, EventLoop, LoopGone, News, Standing};
use tourbillon::task::{sleep, spawn_named};

/// What there is to step through.
async fn breakfast() {
    spawn_named("eggs", async {
        println!("  the eggs go in");
        sleep(Duration::from_secs(240)).await;
        println!("  the eggs come out");
    });
    println!("  the table is laid");
}

fn say(standing: &Standing) {
    let turn = standing.turn;
    match &standing.next {
        None => println!("before turn {turn}"),
        Some((phase, upcoming)) => {
            let (kind, name) = (upcoming.work.kind, upcoming.work.name.as_deref());
            println!(
                "turn {turn}, in step {phase:?}: {kind} {}",
                name.unwrap_or("without a name")
            );
        }
    }
}

/// On its own thread: so many steps, and then the end.
fn steps(control: &Control, stops: &Receiver<Standing>) -> Result<(), LoopGone> {
    for standing in stops.iter().take(6) {
        say(&standing);
        control.step_callback()?;
    }
    control.remote().stop()?;
    control.resume()
}

pub(crate) fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    event_loop.spawn_named("breakfast", breakfast());
    event_loop.call_soon(|_| println!("  a callback"));

    let control = event_loop.attach_control();
    let (stopped, stops) = channel();
    let hook = move |news: &News| {
        if let News::Stopped(_, standing) = news {
            let _ = stopped.send(standing.clone());
        }
    };
    control.on_news(hook).expect("the loop is there");
    control.pause().expect("the loop is there");
    let stepper = thread::spawn(move || steps(&control, &stops));
    event_loop.run()?;
    stepper
        .join()
        .expect("it does not panic")
        .expect("the loop is there");
    Ok(())
}
