//! Streams over real sockets, with threads of std on the other side: TCP, Unix sockets, UDP; and foreign code that is
//! written against the ecosystem's traits.

use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use tourbillon::event_loop::EventLoop;
use tourbillon::net::{
    Buffered, Connector, Resolver, StreamExt, TcpListener, TcpStream, UdpSocket, copy_bidirectional,
};
use tourbillon::task::{sleep, spawn, timeout};

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// No test waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Run `future` on a loop of this machine, and see that nothing is left on it.
fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let mut event_loop = EventLoop::new().unwrap();
    let output = event_loop
        .run_until(async move { timeout(PATIENCE, future).await.expect("it takes too long") })
        .unwrap();
    event_loop
        .run_until(async { sleep(Duration::from_millis(1)).await })
        .unwrap();
    let left: Vec<_> = event_loop
        .census()
        .filter(|(_, source)| source.kind != "task")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    output
}

/// A server of std for one connection.
fn serve(
    serve: impl FnOnce(std::net::TcpStream) + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    (address, server)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn echo(mut stream: impl Read + Write) {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    stream.write_all(&heard).unwrap();
}

#[test]
fn ten_megabytes_and_their_echo_over_both_halves() {
    let (address, server) = serve(|mut stream| {
        let mut piece = [0; 10_000];
        loop {
            match stream.read(&mut piece).unwrap() {
                0 => break,
                read => stream.write_all(&piece[..read]).unwrap(),
            }
        }
    });
    run(async move {
        let said = pattern(10_000_000);
        let stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.peer_addr(), address);
        assert_eq!(stream.local_addr().unwrap().ip(), LOCALHOST);
        let (mut reader, mut writer) = stream.into_split();
        let speaker = spawn(async move {
            writer.write_all(&pattern(10_000_000)).await.unwrap();
            writer.shutdown().await.unwrap();
            assert_eq!(
                writer.write(b"x").await.unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
        });
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard, said.len()).await.unwrap();
        assert!(heard == said);
        speaker.await.unwrap();
    });
    server.join().unwrap();
}

#[test]
fn a_dropped_stream_sends_what_it_owes_and_a_dropped_writer_ends_its_half() {
    let (address, server) = serve(|mut stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(heard == pattern(50_000));
    });
    run(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&pattern(50_000)).await.unwrap();
    });
    server.join().unwrap();

    let (address, server) = serve(echo);
    run(async move {
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        writer.write_all(b"once").await.unwrap();
        drop(writer);
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard, 100).await.unwrap();
        assert_eq!(heard, b"once");
    });
    server.join().unwrap();
}

#[cfg(feature = "sockopt")]
#[test]
fn an_abort_is_a_reset_and_a_reset_is_an_error_behind_what_came_before() {
    let (address, server) = serve(|mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        let error = stream.read(&mut byte).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
    run(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        // What has left is read before the reset.
        sleep(Duration::from_millis(50)).await;
        stream.abort();
    });
    server.join().unwrap();

    let (address, server) = serve(|mut stream| {
        stream.write_all(b"last words").unwrap();
        // What is not read makes the close a reset.
        let mut peeked = [0; 1];
        stream.peek(&mut peeked).unwrap();
    });
    run(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"unread").await.unwrap();
        let mut heard = Vec::new();
        let error = stream.read_to_end(&mut heard, 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(heard, b"last words");
        assert!(stream.write(b"x").await.is_err());
    });
    server.join().unwrap();
}

