//! What is agreed on in the handshake, and what happens when it does not come to an end.

use super::*;
use crate::event_loop::{EventLoop, TurnBudget};

type Streams = (io::Result<TlsStream<Pipe>>, io::Result<TlsStream<Pipe>>);

#[track_caller]
fn meet(connector: &TlsConnector, acceptor: &TlsAcceptor) -> Streams {
    let (client, server) = pipe(FAST);
    both(
        connector.connect("server.test", client),
        acceptor.accept(server),
    )
}

#[test]
fn both_agree_on_a_protocol_and_the_server_sees_the_name() {
    let (connector, acceptor) = ordinary();
    let (client, server) = meet(&connector, &acceptor);
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(server.protocol(), client.protocol());
    assert_eq!(server.server_name(), Some("server.test"));
    assert_eq!(client.server_name(), None);
    assert_eq!(client.peer_certificates().count(), 1);
}

#[test]
fn the_name_can_be_kept_back() {
    let authority = Authority::new();
    let connector = authority.connector().without_sni().build().unwrap();
    let (client, server) = meet(&connector, &authority.acceptor().build().unwrap());
    client.unwrap();
    assert_eq!(server.unwrap().server_name(), None);
}

#[test]
fn without_a_common_protocol_there_is_no_connection() {
    let authority = Authority::new();
    let connector =
        |protocols: &[&str]| authority.connector().protocols(protocols).build().unwrap();
    let acceptor = authority
        .acceptor()
        .protocols(&["two", "one"])
        .build()
        .unwrap();
    let (client, server) = meet(&connector(&["three"]), &acceptor);
    assert_eq!(tls_error(client), TlsError::NoCommonProtocol);
    assert_eq!(tls_error(server), TlsError::NoCommonProtocol);
    let (client, _) = meet(&connector(&["one", "two"]), &acceptor);
    assert_eq!(
        client.unwrap().protocol(),
        Some(&b"two"[..]),
        "the server's order counts"
    );
    let (client, _) = meet(&connector(&[]), &acceptor);
    assert_eq!(client.unwrap().protocol(), None, "none is offered");
}

#[test]
fn a_session_is_taken_up_again_unless_sessions_are_not_kept() {
    let authority = Authority::new();
    let acceptor = authority.acceptor().build().unwrap();
    for (sessions_max, is_resumed) in [(8, true), (0, false)] {
        let connector = authority
            .connector()
            .sessions_max(sessions_max)
            .build()
            .unwrap();
        for is_second in [false, true] {
            let (client, server) = pipe(FAST);
            let connect = async {
                let mut stream = connector.connect("server.test", client).await.unwrap();
                // The ticket comes with what the server sends.
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                stream.is_resumed()
            };
            let accept = async {
                acceptor
                    .accept(server)
                    .await
                    .unwrap()
                    .shutdown()
                    .await
                    .unwrap();
            };
            assert_eq!(both(connect, accept).0, is_resumed && is_second);
        }
    }
}

#[test]
fn a_peer_that_does_not_speak_tls_is_told_from_one_that_speaks_it_badly() {
    let (connector, acceptor) = ordinary();
    for said in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"220 mail.test ESMTP\r\n",
        &[0; 64],
    ] {
        let (client, mut server) = pipe(FAST);
        let plain = async { server.write_all(said).await };
        let (client, _) = both(connector.connect("server.test", client), plain);
        assert!(matches!(tls_error(client), TlsError::Protocol(_)));
        let (mut client, server) = pipe(FAST);
        let plain = async { client.write_all(said).await };
        let (_, server) = both(plain, acceptor.accept(server));
        assert!(matches!(tls_error(server), TlsError::Protocol(_)));
    }
}

#[test]
fn an_end_in_the_handshake_is_told() {
    let (connector, acceptor) = ordinary();
    let (client, server) = pipe(FAST);
    drop(server);
    let (client, ()) = both(connector.connect("server.test", client), async {});
    assert_eq!(tls_error(client), TlsError::ClosedInHandshake);
    let (client, server) = pipe(FAST);
    drop(client);
    let ((), server) = both(async {}, acceptor.accept(server));
    let server = server.unwrap_err();
    assert_eq!(server.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(TlsError::of(&server), Some(&TlsError::ClosedInHandshake));
    // close_notify in the clear proves nothing (RFC 8446, 6.1).
    let (client, mut server) = pipe(FAST);
    let plain = async move { server.write_all(&[21, 3, 3, 0, 2, 1, 0]).await };
    let (client, _) = both(connector.connect("server.test", client), plain);
    assert_eq!(tls_error(client), TlsError::ClosedInHandshake);
}

#[test]
fn a_handshake_that_waits_says_so() {
    let (connector, _) = ordinary();
    let mut event_loop = EventLoop::new().unwrap();
    let (client, _server) = pipe(FAST);
    event_loop.spawn(async move { drop(connector.connect("server.test", client).await) });
    let budget = TurnBudget::no_wait();
    for _ in 0..3 {
        event_loop.turn(budget).unwrap();
    }
    let waits: Vec<_> = event_loop
        .census()
        .filter_map(|(_, inspection)| inspection.waits_on)
        .map(|waits_on| waits_on.what)
        .collect();
    assert_eq!(waits, ["tls handshake"]);
}

#[test]
fn who_cannot_write_any_more_hears_why_if_the_peer_has_said_so() {
    /// The other end has closed behind its last words.
    struct Closed(&'static [u8]);

    impl Stream for Closed {
        fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(self.0.read(buffer))
        }
        fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
        }
        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    // RFC 8446, 6: a fatal alert, handshake_failure.
    const REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    let (connector, _) = ordinary();
    run(vec![Box::pin(async {
        let refused = connector.connect("server.test", Closed(REFUSAL)).await;
        assert_eq!(tls_error(refused), TlsError::Refused(40));
        let silent = connector.connect("server.test", Closed(&[])).await;
        assert_eq!(silent.err().unwrap().kind(), ErrorKind::BrokenPipe);
    })]);
}
