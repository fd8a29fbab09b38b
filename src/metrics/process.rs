//! What the kernel says of the process: processor time, descriptors, age; with the names that Prometheus' own clients
//! have for it, see `operations`.

use std::time::Duration;

use super::Memory;

/// Clock ticks in a second, in the files of proc(5). The kernel has shown this number to programs for decades, whatever
/// it counts in itself.
const TICKS_A_SECOND: u32 = 100;

/// The process, as the kernel counts it. `None` for what is not known, which is all of it where there is no `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Its memory.
    pub memory: Option<Memory>,
    /// Processor time that it has used, of all threads, for itself and in the kernel.
    pub cpu: Option<Duration>,
    /// Descriptors that it has open.
    pub descriptors: Option<u64>,
    /// How many it may have: the soft limit of getrlimit(2). `None` also when there is none.
    pub descriptors_max: Option<u64>,
    /// When it began, in seconds since 1970.
    pub started: Option<f64>,
    /// Its threads.
    pub threads: Option<u64>,
}

impl Process {
    /// Read it now: some tens of microseconds, more when many descriptors are open, and no disk.
    pub fn now() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).ok();
        let stat = read("/proc/self/stat");
        let stat = stat.as_deref().and_then(Stat::of);
        Self {
            memory: Memory::of_process(),
            cpu: stat.map(|stat| ticks(stat.cpu_ticks)),
            // One of them is the folder's own.
            descriptors: std::fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| (entries.count() as u64).saturating_sub(1)),
            descriptors_max: read("/proc/self/limits").as_deref().and_then(open_files),
            started: stat.and_then(|stat| {
                let booted: f64 = read("/proc/stat")?
                    .lines()
                    .find_map(|line| line.strip_prefix("btime "))?
                    .parse()
                    .ok()?;
                Some(booted + ticks(stat.started_ticks).as_secs_f64())
            }),
            threads: stat.map(|stat| stat.threads),
        }
    }
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks) / TICKS_A_SECOND
}

/// What is used of proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    started_ticks: u64,
}

impl Stat {
    fn of(text: &str) -> Option<Self> {
        // The second field is a name in brackets, which may have anything in it.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are counted from 1 in the page, and this begins with the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
        })
    }
}

/// The soft limit in a line like `Max open files            1024                 524288               files`.
fn open_files(limits: &str) -> Option<u64> {
    let rest = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_understood() {
        let text =
            "42 (a) b (c) S 1 42 42 0 -1 4194560 95 0 0 0 150 50 0 0 20 0 3 0 12345 1000000 250";
        assert_eq!(
            Stat::of(text),
            Some(Stat {
                cpu_ticks: 200,
                threads: 3,
                started_ticks: 12_345
            })
        );
        assert_eq!(Stat::of("42 (a) S 1"), None);
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files   1024   524288   files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(
            open_files("Max open files   unlimited   unlimited   files\n"),
            None
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_knows_itself() {
        let process = Process::now();
        assert!(process.threads.unwrap() >= 1);
        assert!(process.descriptors.unwrap() >= 3);
        // Some time in this century.
        assert!(process.started.unwrap() > 946_684_800.0);
        assert!(process.cpu.is_some() && process.memory.is_some());
    }
}