#[test]
fn a_connection_that_is_refused_says_so() {
    let free = std::net::TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = run(async move { TcpStream::connect(address).await.unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_name_is_looked_up_on_the_executor_and_remembered() {
    let (address, server) = serve(echo);
    run(async move {
        let resolver = Resolver::new();
        let found = resolver.resolve("localhost").await.unwrap();
        assert!(found.contains(&LOCALHOST), "{found:?}");
        assert_eq!(resolver.names(), 1);
        let connector = Connector::new().resolver(resolver.clone());
        let mut stream = connector
            .connect(("localhost", address.port()))
            .await
            .unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard, 100).await.unwrap();
        assert_eq!(heard, b"hello");
        let error = TcpStream::connect("no port").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
    server.join().unwrap();
}

#[cfg(all(feature = "sockopt", target_os = "linux"))]
#[test]
fn a_connection_comes_from_the_address_that_was_chosen() {
    let (address, server) = serve(|stream| {
        assert_eq!(stream.peer_addr().unwrap().ip().to_string(), "127.0.0.9");
    });
    run(async move {
        let connector = Connector::new().local_address("127.0.0.9".parse().unwrap());
        let stream = connector.connect(address).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.9");
        let error = connector.connect("[::1]:1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    });
    server.join().unwrap();
}

#[test]
fn those_who_come_while_nobody_accepts_are_accepted_later_in_their_order() {
    run(async {
        let mut listener = TcpListener::bind((LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr();
        let clients = thread::spawn(move || -> Vec<_> {
            (0..100u8)
                .map(|number| {
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    stream.write_all(&[number]).unwrap();
                    stream
                })
                .collect()
        });
        while !clients.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        let mut numbers = Vec::new();
        for _ in 0..100 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut number = [0];
            stream.read_exact(&mut number).await.unwrap();
            numbers.push(number[0]);
        }
        assert_eq!(numbers, (0..100).collect::<Vec<u8>>());
    });
}

#[test]
fn a_line_that_is_too_long_is_an_error_and_what_was_read_ahead_is_not_lost() {
    let (address, server) = serve(|mut stream| {
        stream
            .write_all(b"one\ntwo\r\n\nfour, which is long\nfive\n\xff\nsix")
            .unwrap();
    });
    run(async move {
        let mut lines = Buffered::new(TcpStream::connect(address).await.unwrap());
        assert_eq!(lines.read_line(4).await.unwrap().as_deref(), Some("one"));
        assert_eq!(lines.read_line(5).await.unwrap().as_deref(), Some("two"));
        assert_eq!(lines.read_line(1).await.unwrap().as_deref(), Some(""));
        let error = lines.read_line(10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let mut four = [0; 4];
        lines.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"four");
        assert_eq!(
            lines.read_until(b'g', 100).await.unwrap(),
            b", which is long"
        );
        assert_eq!(lines.read_line(100).await.unwrap().as_deref(), Some(""));
        assert_eq!(lines.read_line(100).await.unwrap().as_deref(), Some("five"));
        assert_eq!(
            lines.read_line(100).await.unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        assert_eq!(lines.read_line(100).await.unwrap().as_deref(), Some("six"));
        assert_eq!(lines.read_line(100).await.unwrap(), None);
    });
    server.join().unwrap();
}

#[test]
fn a_relay_passes_on_both_directions_and_both_ends() {
    let (address, server) = serve(echo);
    run(async move {
        let mut listener = TcpListener::bind((LOCALHOST, 0).into()).await.unwrap();
        let relay_at = listener.local_addr();
        let relay = spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(address).await.unwrap();
            copy_bidirectional(&mut client, &mut server).await.unwrap()
        });
        let mut stream = TcpStream::connect(relay_at).await.unwrap();
        stream.write_all(&pattern(300_000)).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard, 300_000).await.unwrap();
        assert!(heard == pattern(300_000));
        assert_eq!(relay.await.unwrap(), (300_000, 300_000));
    });
    server.join().unwrap();
}

#[test]
fn datagrams_go_to_whom_they_are_for_and_what_became_of_them_is_told_once() {
    let server = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = server.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..3 {
            let mut buffer = [0; 100];
            let (length, peer) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], peer).unwrap();
        }
    });
    run(async move {
        let mut socket = UdpSocket::bind((LOCALHOST, 0).into()).await.unwrap();
        let mut buffer = [0; 100];
        for said in ["one", ""] {
            socket.send_to(said.as_bytes(), address).await.unwrap();
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..length], peer), (said.as_bytes(), address));
        }
        socket.connect(address).await.unwrap();
        socket.send(b"too long").await.unwrap();
        let mut short = [0; 3];
        assert_eq!(socket.recv_from(&mut short).await.unwrap().0, 3);
        // Nobody is there any more.
        while socket.send(b"x").await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    server.join().unwrap();
}

#[test]
fn a_datagram_is_for_the_next_who_waits_when_the_wait_before_was_cancelled() {
    run(async move {
        let mut here = UdpSocket::bind((LOCALHOST, 0).into()).await.unwrap();
        let mut there = UdpSocket::bind((LOCALHOST, 0).into()).await.unwrap();
        let mut buffer = [0; 100];
        for said in ["one", "two"] {
            let nothing = timeout(Duration::from_millis(2), here.recv_from(&mut buffer)).await;
            assert!(nothing.is_err(), "nothing has come yet");
            there
                .send_to(said.as_bytes(), here.local_addr())
                .await
                .unwrap();
            let (length, _) = here.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], said.as_bytes());
        }
    });
}

