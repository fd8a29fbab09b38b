//! An open file as a stream: it is read ahead and written behind by one piece, which the executor moves.

use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use crate::event_loop::{Handle, JobHandle};
use crate::net::{Stream, StreamExt, on_executor};
use crate::task::coop;

/// One piece: large enough that the way to the executor and back hardly counts.
const PIECE_BYTES: usize = 256 * 1024;

/// An open file. It is a [`Stream`], so it can be copied to a socket and back.
///
/// What is written is taken at once and written by the executor; an error comes back from the next operation, and
/// [`flush`](crate::net::StreamExt::flush) waits for it. Dropping the future of a read or a write loses nothing.
/// Dropping the file lets the last write go on, and nobody learns what became of it.
///
/// ```
/// use std::io::SeekFrom;
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::fs::{self, File};
/// use tourbillon::net::StreamExt;
///
/// let path = std::env::temp_dir().join("tourbillon-file-example");
/// EventLoop::new()?.run_until(async move {
///     let mut file = File::create(&path).await?;
///     file.write_all(b"hello world").await?;
///     file.seek(SeekFrom::Start(6)).await?;
///     let mut rest = Vec::new();
///     file.read_to_end(&mut rest, 100).await?;
///     assert_eq!(rest, b"world");
///     fs::remove_file(&path).await
/// })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct File {
    shared: Arc<Shared>,
    doing: Doing,
    /// Read from the file and not given to anyone, from `start` on.
    ahead: Vec<u8>,
    start: usize,
}

#[derive(Debug)]
struct Shared(Mutex<fs::File>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, fs::File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum Doing {
    Nothing,
    Reading(JobHandle<io::Result<Vec<u8>>>),
    Writing(JobHandle<io::Result<()>>),
}

impl File {
    /// Open a file for reading.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(fs::OpenOptions::new().read(true), path).await
    }

    /// Open a file for reading and writing, empty; it is made if there is none.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    pub async fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Self::open_with(&options, path).await
    }

    /// Open a file as `options` say.
    ///
    /// # Errors
    /// As [`std::fs::OpenOptions::open`].
    pub async fn open_with(options: &fs::OpenOptions, path: impl AsRef<Path>) -> io::Result<Self> {
        let (options, path) = (options.clone(), path.as_ref().to_owned());
        on_executor(move || options.open(path))
            .await
            .map(Self::from)
    }

    /// Go to another place; returns it, from the start. The last write comes first. Cancelling it leaves open
    /// where the file is.
    ///
    /// # Errors
    /// As lseek(2), and what became of the last write.
    pub async fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        poll_fn(|context| self.poll_done(context)).await?;
        let ahead = self.ahead();
        let seeking = self.submit(move |file| {
            step_back(file, ahead)?;
            file.seek(to)
        })?;
        self.drop_ahead();
        seeking.await.map_err(io::Error::other)?
    }

    /// Wait until all that was written is on the disk, with its metadata.
    ///
    /// # Errors
    /// As fsync(2), and what became of the last write.
    pub async fn sync_all(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.on_file(|file| file.sync_all()).await
    }

    /// Wait until all that was written is on the disk.
    ///
    /// # Errors
    /// As fdatasync(2), and what became of the last write.
    pub async fn sync_data(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.on_file(|file| file.sync_data()).await
    }

    /// Cut the file, or lengthen it by zeros.
    ///
    /// # Errors
    /// As ftruncate(2), and what became of the last write.
    pub async fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.flush().await?;
        self.on_file(move |file| file.set_len(bytes)).await
    }

    /// Its size, times and permissions, after the last write.
    ///
    /// # Errors
    /// As fstat(2), and what became of the last write.
    pub async fn metadata(&mut self) -> io::Result<fs::Metadata> {
        self.flush().await?;
        self.on_file(|file| file.metadata()).await
    }

    async fn on_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let shared = Arc::clone(&self.shared);
        on_executor(move || work(&mut shared.lock())).await
    }

    /// Have the executor do `work` next.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<JobHandle<io::Result<T>>> {
        let shared = Arc::clone(&self.shared);
        Handle::current().run_in_executor(move || work(&mut shared.lock()))
    }

    /// Wait for what is being done. What was read stands ahead.
    fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match &mut self.doing {
            Doing::Nothing => return Poll::Ready(Ok(())),
            Doing::Reading(job) => ready!(Pin::new(job).poll(context)).map(|read| {
                read.map(|bytes| {
                    self.ahead = bytes;
                    self.start = 0;
                })
            }),
            Doing::Writing(job) => ready!(Pin::new(job).poll(context)),
        };
        self.doing = Doing::Nothing;
        Poll::Ready(done.unwrap_or_else(|panicked| Err(io::Error::other(panicked))))
    }

    /// The file is so far ahead of what was given out.
    fn ahead(&self) -> usize {
        self.ahead.len() - self.start
    }

    fn drop_ahead(&mut self) {
        self.ahead = Vec::new();
        self.start = 0;
    }

    /// Have something ahead, unless the file is at its end.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(coop::poll_proceed(context));
        if let Doing::Writing(_) = self.doing {
            ready!(self.poll_done(context))?;
        }
        if self.ahead() == 0 {
            if let Doing::Nothing = self.doing {
                let reading = self.submit(|file| {
                    let mut piece = vec![0; PIECE_BYTES];
                    let read = uninterrupted(|| file.read(&mut piece))?;
                    piece.truncate(read);
                    Ok(piece)
                })?;
                self.doing = Doing::Reading(reading);
            }
            ready!(self.poll_done(context))?;
        }
        Poll::Ready(Ok(()))
    }

    fn take_ahead(&mut self, buffer: &mut [u8]) -> usize {
        let ahead = &self.ahead[self.start..];
        let taken = ahead.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&ahead[..taken]);
        self.start += taken;
        if self.ahead() == 0 {
            self.drop_ahead();
        }
        taken
    }
}

/// Go back over what was read and not given to anyone.
fn step_back(file: &mut fs::File, ahead: usize) -> io::Result<()> {
    match ahead {
        0 => Ok(()),
        ahead => file.seek(SeekFrom::Current(-(ahead as i64))).map(drop),
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> Self {
        Self {
            shared: Arc::new(Shared(Mutex::new(file))),
            doing: Doing::Nothing,
            ahead: Vec::new(),
            start: 0,
        }
    }
}

impl Stream for File {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_ahead(context))?;
        Poll::Ready(Ok(self.take_ahead(buffer)))
    }

    fn poll_read_vec(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ahead(context))?;
        let taken = self.ahead();
        match buffer.is_empty() && self.start == 0 {
            true => *buffer = std::mem::take(&mut self.ahead),
            false => buffer.extend_from_slice(&self.ahead[self.start..]),
        }
        self.drop_ahead();
        Poll::Ready(Ok(taken))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(coop::poll_proceed(context));
        ready!(self.poll_done(context))?;
        let piece = bytes[..bytes.len().min(PIECE_BYTES)].to_vec();
        let taken = piece.len();
        let ahead = self.ahead();
        let writing = self.submit(move |file| {
            step_back(file, ahead)?;
            file.write_all(&piece)
        })?;
        self.drop_ahead();
        self.doing = Doing::Writing(writing);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.doing {
            Doing::Writing(_) => self.poll_done(context),
            Doing::Nothing | Doing::Reading(_) => Poll::Ready(Ok(())),
        }
    }

    /// A file has no end to tell of: this flushes.
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Doing::Writing(job) = std::mem::replace(&mut self.doing, Doing::Nothing) {
            job.detach();
        }
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
