//! How many at a time? Fifty requests with mixed delays, 5, 10, 20 and 50 of them at once. (The article's section 6.1.)
//!
//!     cargo run --release --example 09_concurrency_sweep
//!
//! While a row is measured, a progress bar stands in its place on the terminal. The table, with other numbers:
//!
//! ```text
//! at a time   answers   failed   mean ms   p95 ms   requests/s   memory MiB
//!         5        50        0     172.8    301.9         28.0          4.6
//!        10        50        0     172.2    301.9         54.3          4.7
//!        20        50        0     171.7    301.9         98.5          4.8
//!        50        50        0     171.9    301.9        163.9          5.0
//! ```
//!
//! What to look at: the time of one request stays as it is, since waiting costs the loop nothing; what grows is how many
//! are answered in a second, up to the slowest answer's own time. The throughput is requests by time on the wall, not by
//! the sum of their durations. A semaphore says how many at a time, the pool of connections would as well
//! (`limit_per_host`); a histogram of fixed size keeps the durations, whatever their number.
//!
//! A question: at what number of URLs does 50 at a time pay off over 20? (How long does the last row take at least?)

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tourbillon::client::{Client, Error};
use tourbillon::event_loop::{EventLoop, Handle};
use tourbillon::metrics::{Outcomes, Summary};
use tourbillon::sync::Semaphore;
use tourbillon::task::{as_completed, spawn};
use tourbillon::web::{App, Request, Shared, task};

const URLS: usize = 50;
const AT_A_TIME: [usize; 4] = [5, 10, 20, 50];
/// The n-th URL has the delay n modulo 6.
const DELAYS_MS: [u64; 6] = [50, 100, 150, 200, 250, 300];
const BAR_WIDTH: usize = 40;

async fn delay(request: Request, _: Shared<()>) -> Option<&'static str> {
    let ms = request.param("ms")?.parse().ok()?;
    request.handle().sleep(Duration::from_millis(ms)).await;
    Some("done")
}

/// One URL, when there is a place for it: whether it was answered, and how long that took, waiting for the place not
/// included.
async fn fetch(client: Client, url: String, places: Semaphore) -> (Result<(), Error>, Duration) {
    let _place = places.acquire().await;
    let handle = Handle::current();
    let start = handle.time();
    let answer = async {
        client
            .get(&url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await
    };
    let answer = answer.await.map(drop);
    (answer, handle.time() - start)
}

/// All URLs, so many at a time.
async fn measure(base: &str, at_a_time: usize) -> Result<Summary, Error> {
    let client = Client::builder().limit_per_host(0).build()?;
    let places = Semaphore::new(at_a_time);
    let handle = Handle::current();
    let start = handle.time();
    let requests = (0..URLS).map(|n| {
        let url = format!("{base}/delay/{}", DELAYS_MS[n % DELAYS_MS.len()]);
        spawn(fetch(client.clone(), url, places.clone()))
    });
    let mut outcomes = Outcomes::new();
    let mut done = 0;
    let mut completed = as_completed(requests);
    while let Some((_, request)) = completed.next().await {
        match request.expect("it does not panic") {
            (Ok(()), took) => outcomes.success(took),
            (Err(error), took) => {
                eprintln!("09_concurrency_sweep: {error}");
                outcomes.failure(took);
            }
        }
        done += 1;
        show_progress(done);
    }
    Ok(outcomes.summary(handle.time() - start))
}

/// In place of the row that will follow, and only where somebody looks.
fn show_progress(done: usize) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let filled = "#".repeat(done * BAR_WIDTH / URLS);
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(stderr, "\r[{filled:.<BAR_WIDTH$}] {done}/{URLS}");
        if done == URLS {
            let _ = write!(stderr, "\r\x1b[K");
        }
    }
}

async fn sweep(base: String) -> Result<(), Error> {
    println!("at a time   answers   failed   mean ms   p95 ms   requests/s   memory MiB");
    for at_a_time in AT_A_TIME {
        let summary = measure(&base, at_a_time).await?;
        println!(
            "{at_a_time:>9}   {:>7}   {:>6}   {:>7.1}   {:>6.1}   {:>10.1}   {:>10}",
            summary.successes,
            summary.failures,
            in_ms(summary.mean),
            in_ms(summary.p95),
            summary.throughput,
            memory(&summary),
        );
    }
    Ok(())
}

fn in_ms(duration: Option<Duration>) -> f64 {
    duration.unwrap_or_default().as_secs_f64() * 1e3
}

/// What the process has resident, or a word where the system does not say.
fn memory(summary: &Summary) -> String {
    summary.memory.map_or_else(
        || "unknown".to_owned(),
        |memory| format!("{:.1}", memory.resident as f64 / f64::from(1 << 20)),
    )
}

fn main() -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let app = App::new(()).get("/delay/{ms}", task(delay));
    let (_server, address) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0")?;
    if let Err(error) = event_loop.run_until(sweep(format!("http://{address}")))? {
        eprintln!("09_concurrency_sweep: {error}");
        std::process::exit(1);
    }
    Ok(())
}
