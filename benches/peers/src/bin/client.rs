//! One HTTP client, as a process of its own: so many GETs of one URL, so many at a time, and what they cost in CPU time.
//!
//!     client tourbillon|reqwest|hyper|hyper-conn URL REQUESTS AT_A_TIME
//!
//! Prints one line of JSON. Each client runs on one thread, with its pool as it comes, reads every body whole and checks its
//! status. `hyper-conn` is hyper's connection without any pool, one for each worker: what is below the other two.
//! `client.py` beside this package's manifest runs them in turns against one nginx.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;

/// What is asked of each client.
#[derive(Clone)]
struct Job {
    url: String,
    requests: usize,
    at_a_time: usize,
}

/// Answers and the bytes of their bodies.
#[derive(Clone, Copy, Default)]
struct Done {
    answers: usize,
    bytes: usize,
}

impl Done {
    fn add(&mut self, more: Self) {
        self.answers += more.answers;
        self.bytes += more.bytes;
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [who, url, requests, at_a_time] = &arguments[..] else {
        eprintln!("usage: client tourbillon|reqwest|hyper|hyper-conn URL REQUESTS AT_A_TIME");
        return ExitCode::from(2);
    };
    let (Ok(requests), Ok(at_a_time)) = (requests.parse(), at_a_time.parse()) else {
        eprintln!("REQUESTS and AT_A_TIME are numbers");
        return ExitCode::from(2);
    };
    let job = Job {
        url: url.clone(),
        requests,
        at_a_time,
    };
    let run = match who.as_str() {
        "tourbillon" => tourbillon_client::run,
        "reqwest" => reqwest_client::run,
        "hyper" => hyper_client::run,
        "hyper-conn" => hyper_conn::run,
        other => {
            eprintln!("no client is called {other}");
            return ExitCode::from(2);
        }
    };
    let (began, cpu) = (Instant::now(), cpu_time());
    let done = run(&job);
    let (took, cpu) = (began.elapsed(), cpu_time() - cpu);
    assert_eq!(done.answers, requests, "every request has its answer");
    println!(
        "{{\"client\":\"{who}\",\"requests\":{},\"bytes\":{},\"cpu_us\":{:.3},\"wall_us\":{:.3}}}",
        done.answers,
        done.bytes,
        cpu.as_secs_f64() * 1e6 / requests as f64,
        took.as_secs_f64() * 1e6 / requests as f64,
    );
    ExitCode::SUCCESS
}

/// CPU time of all threads of this process, user and system, to the nanosecond (proc(5), schedstat).
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux has /proc");
    threads
        .map(|thread| {
            let path = thread.expect("a thread of ours").path().join("schedstat");
            let text = std::fs::read_to_string(path).expect("schedstat is on");
            let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
            Duration::from_nanos(nanoseconds.expect("a number"))
        })
        .sum()
}

/// Hands out the requests, one after another, to whoever is free.
struct Tickets(Cell<usize>);

impl Tickets {
    fn new(job: &Job) -> Rc<Self> {
        Rc::new(Self(Cell::new(job.requests)))
    }

    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

mod tourbillon_client {
    use super::{Done, Job, Tickets};
    use std::rc::Rc;
    use tourbillon::client::Client;
    use tourbillon::event_loop::EventLoop;

    pub(super) fn run(job: &Job) -> Done {
        let mut event_loop = EventLoop::new().expect("a loop");
        let (job, tickets) = (job.clone(), Tickets::new(job));
        let run = async move {
            let client = Client::builder()
                .limit(job.at_a_time)
                .limit_per_host(job.at_a_time)
                .build()
                .expect("a client");
            let workers: Vec<_> = (0..job.at_a_time)
                .map(|_| {
                    let (client, url, tickets) =
                        (client.clone(), job.url.clone(), Rc::clone(&tickets));
                    tourbillon::task::spawn(async move {
                        let mut done = Done::default();
                        while tickets.take() {
                            let response = client.get(&url).send().await.expect("an answer");
                            assert_eq!(response.status(), 200);
                            done.bytes += response.bytes().await.expect("a body").len();
                            done.answers += 1;
                        }
                        done
                    })
                })
                .collect();
            let mut all = Done::default();
            for worker in workers {
                all.add(worker.await.expect("no panic"));
            }
            all
        };
        event_loop.run_until(run).expect("the loop runs")
    }
}

/// Run as many workers as are to work at a time on a current-thread tokio runtime, and add up.
fn on_tokio<W>(job: &Job, worker: impl Fn() -> W) -> Done
where
    W: Future<Output = Done> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let workers: Vec<_> = (0..job.at_a_time)
            .map(|_| tokio::task::spawn_local(worker()))
            .collect();
        let mut all = Done::default();
        for worker in workers {
            all.add(worker.await.expect("no panic"));
        }
        all
    })
}

mod reqwest_client {
    use super::{Done, Job, Tickets, on_tokio};
    use std::rc::Rc;

    pub(super) fn run(job: &Job) -> Done {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let tickets = Tickets::new(job);
        on_tokio(job, || {
            let (client, url, tickets) = (client.clone(), job.url.clone(), Rc::clone(&tickets));
            async move {
                let mut done = Done::default();
                while tickets.take() {
                    let response = client.get(&url).send().await.expect("an answer");
                    assert_eq!(response.status(), 200);
                    done.bytes += response.bytes().await.expect("a body").len();
                    done.answers += 1;
                }
                done
            }
        })
    }
}

/// A whole answer of hyper's: the length of its body.
async fn read(response: hyper::Response<hyper::body::Incoming>) -> usize {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.expect("a body");
    body.to_bytes().len()
}

mod hyper_client {
    use super::{Done, Job, Tickets, on_tokio, read};
    use http_body_util::Empty;
    use hyper::body::Bytes;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use std::rc::Rc;

    pub(super) fn run(job: &Job) -> Done {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let uri: hyper::Uri = job.url.parse().expect("a URL");
        let tickets = Tickets::new(job);
        on_tokio(job, || {
            let (client, uri, tickets) = (client.clone(), uri.clone(), Rc::clone(&tickets));
            async move {
                let mut done = Done::default();
                while tickets.take() {
                    let response = client.get(uri.clone()).await.expect("an answer");
                    done.bytes += read(response).await;
                    done.answers += 1;
                }
                done
            }
        })
    }
}

mod hyper_conn {
    use super::{Done, Job, Tickets, on_tokio, read};
    use http_body_util::Empty;
    use hyper::body::Bytes;
    use hyper_util::rt::TokioIo;
    use std::rc::Rc;

    pub(super) fn run(job: &Job) -> Done {
        let uri: hyper::Uri = job.url.parse().expect("a URL");
        let authority = uri.authority().expect("a host").to_string();
        let path = uri.path_and_query().expect("a path").to_string();
        let tickets = Tickets::new(job);
        on_tokio(job, || {
            let (authority, path, tickets) = (authority.clone(), path.clone(), Rc::clone(&tickets));
            async move {
                let mut done = Done::default();
                let stream = tokio::net::TcpStream::connect(&authority)
                    .await
                    .expect("a connection");
                stream.set_nodelay(true).expect("an option");
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
                        .await
                        .expect("HTTP");
                tokio::task::spawn_local(connection);
                while tickets.take() {
                    let request = hyper::Request::get(&path)
                        .header("host", &authority)
                        .body(Empty::new());
                    sender.ready().await.expect("a connection");
                    let response = sender
                        .send_request(request.expect("a request"))
                        .await
                        .expect("an answer");
                    done.bytes += read(response).await;
                    done.answers += 1;
                }
                done
            }
        })
    }
}
