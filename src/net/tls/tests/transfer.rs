//! Bytes both ways, and where they end.

use std::cell::Cell;

use super::*;
use crate::event_loop::{EventLoop, TurnBudget};
use crate::net::{TcpListener, TcpStream};
use crate::task::{BUDGET, spawn};

const SLOW: Line = Line {
    room: 4096,
    piece: 1000,
    pauses: true,
};

/// Bytes that do not repeat in step with any buffer.
fn sample(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect()
}

#[test]
fn a_message_goes_there_and_back_in_pieces_of_any_size() {
    let (connector, acceptor) = ordinary();
    for piece in [1, 2, 3, 5, 7, 64, 1000, usize::MAX] {
        for (room, pauses) in [(piece.min(4096), false), (4096, true), (usize::MAX, false)] {
            let line = Line {
                room,
                piece,
                pauses,
            };
            let (client, server) = pipe(line);
            let ask = async {
                let mut stream = connector.connect("server.test", client).await?;
                stream.write_all(b"question").await?;
                let mut answer = [0; 6];
                stream.read_exact(&mut answer).await?;
                stream.shutdown().await?;
                assert_eq!(stream.read(&mut [0]).await?, 0);
                io::Result::Ok(answer)
            };
            let answer = async {
                let mut stream = acceptor.accept(server).await?;
                let mut question = [0; 8];
                stream.read_exact(&mut question).await?;
                assert_eq!(&question, b"question");
                stream.write_all(b"answer").await?;
                assert_eq!(stream.read(&mut [0]).await?, 0);
                stream.shutdown().await
            };
            let (client, server) = both(ask, answer);
            assert_eq!(&client.unwrap(), b"answer", "{piece} bytes at once");
            server.unwrap();
        }
    }
}

/// Two tasks on one stream.
struct Shared(Rc<RefCell<TlsStream<Pipe>>>);

impl Shared {
    async fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let write = |context: &mut Context<'_>| self.0.borrow_mut().poll_write(context, bytes);
            let written = poll_fn(write).await.unwrap();
            bytes = &bytes[written..];
        }
        poll_fn(|context| self.0.borrow_mut().poll_shutdown(context))
            .await
            .unwrap();
    }

    async fn receive(&self) -> Vec<u8> {
        let mut all = Vec::new();
        while poll_fn(|context| self.0.borrow_mut().poll_read_vec(context, &mut all))
            .await
            .unwrap()
            > 0
        {}
        all
    }
}

#[test]
fn two_tasks_on_each_side_send_and_receive_at_once_and_no_wake_up_is_lost() {
    let (connector, acceptor) = ordinary();
    for (line, length) in [(SLOW, 300_000), (FAST, 3_000_000)] {
        let (client, server) = pipe(line);
        let (client, server) = both(
            connector.connect("server.test", client),
            acceptor.accept(server),
        );
        let client = Shared(Rc::new(RefCell::new(client.unwrap())));
        let server = Shared(Rc::new(RefCell::new(server.unwrap())));
        let (there, back) = (sample(length), sample(length + 77));
        run(vec![
            Box::pin(client.send(&there)),
            Box::pin(server.send(&back)),
            Box::pin(async { assert!(client.receive().await == back) }),
            Box::pin(async { assert!(server.receive().await == there) }),
        ]);
    }
}

#[test]
fn what_is_left_unsent_goes_on_while_the_answer_is_waited_for() {
    let (connector, acceptor) = ordinary();
    let (client, server) = pipe(SLOW);
    let ask = async {
        let mut stream = connector.connect("server.test", client).await.unwrap();
        // Taken at once, and more than the line holds.
        let taken = stream.write(&sample(16_000)).await.unwrap();
        assert_eq!(taken, 16_000);
        stream.read(&mut [0]).await.unwrap()
    };
    let answer = async {
        let mut stream = acceptor.accept(server).await.unwrap();
        let mut question = vec![0; 16_000];
        stream.read_exact(&mut question).await.unwrap();
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
    };
    assert_eq!(both(ask, answer).0, 1);
}

