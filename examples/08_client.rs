//! The client with the knobs of the article's section 2.2, against a server that this program starts itself.
//!
//!     cargo run --example 08_client
//!
//! ```text
//! one after another: 5 answers on 1 connection
//! all at once: 40 answers, never more than 5 requests at the server
//! who am I: tourbillon-demo/1.0, German
//! a body sent back: {"name":"Ann"}
//! a slow answer: timed out after 100ms (total), while waiting for the response
//! no server there: connection refused, while connecting
//! ```
//!
//! What to look at: forty requests are sent at once, and `limit_per_host` lets five out; the others wait in line, and
//! nobody had to write a semaphore. The limit on time names the phase that it ended.
//!
//! A question: let `limit_per_host` be 40. How many requests does the server see at once, and what does its queue of
//! connections to accept say to 4,000?

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::client::{Client, Error, ErrorKind, TraceEvent};
use tourbillon::event_loop::EventLoop;
use tourbillon::task::spawn;
use tourbillon::web::{App, Request, Shared, task};

/// How many requests are at the server, and the most that were.
#[derive(Clone, Copy, Default)]
struct Visitors {
    now: usize,
    most: usize,
}

async fn work(request: Request, visitors: Shared<Visitors>) -> &'static str {
    visitors.with(|visitors| {
        visitors.now += 1;
        visitors.most = visitors.most.max(visitors.now);
    });
    request.handle().sleep(Duration::from_millis(20)).await;
    visitors.with(|visitors| visitors.now -= 1);
    "done"
}

fn most(_: &Request, visitors: &mut Visitors) -> String {
    visitors.most.to_string()
}

fn who(request: &Request, _: &mut Visitors) -> String {
    let agent = request.header("User-Agent").unwrap_or("nobody");
    let language = match request.header("Accept-Language") {
        Some("de") => "German",
        _ => "no language",
    };
    format!("{agent}, {language}")
}

fn echo(request: &Request, _: &mut Visitors) -> String {
    String::from_utf8_lossy(request.body()).into_owned()
}

async fn never(request: Request, _: Shared<Visitors>) -> &'static str {
    request.handle().sleep(Duration::from_secs(3600)).await;
    "too late"
}

async fn demonstrate(base: String) -> Result<(), Error> {
    let opened = Rc::new(Cell::new(0));
    let counter = Rc::clone(&opened);
    let client = Client::builder()
        .limit(100)
        .limit_per_host(5)
        .keepalive_timeout(Duration::from_secs(30))
        .timeout(Duration::from_secs(60))
        .connect_timeout(Duration::from_secs(10))
        .sock_read_timeout(Duration::from_secs(30))
        .user_agent("tourbillon-demo/1.0")
        .header("Accept-Language", "de")
        .trace(move |trace| {
            if let TraceEvent::Connected { .. } = trace.event {
                counter.set(counter.get() + 1);
            }
        })
        .build()?;
    let get = |path: &str| client.get(format!("{base}{path}"));

    for _ in 0..5 {
        get("/work").send().await?.text().await?;
    }
    println!(
        "one after another: 5 answers on {} connection",
        opened.get()
    );

    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let request = get("/work");
            spawn(async move { request.send().await?.text().await })
        })
        .collect();
    let mut answers = 0;
    for task in tasks {
        answers += usize::from(task.await.expect("it does not panic")? == "done");
    }
    let most = get("/most").send().await?.text().await?;
    println!("all at once: {answers} answers, never more than {most} requests at the server");

    println!("who am I: {}", get("/who").send().await?.text().await?);

    let sent = client
        .post(format!("{base}/echo"))
        .body(r#"{"name":"Ann"}"#);
    println!("a body sent back: {}", sent.send().await?.text().await?);

    let slow = get("/never").timeout(Duration::from_millis(100));
    if let Err(error) = slow.send().await {
        println!("a slow answer: {}, {}", error.kind(), error.phase());
    }
    // Port 1 is nobody's.
    let nobody = client.get("http://127.0.0.1:1/").send().await;
    if let Err(error) = nobody
        && let ErrorKind::Io(cause) = error.kind()
    {
        println!("no server there: {}, {}", cause.kind(), error.phase());
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let app = App::new(Visitors::default())
        .get("/work", task(work))
        .get("/most", most)
        .get("/who", who)
        .post("/echo", echo)
        .get("/never", task(never));
    let (_server, address) = app.listen(&mut event_loop.ctx(), "127.0.0.1:0")?;
    if let Err(error) = event_loop.run_until(demonstrate(format!("http://{address}")))? {
        eprintln!("08_client: {}: {error}", error.kind().name());
        std::process::exit(1);
    }
    Ok(())
}
