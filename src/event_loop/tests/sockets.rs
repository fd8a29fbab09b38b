//! Sockets that come from elsewhere, and options that come with them.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::event_loop::{Driver, MioDriver, Socket, bind, bind_several};

/// Accept, for which a connection has to come first.
fn accept(driver: &mut MioDriver, listener: Socket) -> Socket {
    loop {
        match driver.accept(listener) {
            Ok((socket, _)) => return socket,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        std::thread::yield_now();
    }
}

#[test]
fn what_a_listener_accepts_has_nodelay_and_can_be_given_away() {
    let mut driver = MioDriver::new().unwrap();
    let own = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let foreign = driver.adopt_listener(foreign).unwrap();
    for listener in [own, foreign] {
        let mut client = TcpStream::connect(driver.local_addr(listener).unwrap()).unwrap();
        let socket = accept(&mut driver, listener);
        let mut given = driver.release(socket).unwrap();
        assert!(given.nodelay().unwrap());
        assert!(
            driver.read(socket, &mut [0]).is_err(),
            "it is not here any more"
        );
        client.write_all(b"x").unwrap();
        given.set_nonblocking(false).unwrap();
        let mut byte = [0];
        given.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");

        let adopted = driver.adopt(given).unwrap();
        assert_eq!(driver.write(adopted, b"y").unwrap(), 1);
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"y");
    }
}

#[test]
fn several_listeners_share_an_address_with_each_other_and_nobody_else() {
    let listeners = bind_several("127.0.0.1:0".parse().unwrap(), 3).unwrap();
    let address = listeners[0].local_addr().unwrap();
    assert!(
        listeners
            .iter()
            .all(|one| one.local_addr().unwrap() == address)
    );
    assert_eq!(bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    let error = bind_several(address, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    drop(listeners);
    bind(address).unwrap();
}
