//! A process that was started: the task's end of it, and the source that sees it end.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::process::{ExitStatus, Output};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use crate::event_loop::{
    Ctx, Detail, Handle, Inspection, Next, Readiness, Source, Token, waits_on,
};
use crate::net::{ReadHalf, StreamExt, WriteHalf};
use crate::task::{coop, gather};

/// What a [`Child`] and its source share.
struct Shared {
    handle: Handle,
    token: Token,
    end: Cell<Option<End>>,
    is_to_be_killed: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

#[derive(Clone, Copy)]
enum End {
    Exited(ExitStatus),
    /// It cannot be known: someone else has waited for it, or the loop has gone.
    Unknown,
}

impl Shared {
    fn ended(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
        }
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn kill(&self) {
        if !self.is_to_be_killed.replace(true) {
            self.handle.mark_dirty(self.token);
        }
    }
}

/// A child process. It is waited for by the loop when it ends, also when this is dropped: no zombie is left.
pub struct Child {
    /// Its standard input, if it is piped. Dropping it ends it; what was written before must leave within 5 s then, and
    /// [`shutdown`](crate::net::StreamExt::shutdown) waits as long as it takes.
    pub stdin: Option<WriteHalf>,
    /// Its standard output, if it is piped.
    pub stdout: Option<ReadHalf>,
    /// Its standard error, if it is piped.
    pub stderr: Option<ReadHalf>,
    id: u32,
    kill_on_drop: bool,
    shared: Rc<Shared>,
}

impl Child {
    #[cfg(unix)]
    pub(super) fn start(
        ctx: &mut Ctx<'_>,
        command: &mut std::process::Command,
        kill_on_drop: bool,
    ) -> io::Result<Self> {
        use crate::event_loop::Watch;

        // The source first: from the start on its end is seen, and whatever fails below has somebody to clean up.
        let handle = ctx.handle().clone();
        let process = Rc::new(Cell::new(None));
        let mut shared = None;
        let token = ctx.add_source(|token| {
            let ours = Rc::new(Shared {
                handle: handle.clone(),
                token,
                end: Cell::new(None),
                is_to_be_killed: Cell::new(false),
                waiting: Cell::new(None),
            });
            shared = Some(Rc::clone(&ours));
            Box::new(ChildSource {
                shared: ours,
                process: Rc::clone(&process),
                kill_on_drop,
            })
        });
        let shared = shared.ok_or(ErrorKind::NotConnected)?;
        let started = ctx
            .driver()
            .watch_children(token)
            .and_then(|()| command.spawn());
        let mut started = started.inspect_err(|_| ctx.close(token))?;
        let (stdin, stdout, stderr) = (
            started.stdin.take(),
            started.stdout.take(),
            started.stderr.take(),
        );
        let mut child = Self {
            stdin: None,
            stdout: None,
            stderr: None,
            id: started.id(),
            kill_on_drop,
            shared,
        };
        process.set(Some(started));
        // It may have ended before anyone was told.
        handle.wake(token);
        let adopt = || {
            if let Some(pipe) = stdin {
                let socket = ctx.driver().adopt_pipe(pipe.into(), Watch::Write)?;
                child.stdin = Some(WriteHalf::of_pipe(ctx, socket)?);
            }
            if let Some(pipe) = stdout {
                let socket = ctx.driver().adopt_pipe(pipe.into(), Watch::Read)?;
                child.stdout = Some(ReadHalf::of_pipe(ctx, socket)?);
            }
            if let Some(pipe) = stderr {
                let socket = ctx.driver().adopt_pipe(pipe.into(), Watch::Read)?;
                child.stderr = Some(ReadHalf::of_pipe(ctx, socket)?);
            }
            io::Result::Ok(())
        };
        match adopt() {
            Ok(()) => Ok(child),
            Err(error) => {
                child.kill_now();
                Err(error)
            }
        }
    }

