//! What the operating system says about this process. Linux says it in files, which cost no disk and do not block;
//! where there are none, the figures are unknown.

use std::fs;
use std::time::{Duration, Instant};

/// How /proc counts CPU time: in ticks of 10 ms, whatever the kernel's own are (proc(5), sysconf(3)).
const TICK: Duration = Duration::from_millis(10);

/// CPU time between two questions.
pub(crate) struct CpuMeter {
    last: Option<(Instant, Duration)>,
}

impl CpuMeter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last: cpu_time().map(|time| (now, time)),
        }
    }

    /// What this process took of a core since the last question, in percent.
    pub(crate) fn percent(&mut self, now: Instant) -> Option<f64> {
        let time = cpu_time()?;
        let (since, before) = self.last.replace((now, time))?;
        let wall = now.saturating_duration_since(since).as_secs_f64();
        let used = time.saturating_sub(before).as_secs_f64();
        (wall > 0.0).then(|| 100.0 * used / wall)
    }
}

/// User and system time of all threads so far.
fn cpu_time() -> Option<Duration> {
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15 of proc_pid_stat(5). The second is the program's name, in parentheses and with anything inside.
fn parse_stat(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ').skip(14 - 3);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

/// Resident memory. `statm` has it too, but in pages, whose size it does not say.
pub(crate) fn memory_bytes() -> Option<u64> {
    parse_status(&fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of proc_pid_status(5).
fn parse_status(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_look_like_the_fields_behind_it() {
        let stat = "7 (sa) R 1 (lon) S 1 7 7 0 -1 4194304 99 0 0 0 250 50 3 4 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_stat("7 (salon) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn resident_memory_is_in_kibibytes() {
        let status = "Name:\tsalon\nVmHWM:\t    9000 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(parse_status(status), Some(2 * 1024 * 1024));
        assert_eq!(parse_status("Name:\tsalon\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_at_work_uses_its_core_and_holds_memory() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 100_000));
        let start = Instant::now();
        let mut meter = CpuMeter::new(start);
        while start.elapsed() < Duration::from_millis(100) {
            std::hint::black_box(cpu_time());
        }
        let percent = meter.percent(Instant::now()).expect("a figure");
        assert!(percent > 0.0, "{percent}");
    }
}
