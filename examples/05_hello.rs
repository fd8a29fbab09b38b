//! A web server in a few lines: one handler that is called, one that is a task.
//!
//!     cargo run --example 05_hello           # or with another port than 8080
//!     curl http://127.0.0.1:8080/            # Hello! You are visitor 1.
//!     curl http://127.0.0.1:8080/after/500   # 500 ms later: That took 500 ms.
//!
//! What to look at: `home` is called where the request was read, with `&mut` state and no lock, for there is one
//! thread. `after` may wait; `task(…)` in the table of routes says so. While it waits, `home` goes on answering.
//! Ctrl-C ends the server when everyone has their answer; a second one ends it at once.
//!
//! A question: make `home` return an `Option` or a `Result`. What are the answers when there is none, or an error?

use std::time::Duration;

use tourbillon::web::{App, Request, Response, Shared, task};

fn home(_: &Request, visits: &mut u64) -> String {
    *visits += 1;
    format!("Hello! You are visitor {visits}.\n")
}

async fn after(request: Request, _: Shared<u64>) -> Option<Response> {
    let ms = request.param("ms")?.parse().ok()?;
    request.handle().sleep(Duration::from_millis(ms)).await;
    Some(Response::text(format!("That took {ms} ms.\n")))
}

fn main() {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8080".to_owned());
    println!("serving http://127.0.0.1:{port}/ until Ctrl-C");
    let app = App::new(0).get("/", home).get("/after/{ms}", task(after));
    match app.serve(format!("127.0.0.1:{port}")) {
        Ok(report) => println!("stopped: {report}"),
        Err(error) => {
            eprintln!("05_hello: 127.0.0.1:{port}: {error}");
            std::process::exit(1);
        }
    }
}
