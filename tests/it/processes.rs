//! Child processes of this machine, and the loop that sees them end.

use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tourbillon::event_loop::EventLoop;
use tourbillon::net::{Buffered, StreamExt};
use tourbillon::process::Command;
use tourbillon::task::{gather_all, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);

/// Run `future` on a loop of this machine, and see that nothing is left on it.
fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let mut event_loop = EventLoop::new().unwrap();
    let output = event_loop
        .run_until(async move { timeout(PATIENCE, future).await.expect("it takes too long") })
        .unwrap();
    let give_up = Instant::now() + PATIENCE;
    while event_loop.stats().sources > 0 {
        event_loop
            .run_until(async { sleep(Duration::from_millis(1)).await })
            .unwrap();
        assert!(
            Instant::now() < give_up,
            "{:?}",
            event_loop.census().collect::<Vec<_>>()
        );
    }
    output
}

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// Whether there is a process of that number, a zombie included.
fn exists(id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{id}")).exists()
}

#[test]
fn what_a_child_says_and_ends_with_is_kept() {
    let output = run(async {
        shell("echo out; echo err >&2; exit 3")
            .output(100)
            .await
            .unwrap()
    });
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
}

#[test]
fn a_megabyte_goes_through_a_child_and_back() {
    run(async {
        let said: Vec<u8> = (0..1_000_000).map(|at| (at / 251) as u8).collect();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .await
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let theirs = said.clone();
        let speaker = tourbillon::task::spawn(async move {
            stdin.write_all(&theirs).await.unwrap();
            stdin.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        stdout.read_to_end(&mut heard, said.len()).await.unwrap();
        assert!(heard == said);
        speaker.await.unwrap();
        assert!(child.wait().await.unwrap().success());
        assert!(child.try_status().unwrap().success());
        // Asked again, it says the same.
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn a_conversation_with_a_child_line_by_line() {
    run(async {
        let mut child = shell("while read name; do echo hello $name; done")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .await
            .unwrap();
        let mut lines = Buffered::new(child.stdout.take().unwrap());
        for name in ["you", "me"] {
            let line = format!("{name}\n");
            child
                .stdin
                .as_mut()
                .unwrap()
                .write_all(line.as_bytes())
                .await
                .unwrap();
            let heard = lines.read_line(100).await.unwrap();
            assert_eq!(heard.unwrap(), format!("hello {name}"));
        }
        // Its input ends with the wait.
        assert!(child.wait().await.unwrap().success());
        assert_eq!(lines.read_line(100).await.unwrap(), None);
    });
}

#[test]
fn a_wait_that_takes_too_long_is_given_up_and_the_child_can_still_be_killed() {
    run(async {
        let mut child = Command::new("sleep").arg("1000").spawn().await.unwrap();
        let waited = timeout(Duration::from_millis(20), child.wait()).await;
        assert!(waited.is_err());
        assert_eq!(child.try_status(), None);
        let status = child.kill().await.unwrap();
        assert_eq!(status.signal(), Some(9));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_dropped_child_is_killed_if_that_is_wanted_and_never_stays_a_zombie() {
    let (killed, ended) = run(async {
        let kill = Command::new("sleep").arg("1000").kill_on_drop(true);
        let killed = kill.spawn().await.unwrap();
        let ended = Command::new("true").spawn().await.unwrap();
        (killed.id(), ended.id())
    });
    // The sources were there until the two had ended and were waited for.
    assert!(!exists(killed) && !exists(ended));

    // A timeout drops the future that holds the child.
    run(async {
        let command = Command::new("sleep").arg("1000").kill_on_drop(true);
        assert!(
            timeout(Duration::from_millis(20), command.output(10))
                .await
                .is_err()
        );
    });

    // So does the end of the loop.
    let mut event_loop = EventLoop::new().unwrap();
    let command = Command::new("sleep").arg("1000").kill_on_drop(true);
    let child = event_loop
        .run_until(async { command.spawn().await.unwrap() })
        .unwrap();
    drop(event_loop);
    assert!(!exists(child.id()));
}

#[test]
fn one_that_says_too_much_is_killed_and_one_that_is_not_there_cannot_be_started() {
    run(async {
        let error = Command::new("yes").output(10_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = Command::new("/no/such/program").spawn().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn many_children_end_and_each_is_told_its_own_status() {
    run(async {
        let statuses = gather_all((0..40).map(|number| async move {
            shell(&format!("exit {number}"))
                .status()
                .await
                .unwrap()
                .code()
        }))
        .await;
        let expected: Vec<_> = (0..40).map(Some).collect();
        assert_eq!(statuses, expected);
    });
}

#[cfg(feature = "sim")]
#[test]
fn where_there_are_no_processes_the_error_says_so() {
    let error = tourbillon::sim::run(async { Command::new("true").spawn().await.unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
