//! The article's table 7.2, with a method: the same work done one at a time, with a thread for each connection, and by
//! an event loop.
//!
//! The article gives a share of time for each kind of work and does not say how it was measured. Here a hundred users
//! each open a connection, ask, and close it; what differs is only who waits for whom. One at a time, a user begins
//! when the one before has gone, and the handler blocks. With threads, all begin together and each handler blocks a
//! thread of its own. On the loop, all begin together and the handler awaits.

use std::io;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::results::{self, Results};
use super::server::Server;
use super::talk::{Script, Talk};

const USERS: usize = 100;

struct Scenario {
    name: &'static str,
    blocking: Script,
    awaiting: Script,
    questions: usize,
    /// How long a user thinks before each question.
    think: Duration,
    /// Where little is waited for, it takes more of them to find the middle.
    rounds: usize,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "HTTP, an upstream that takes 50 ms",
        blocking: Script::Get("/wait-blocking/50"),
        awaiting: Script::Get("/wait/50"),
        questions: 1,
        think: Duration::ZERO,
        rounds: 3,
    },
    Scenario {
        name: "WebSocket, 5 messages with 10 ms of thought before each",
        blocking: Script::Chat("/echo"),
        awaiting: Script::Chat("/echo"),
        questions: 5,
        think: Duration::from_millis(10),
        rounds: 3,
    },
    Scenario {
        name: "file of 64 KiB, a device that takes 10 ms (simulated)",
        blocking: Script::Get("/file-blocking/10"),
        awaiting: Script::Get("/file/10"),
        questions: 1,
        think: Duration::ZERO,
        rounds: 3,
    },
    Scenario {
        name: "file of 64 KiB, from the page cache",
        blocking: Script::Get("/file-blocking/0"),
        awaiting: Script::Get("/file/0"),
        questions: 20,
        think: Duration::ZERO,
        rounds: 15,
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    OneAtATime,
    Threads,
    Loop,
}

/// One scenario done in one way. CPU time, switches and system calls are the server's, for each question.
#[derive(Serialize)]
struct Line {
    scenario: &'static str,
    way: &'static str,
    users: usize,
    questions: usize,
    rounds: usize,
    /// The median of the rounds.
    wall_ms: f64,
    cpu_us: f64,
    switches: f64,
    rss_start_kib: u64,
    /// The most it had at any time.
    peak_kib: u64,
    threads: u64,
}

/// Do every scenario in every way. Smoke: a few users, once.
pub(crate) fn measure(is_smoke: bool) -> io::Result<()> {
    let mut results = Results::open("article", is_smoke)?;
    for scenario in &SCENARIOS {
        println!("{}", scenario.name);
        for way in [Way::OneAtATime, Way::Threads, Way::Loop] {
            let (users, rounds) = if is_smoke {
                (4, 1)
            } else {
                (USERS, scenario.rounds)
            };
            let line = scenario.measure(way, users, rounds)?;
            println!(
                "  {:<14} {:>8.1} ms, CPU {:>6.1} µs, {:>5.2} switches, peak {:>6} KiB, {:>3} threads",
                line.way, line.wall_ms, line.cpu_us, line.switches, line.peak_kib, line.threads
            );
            results.write(&line)?;
        }
    }
    Ok(())
}

impl Scenario {
    fn measure(&self, way: Way, users: usize, rounds: usize) -> io::Result<Line> {
        let (name, engine, script) = match way {
            Way::OneAtATime => ("one at a time", "threads:1000", self.blocking),
            Way::Threads => ("threads", "threads:1000", self.blocking),
            Way::Loop => ("loop", "loop", self.awaiting),
        };
        let server = Server::start(engine, &results::file()?)?;
        let before = server.usage()?;
        let mut walls = Vec::new();
        for _ in 0..rounds {
            let user = || self.one_user(server.address, script);
            walls.push(match way {
                Way::OneAtATime => one_at_a_time(users, user)?,
                Way::Threads | Way::Loop => all_at_once(users, user)?,
            });
        }
        walls.sort();
        let used = server.usage()?.since(before);
        let questions = (rounds * users * self.questions) as f64;
        Ok(Line {
            scenario: self.name,
            way: name,
            users,
            questions: self.questions,
            rounds,
            wall_ms: walls[rounds / 2].as_secs_f64() * 1e3,
            cpu_us: used.cpu.as_secs_f64() * 1e6 / questions,
            switches: used.switches() as f64 / questions,
            rss_start_kib: before.rss_kib,
            peak_kib: used.peak_kib,
            threads: used.threads,
        })
    }

    fn one_user(&self, address: SocketAddr, script: Script) -> io::Result<()> {
        let mut talk = Talk::open(address, script)?;
        for _ in 0..self.questions {
            if !self.think.is_zero() {
                thread::sleep(self.think);
            }
            talk.ask()?;
        }
        Ok(())
    }
}

fn one_at_a_time(users: usize, user: impl Fn() -> io::Result<()>) -> io::Result<Duration> {
    let began = Instant::now();
    for _ in 0..users {
        user()?;
    }
    Ok(began.elapsed())
}

fn all_at_once(users: usize, user: impl Fn() -> io::Result<()> + Sync) -> io::Result<Duration> {
    // Starting threads is the clients' affair and not in the time.
    let start = Barrier::new(users + 1);
    thread::scope(|scope| {
        let users: Vec<_> = (0..users)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    user()
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        for user in users {
            user.join()
                .map_err(|_| io::Error::other("a user panicked"))??;
        }
        Ok(began.elapsed())
    })
}
