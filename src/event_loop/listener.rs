//! How a listening socket is made, for every driver of this machine and for those who make one before there is a loop.
//!
//! With the feature `sockopt` its queue is longer, and several of them can share an address; std has no way to say
//! either.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// How many connections may wait to be taken in. Linux takes the lesser of this and `net.core.somaxconn`, whose
/// default it is (listen(2)). Without the feature `sockopt` it is std's 128.
#[cfg(feature = "sockopt")]
const BACKLOG: i32 = 4096;

/// A listening socket that does not block. Port 0 picks a free one.
///
/// # Errors
/// As bind(2) and listen(2): the address is in use, not ours, or not allowed.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    #[cfg(feature = "sockopt")]
    let listener = bind_with(address, Sharing::Alone)?;
    #[cfg(not(feature = "sockopt"))]
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// As [`bind`], `number` listeners on one address, for as many loops.
///
/// With the feature `sockopt`, where there is `SO_REUSEPORT` that balances (Linux), each has a queue of its own and
/// the kernel spreads the connections by a hash of their addresses (socket(7)). Otherwise they are duplicates of one
/// descriptor with one queue: each connection wakes all loops, and whoever comes first has it.
///
/// # Errors
/// As [`bind`]. An address that somebody else listens on is in use, even if they would share it.
pub fn bind_several(address: SocketAddr, number: usize) -> io::Result<Vec<TcpListener>> {
    // The first one alone: a socket that shares would be let in beside another program's that does.
    let first = bind(address)?;
    #[cfg(all(feature = "sockopt", any(target_os = "linux", target_os = "android")))]
    if number > 1 {
        let address = first.local_addr()?;
        drop(first);
        return (0..number)
            .map(|_| {
                let listener = bind_with(address, Sharing::WithOurs)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .collect();
    }
    let mut listeners = vec![first];
    while listeners.len() < number {
        listeners.push(listeners[0].try_clone()?);
    }
    Ok(listeners)
}

#[cfg(feature = "sockopt")]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    WithOurs,
}

#[cfg(feature = "sockopt")]
fn bind_with(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // As std does: a server that is started again need not wait for its old connections' TIME_WAIT. On Windows the
    // same option would let others take the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_reuse_port(sharing == Sharing::WithOurs)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let Sharing::Alone = sharing;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// EINPROGRESS, for which [`io::ErrorKind`] has no stable name.
#[cfg(feature = "sockopt")]
const IN_PROGRESS: i32 = match cfg!(any(target_os = "linux", target_os = "android")) {
    true => 115,
    false => 36,
};

/// Begin a connection from `local`, which std cannot: its sockets are bound and connected in one call.
#[cfg(feature = "sockopt")]
pub(super) fn connect_from(
    local: SocketAddr,
    address: SocketAddr,
) -> io::Result<std::net::TcpStream> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
        // Windows says it so.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        connected => connected?,
    }
    Ok(socket.into())
}

/// Have `listener` hand `TCP_NODELAY` on to the connections that come in, so that it need not be set on each: Linux
/// copies it from the listener. Returns whether it does.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn hand_on_nodelay(listener: TcpListener) -> (TcpListener, bool) {
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;
    // std has the option on streams only, and to the kernel a descriptor is a descriptor.
    let stream = TcpStream::from(OwnedFd::from(listener));
    let is_set = stream.set_nodelay(true).is_ok();
    (TcpListener::from(OwnedFd::from(stream)), is_set)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn hand_on_nodelay(listener: TcpListener) -> (TcpListener, bool) {
    (listener, false)
}