#[test]
fn a_flood_of_datagrams_is_bounded_and_the_queue_goes_on_when_it_is_read() {
    run(async {
        let mut receiver = UdpSocket::bind((LOCALHOST, 0).into()).await.unwrap();
        let mut sender = UdpSocket::bind((LOCALHOST, 0).into()).await.unwrap();
        let to = receiver.local_addr();
        for _ in 0..300 {
            sender.send_to(&[7; 1_000], to).await.unwrap();
        }
        sleep(Duration::from_millis(20)).await;
        // The kernel has dropped some. What it kept comes, and what is sent then.
        let mut buffer = [0; 1_000];
        let mut received = 0;
        while let Ok(datagram) =
            timeout(Duration::from_millis(50), receiver.recv_from(&mut buffer)).await
        {
            assert_eq!(datagram.unwrap().0, 1_000);
            received += 1;
        }
        assert!(received >= 60, "{received}");
        sender.send_to(b"last", to).await.unwrap();
        assert_eq!(receiver.recv_from(&mut buffer).await.unwrap().0, 4);
    });
}

#[cfg(unix)]
mod unix {
    use super::*;
    use tourbillon::net::{UnixListener, UnixStream};

    #[test]
    fn a_unix_socket_carries_what_tcp_does_both_ways_around() {
        let folder = std::env::temp_dir().join(format!("tourbillon-unix-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
        let listener = std::os::unix::net::UnixListener::bind(&theirs).unwrap();
        let server = thread::spawn(move || echo(listener.accept().unwrap().0));
        run(async move {
            let mut stream = UnixStream::connect(&theirs).await.unwrap();
            assert_eq!(stream.peer_addr().as_deref(), Some(theirs.as_path()));
            stream.write_all(&pattern(300_000)).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard, 300_000).await.unwrap();
            assert!(heard == pattern(300_000));

            let mut listener = UnixListener::bind(&ours).await.unwrap();
            assert_eq!(
                UnixListener::bind(&ours).await.unwrap_err().kind(),
                ErrorKind::AddrInUse
            );
            let client = thread::spawn(move || {
                let mut stream = std::os::unix::net::UnixStream::connect(&ours).unwrap();
                stream.write_all(b"from a thread").unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut heard = String::new();
                stream.read_to_string(&mut heard).unwrap();
                heard
            });
            let (mut stream, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, None);
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard, 100).await.unwrap();
            stream.write_all(&heard).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(client.join().unwrap(), "from a thread");
        });
        server.join().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_peer_that_goes_is_an_end_and_then_a_broken_pipe() {
        run(async {
            let (mut here, there) = UnixStream::pair().await.unwrap();
            drop(there);
            let mut byte = [0];
            assert_eq!(here.read(&mut byte).await.unwrap(), 0);
            // The write that finds out is told of by the next one.
            let broken = async {
                while here.write(b"x").await.is_ok() {
                    here.flush().await.ok();
                }
            };
            timeout(PATIENCE, broken).await.unwrap();
        });
    }
}

#[cfg(feature = "futures")]
#[test]
fn foreign_code_for_futures_io_runs_on_our_streams() {
    use std::cell::Cell;
    use std::rc::Rc;

    use futures_util::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt as _, io};
    use tourbillon::net::Compat;

