//! Where the figures go, and what else of the machine is needed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde::Serialize;

use super::app::FILE_BYTES;

/// One case with one engine. Of several lines about the same, the last one counts. Everything but sizes and numbers of
/// threads is for each operation.
#[derive(Serialize)]
pub(crate) struct Line {
    pub(crate) case: &'static str,
    pub(crate) connections: usize,
    pub(crate) engine: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) operations: u64,
    pub(crate) wall_us: f64,
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    pub(crate) voluntary: f64,
    pub(crate) involuntary: f64,
    pub(crate) syscalls: Option<f64>,
    /// Before anybody connected.
    pub(crate) rss_start_kib: u64,
    pub(crate) rss_kib: u64,
    pub(crate) threads: u64,
    pub(crate) idle: Option<Idle>,
}

/// What all connections together cost while nobody says anything.
#[derive(Serialize)]
pub(crate) struct Idle {
    pub(crate) seconds: f64,
    pub(crate) switches: u64,
    pub(crate) cpu_us: f64,
}

/// A file of lines.
pub(crate) struct Results {
    file: File,
    machine: String,
    is_smoke: bool,
}

#[derive(Serialize)]
struct Record<'a, T> {
    machine: &'a str,
    #[serde(flatten)]
    line: &'a T,
}

impl Results {
    /// `target/engines/NAME.jsonl`. A smoke test's figures are none: they go elsewhere.
    pub(crate) fn open(name: &str, is_smoke: bool) -> io::Result<Self> {
        let name = if is_smoke {
            format!("smoke-{name}")
        } else {
            name.to_owned()
        };
        let path = folder()?.join(name).with_extension("jsonl");
        Ok(Self {
            file: OpenOptions::new().create(true).append(true).open(path)?,
            machine: machine(),
            is_smoke,
        })
    }

    pub(crate) fn is_smoke(&self) -> bool {
        self.is_smoke
    }

    pub(crate) fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let machine = &self.machine;
        let mut text = serde_json::to_string(&Record { machine, line })?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }
}

fn folder() -> io::Result<PathBuf> {
    // target/tmp is Cargo's, wherever the target folder is.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("engines");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The file that is served.
pub(crate) fn file() -> io::Result<PathBuf> {
    let path = folder()?.join("served.bin");
    if fs::metadata(&path).map_or(true, |file| file.len() != FILE_BYTES as u64) {
        fs::write(&path, vec![b'f'; FILE_BYTES])?;
    }
    Ok(path)
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Distributions write what they like behind the second number.
    let kernel: Vec<&str> = kernel.trim().split('.').take(2).collect();
    let queues = if cfg!(feature = "sockopt") {
        "SO_REUSEPORT"
    } else {
        "one accept queue"
    };
    format!(
        "{model}, {cores} cores, Linux {}, {queues}",
        kernel.join(".")
    )
}

/// Client and server hold a descriptor for each connection. If the limit for them can be raised, run this program again
/// with a higher one, to its end, and say so: without `unsafe` a process cannot raise its own.
pub(crate) fn raise_descriptor_limit() -> io::Result<bool> {
    const RAISED: &str = "TOURBILLON_BENCH_RAISED";
    if std::env::var_os(RAISED).is_some() {
        return Ok(false);
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -Sn \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(RAISED, "1")
        .status()?;
    if status.success() {
        return Ok(true);
    }
    Err(io::Error::other(
        "the run with a higher limit for descriptors failed",
    ))
}
