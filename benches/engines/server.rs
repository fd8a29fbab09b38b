//! The server as a process of its own, and what the kernel says about it.
//!
//! What one process costs can only be told when the other one, which asks it, is not in the figures. So the server is
//! this program once more, and everything is read from `/proc`, which needs no privileges. Linux only.

use std::fs;
use std::io::{self, BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

/// The argument that makes this program the server.
pub(crate) const SERVE: &str = "--serve";

/// `USER_HZ` is 100 on every architecture, whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

/// A running server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Start this program as the server. `engine` is as [`tourbillon::web::Engine`] parses it.
    pub(crate) fn start(engine: &str, file: &Path) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVE, engine])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                child.wait()?;
                Err(io::Error::other(format!("no server with {engine}")))
            }
        }
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// What it has used until now.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        let status = fs::read_to_string(self.proc().join("status"))?;
        // Behind the name, which may hold anything but a second parenthesis; utime and stime are fields 14 and 15.
        let stat = fs::read_to_string(self.proc().join("stat"))?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |field: usize| number(after_name.split_whitespace().nth(field - 3));
        let mut usage = Usage {
            user: TICK * u32::try_from(ticks(14)?).unwrap_or(u32::MAX),
            system: TICK * u32::try_from(ticks(15)?).unwrap_or(u32::MAX),
            rss_kib: field(&status, "VmRSS:")?,
            peak_kib: field(&status, "VmHWM:")?,
            threads: field(&status, "Threads:")?,
            ..Usage::default()
        };
        // Both are of one thread in the files above.
        for task in fs::read_dir(self.proc().join("task"))? {
            let task = task?.path();
            let status = fs::read_to_string(task.join("status"))?;
            usage.voluntary += field(&status, "voluntary_ctxt_switches:")?;
            usage.involuntary += field(&status, "nonvoluntary_ctxt_switches:")?;
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            usage.cpu += Duration::from_nanos(number(schedstat.split_whitespace().next())?);
        }
        Ok(usage)
    }

    /// Count its system calls from here on. `None` without perf(1), or without the right to use its tracepoints.
    pub(crate) fn count_syscalls(&self) -> Option<SyscallCounter> {
        SyscallCounter::start(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its standard input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What a process has used. Of threads that have ended, only [`Usage::user`] and [`Usage::system`] still know.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Time on a core, to the nanosecond.
    pub(crate) cpu: Duration,
    /// The same as the kernel splits it, by what it finds at each of its ticks: rough.
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// A thread had nothing to do.
    pub(crate) voluntary: u64,
    /// A thread had to make room for another.
    pub(crate) involuntary: u64,
    pub(crate) rss_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) threads: u64,
}

impl Usage {
    /// What was used since `earlier`; sizes are those of now.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
            ..self
        }
    }

    pub(crate) fn switches(&self) -> u64 {
        self.voluntary + self.involuntary
    }
}

fn field(status: &str, name: &str) -> io::Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    number(value.and_then(|value| value.split_whitespace().next()))
}

fn number(text: Option<&str>) -> io::Result<u64> {
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the /proc of Linux"))
}

/// perf(1) at work. It slows what it counts, so it never runs while time is taken.
pub(crate) struct SyscallCounter {
    perf: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl SyscallCounter {
    fn start(process: u32) -> Option<Self> {
        let event = "raw_syscalls:sys_enter";
        // A line every 100 ms: the first one says that it counts.
        let mut perf = Command::new("perf")
            .args(["stat", "-I", "100", "-x", ",", "-e", event, "-p"])
            .arg(process.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(perf.stderr.take()?).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        if first.contains(event) && !first.contains("not supported") {
            return Some(Self { perf, lines });
        }
        let _ = perf.kill();
        let _ = perf.wait();
        None
    }

    /// How many there were.
    pub(crate) fn finish(mut self) -> Option<u64> {
        let process = self.perf.id().to_string();
        Command::new("kill")
            .args(["-INT", &process])
            .status()
            .ok()?;
        let mut sum = 0;
        for line in self.lines.by_ref() {
            // When, how many, …; "<not counted>" is a thread that never ran.
            let line = line.ok()?;
            let count = line
                .split(',')
                .nth(1)
                .and_then(|count| count.parse::<u64>().ok());
            sum += count.unwrap_or_default();
        }
        self.perf.wait().ok()?;
        Some(sum)
    }
}