    run(async {
        let listener = TcpListener::bind((LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr();
        let served = Rc::new(Cell::new(0));
        let count = Rc::clone(&served);
        let server = spawn(async move {
            let mut incoming = listener.take(2);
            while let Some(stream) = incoming.next().await {
                let (mut reader, mut writer) = AsyncReadExt::split(stream.unwrap());
                io::copy(&mut reader, &mut writer).await.unwrap();
                writer.close().await.unwrap();
                count.set(count.get() + 1);
            }
        });
        for said in [&b"one\ntwo\n"[..], &pattern(200_000)] {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut reader, mut writer) = AsyncReadExt::split(stream);
            let theirs = said.to_vec();
            let speaker = spawn(async move {
                AsyncWriteExt::write_all(&mut writer, &theirs)
                    .await
                    .unwrap();
                writer.close().await.unwrap();
            });
            let mut heard = Vec::new();
            AsyncReadExt::read_to_end(&mut reader, &mut heard)
                .await
                .unwrap();
            assert!(heard == said);
            speaker.await.unwrap();
        }
        server.await.unwrap();
        assert_eq!(served.get(), 2);

        // By lines, with a buffer of ours.
        let mut listener = TcpListener::bind((LOCALHOST, 0).into()).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr()).await.unwrap();
        tourbillon::net::StreamExt::write_all(&mut client, b"one\ntwo")
            .await
            .unwrap();
        drop(client);
        let accepted = listener.accept().await.unwrap().0;
        let lines = Compat(Buffered::new(accepted)).lines();
        let lines: Vec<_> = lines.map(|line| line.unwrap()).collect().await;
        assert_eq!(lines, ["one", "two"]);
    });
}

#[cfg(feature = "tokio-io")]
#[test]
fn foreign_code_for_tokios_traits_runs_on_our_streams() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tourbillon::net::Compat;

    run(async {
        let mut listener = TcpListener::bind((LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr();
        let relay = spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut server)
                .await
                .unwrap()
        });
        let mut one = TcpStream::connect(address).await.unwrap();
        let other = TcpStream::connect(address).await.unwrap();
        AsyncWriteExt::write_all(&mut one, b"one\ntwo\n")
            .await
            .unwrap();
        AsyncWriteExt::shutdown(&mut one).await.unwrap();
        let mut lines = BufReader::new(Compat(other));
        let mut line = String::new();
        lines.read_line(&mut line).await.unwrap();
        assert_eq!(line, "one\n");
        let mut rest = String::new();
        lines.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "two\n");
        AsyncWriteExt::write_all(&mut lines, b"back").await.unwrap();
        AsyncWriteExt::shutdown(&mut lines).await.unwrap();
        AsyncReadExt::read_to_string(&mut one, &mut rest)
            .await
            .unwrap();
        assert_eq!(rest, "two\nback");
        assert_eq!(relay.await.unwrap(), (8, 4));
    });
}

#[test]
fn an_operation_that_found_a_fault_tells_it_again() {
    let (address, server) = serve(drop);
    run(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        for _ in 0..3 {
            assert_eq!(stream.read(&mut byte).await.unwrap(), 0);
        }
        let error: io::Error = loop {
            if let Err(error) = stream.write(b"x").await {
                break error;
            }
            let _ = stream.flush().await;
        };
        let again = stream.write(b"x").await.unwrap_err();
        assert_eq!(error.kind(), again.kind());
    });
    server.join().unwrap();
}
