//! Files, with an async face. No system reports readiness for a file: reading one blocks, so each operation runs on the
//! executor, and its future waits for it.
//!
//! **An operation whose future is dropped may still be done**, entirely and later, if a thread has begun it; one that
//! waits for a thread is taken back. So a `write` that was cancelled has left the old file, the new one, or a part of
//! it. [`File`] says for itself what it loses.
//!
//! Where the executor is full, an operation fails with `WouldBlock`. All of them panic when no loop is turning on this
//! thread.

mod file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use file::File;

use crate::net::on_executor;

/// All bytes of a file.
///
/// ```
/// use tourbillon::event_loop::EventLoop;
/// use tourbillon::fs;
///
/// let path = std::env::temp_dir().join("tourbillon-fs-example");
/// EventLoop::new()?.run_until(async move {
///     fs::write(&path, "hello").await?;
///     assert_eq!(fs::read(&path).await?, b"hello");
///     fs::remove_file(&path).await
/// })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`std::fs::read`].
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    with(path, |path| fs::read(path)).await
}

/// All of a file, as text.
///
/// # Errors
/// As [`std::fs::read_to_string`]: `InvalidData` when it is not UTF-8.
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    with(path, |path| fs::read_to_string(path)).await
}

/// Make `bytes` all that is in a file; it is made if there is none.
///
/// # Errors
/// As [`std::fs::write`].
pub async fn write(path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
    let bytes = bytes.into();
    with(path, move |path| fs::write(path, bytes)).await
}

/// What a path leads to.
///
/// # Errors
/// As [`std::fs::metadata`].
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<fs::Metadata> {
    with(path, |path| fs::metadata(path)).await
}

/// What is at a path: a symbolic link is not followed.
///
/// # Errors
/// As [`std::fs::symlink_metadata`].
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<fs::Metadata> {
    with(path, |path| fs::symlink_metadata(path)).await
}

/// The path without links and detours.
///
/// # Errors
/// As [`std::fs::canonicalize`].
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    with(path, |path| fs::canonicalize(path)).await
}

/// What is in a folder, in the order in which the system tells it. All of it is in memory at once.
///
/// # Errors
/// As [`std::fs::read_dir`], and the first error on the way.
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<Vec<fs::DirEntry>> {
    with(path, |path| fs::read_dir(path)?.collect()).await
}

/// Make a folder.
///
/// # Errors
/// As [`std::fs::create_dir`].
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    with(path, |path| fs::create_dir(path)).await
}

/// Make a folder, and those around it.
///
/// # Errors
/// As [`std::fs::create_dir_all`].
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    with(path, |path| fs::create_dir_all(path)).await
}

/// Remove an empty folder.
///
/// # Errors
/// As [`std::fs::remove_dir`].
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    with(path, |path| fs::remove_dir(path)).await
}

/// Remove a folder with all that is in it.
///
/// # Errors
/// As [`std::fs::remove_dir_all`].
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    with(path, |path| fs::remove_dir_all(path)).await
}

/// Remove a file.
///
/// # Errors
/// As [`std::fs::remove_file`].
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    with(path, |path| fs::remove_file(path)).await
}

/// Give a file or a folder another name, in place of what has that name now.
///
/// # Errors
/// As [`std::fs::rename`].
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let to = to.as_ref().to_owned();
    with(from, move |from| fs::rename(from, to)).await
}

/// Copy a file, with its permissions. Returns how many bytes it was.
///
/// # Errors
/// As [`std::fs::copy`].
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let to = to.as_ref().to_owned();
    with(from, move |from| fs::copy(from, to)).await
}

async fn with<T: Send + 'static>(
    path: impl AsRef<Path>,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.as_ref().to_owned();
    on_executor(move || work(&path)).await
}
