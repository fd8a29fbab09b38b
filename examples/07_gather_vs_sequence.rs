//! Five answers of one second each: one after another, and all at once. (The article's section 1.1.)
//!
//!     cargo run --release --example 07_gather_vs_sequence
//!
//! ```text
//! one after another: 5 answers in 5.0 s
//! all at once:       5 answers in 1.0 s
//! the same loop was the server: 10 requests, most at once 5, and it slept for 100 % of the time
//! ```
//!
//! What to look at: there is one thread. The client's five requests wait side by side because waiting takes no thread:
//! each is a task whose socket has nothing to say yet. The server is on the same loop, and its five handlers wait in
//! the same timer wheel.
//!
//! A question: make each answer compute for a second (`std::thread::sleep` will do) instead of waiting for one. What
//! becomes of the second line, and what does `10_debugging` say about it?

use std::time::Duration;

use tourbillon::client::{Client, Error};
use tourbillon::event_loop::{EventLoop, Handle};
use tourbillon::task::gather;
use tourbillon::web::{App, Request, Shared, task};

const REQUESTS: usize = 5;
const ANSWER_TAKES: Duration = Duration::from_secs(1);

/// What the server has seen.
#[derive(Default)]
struct Seen {
    requests: usize,
    now: usize,
    most: usize,
}

async fn after_a_second(request: Request, seen: Shared<Seen>) -> &'static str {
    seen.with(|seen| {
        seen.requests += 1;
        seen.now += 1;
        seen.most = seen.most.max(seen.now);
    });
    request.handle().sleep(ANSWER_TAKES).await;
    seen.with(|seen| seen.now -= 1);
    "That took a second."
}

async fn fetch(client: Client, url: String) -> Result<String, Error> {
    client.get(&url).send().await?.text().await
}

async fn demonstrate(url: String) -> Result<(), Error> {
    let client = Client::new();
    let handle = Handle::current();

    let start = handle.time();
    let mut answers = 0;
    for _ in 0..REQUESTS {
        fetch(client.clone(), url.clone()).await?;
        answers += 1;
    }
    let took = (handle.time() - start).as_secs_f64();
    println!("one after another: {answers} answers in {took:.1} s");

    let start = handle.time();
    let requests = (0..REQUESTS).map(|_| fetch(client.clone(), url.clone()));
    let answers = gather(requests).await?.len();
    let took = (handle.time() - start).as_secs_f64();
    println!("all at once:       {answers} answers in {took:.1} s");
    Ok(())
}

fn main() -> std::io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let app = App::new(Seen::default()).get("/", task(after_a_second));
    let seen = app.state();
    let (_server, address) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0")?;

    let start = event_loop.time();
    if let Err(error) = event_loop.run_until(demonstrate(format!("http://{address}/")))? {
        eprintln!("07_gather_vs_sequence: {error}");
        std::process::exit(1);
    }
    let asleep = event_loop.stats().asleep.as_secs_f64();
    let asleep = 100.0 * asleep / (event_loop.time() - start).as_secs_f64();
    seen.with(|seen| {
        println!(
            "the same loop was the server: {} requests, most at once {}, and it slept for {asleep:.0} % of the time",
            seen.requests, seen.most
        );
    });
    Ok(())
}
