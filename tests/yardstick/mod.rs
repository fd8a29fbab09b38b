//! The yardstick in a process of its own, for tests that do to it what one does to no server of one's own process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The file of an example: beside this test's binary, where `cargo test` builds it.
pub(crate) fn example_file(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    (test.parent().and_then(|deps| deps.parent()))
        .expect("in a folder of target")
        .join("examples")
        .join(name)
}

/// A server that is ended when the test is.
pub(crate) struct Yardstick {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Yardstick {
    /// Wait until the yardstick that `command` runs says where it listens.
    pub(crate) fn run_by(command: &mut Command) -> Self {
        let mut child = command
            .env_remove("PORT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it prints UTF-8");
        let address = line.trim().strip_prefix("listening on ");
        let address = address.expect("it says where it listens").to_owned();
        Self { child, address }
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        // Does nothing to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
