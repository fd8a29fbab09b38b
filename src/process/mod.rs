//! Child processes: their standard streams are streams, and their end is a future. No thread waits for them: the system
//! says by a signal (SIGCHLD) that some child has ended, and then each one's source looks whether it was its own.
//!
//! On Unix. Elsewhere nothing is started, and the error is `Unsupported`.

mod child;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

pub use child::Child;

use crate::net::ask_loop;

/// What is to be run, and how. As [`std::process::Command`], which it is made of: [`Command::std_mut`] has the rest of
/// its settings.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::process::Command;
///
/// let output = EventLoop::new()?.run_until(async {
///     Command::new("echo").arg("hello").output(1_000).await
/// })??;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Command {
    command: std::process::Command,
    kill_on_drop: bool,
}

impl From<std::process::Command> for Command {
    fn from(command: std::process::Command) -> Self {
        Self {
            command,
            kill_on_drop: false,
        }
    }
}

impl Command {
    /// Run `program`, without arguments and with this process' environment and standard streams, unless more is said.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        std::process::Command::new(program).into()
    }

    /// One argument more.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Several arguments more.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Set a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The folder to run in.
    #[must_use]
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Its standard input; [`Stdio::piped`] makes it [`Child::stdin`].
    #[must_use]
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.command.stdin(stdio);
        self
    }

    /// Its standard output; [`Stdio::piped`] makes it [`Child::stdout`].
    #[must_use]
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.command.stdout(stdio);
        self
    }

    /// Its standard error; [`Stdio::piped`] makes it [`Child::stderr`].
    #[must_use]
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.command.stderr(stdio);
        self
    }

    /// Kill the process when its [`Child`] is dropped, or the future that holds it: with a timeout around it, a process
    /// that takes too long ends. Not so unless set.
    #[must_use]
    pub fn kill_on_drop(mut self, kill_on_drop: bool) -> Self {
        self.kill_on_drop = kill_on_drop;
        self
    }

    /// All settings that std knows.
    pub fn std_mut(&mut self) -> &mut std::process::Command {
        &mut self.command
    }

    /// Start it. That blocks the loop for as long as the system takes to start a process, about a millisecond.
    ///
    /// # Errors
    /// As [`std::process::Command::spawn`]; `Unsupported` on a driver without processes.
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn spawn(self) -> io::Result<Child> {
        let Self {
            mut command,
            kill_on_drop,
        } = self;
        ask_loop(move |ctx| Child::start(ctx, &mut command, kill_on_drop)).await
    }

    /// Run it to its end. Dropping the future lets it run on, unless it is to be killed on drop.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`].
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn status(self) -> io::Result<ExitStatus> {
        self.spawn().await?.wait().await
    }

    /// Run it to its end, without input, and keep what it says: at most `bytes_max` on each of its two streams.
    /// Dropping the future lets it run on, unless it is to be killed on drop.
    ///
    /// # Errors
    /// `FileTooLarge` when it says more; it is killed then. Otherwise as [`Command::spawn`] and [`Child::wait`].
    ///
    /// # Panics
    /// When no loop is turning on this thread.
    pub async fn output(self, bytes_max: usize) -> io::Result<Output> {
        let command = self
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().await?.wait_with_output(bytes_max).await
    }
}
