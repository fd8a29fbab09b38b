//! What waits for the outside, cancelled at each of its awaits: names, connections, streams, files. Nothing of it is
//! left, and who comes after finds what he would have found.

use std::cell::Cell;
use std::io::{self, SeekFrom};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::fs::{self, File};
use tourbillon::net::{
    Buffered, Connector, Resolver, StreamExt, TcpListener, TcpStream, copy_bidirectional,
};
use tourbillon::sim::cancel_at_each_await;
use tourbillon::sync::Lock;
use tourbillon::task::{JoinHandle, sleep, spawn, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn here(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn listen(port: u16) -> TcpListener {
    TcpListener::bind(here(port)).await.unwrap()
}

/// Send back what comes, until it ends or breaks off.
async fn echo(mut stream: TcpStream) {
    let mut piece = [0; 1_000];
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        if stream.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
    // The other side may have gone.
    let _ = stream.shutdown().await;
}

/// Say something, after a while, and hear the other side to its end.
async fn say(mut stream: TcpStream, says: &'static str) {
    sleep(SECOND).await;
    // The other side may have gone.
    let _ = stream.write_all(says.as_bytes()).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new(), 100).await;
}

/// Say `said` and hear it again.
async fn hear(mut stream: TcpStream, said: &[u8]) -> io::Result<()> {
    stream.write_all(said).await?;
    let mut heard = vec![0; said.len()];
    stream.read_exact(&mut heard).await?;
    assert_eq!(heard, said);
    Ok(())
}

#[test]
fn a_lookup_is_left_to_the_others_wherever_who_asked_first_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let resolver = Resolver::with_lookup(|_| async {
            sleep(SECOND).await;
            Ok(vec![[127, 0, 0, 1].into()])
        });
        let ours = resolver.clone();
        let victim = async move { ours.resolve("a.test").await.unwrap() };
        (victim, async move {
            let found = resolver.resolve("a.test").await.unwrap();
            assert_eq!(found, [here(0).ip()]);
        })
    });
    assert_eq!(awaits, 1);
}

#[test]
fn a_race_of_connections_leaves_none_wherever_it_was_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let serves = spawn(async {
            let mut listener = listen(7).await;
            while let Ok(accepted) = timeout(SECOND * 5, listener.accept()).await {
                spawn(echo(accepted.unwrap().0));
            }
        });
        let resolver = Resolver::with_lookup(|_| async {
            sleep(SECOND).await;
            Ok(vec![[127, 0, 0, 1].into()])
        });
        let victim = async move {
            let connector = Connector::new().resolver(resolver);
            let nobody = connector.connect("a.test:9").await;
            let refused = io::ErrorKind::ConnectionRefused;
            assert_eq!(nobody.unwrap_err().kind(), refused);
            let either = [here(9), here(7)];
            let stream = connector.connect_to_any(&either).await.unwrap();
            hear(stream, b"hello").await.unwrap();
        };
        (victim, async move { serves.await.unwrap() })
    });
    assert!(awaits >= 4, "{awaits}");
}

#[test]
fn who_knocks_while_accept_is_cancelled_is_served_by_the_next_accept() {
    async fn serve_one(listener: Lock<Option<TcpListener>>) -> JoinHandle<()> {
        let mut held = listener.lock().await;
        if held.is_none() {
            *held = Some(listen(7).await);
        }
        let (stream, _) = held.as_mut().unwrap().accept().await.unwrap();
        spawn(echo(stream))
    }
    let awaits = cancel_at_each_await(|| {
        let knocks = spawn(async {
            sleep(SECOND).await;
            hear(TcpStream::connect(here(7)).await.unwrap(), b"hello").await
        });
        let (listener, served) = (Lock::new(None), Rc::new(Cell::new(false)));
        let (ours, ends) = (listener.clone(), Rc::clone(&served));
        let victim = async move {
            serve_one(ours).await;
            ends.set(true);
        };
        (victim, async move {
            if !served.get() {
                serve_one(listener).await;
            }
            knocks.await.unwrap().unwrap();
            // Until the echo has noticed.
            sleep(SECOND).await;
        })
    });
    assert_eq!(awaits, 2);
}

#[test]
fn lines_and_relays_leave_no_stream_wherever_they_are_cancelled() {
    let awaits = cancel_at_each_await(|| {
        let victim = async {
            let mut listener = listen(7).await;
            let serves = spawn(async move {
                for says in ["there", "back", "one\ntwo"] {
                    let Ok(accepted) = timeout(SECOND * 2, listener.accept()).await else {
                        return;
                    };
                    spawn(say(accepted.unwrap().0, says));
                }
            });
            let mut one = TcpStream::connect(here(7)).await.unwrap();
            let mut other = TcpStream::connect(here(7)).await.unwrap();
            let copied = copy_bidirectional(&mut one, &mut other).await.unwrap();
            assert_eq!(copied, (5, 4));
            let mut lines = Buffered::new(TcpStream::connect(here(7)).await.unwrap());
            let line = lines.read_line(100).await.unwrap();
            assert_eq!(line.as_deref(), Some("one"));
            let line = lines.read_line(100).await.unwrap();
            assert_eq!(line.as_deref(), Some("two"));
            serves.await.unwrap();
        };
        // Until the other side has noticed.
        (victim, sleep(SECOND * 10))
    });
    assert!(awaits >= 6, "{awaits}");
}

#[test]
fn files_can_be_used_again_wherever_an_operation_on_them_was_cancelled() {
    let folder = std::env::temp_dir().join(format!("tourbillon-cancelling-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ours = folder.clone();
    let awaits = cancel_at_each_await(move || {
        let (path, copied) = (ours.join("file"), ours.join("copy"));
        let afterwards = path.clone();
        let victim = async move {
            let mut file = File::create(&path).await.unwrap();
            file.write_all(b"0123456789").await.unwrap();
            file.flush().await.unwrap();
            assert_eq!(file.seek(SeekFrom::Start(3)).await.unwrap(), 3);
            let mut piece = [0; 4];
            file.read_exact(&mut piece).await.unwrap();
            assert_eq!(&piece, b"3456");
            file.set_len(8).await.unwrap();
            file.sync_all().await.unwrap();
            file.sync_data().await.unwrap();
            assert_eq!(file.metadata().await.unwrap().len(), 8);
            fs::copy(&path, &copied).await.unwrap();
            assert_eq!(fs::read(&copied).await.unwrap(), b"01234567");
            fs::remove_file(&copied).await.unwrap();
        };
        (victim, async move {
            // It takes its turn behind what could not be taken back.
            fs::write(&afterwards, "afterwards").await.unwrap();
            let text = fs::read_to_string(&afterwards).await.unwrap();
            assert_eq!(text, "afterwards");
        })
    });
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(awaits, 11);
}