#[test]
fn a_slow_peer_costs_a_bounded_buffer() {
    let (connector, acceptor) = ordinary();
    let (client, server) = pipe(FAST);
    let (client, _server) = both(
        connector.connect("server.test", client),
        acceptor.accept(server),
    );
    let mut client = client.unwrap();
    let waker = Waker::noop();
    let mut context = Context::from_waker(waker);
    let mut taken = 0;
    while let Poll::Ready(count) = client.poll_write(&mut context, &[0; 10_000]) {
        taken += count.unwrap();
        assert!(
            taken < FAST.room + 2 * UNSENT_BYTES_MAX,
            "it takes without end"
        );
    }
    assert!(taken > FAST.room);
}

#[test]
fn an_end_at_any_byte_but_the_last_is_told_from_a_close() {
    let (connector, acceptor) = ordinary();
    let mut ends = [0; 2];
    for server_bytes in 0.. {
        let (client, server) = pipe_cut(FAST, server_bytes);
        let accept = async {
            if let Ok(mut stream) = acceptor.accept(server).await {
                stream.write_all(b"all of it").await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read(&mut [0]).await;
            }
        };
        let connect = async {
            let mut stream = connector.connect("server.test", client).await?;
            let (read, end) = read_all(&mut stream).await;
            assert!(b"all of it".starts_with(&read[..]));
            end.map(|()| read)
        };
        match both(connect, accept).0 {
            Ok(read) => {
                assert_eq!(read, b"all of it");
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
                match TlsError::of(&error) {
                    Some(TlsError::ClosedInHandshake) => ends[0] += 1,
                    Some(TlsError::Truncated) => ends[1] += 1,
                    _ => panic!("at {server_bytes}: {error}"),
                }
            }
        }
    }
    assert!(ends[0] > 500 && ends[1] > 50, "{ends:?}");
}

#[test]
fn a_record_that_was_changed_ends_the_connection_for_both_directions() {
    let (connector, acceptor) = ordinary();
    let (client, server) = pipe(FAST);
    let (client, server) = both(
        connector.connect("server.test", client),
        acceptor.accept(server),
    );
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let wire = Rc::clone(&client.get_ref().incoming);
    let (_, ()) = both(server.write_all(b"fine"), async {});
    let at = wire.borrow().bytes.len();
    let (_, ()) = both(server.write_all(b"changed"), async {});
    wire.borrow_mut().bytes[at + 8] ^= 1;
    let read = async {
        let (read, end) = read_all(&mut client).await;
        assert_eq!(read, b"fine", "what came before it is still read");
        assert!(matches!(tls_error(end), TlsError::Protocol(_)));
        assert!(matches!(
            tls_error(client.read(&mut [0]).await),
            TlsError::Protocol(_)
        ));
        assert!(matches!(
            tls_error(client.write(b"x").await),
            TlsError::Protocol(_)
        ));
        assert!(matches!(
            tls_error(client.flush().await),
            TlsError::Protocol(_)
        ));
    };
    let ((_, end), ()) = both(read_all(&mut server), read);
    assert_eq!(tls_error(end), TlsError::Refused(20), "bad_record_mac");
}