    #[cfg(not(unix))]
    pub(super) fn start(
        _: &mut Ctx<'_>,
        _: &mut std::process::Command,
        _: bool,
    ) -> io::Result<Self> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Its number. The system may give it to another process once this one has ended.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Wait for its end. Its standard input is dropped first, if it is still here: many processes wait for the end of
    /// it. Cancelling it changes nothing, and it can be asked again. For a limit of time put
    /// [`timeout`](crate::task::timeout) around it.
    ///
    /// # Errors
    /// `NotFound` when it cannot be known: somebody else in this program has waited for it, or its loop has gone.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        poll_fn(|context| self.poll_wait(context)).await
    }

    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        ready!(coop::poll_proceed(context));
        match self.shared.end.get() {
            Some(End::Exited(status)) => Poll::Ready(Ok(status)),
            Some(End::Unknown) => Poll::Ready(Err(ErrorKind::NotFound.into())),
            None => {
                drop(self.shared.waiting.replace(Some(context.waker().clone())));
                waits_on("process", Detail::Count(self.id.into()));
                Poll::Pending
            }
        }
    }

    /// What it has ended with, if it has.
    pub fn try_status(&self) -> Option<ExitStatus> {
        match self.shared.end.get() {
            Some(End::Exited(status)) => Some(status),
            Some(End::Unknown) | None => None,
        }
    }

    /// Kill it (SIGKILL) at the end of this turn, without waiting for its end. One that has ended is not changed.
    pub fn kill_now(&mut self) {
        self.shared.kill();
    }

    /// Kill it and wait for its end.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.kill_now();
        self.wait().await
    }

    /// Wait for its end, and keep what it says until then, at most `bytes_max` on each of its piped streams. Cancelling
    /// it loses what it has said.
    ///
    /// # Errors
    /// `FileTooLarge` when it says more; it is killed then. Otherwise as [`Child::wait`].
    pub async fn wait_with_output(mut self, bytes_max: usize) -> io::Result<Output> {
        self.stdin = None;
        let streams = [self.stdout.take(), self.stderr.take()];
        let said = gather(streams.map(|stream| all_of(stream, bytes_max))).await;
        let mut said = said.inspect_err(|_| self.kill_now())?;
        let (stderr, stdout) = (said.pop(), said.pop());
        Ok(Output {
            status: self.wait().await?,
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
        })
    }
}

async fn all_of(stream: Option<ReadHalf>, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut said, bytes_max).await?;
    }
    Ok(said)
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop {
            self.kill_now();
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id)
            .field("status", &self.try_status())
            .finish_non_exhaustive()
    }
}

/// Is visited when a child has ended, whichever.
struct ChildSource {
    shared: Rc<Shared>,
    /// There once it is started.
    process: Rc<Cell<Option<std::process::Child>>>,
    kill_on_drop: bool,
}

impl Source for ChildSource {
    fn ready(&mut self, _: &mut Ctx<'_>, _: Readiness) -> Next {
        let Some(mut process) = self.process.take() else {
            return Next::Wait;
        };
        if self.shared.is_to_be_killed.get() {
            // It fails for one that has ended.
            let _ = process.kill();
        }
        match process.try_wait() {
            Ok(None) => {
                self.process.set(Some(process));
                return Next::Wait;
            }
            Ok(Some(status)) => self.shared.ended(End::Exited(status)),
            Err(_) => self.shared.ended(End::Unknown),
        }
        Next::Close
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>) {
        ctx.driver().unwatch_children(self.shared.token);
        // Only a loop that is dropped has one here.
        if let Some(mut process) = self.process.take()
            && self.kill_on_drop
        {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.shared.ended(End::Unknown);
    }

    fn inspect(&self) -> Inspection {
        Inspection {
            kind: "process",
            state: match self.shared.is_to_be_killed.get() {
                true => "being killed",
                false => "running",
            },
            read_drained: true,
            ..Inspection::default()
        }
    }
}
