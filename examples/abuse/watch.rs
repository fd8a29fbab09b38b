//! What happens meanwhile: a polite client's waiting times, and the server's memory and CPU time.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Connection, PATIENCE};
use crate::target::Target;

/// Between two requests of the polite client, and two looks at the server's memory.
const INTERVAL: Duration = Duration::from_millis(5);

/// It must get in again and again, not only be kept.
const REQUESTS_PER_CONNECTION: usize = 50;

/// One request of the polite client, or one that it would have sent had it not been waiting.
#[derive(Clone)]
struct Sample {
    from: Instant,
    to: Instant,
    failure: Option<&'static str>,
}

type Shared<T> = Arc<Mutex<Vec<T>>>;

pub(crate) struct Watch {
    samples: Shared<Sample>,
    memory: Shared<(Instant, u64)>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What was seen in some stretch of time.
pub(crate) struct Meanwhile {
    pub(crate) requests: usize,
    pub(crate) failures: Vec<&'static str>,
    pub(crate) p99: Duration,
    /// From the first look at the server's memory to the highest, in bytes; only with a PID.
    pub(crate) memory_rise: Option<u64>,
}

impl Watch {
    pub(crate) fn start(target: &Arc<Target>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (samples, memory) = (Shared::default(), Shared::default());
        let mut threads = vec![{
            let (target, samples, is_over) = (target.clone(), samples.clone(), is_over.clone());
            thread::spawn(move || be_polite(&target, &samples, &is_over))
        }];
        if let Some(pid) = target.options.pid {
            let (memory, is_over) = (memory.clone(), is_over.clone());
            threads.push(thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    lock(&memory).push((Instant::now(), resident_bytes(pid)));
                    thread::sleep(4 * INTERVAL);
                }
            }));
        }
        Self {
            samples,
            memory,
            is_over,
            threads,
        }
    }

    pub(crate) fn between(&self, from: Instant, to: Instant) -> Meanwhile {
        let samples: Vec<Sample> = lock(&self.samples)
            .iter()
            .filter(|sample| sample.to >= from && sample.from <= to)
            .cloned()
            .collect();
        let mut times: Vec<Duration> = samples
            .iter()
            .map(|sample| sample.to - sample.from)
            .collect();
        times.sort();
        let memory: Vec<u64> = lock(&self.memory)
            .iter()
            .filter(|(at, _)| *at >= from && *at <= to)
            .map(|(_, bytes)| *bytes)
            .collect();
        Meanwhile {
            requests: samples.len(),
            failures: samples.iter().filter_map(|sample| sample.failure).collect(),
            p99: times
                .get(times.len() * 99 / 100)
                .copied()
                .unwrap_or_default(),
            memory_rise: (memory.first())
                .and_then(|first| Some(memory.iter().max()?.saturating_sub(*first))),
        }
    }

    pub(crate) fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic has said so itself.
            let _ = thread.join();
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared
        .lock()
        .expect("no thread panics with a list of samples in hand")
}

fn be_polite(target: &Target, samples: &Mutex<Vec<Sample>>, is_over: &AtomicBool) {
    let request = target.get();
    let mut connection = None;
    while !is_over.load(Ordering::Relaxed) {
        let from = Instant::now();
        let failure = ask(target, &request, &mut connection).err();
        let to = Instant::now();
        // While it waited it asked nobody: each request that fell out would have waited too, a little less.
        let mut missed = from;
        let mut samples = lock(samples);
        samples.push(Sample { from, to, failure });
        while missed + INTERVAL < to {
            missed += INTERVAL;
            samples.push(Sample {
                from: missed,
                to,
                failure: None,
            });
        }
        drop(samples);
        thread::sleep((from + INTERVAL).saturating_duration_since(to));
    }
}

/// One request over the connection at hand, or a new one.
fn ask(
    target: &Target,
    request: &[u8],
    kept: &mut Option<(Connection, usize)>,
) -> Result<(), &'static str> {
    let (mut connection, used) = match kept.take() {
        Some((connection, used)) if used < REQUESTS_PER_CONNECTION => (connection, used),
        _ => (target.connect().map_err(|_| "no connection")?, 0),
    };
    connection.send(request, PATIENCE);
    let mut answer = connection.answer(PATIENCE);
    let was_stale = used > 0 && connection.end.is_some() && connection.received.is_empty();
    if answer.is_none() && was_stale {
        // A server may end a kept connection at any time; a client then asks once more. RFC 9112, 9.3.1.
        connection = target.connect().map_err(|_| "no connection")?;
        connection.send(request, PATIENCE);
        answer = connection.answer(PATIENCE);
    }
    match answer {
        Some(answer) if answer.status == 200 => {
            if connection.end.is_none() {
                *kept = Some((connection, used + 1));
            }
            Ok(())
        }
        Some(_) => Err("an answer other than 200"),
        None if connection.end.is_some() => Err("closed without an answer"),
        None => Err("no answer in 2 s"),
    }
}

/// The process and those it started: a server may be several.
fn processes(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found
}

/// 0 where there is no such process, or no `/proc`.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let of_one = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    processes(pid).into_iter().filter_map(of_one).sum::<u64>() << 10
}

/// User and system time since it began, in ticks: there are 100 in a second on every Linux that is built as usual.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let of_one = |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may have anything in it; utime and stime are the 12th and 13th field behind it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(ticks(11)? + ticks(12)?)
    };
    processes(pid).into_iter().filter_map(of_one).sum()
}