#[test]
fn after_a_shutdown_nothing_can_be_sent_and_all_can_be_received() {
    let (connector, acceptor) = ordinary();
    let (client, server) = pipe(FAST);
    let connect = async {
        let mut stream = connector.connect("server.test", client).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.shutdown().await.unwrap();
        let error = stream.write(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let (read, end) = read_all(&mut stream).await;
        end.unwrap();
        read
    };
    let accept = async {
        let mut stream = acceptor.accept(server).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        stream.write_all(&sample(50_000)).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    assert!(both(connect, accept).0 == sample(50_000));
}

#[test]
fn a_stream_that_is_dropped_is_truncated_for_the_other() {
    let (connector, acceptor) = ordinary();
    let (client, server) = pipe(FAST);
    let connect = async {
        let mut stream = connector.connect("server.test", client).await.unwrap();
        read_all(&mut stream).await
    };
    let accept = async {
        acceptor
            .accept(server)
            .await
            .unwrap()
            .write_all(b"some")
            .await
            .unwrap();
    };
    let ((read, end), ()) = both(connect, accept);
    assert_eq!(read, b"some");
    assert_eq!(tls_error(end), TlsError::Truncated);
}

#[test]
fn a_task_that_waits_for_many_streams_comes_to_the_last_of_them() {
    const MANY: usize = BUDGET as usize + 10;
    let (connector, acceptor) = ordinary();
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..MANY {
        let (client, server) = pipe(FAST);
        let (client, server) = both(
            connector.connect("server.test", client),
            acceptor.accept(server),
        );
        clients.push(client.unwrap());
        servers.push(server.unwrap());
    }
    let mut event_loop = EventLoop::new().unwrap();
    let any = event_loop.spawn(poll_fn(move |context| {
        // All of them are asked, the tickets that have come are read, and then all wait.
        let ready =
            clients
                .iter_mut()
                .filter_map(|client| match client.poll_read(context, &mut [0]) {
                    Poll::Ready(read) => Some(read.unwrap()),
                    Poll::Pending => None,
                });
        match ready.max() {
            Some(read) => Poll::Ready(read),
            None => Poll::Pending,
        }
    }));
    event_loop.turn(TurnBudget::no_wait()).unwrap();
    assert!(!any.is_finished());
    let mut last = servers.pop().unwrap();
    let write = async move {
        last.write_all(b"!").await.unwrap();
        last
    };
    event_loop.run_until(write).unwrap();
    assert_eq!(event_loop.run_until(any).unwrap().unwrap(), 1);
}

#[test]
fn a_task_that_always_has_something_to_read_gives_the_loop_back() {
    let (connector, acceptor) = ordinary();
    let (client, server) = pipe(FAST);
    let (client, server) = both(
        connector.connect("server.test", client),
        acceptor.accept(server),
    );
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let ((), sent) = both(async {}, server.write_all(&[7; 10_000]));
    sent.unwrap();
    let read = Rc::new(Cell::new(0));
    let count = Rc::clone(&read);
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(async move {
        while client.read(&mut [0]).await.unwrap() > 0 {
            count.set(count.get() + 1);
        }
    });
    let mut before = 0;
    for _ in 0..3 {
        event_loop.turn(TurnBudget::no_wait()).unwrap();
        let in_turn = read.get() - before;
        assert!(in_turn > 0 && in_turn <= BUDGET, "{in_turn}");
        before = read.get();
    }
}

#[test]
fn it_runs_over_sockets_of_the_loop() {
    let (connector, acceptor) = ordinary();
    let mut event_loop = EventLoop::new().unwrap();
    let talk = async move {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).await?;
        let address = listener.local_addr();
        let server = spawn(async move {
            let (socket, _) = listener.accept().await?;
            let mut stream = acceptor.accept(socket).await?;
            let mut piece = Vec::new();
            while stream.read_vec(&mut piece).await? > 0 {
                stream.write_all(&piece).await?;
                piece.clear();
            }
            stream.shutdown().await
        });
        let socket = TcpStream::connect(address).await?;
        let mut stream = connector.connect("server.test", socket).await?;
        for round in 0..20 {
            let sent = sample(round * 3000 + 1);
            stream.write_all(&sent).await?;
            let mut back = vec![0; sent.len()];
            stream.read_exact(&mut back).await?;
            assert!(sent == back);
        }
        stream.shutdown().await?;
        assert_eq!(stream.read(&mut [0]).await?, 0);
        server.await.unwrap()
    };
    event_loop.run_until(talk).unwrap().unwrap();
}
