//! Files on the executor: this machine's, and, for what depends on time, real files on a simulated loop.

use std::io::{ErrorKind, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use tourbillon::event_loop::EventLoop;
use tourbillon::fs::{self, File};
use tourbillon::net::{Stream, StreamExt, TcpListener, TcpStream, copy};
use tourbillon::task::spawn;

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tourbillon-files-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn files_and_folders_are_made_read_renamed_copied_listed_and_removed() {
    let folder = Folder::new();
    let path = folder.0.clone();
    let work = async move {
        let deep = path.join("a/b");
        fs::create_dir_all(&deep).await?;
        fs::write(deep.join("one"), "text").await?;
        assert_eq!(fs::read_to_string(deep.join("one")).await?, "text");
        assert_eq!(fs::copy(deep.join("one"), deep.join("two")).await?, 4);
        fs::rename(deep.join("two"), deep.join("three")).await?;
        let mut names: Vec<_> = fs::read_dir(&deep)
            .await?
            .iter()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["one", "three"]);
        assert_eq!(fs::metadata(deep.join("one")).await?.len(), 4);
        fs::remove_file(deep.join("one")).await?;
        let error = fs::read(deep.join("one")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        fs::write(deep.join("bytes"), [0xff]).await?;
        let error = fs::read_to_string(deep.join("bytes")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(fs::remove_dir(path.join("a")).await.is_err());
        fs::remove_dir_all(path.join("a")).await
    };
    EventLoop::new().unwrap().run_until(work).unwrap().unwrap();
}

#[test]
fn a_file_is_read_and_written_at_the_place_where_its_user_is() {
    let folder = Folder::new();
    let path = folder.0.join("file");
    let work = async move {
        let mut file = File::create(&path).await?;
        file.write_all(&pattern(1_000_000)).await?;
        assert_eq!(file.metadata().await?.len(), 1_000_000);
        assert_eq!(file.seek(SeekFrom::Start(10)).await?, 10);
        let mut ten = [0; 10];
        file.read_exact(&mut ten).await?;
        assert_eq!(ten, pattern(20)[10..]);
        // Much more than that was read ahead; it counts for nothing.
        assert_eq!(file.seek(SeekFrom::Current(0)).await?, 20);
        file.read_exact(&mut ten).await?;
        file.write_all(b"here").await?;
        file.read_exact(&mut ten).await?;
        assert_eq!(ten, pattern(44)[34..]);
        file.sync_all().await?;
        file.set_len(50).await?;
        file.sync_data().await?;
        let mut expected = pattern(50);
        expected[30..34].copy_from_slice(b"here");
        assert_eq!(fs::read(&path).await?, expected);
        file.seek(SeekFrom::End(-1)).await?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest, 10).await?;
        assert_eq!(rest, expected[49..]);
        // What cannot be written is told by the next operation.
        let mut reading = File::open(&path).await?;
        reading.write_all(b"x").await?;
        assert!(reading.flush().await.is_err());
        // A write goes on when the file is dropped.
        let mut dropped = File::create(path.with_extension("dropped")).await?;
        dropped.write_all(b"all of it").await?;
        drop(dropped);
        while fs::read(path.with_extension("dropped")).await? != b"all of it" {}
        std::io::Result::Ok(())
    };
    EventLoop::new().unwrap().run_until(work).unwrap().unwrap();
}

#[test]
fn a_file_goes_over_a_socket_into_another_file() {
    let folder = Folder::new();
    let (from, to) = (folder.0.join("from"), folder.0.join("to"));
    std::fs::write(&from, pattern(3_000_000)).unwrap();
    let target = to.clone();
    let work = async move {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).await?;
        let address = listener.local_addr();
        let receiver = spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            copy(&mut stream, &mut File::create(target).await?).await
        });
        let mut stream: Box<dyn Stream> = Box::new(TcpStream::connect(address).await?);
        let sent = copy(&mut File::open(from).await?, &mut *stream).await?;
        assert_eq!((sent, receiver.await.unwrap()?), (3_000_000, 3_000_000));
        std::io::Result::Ok(())
    };
    EventLoop::new().unwrap().run_until(work).unwrap().unwrap();
    assert!(std::fs::read(&to).unwrap() == pattern(3_000_000));
}

#[cfg(feature = "sim")]
#[test]
fn a_read_or_a_write_that_is_given_up_again_and_again_loses_nothing_and_does_nothing_twice() {
    use std::time::Duration;
    use tourbillon::task::{sleep, timeout};

    let folder = Folder::new();
    let (from, to) = (folder.0.join("from"), folder.0.join("to"));
    std::fs::write(&from, pattern(2_000_000)).unwrap();
    let target = to.clone();
    // A job takes 100 µs there: each operation is given up before it, and tried again after it.
    tourbillon::sim::run(async move {
        let mut from = File::open(from).await.unwrap();
        let mut to = File::create(target).await.unwrap();
        let mut given_up = 0;
        let mut piece = vec![0; 100_000];
        loop {
            let Ok(read) = timeout(Duration::ZERO, from.read(&mut piece)).await else {
                given_up += 1;
                sleep(Duration::from_millis(1)).await;
                continue;
            };
            let mut rest = &piece[..read.unwrap()];
            if rest.is_empty() {
                break;
            }
            while !rest.is_empty() {
                match timeout(Duration::ZERO, to.write(rest)).await {
                    Ok(written) => rest = &rest[written.unwrap()..],
                    Err(_) => {
                        given_up += 1;
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        }
        to.flush().await.unwrap();
        assert!(given_up > 0);
    });
    assert!(std::fs::read(&to).unwrap() == pattern(2_000_000));
}
